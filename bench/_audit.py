"""The command `make audit`: known vulnerabilities in what is installed, and secrets in the files.

The first needs a registry that answers for vulnerabilities; where it does not, that is said, and
nothing is claimed. Known findings that are no secrets (hashes, passwords of tests) are in
`.secrets.baseline`; a new one fails. Renew it, after a look at each, with
`git ls-files -z | xargs -0 detect-secrets scan --no-verify > .secrets.baseline`.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
BASELINE = ROOT / ".secrets.baseline"


def vulnerable(report: dict[str, Any]) -> tuple[list[str], int, int]:
    """What pip-audit found: a line for each, how many packages were looked up, and how many not."""
    found, known, unknown = [], 0, 0
    for package in report["dependencies"]:
        if "skip_reason" in package:
            unknown += 1
            continue
        known += 1
        found += [
            f"{package['name']} {package['version']}: {one['id']}, mended in "
            f"{', '.join(one['fix_versions']) or 'no version yet'}"
            for one in package["vulns"]
        ]
    return found, known, unknown


def new_secrets(now: dict[str, Any], before: dict[str, Any]) -> list[str]:
    """Findings of detect-secrets that the baseline does not have."""
    accepted = {(name, one["hashed_secret"]) for name, rows in before.items() for one in rows}
    return [
        f"{name}:{one['line_number']}: {one['type']}"
        for name, rows in sorted(now.items())
        for one in rows
        if (name, one["hashed_secret"]) not in accepted
    ]


def _vulnerabilities() -> bool:
    command = ("pip_audit", "-r", "constraints.txt", "--no-deps", "--disable-pip", "-f", "json")
    done = _python(*command)
    try:
        found, known, unknown = vulnerable(json.loads(done.stdout))
    except ValueError:
        found, known, unknown = [], 0, 0
    if not known:
        print(
            "Vulnerabilities: NOT looked for. The package registry does not answer for them "
            "here; run `make audit` where pypi.org can be reached."
        )
    else:
        print(f"Vulnerabilities: {len(found)} in {known} packages; {unknown} could not be asked.")
    print(*found, sep="\n", end="\n" if found else "")
    return not found


def _secrets() -> bool:
    listed = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    names = [name for name in listed.stdout.splitlines() if name != BASELINE.name]
    done = _python("detect_secrets", "scan", "--no-verify", *names)
    done.check_returncode()
    before = json.loads(BASELINE.read_text(encoding="utf-8"))["results"]
    found = new_secrets(json.loads(done.stdout)["results"], before)
    print(f"Secrets: {len(found)} new in {len(names)} files.", *found, sep="\n  ")
    return not found


def _python(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", *words], cwd=ROOT, capture_output=True, text=True, check=False
    )


if __name__ == "__main__":
    results = (_vulnerabilities(), _secrets())
    sys.exit(0 if all(results) else 1)
