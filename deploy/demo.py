"""`aparella demo`: the whole of the main job, on the sample and on a stack of its own.

It runs the very commands that a user types, shows them, and leaves nothing running behind.
"""

import contextlib
import csv
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import monotonic

import psycopg2
from rich.console import Console
from rich.syntax import Syntax

from aparella.client import datafolder, output
from aparella.deploy import control, local, ports
from aparella.deploy.stackfile import Stack
from aparella.errors import ConfigurationError, InputError

SHOWN = 8
"""Matches on the screen."""

QUERY = """
SELECT t.attributes->>'family' AS family, count(*) AS lines,
       round(avg(m.score)::numeric, 3) AS mean_score
FROM match m JOIN record t ON t.id = m.target_id
WHERE m.rank = 1 AND m.job_id =
      (SELECT max(id) FROM job WHERE kind = 'match' AND params->>'scoring' = 'fused')
GROUP BY family ORDER BY lines DESC LIMIT 5
"""


@dataclass(frozen=True)
class Row:
    """A first candidate in the exported file; `right` is None where the list has no answer."""

    source_key: str
    source_text: str
    target_text: str
    score: float
    right: bool | None


def run(sample: Path, out: Path) -> None:
    """Run the demo.

    Args:
        sample: folder with `list.csv`, `catalogue.csv` and `pairs.csv`.
        out: CSV file that the matches are written to.

    Raises:
        InputError: the sample is not there.
        ConfigurationError: the stack does not start, or a step fails.
    """
    if not (sample / "list.csv").is_file():
        raise InputError(
            f"There is no sample in {sample}: run this in a checkout, or name it with --sample."
        )
    started = monotonic()
    console = Console()
    say = _sayer(console)
    truth, known = _pairs(sample / "pairs.csv")
    with _stack(say) as (data, shell):
        say(f"1. Import the buyer's list and the catalogue from {sample}")
        shell("import", "list", str(sample / "list.csv"), "--key", "line", "--text", "description")
        shell(
            *("import", "catalogue", str(sample / "catalogue.csv"), "--key", "code"),
            *("--text", "description", "--attribute", "family", "--attribute", "subfamily"),
        )
        say("\n2. Find the ten nearest catalogue lines of each line of the list")
        shell("match", "list", "catalogue", "--wait", "--out", str(out))
        rows = _first_candidates(out, truth)
        say("\n3. A few of them: the buyer's words, and the first candidate's")
        for row in rows[:: max(1, len(rows) // SHOWN)][:SHOWN]:
            for line in _shown(row, console.width):
                say(line)
        counterparts = [row for row in rows if row.right is not None]
        say(
            f"Of the {len(counterparts)} lines that have a counterpart, the first candidate is "
            f"right for {_share(counterparts)}, with the base model and what it comes with."
        )
        say(f"First result after {monotonic() - started:.0f} s.")
        say(f"\n4. Teach it: {len(known)} of the pairs are known")
        csv_of_known = data / "known.csv"
        _write_pairs(csv_of_known, known)
        shell(
            *("pairs", "import", "known", str(csv_of_known)),
            *("--source", "list", "--target", "catalogue"),
        )
        # Without a refit on all pairs, and in three epochs: more would help, and take longer.
        shell(
            *("train", "hospital", "--pairs", "known", "--epochs", "3"),
            *("--no-refit", "--promote", "--wait"),
        )
        say("\n5. Match again, with the model that is now the default")
        shell("match", "list", "catalogue", "--wait", "--out", str(out))
        again = _first_candidates(out, truth)
        say("\n6. What the training was worth, also by the vectors alone")
        by_vectors = []
        for name, model in (("before", ("--model", "all-MiniLM-L6-v2")), ("after", ())):
            path = data / f"{name}.csv"
            shell(
                *("match", "list", "catalogue", *model),
                *("--scoring", "cosine", "--wait", "--out", str(path)),
            )
            by_vectors.append(_first_candidates(path, truth))
        console.print(_before_after((rows, again), by_vectors, set(known)))
        say("\n7. The result in SQL: which families the list buys")
        console.print(Syntax(QUERY.strip(), "sql", background_color="default"))
        console.print(_ask(data))
        say(f"\nAll matches are in {out} ({monotonic() - started:.0f} s since the start).")
        for line in _what_next():
            say(line)
    say("Everything is stopped.")


def _share(rows: Sequence[Row]) -> str:
    right = sum(bool(row.right) for row in rows)
    return f"{right} ({right / len(rows):.0%})"


def _before_after(
    fused: Sequence[Sequence[Row]], by_vectors: Sequence[Sequence[Row]], known: set[str]
) -> object:
    """Shares of right first candidates before and after, lines of the known pairs apart."""
    rows = []
    for evidence, runs in (("all evidence", fused), ("vectors alone", by_vectors)):
        for name, seen in (("lines that no training has seen", False), ("known pairs", True)):
            before, after = (
                [r for r in run if r.right is not None and (r.source_key in known) is seen]
                for run in runs
            )
            rows.append((f"{evidence}, {name}", len(before), _share(before), _share(after)))
    columns = ("right first candidates", "lines", "before", "after")
    return output.table(columns, rows, right="lines before after")


def _pairs(path: Path) -> tuple[dict[str, set[str]], dict[str, str]]:
    """All true pairs, and those that are known beforehand, by the line."""
    truth: dict[str, set[str]] = {}
    known: dict[str, str] = {}
    with path.open(encoding="utf-8", newline="") as file:
        for pair in csv.DictReader(file):
            truth.setdefault(pair["line"], set()).add(pair["code"])
            if pair["known"] == "true":
                known[pair["line"]] = pair["code"]
    return truth, known


def _write_pairs(path: Path, known: Mapping[str, str]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["source_key", "target_key"])
        writer.writerows(known.items())


def _shown(row: Row, width: int) -> Iterator[str]:
    verdict = {True: "right", False: "wrong", None: "no counterpart"}[row.right]
    yield f"  {row.source_text}"
    head = f"    {row.score:.3f} {verdict:<14} "
    yield head + _shortened(row.target_text, max(width - len(head), 20))


def _shortened(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 1] + "…"


def _sayer(console: Console) -> Callable[[str], None]:
    def say(line: str) -> None:
        console.print(line, markup=False, highlight=False, soft_wrap=True)
        console.file.flush()

    return say


def _what_next() -> Iterator[str]:
    yield "With your own files:"
    yield "  .venv/bin/aparella up --detach"
    yield "  .venv/bin/aparella import mylist FILE.csv --key COLUMN --text COLUMN"
    yield "  .venv/bin/aparella import mycatalogue FILE.csv --key COLUMN --text COLUMN"
    yield "  .venv/bin/aparella match mylist mycatalogue --wait --out matches.csv"
    yield "  .venv/bin/aparella pairs import mypairs FILE.csv --source mylist --target mycatalogue"
    yield "  .venv/bin/aparella train mymodel --pairs mypairs --promote --wait"
    yield "  .venv/bin/aparella down"


@contextlib.contextmanager
def _stack(say: Callable[[str], None]) -> Iterator[tuple[Path, Callable[..., None]]]:
    """A stack in a folder that goes away with it, and a way to run commands against it."""
    # Servers and addresses that the user has set elsewhere are no business of the demo's.
    for name in ("DATABASE_URL", "REDIS_URL", "APARELLA_URL", "APARELLA_TOKEN"):
        os.environ.pop(name, None)
    with tempfile.TemporaryDirectory(prefix="aparella-demo-") as folder:
        data = Path(folder)
        os.environ[datafolder.VARIABLE] = folder
        say("Starting PostgreSQL, Valkey, the API and the workers in a folder of their own.")
        try:
            control.detach(local.Options(data, port=ports.choose()), lambda _line: None)
            yield data, lambda *words: _command(say, *words)
        finally:
            control.down(data, lambda _line: None)


def _command(say: Callable[[str], None], *words: str) -> None:
    """Show a command and run it as the user would."""
    say("$ aparella " + " ".join(words))
    command = [sys.executable, "-c", "from aparella.client.cli import main; main()", *words]
    code = subprocess.run(command, check=False).returncode
    if code not in (0, 3):
        raise ConfigurationError(f"`aparella {words[0]}` ended with exit code {code}.")


def _first_candidates(matches: Path, truth: Mapping[str, set[str]]) -> list[Row]:
    with matches.open(encoding="utf-8", newline="") as file:
        return [
            Row(
                row["source_key"],
                row["source_text"],
                row["target_text"],
                float(row["score"]),
                row["target_key"] in truth[row["source_key"]]
                if row["source_key"] in truth
                else None,
            )
            for row in csv.DictReader(file)
            if row["rank"] == "1"
        ]


def _ask(data: Path) -> object:
    stack = Stack.load(data)
    if stack is None:
        raise ConfigurationError(f"The stack in {data} is gone.")
    with (
        contextlib.closing(psycopg2.connect(stack.database_url)) as connection,
        connection.cursor() as cursor,
    ):
        cursor.execute(QUERY)
        columns = [column.name for column in cursor.description]
        return output.table(columns, cursor.fetchall(), right="lines mean_score")
