"""`aparella review` and `aparella decisions` against a real API, through a pipe and a terminal."""

import csv
import json
import os
import pty
import re
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
import uvicorn

from aparella.api.app import create_app
from aparella.client import Client
from aparella.db.engine import transaction
from aparella.settings import Settings
from aparella.workers.context import Context
from tests.integration import drive
from tests.integration.test_client import COMMAND

LINES = [(f"L{i}", f"XERINGA {i}ML ESTERIL") for i in range(6)]
CATALOGUE = [(f"C{i}", f"XERINGUES, xeringa de {i} ml, ESTÈRIL") for i in range(8)]
ESCAPES = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]")

Aparella = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def url(settings: Settings) -> Iterator[str]:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        config = uvicorn.Config(create_app(settings), ws="none", log_level="warning")
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, args=([listening],))
        thread.start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        server.should_exit = True
        thread.join()


@pytest.fixture
def client(url: str) -> Iterator[Client]:
    with Client(url) as client:
        yield client


@pytest.fixture
def job(context: Context) -> int:
    drive.imported(context, "list", LINES)
    drive.imported(context, "catalogue", CATALOGUE)
    job_id = drive.match(context.db, "list", "catalogue", k=3)
    drive.run(context)
    return job_id


@pytest.fixture
def environment(url: str, tmp_path: Path) -> dict[str, str]:
    clean = {k: v for k, v in os.environ.items() if not k.startswith("APARELLA_")}
    return {**clean, "APARELLA_URL": url, "APARELLA_DATA": str(tmp_path), "COLUMNS": "120"}


@pytest.fixture
def aparella(environment: dict[str, str], tmp_path: Path) -> Aparella:
    def run(*words: object, code: int = 0, **options: Any) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [sys.executable, "-c", COMMAND, *map(str, words)],
            env=environment,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            **options,
        )
        assert done.returncode == code, done.stdout + done.stderr
        assert "Traceback" not in done.stderr
        return done

    return run


def stored(client: Client) -> list[tuple[str, str | None, str, bool]]:
    return [(d.source_key, d.target_key, d.verdict, d.in_force) for d in client.decisions()]


def leased(context: Context) -> int:
    query = sa.text("SELECT count(*) FROM review_line WHERE lease_until > now()")
    with transaction(context.db) as connection:
        return int(connection.execute(query).scalar_one())


def candidates(client: Client, job: int, key: str) -> list[str]:
    return [m.target_key or "" for m in client.matches(job) if m.source_key == key]


def test_through_a_pipe(client: Client, job: int, aparella: Aparella) -> None:
    other = next(key for key, _ in CATALOGUE if key not in candidates(client, job, "L3"))
    answers = f"1 the same size\nn\nu\nbla\n9\nr\ns\n/{other.lower()}\n4\n2\n"
    done = aparella("review", job, "--by", "anna", "--order", "listed", input=answers)
    assert "\x1b" not in done.stdout
    assert "L0: XERINGA 0ML ESTERIL" in done.stdout
    for words in (
        "L1: none of the catalogue",
        "L1: undone",
        "'bla' is no answer",
        "There is no number 9 here: 1 to 3.",
        "L1: rejected",
        f"  4  {other}  XERINGUES, xeringa de",
        f"L3: → {other}",
        f"4 lines decided, 1 skipped; all is stored. Go on with `aparella review {job}`.",
    ):
        assert words in done.stdout
    first, rejected, third = (candidates(client, job, key) for key in ("L0", "L1", "L4"))
    assert stored(client) == [
        ("L0", first[0], "accept", True),
        ("L1", None, "none", False),
        ("L1", None, "undo", False),
        *(("L1", key, "reject", True) for key in rejected),
        ("L3", other, "accept", True),
        ("L4", third[1], "accept", True),
    ]
    assert next(iter(client.decisions())).note == "the same size"
    done = aparella("review", job, "--by", "jordi", "--json", "-n", 1, input="n not ours\n")
    (told,) = [json.loads(line) for line in done.stdout.splitlines()]
    assert (told["verdict"], told["targets"], told["note"]) == ("none", [], "not ours")
    done = aparella("review", job, "--by", "jordi", input="n\n")
    assert "1 line decided; all is stored. No line is open." in done.stdout
    found = client.review(job)
    assert (found.lines, found.decided, found.open) == (6, 6, 0)
    done = aparella("review", job, "--status")
    assert "6 lines: 6 decided (100 %), 0 open" in done.stdout
    assert "No line was answered by two people" in done.stdout
    client.decide(
        *("list", "catalogue"),
        [{"verdict": "accept", "source_key": "L0", "target_key": first[0]}],
        by="jordi",
    )
    done = aparella("review", job, "--status")
    assert "1 of 1 answers to the same line are alike (100 %)" in done.stdout
    assert re.search(r"anna, jordi +1 +1 +1.00", done.stdout)


