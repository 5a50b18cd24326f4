"""From pairs to a promoted model through the command, with real workers, one of which is killed."""

import csv
import shlex
import signal
from pathlib import Path

import psutil
import pytest
import sqlalchemy as sa

from tests import thin
from tests.acceptance.conftest import ROOT, Stack, eventually

SAMPLE = ROOT / "examples" / "hospital"
LINES = 260
THINGS = ("AGULLA", "SONDA", "GUANT", "XERINGA", "GASA", "CATETER")


def write(path: Path, *rows: tuple[str, ...]) -> str:
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows(rows)
    return str(path)


@pytest.fixture(scope="module")
def taught(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Stack:
    folder = tmp_path_factory.mktemp("taught")
    numbers = range(LINES)
    things = [THINGS[i % len(THINGS)] for i in numbers]
    lines = write(
        folder / "list.csv", ("id", "name"), *((f"L{i}", f"{things[i]} {i}MM") for i in numbers)
    )
    catalogue = write(
        folder / "catalogue.csv",
        ("id", "name", "family"),
        *((f"C{i}", f"{things[i]}S, {things[i]} DE {i} MM", things[i]) for i in numbers),
    )
    pairs = write(
        folder / "pairs.csv",
        ("source_key", "target_key"),
        *((f"L{i}", f"C{i}") for i in numbers),
    )
    stack.run("import", "list", lines, "--key", "id", "--text", "name")
    columns = ("--key", "id", "--text", "name", "--attribute", "family")
    stack.run("import", "catalogue", catalogue, *columns)
    stack.run("pairs", "import", "taught", pairs, "--source", "list", "--target", "catalogue")
    stack.run("match", "list", "catalogue", "--wait")
    stack.run("model", "import", str(thin.thin_model(folder)))
    return stack


def trainers(stack: Stack) -> list[psutil.Process]:
    """The processes of the trainer's pool."""
    return [
        child
        for child in stack.process("trainer").children()
        if child.status() != psutil.STATUS_ZOMBIE and "spawn_main" in " ".join(child.cmdline())
    ]


@pytest.fixture(scope="module")
def survived(taught: Stack) -> int:
    """The job of a training, `killed`, whose process was killed on its way."""
    options = ("--pairs", "taught", "--epochs", "2", "--batch-size", "32", "--no-refit")
    job = taught.json("train", "killed", "--from", thin.NAME, *options)

    def under_way() -> bool:
        stages = taught.json("job", "show", str(job["id"]))["stages"]
        detail = next((s["detail"] for s in stages if s["detail"]), None)
        return detail is not None and detail["step"] >= 4

    eventually(under_way, seconds=150)
    for process in trainers(taught):
        process.send_signal(signal.SIGKILL)
    taught.run("job", "watch", str(job["id"]))
    return int(job["id"])


def test_a_killed_training_goes_on_from_its_checkpoint(taught: Stack, survived: int) -> None:
    with taught.database().connect() as connection:
        row = connection.execute(
            sa.text("SELECT training, status FROM model WHERE name = 'killed'")
        ).one()
        attempts = connection.execute(
            sa.text(
                "SELECT max(c.attempt) FROM chunk c JOIN stage s ON s.id = c.stage_id "
                "WHERE c.job_id = :id AND s.handler = 'train' AND c.kind = 'work'"
            ),
            {"id": survived},
        ).scalar_one()
    assert row.status == "candidate"
    assert attempts == 2
    assert 0 < row.training["resumed_at"] < row.training["steps"]


@pytest.mark.usefixtures("survived")
def test_a_promotion_through_the_command(taught: Stack, tmp_path: Path) -> None:
    assert "killed@1" in taught.run("models").stdout
    assert "sentence-transformers" in taught.run("model", "card", "killed@1").stdout
    refused = taught.run("model", "promote", "killed@1", "--force", code=2)
    assert "--reason" in refused.stderr + refused.stdout
    taught.run("model", "promote", "killed@1", "--force", "--reason", "we looked", "--wait")
    taught.run("match", "list", "catalogue", "--out", str(tmp_path / "out.csv"))
    latest = taught.json("jobs", "--limit", "1")
    assert latest["model"] == "killed@1"
    back = taught.run("model", "rollback")
    assert "all-MiniLM-L6-v2@1" in back.stdout
    taught.run("model", "export", "killed@1", str(tmp_path / "exported"))
    assert (tmp_path / "exported" / "modules.json").is_file()
    taught.run("model", "retire", "killed@1")
    gone = taught.run("match", "list", "catalogue", "--model", "killed@1", code=2)
    assert "retired" in gone.stderr


def test_a_training_can_be_cancelled(taught: Stack) -> None:
    options = ("--pairs", "taught", "--epochs", "50", "--no-refit")
    job = taught.json("train", "endless", *options)
    eventually(
        lambda: any(
            stage["detail"] for stage in taught.json("job", "show", str(job["id"]))["stages"]
        ),
        seconds=120,
    )
    taught.run("job", "cancel", str(job["id"]))
    taught.run("job", "watch", str(job["id"]), code=4)
    assert "never trained" in taught.run("model", "promote", "endless@1", code=2).stderr


def test_what_the_readme_says_of_teaching(taught: Stack, tmp_path: Path) -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    block = text.split("### Teach it")[1].split("```")[1]
    commands = [shlex.split(line)[1:] for line in block.strip().splitlines()]
    assert [words[0] for words in commands] == ["pairs", "train", "model", "model"]
    numbers = range(LINES)
    write(
        tmp_path / "pairs.csv",
        ("source_key", "target_key"),
        *((f"L{i}", f"C{i}") for i in numbers),
    )
    for words in commands:
        # Quicker than a user would want it; what is promised of the rest holds as well.
        quick = ["--epochs", "1", "--from", thin.NAME] if words[0] == "train" else []
        shown = taught.run(*words, *quick, cwd=tmp_path).stdout
        assert words[0] != "train" or "character trigrams" in shown


@pytest.mark.slow
def test_the_card_s_preset_on_the_sample(stack: Stack, tmp_path: Path) -> None:
    """389 pairs, one epoch of batches of 64, a learning rate of 5e-5: what the seed's card says."""
    with (SAMPLE / "pairs.csv").open(encoding="utf-8", newline="") as file:
        known = [(r["line"], r["code"]) for r in csv.DictReader(file) if r["known"] == "true"]
    assert len(known) == 389
    pairs = write(tmp_path / "known.csv", ("source_key", "target_key"), *known)
    for name, key in (("list", "line"), ("catalogue", "code")):
        path = str(SAMPLE / f"{name}.csv")
        stack.run("import", f"sample-{name}", path, "--key", key, "--text", "description")
    sides = ("--source", "sample-list", "--target", "sample-catalogue")
    stack.run("pairs", "import", "sample", pairs, *sides)
    job = stack.json("train", "seeded", "--pairs", "sample", "--preset", "seed", "--wait")
    assert job["state"] == "succeeded"
    training = stack.json("model", "show", "seeded@1")["training"]
    assert training["counts"] == {"sample": 389}
    assert training["steps"] == 7
    recipe = training["recipe"]
    assert (recipe["epochs"], recipe["batch_size"], recipe["learning_rate"]) == (1, 64, 5e-5)
    assert (recipe["seed"], recipe["scale"], recipe["warmup_ratio"]) == (42, 20.0, 0.0)
