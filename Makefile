# Two commands do everything: `make demo` and `make test`. Both install what they need into .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
export HF_HUB_OFFLINE ?= 1

.DEFAULT_GOAL := help
.PHONY: help install demo test test-slow fuzz audit lint format bench faults up down clean lock images hosts

help: ## Show this help
	@grep -hE '^[a-z.-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

install: $(STAMP) ## Install everything into .venv, in the versions of constraints.txt

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(None if sys.version_info >= (3, 11) else "Python 3.11 or newer is needed; name it: make PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

demo: install ## Match the sample list with the sample catalogue on a stack of its own
	$(BIN)/aparella demo

test: install ## Run all tests but the slow ones
	$(BIN)/pytest -m "not slow" --numprocesses 2 --dist loadfile --no-loadscope-reorder

test-slow: install ## Run the tests that take minutes
	$(BIN)/pytest -m slow

lint: install ## Check style, types, and who imports whom
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	$(BIN)/hadolint deploy/docker/*.Dockerfile

format: install ## Bring the code into shape
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

fuzz: install ## Ask parsers and cleaner with a million made-up inputs, and the API for ten minutes
	FUZZ_EXAMPLES=130000 $(BIN)/pytest tests/unit -k test_any_ --hypothesis-profile fuzz --timeout 0 --numprocesses 2
	FUZZ_SECONDS=600 $(BIN)/pytest tests/integration/test_fuzz.py --timeout 0

audit: install ## Look for known vulnerabilities in what is installed, and for secrets in the files
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt pip-audit detect-secrets
	$(BIN)/python -m bench._audit

bench: install ## Measure against the baselines; one file alone: make bench NAME=encode
	$(BIN)/python -m bench $(NAME)

faults: install ## Run the fault campaign, an hour at most; a minute and a half of it: make faults SHORT=1
	$(BIN)/python -m bench.faults $(if $(SHORT),--short) $(if $(SEED),--seed $(SEED))

up: install ## Start the local stack and keep it in the foreground
	$(BIN)/aparella up

down: install ## Stop the local stack
	$(BIN)/aparella down

.env: ## Write .env for docker compose: its passwords and the token are made by chance
	@( umask 077; while IFS= read -r line; do case "$$line" in \
	    [A-Z]*=) line="$$line$$(od -An -N24 -tx1 /dev/urandom | tr -d ' \n')" ;; esac; \
	    printf '%s\n' "$$line"; done < .env.example > $@.part ) && mv $@.part $@

images: install ## Build both images with podman, and run the API and a worker from their layers
	$(BIN)/python -m aparella.deploy.images

hosts: install ## Do a job on several hosts (network namespaces) of which one joins and one is cut off
	$(BIN)/pytest -m "slow or not slow" -rs -p no:cacheprovider tests/acceptance/test_hosts.py

clean: ## Remove .venv and all caches; data folders stay
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .schemathesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

lock: install ## Write the versions that are installed to constraints.txt
	( echo "# Exact versions of everything that make installs; renew with: make lock"; \
	  $(BIN)/pip freeze --exclude-editable | sed 's/+cpu//' ) > constraints.txt