class Terminal:
    """The command in a terminal of its own."""

    def __init__(self, words: list[str], environment: dict[str, str]) -> None:
        self.screen, child = pty.openpty()
        self.process = subprocess.Popen(
            [sys.executable, "-c", COMMAND, *words],
            env={**environment, "TERM": "xterm-256color"},
            stdin=child,
            stdout=child,
            stderr=child,
        )
        os.close(child)
        self.text = ""

    def expect(self, words: str, *, seconds: float = 30) -> str:
        """What came since the last time, up to these words and a prompt; escapes left in."""
        deadline = time.monotonic() + seconds
        while words not in ESCAPES.sub("", self.text):
            ready, _, _ = select.select([self.screen], [], [], deadline - time.monotonic())
            assert ready, f"no {words!r} in {self.text!r}"
            block = b""
            with suppress(OSError):  # the other end is gone
                block = os.read(self.screen, 65_536)
            assert block, f"no {words!r} before the end of {self.text!r}"
            self.text += block.decode()
        found, self.text = self.text, ""
        return found

    def interrupt(self, words: str) -> str:
        """Press Ctrl-C until these words come.

        Python's readline looks at signals before it waits: one that comes in between is seen with
        the next.
        """
        for seconds in (5, 5, 20):
            self.process.send_signal(signal.SIGINT)
            with suppress(AssertionError):
                return self.expect(words, seconds=seconds)
        raise AssertionError(f"no {words!r} in {self.text!r}")

    def type(self, words: str) -> None:
        os.write(self.screen, words.encode())

    def end(self) -> int:
        with suppress(OSError):
            while os.read(self.screen, 65_536):
                pass
        return self.process.wait(30)


@pytest.fixture
def terminal(environment: dict[str, str]) -> Iterator[Callable[..., Terminal]]:
    opened: list[Terminal] = []

    def start(*words: object) -> Terminal:
        opened.append(Terminal([str(word) for word in words], environment))
        return opened[-1]

    yield start
    for one in opened:
        one.process.kill()
        one.process.wait()
        os.close(one.screen)


def test_in_a_terminal(
    context: Context, client: Client, job: int, terminal: Callable[..., Terminal]
) -> None:
    screen = terminal("review", job, "--by", "anna", "--order", "listed")
    shown = screen.expect("> ")
    plain = ESCAPES.sub("", shown)
    assert "XERINGA 0ML ESTERIL" in plain
    assert candidates(client, job, "L0")[0] in plain
    # Words that agree are green, whatever their case and accents.
    for word in ("ESTÈRIL", "xeringa", "ESTERIL"):
        assert f"\x1b[1;32m{word}\x1b[0m" in shown
    assert "\x1b[1;32mXERINGUES" not in shown
    assert leased(context) == 1
    screen.type("1\r")
    screen.expect("L0: → ")
    screen.expect("> ")
    screen.interrupt("1 line decided; all is stored.")  # Ctrl-C at the second line
    assert screen.end() == 130
    assert [row[:3] for row in stored(client)] == [
        ("L0", candidates(client, job, "L0")[0], "accept")
    ]
    # L0's lease runs out by itself; L1's was given back.
    assert [line.key for line in client.next_lines(job, by="jordi", order="listed").items] == ["L1"]


def test_quitting_a_terminal_gives_the_line_back(
    context: Context, job: int, terminal: Callable[..., Terminal]
) -> None:
    screen = terminal("review", job, "--by", "anna")
    screen.expect("> ")
    screen.type("q\r")
    screen.expect("0 lines decided; all is stored. Go on with")
    assert screen.end() == 0
    assert leased(context) == 0


def test_decisions_go_out_and_come_in(
    context: Context, client: Client, job: int, aparella: Aparella, tmp_path: Path
) -> None:
    base = {"source_key": "L1", "note": 'so, "they" say'}
    (taken, _) = client.decide(
        *("list", "catalogue"),
        [
            {**base, "verdict": "accept", "target_key": "C1"},
            {**base, "verdict": "none", "source_key": "L2"},
        ],
        by="anna",
        job_id=job,
    )
    both = ("--source", "list", "--target", "catalogue")
    done = aparella("decisions", "export", "decided.csv", *both)
    assert "Wrote decided.csv: 2 decisions." in done.stdout
    with (tmp_path / "decided.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(r["source_key"], r["target_key"], r["verdict"]) for r in rows] == [
        ("L1", "C1", "accept"),
        ("L2", "", "none"),
    ]
    assert rows[0]["note"] == 'so, "they" say'
    assert "Undone: 1 decision." in aparella("decisions", "undo", taken, *both).stdout
    # What was exported is imported again, and is what it was.
    done = aparella("decisions", "import", "decided.csv", *both, "--no-wait", "--by", "pau")
    drive.run(context)
    number = int(re.findall(r"Job (\d+)", done.stdout)[0])
    assert client.job(number).summary["new"] == 1
    assert [d.decided_by for d in client.decisions(in_force=True)] == ["anna", "anna"]
