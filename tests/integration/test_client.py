"""The client and the command against a real HTTP server that follows a script."""

import fcntl
import itertools
import json
import os
import pty
import re
import resource
import select
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from aparella.client import Client, datafolder
from aparella.client.models import Job
from aparella.errors import (
    ConfigurationError,
    ConflictError,
    InputError,
    NotFoundError,
    ServiceUnavailableError,
)
from tests.integration.contract_server import TIMES, ContractServer, Fault, job, stage

# A shell that starts the tests in the background may have had SIGINT ignored.
COMMAND = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)
from aparella.client.cli import main
main()
"""
IMPORTED = {
    "file": "lines.csv",
    "rows": 1000,
    "new": 980,
    "changed": 1,
    "unchanged": 2,
    "removed": 3,
    "refused": 7,
    "repaired": 4,
}
PLAN = {"search": "exact", "reason": "the catalogue is small", "recall": 1.0, "recall_sample": 50}


def _unread(pipe: int) -> int:
    """Bytes in a pipe that its reader has not taken yet."""
    return int.from_bytes(fcntl.ioctl(pipe, termios.FIONREAD, bytes(4)), sys.byteorder)


def running(done: int, number: int = 7) -> Any:
    return job(number, "match", "running", stage("match", "running", done, 100))


def ended(state: str, number: int = 7, kind: str = "match", **values: Any) -> Any:
    return job(number, kind, state, stage(kind, "done", 100, 100), **values)


def matches(sources: int, ranks: int) -> list[Any]:
    return [
        {
            "source_key": f"L{source}",
            "source_text": f"XERINGA [red]{source}ML[/red]",
            "rank": rank,
            "target_key": f"C{source}{rank}",
            "target_text": "XERINGUES",
            "score": 1 - rank / 10,
            "confidence": None,
        }
        for source in range(1, sources + 1)
        for rank in range(1, ranks + 1)
    ]


def refused(number: int) -> list[Any]:
    return [
        {
            "id": i,
            "stage": "import",
            "code": "empty_text",
            "row": 56 + i,
            "key": None,
            "field": "name",
            "message": "the text is [empty]\x1b[31m",
        }
        for i in range(1, number + 1)
    ]


@pytest.fixture
def server() -> Iterator[ContractServer]:
    server = ContractServer()
    server.jobs[7] = [ended("succeeded")]
    yield server
    server.stop()


@pytest.fixture
def client(server: ContractServer) -> Iterator[Client]:
    with Client(server.url) as client:
        yield client


@pytest.fixture
def environ(server: ContractServer, tmp_path: Path) -> dict[str, str]:
    unwanted = {"APARELLA_TOKEN", "COLUMNS", "FORCE_COLOR", "NO_COLOR", "TERM"}
    kept = {name: value for name, value in os.environ.items() if name not in unwanted}
    return {
        **kept,
        "APARELLA_URL": server.url,
        "APARELLA_DATA": str(tmp_path / "data"),
        "TERM": "xterm",
    }


class Aparella:
    """Runs the command as a process of its own, without a terminal."""

    def __init__(self, environ: dict[str, str], cwd: Path) -> None:
        self.environ = environ
        self.cwd = cwd
        self.started: list[subprocess.Popen[Any]] = []

    def __call__(self, *args: object, **options: Any) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            self.argv(*args),
            env=self.environ,
            cwd=self.cwd,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            **options,
        )
        assert "Traceback" not in done.stderr
        assert "\r" not in done.stdout + done.stderr
        return done

    def start(self, *args: object, **options: Any) -> subprocess.Popen[Any]:
        process = subprocess.Popen(self.argv(*args), env=self.environ, cwd=self.cwd, **options)
        self.started.append(process)
        return process

    @staticmethod
    def argv(*args: object) -> list[str]:
        return [sys.executable, "-c", COMMAND, *map(str, args)]


@pytest.fixture
def aparella(environ: dict[str, str], tmp_path: Path) -> Iterator[Aparella]:
    command = Aparella(environ, tmp_path)
    yield command
    for process in command.started:
        # One that its test left behind must not fail the tests after it.
        if process.poll() is None:
            process.kill()
            process.communicate()


@pytest.fixture
def lines(tmp_path: Path) -> Path:
    file = tmp_path / "lines.csv"
    file.write_text("id,name\n" + "".join(f"{n},XERINGA {n}ML\n" for n in range(50_000)))
    return file


class TestClient:
    def test_a_file_is_uploaded_as_it_is(
        self, server: ContractServer, client: Client, lines: Path
    ) -> None:
        sent = []
        taken = client.import_file(
            "buyers/2026 à",
            lines,
            key="id",
            text=["name", "extra"],
            attributes=["unit"],
            delimiter=";",
            encoding="latin-1",
            strict=True,
            merge=True,
            on_bytes=lambda done, total: sent.append((done, total)),
        )
        assert taken.id == 7
        (request,) = server.requests
        assert request.path == "/v1/collections/buyers%2F2026%20%C3%A0/records"
        assert request.query == {
            "key": ["id"],
            "text": ["name", "extra"],
            "attribute": ["unit"],
            "delimiter": [";"],
            "encoding": ["latin-1"],
            "strict": ["true"],
            "mode": ["merge"],
            "format": ["csv"],
            "filename": ["lines.csv"],
        }
        assert request.body == lines.read_bytes()
        assert request.headers["Content-Length"] == str(lines.stat().st_size)
        assert len(sent) > 1
        assert sent[-1] == (lines.stat().st_size, lines.stat().st_size)

    def test_a_pipe_is_uploaded_in_chunks(
        self, server: ContractServer, client: Client, tmp_path: Path
    ) -> None:
        pipe = tmp_path / "lines.ndjson"
        os.mkfifo(pipe)
        writer = subprocess.Popen(["sh", "-c", f"echo '{{}}' > {pipe}"])
        client.import_file("buyers", pipe, key="id", text=["name"])
        writer.wait()
        (request,) = server.requests
        assert request.body == b"{}\n"
        assert "Content-Length" not in request.headers

    def test_requests_say_what_was_asked(self, server: ContractServer, client: Client) -> None:
        client.match("buyers", "catalogue", model="m@2", k=3, idempotency_key="one")
        client.embed("buyers")
        client.index("catalogue", model="m")
        client.match("buyers", "catalogue", since=3, one_to_one=True)
        assert [json.loads(r.body) for r in server.requests] == [
            {"kind": "match", "source": "buyers", "target": "catalogue", "model": "m@2", "k": 3},
            {"kind": "embed", "collection": "buyers", "model": None},
            {"kind": "index", "collection": "catalogue", "model": "m"},
            {"kind": "match", "source": "buyers", "target": "catalogue", "model": None, "k": 10}
            | {"since": 3, "one_to_one": True},
        ]
        keys = [r.headers["Idempotency-Key"] for r in server.requests]
        assert keys[0] == "one"
        assert len(set(keys)) == 4

    def test_a_job_is_read_whole(self, server: ContractServer, client: Client) -> None:
        server.jobs[7] = [
            job(
                7,
                "match",
                "running",
                stage("embed source", "done", 90, 100, failed=10, skipped=5),
                stage("match", "running", 1, 4, rate=2.5, eta_seconds=1.2),
                said_by_a_later_server=True,
            )
        ]
        found = client.job(7)
        assert (found.id, found.kind, found.state, found.finished) == (7, "match", "running", False)
        assert found.started_at is not None
        assert found.started_at.isoformat() == "2026-01-05T10:00:01+00:00"
        assert found.finished_at is None
        assert found.progress.handled == 101
        assert [s.name for s in found.stages] == ["embed source", "match"]
        assert (found.stages[0].handled, found.stages[0].skipped) == (100, 5)
        assert (found.stages[1].rate, found.stages[1].eta_seconds) == (2.5, 1.2)

    def test_waiting_shows_each_look_and_ends_with_the_job(
        self, server: ContractServer, client: Client
    ) -> None:
        server.jobs[7] = [running(10), running(20), ended("failed", error="no")]
        seen: list[Job] = []
        last = client.wait(7, seen.append, poll=0.01)
        assert [j.progress.done for j in seen] == [10, 20, 100]
        assert (last.state, last.error) == ("failed", "no")

    def test_waiting_looks_less_often_as_time_goes_by(
        self, server: ContractServer, client: Client
    ) -> None:
        server.jobs[7] = [*[running(n) for n in range(4)], ended("succeeded")]
        times: list[float] = []
        client.wait(7, lambda _: times.append(time.monotonic()))
        pauses = [later - sooner for sooner, later in itertools.pairwise(times)]
        assert pauses[0] >= 0.2
        assert pauses[-1] > pauses[0] * 1.5

    def test_waiting_survives_a_restart_of_the_server(
        self, server: ContractServer, client: Client
    ) -> None:
        server.faults = [Fault(503, {"detail": "Restarting."}) for _ in range(5)]
        assert client.wait(7, poll=0.01).state == "succeeded"
        server.faults = [Fault(503, {"detail": "Restarting."}) for _ in range(5)]
        with pytest.raises(ServiceUnavailableError, match=r"Restarting\."):
            client.wait(7, poll=0.01, patience=0)

    def test_pages_are_walked_to_the_end(self, server: ContractServer, client: Client) -> None:
        server.errors[7] = refused(230)
        assert [e.row for e in client.errors(7)] == list(range(57, 287))
        server.matches[7] = matches(5, 2)
        assert [(m.source_key, m.rank) for m in client.matches(7, page=3)] == [
            (f"L{source}", rank) for source in range(1, 6) for rank in (1, 2)
        ]
        server.jobs = {n: [ended("succeeded", n)] for n in range(1, 61)}
        found = client.jobs(state="succeeded", kind="match")
        assert next(found).id == 60
        assert len(server.asked("GET", "/v1/jobs")) == 1
        assert [j.id for j in found] == list(range(59, 0, -1))
        assert server.requests[-1].query == {
            "limit": ["50"],
            "before": ["50"],
            "state": ["succeeded"],
            "kind": ["match"],
        }

    def test_get_is_repeated_while_the_server_is_away(
        self, server: ContractServer, client: Client
    ) -> None:
        server.faults = [Fault(503, headers={"Retry-After": "1"}), Fault(0), Fault(502)]
        began = time.monotonic()
        assert client.job(7).id == 7
        assert len(server.requests) == 4
        assert time.monotonic() - began >= 1.0 + 0.4 + 0.8

    def test_a_submission_is_repeated_with_the_same_key(
        self, server: ContractServer, client: Client
    ) -> None:
        server.faults = [Fault(0), Fault(503)]
        assert client.embed("buyers").id == 7
        assert len({r.headers["Idempotency-Key"] for r in server.requests}) == 1
        assert len(server.requests) == 3

    def test_what_might_happen_twice_is_not_repeated(
        self, server: ContractServer, client: Client, lines: Path
    ) -> None:
        for call in (
            lambda: client.retry(7),
            lambda: client.import_file("buyers", lines, key="id", text=["name"]),
        ):
            server.requests.clear()
            server.faults = [Fault(0)]
            with pytest.raises(ServiceUnavailableError):
                call()
            assert len(server.requests) == 1

    def test_an_upload_that_was_turned_away_is_sent_again_whole(
        self, server: ContractServer, client: Client, lines: Path
    ) -> None:
        server.faults = [Fault(429, headers={"Retry-After": "0"})]
        client.import_file("buyers", lines, key="id", text=["name"])
        assert [r.body for r in server.requests] == [lines.read_bytes()] * 2

    def test_a_long_pause_is_left_to_the_caller(
        self, server: ContractServer, client: Client
    ) -> None:
        server.faults = [Fault(429, {"detail": "Slowly."}, {"Retry-After": "3600"})]
        with pytest.raises(ServiceUnavailableError, match=r"Slowly\."):
            client.job(7)

    def test_refusals_are_errors_of_their_kind(
        self, server: ContractServer, client: Client
    ) -> None:
        with pytest.raises(NotFoundError, match="no such thing"):
            client.job(8)
        server.faults = [Fault(409, {"detail": "Another body.", "code": "idempotency"})]
        with pytest.raises(ConflictError, match="Another body"):
            client.embed("buyers")
        server.faults = [Fault(422, {"detail": "k is 0.", "errors": [{"field": "k"}]})]
        with pytest.raises(InputError, match="k is 0") as caught:
            client.match("a", "b", k=0)
        assert caught.value.field == "k"
        assert len(server.requests) == 3

    @pytest.mark.parametrize("answer", [b"<html>", b"[]", b'{"items": 3}', b'{"items": [3]}'])
    def test_a_server_of_another_kind_is_recognised(
        self, server: ContractServer, client: Client, answer: bytes
    ) -> None:
        server.faults = [Fault(200, answer)]
        with pytest.raises(ConfigurationError, match="not as an Aparella server"):
            client.collections()
        server.faults = [Fault(302, b"", {"Location": "https://elsewhere/"})]
        with pytest.raises(ConfigurationError, match="redirects to https://elsewhere/"):
            client.models()

    def test_the_token_is_sent(self, server: ContractServer, client: Client) -> None:
        server.token = "secret"
        with Client(server.url + "/", "secret") as other:
            assert other.job(7).id == 7
        with pytest.raises(InputError, match="APARELLA_TOKEN"):
            client.job(7)

    def test_an_export_that_breaks_off_is_begun_anew(
        self, server: ContractServer, client: Client, tmp_path: Path
    ) -> None:
        server.faults = [Fault(200, b"half of it" * 1000, announced=99_999), Fault(503)]
        server.export = b"source_key,rank\n" + b"1,1\n" * 1000
        received: list[int] = []
        target = client.export(7, tmp_path / "out.csv", on_bytes=received.append)
        assert target.read_bytes() == server.export
        assert received[-1] == len(server.export)
        assert server.requests[-1].query == {"format": ["csv"]}
        assert list(tmp_path.iterdir()) == [target]

    def test_an_export_that_cannot_end_leaves_what_was_there(
        self, server: ContractServer, client: Client, tmp_path: Path
    ) -> None:
        target = tmp_path / "out.csv"
        target.write_bytes(b"old")
        server.faults = [Fault(200, b"half of it", announced=1000) for _ in range(4)]
        with pytest.raises(ServiceUnavailableError, match="broke"):
            client.export(7, target)
        assert target.read_bytes() == b"old"
        assert list(tmp_path.iterdir()) == [target]

    def test_nobody_there(self) -> None:
        dead = ContractServer()
        dead.stop()
        with (
            Client(dead.url) as client,
            pytest.raises(
                ServiceUnavailableError, match=rf"Cannot reach .* {dead.url} \(Connection refused\)"
            ),
        ):
            client.job(7)


class TestExitCodes:
    @pytest.mark.parametrize(
        ("state", "code"),
        [("succeeded", 0), ("failed", 1), ("succeeded_with_errors", 3), ("cancelled", 4)],
    )
    @pytest.mark.parametrize("command", ["job watch 7", "match a b --wait", "embed a --wait"])
    def test_the_end_of_the_job_is_the_exit_code(
        self, server: ContractServer, aparella: Aparella, command: str, state: str, code: int
    ) -> None:
        server.jobs[7] = [running(10), ended(state, error="the disk is full")]
        done = aparella(*command.split())
        assert done.returncode == code
        assert ("job 7 failed: the disk is full" in done.stderr) == (state == "failed")

    @pytest.mark.parametrize("command", ["match a b", "embed a", "index a", "job retry 7"])
    def test_without_waiting_the_job_is_only_named(
        self, server: ContractServer, aparella: Aparella, command: str
    ) -> None:
        server.jobs[7] = [job(7, "match", "queued")]
        done = aparella(*command.split())
        assert done.returncode == 0
        assert "Job 7 (match) is queued. Follow it with `aparella job watch 7`." in done.stdout
        assert server.asked("GET", "/v1/jobs/7") == []

    def test_no_server(self, aparella: Aparella) -> None:
        dead = ContractServer()
        dead.stop()
        done = aparella("--url", dead.url, "collections")
        assert done.returncode == 1
        assert done.stdout == ""
        assert done.stderr == (
            f"aparella: Cannot reach the Aparella server at {dead.url} (Connection refused). "
            "Start one with `aparella up`, or set APARELLA_URL to the right address.\n"
        )

    def test_no_url_and_no_stack(self, aparella: Aparella) -> None:
        del aparella.environ["APARELLA_URL"]
        done = aparella("jobs")
        assert done.returncode == 1
        assert done.stderr == (
            "aparella: No Aparella server found: start one with `aparella up`, "
            "or set APARELLA_URL.\n"
        )

    def test_a_refusal_names_its_fields(self, server: ContractServer, aparella: Aparella) -> None:
        problem = {
            "detail": "The file has no such columns.",
            "errors": [
                {"field": "key", "message": "there is no column 'id'"},
                {"field": "text", "message": "there is no column 'name'"},
            ],
        }
        server.faults = [Fault(422, problem)]
        done = aparella("match", "a", "b", "-k", 0)
        assert done.returncode == 2
        assert done.stderr.splitlines() == [
            "aparella: The file has no such columns.",
            "  key: there is no column 'id'",
            "  text: there is no column 'name'",
        ]

    @pytest.mark.parametrize(
        ("command", "sentence"),
        [
            ("import a none.csv --key id --text name", "none.csv does not exist."),
            ("job show 8", "There is no such thing."),
            ("--url localhost:8000 jobs", "'localhost:8000' is no URL of a server"),
            ("match a b --out out.xlsx", "out.xlsx must end in .csv, .ndjson or .parquet"),
            ("match a b --out none/out.csv", "The directory none does not exist."),
            ("job matches 7 --out out", "out must end in"),
        ],
    )
    def test_a_mistake_gets_a_sentence(
        self, server: ContractServer, aparella: Aparella, command: str, sentence: str
    ) -> None:
        done = aparella(*command.split())
        assert done.returncode == 2
        assert done.stderr.startswith(f"aparella: {sentence}")
        assert server.asked("POST", "/v1/jobs") == []

    @pytest.mark.parametrize(
        "command", ["nonsense", "import a", "match a b -k x", "job show 0", "--nonsense jobs"]
    )
    def test_wrong_usage(self, aparella: Aparella, command: str) -> None:
        assert aparella(*command.split()).returncode == 2

    def test_a_token_that_is_missing(self, server: ContractServer, aparella: Aparella) -> None:
        server.token = "secret"
        done = aparella("jobs")
        assert done.returncode == 2
        assert "Set APARELLA_TOKEN" in done.stderr
        aparella.environ["APARELLA_TOKEN"] = "secret"
        assert aparella("jobs").returncode == 0

    def test_the_help_says_them(self, aparella: Aparella) -> None:
        text = aparella("--help").stdout
        assert "3    the job succeeded with errors" in text
        assert re.search(r"\bup\b.*\bdown\b.*\bstatus\b", text, re.DOTALL)


class TestOutput:
    def test_an_import_is_counted_and_its_first_errors_named(
        self, server: ContractServer, aparella: Aparella, lines: Path
    ) -> None:
        server.jobs[7] = [
            ended(
                "succeeded_with_errors",
                kind="import",
                params={"collection": "buyers"},
                summary=IMPORTED,
                errors=7,
            )
        ]
        server.errors[7] = refused(7)
        counts = "980 new, 1 changed, 2 unchanged, 3 removed, 7 refused, 4 repaired"
        done = aparella("import", "buyers", lines, "--key", "id", "--text", "name")
        assert done.returncode == 3
        assert done.stdout.splitlines() == [
            "job 7: import: 100 done, 31 s",
            f"Imported lines.csv → buyers in 31 s: 1,000 rows, {counts}.",
            "Job 7 ended with 7 errors:",
            *(f"  row {row}, field 'name': the text is [empty] [31m" for row in range(57, 62)),
            "  … and 2 more: `aparella job errors 7` lists them all.",
        ]

    def test_an_import_may_be_left_alone(
        self, server: ContractServer, aparella: Aparella, lines: Path
    ) -> None:
        done = aparella("import", "b", lines, "--key=id", "--text=name", "--no-wait", "--strict")
        assert done.returncode == 0
        assert server.requests[0].query["strict"] == ["true"]
        assert len(server.requests) == 1

    def test_a_tab_can_be_typed(
        self, server: ContractServer, aparella: Aparella, lines: Path
    ) -> None:
        aparella("import", "b", lines, "--key=id", "--text=name", "--delimiter", "\\t")
        assert server.requests[0].query["delimiter"] == ["\t"]

    def test_a_match_shows_its_plan_and_first_candidates(
        self, server: ContractServer, aparella: Aparella
    ) -> None:
        summary = {"source": "buyers", "target": "catalogue", "skipped_embeddings": 20}
        server.jobs[7] = [ended("succeeded", summary={**summary, "plan": PLAN})]
        server.matches[7] = matches(8, 3)
        done = aparella("match", "buyers", "catalogue", "--wait")
        assert done.returncode == 0
        text = done.stdout
        assert "Matched buyers → catalogue in 31 s; 20 vectors were there already." in text
        assert "Search: exact: the catalogue is small" in text
        assert "Recall against the exact search: 1.0000 on 50 records" in text
        rows = [line.split() for line in text.splitlines() if line.startswith("L")]
        assert [(row[0], row[-3], row[-1]) for row in rows] == [
            (f"L{n}", f"C{n}1", "0.900") for n in range(1, 6)
        ]
        assert "XERINGA [red]1ML[/red]" in text

    def test_lines_have_no_control_characters(
        self, server: ContractServer, aparella: Aparella
    ) -> None:
        server.jobs[7] = [running(10), running(20), ended("succeeded")]
        done = aparella("job", "watch", 7)
        assert "\x1b" not in done.stdout + done.stderr
        assert "job 7: match: 10 of 100\n" in done.stdout
        assert "job 7: match: 100 done, 31 s\n" in done.stdout

    def test_waiting_with_json_prints_one_object(
        self, server: ContractServer, aparella: Aparella
    ) -> None:
        server.jobs[7] = [running(10), ended("succeeded", summary={"plan": PLAN})]
        done = aparella("match", "a", "b", "--wait", "--json")
        assert json.loads(done.stdout)["state"] == "succeeded"
        assert "Search: exact" in done.stderr

    def test_watching_with_json_prints_each_change(
        self, server: ContractServer, aparella: Aparella
    ) -> None:
        server.jobs[7] = [running(10), running(10), running(20), ended("succeeded")]
        done = aparella("--json", "job", "watch", 7)
        events = [json.loads(line) for line in done.stdout.splitlines()]
        assert [e["progress"]["done"] for e in events] == [10, 20, 100]
        assert events[-1]["finished_at"] == "2026-01-05T10:00:32+00:00"

    def test_lists_for_machines_have_an_object_a_line(
        self, server: ContractServer, aparella: Aparella
    ) -> None:
        server.errors[7] = refused(2)
        server.matches[7] = matches(20, 1)
        server.collections = [{"name": "buyers", "records": 3, "edition": 1}]
        server.models = [{"name": "m", "version": 1, "created_at": TIMES["created_at"]}]
        for command, number in (
            ("jobs", 1),
            ("job show 7", 1),
            ("job cancel 7", 1),
            ("job errors 7", 2),
            ("job matches 7", 10),
            ("job matches 7 -n 12", 12),
            ("collections", 1),
            ("models", 1),
        ):
            done = aparella(*command.split(), "--json")
            assert done.returncode == 0, command
            assert len([json.loads(line) for line in done.stdout.splitlines()]) == number, command
            assert done.stderr == "", command

    def test_lists_for_people_are_not_cut_off(
        self, server: ContractServer, aparella: Aparella
    ) -> None:
        long = "a-collection-with-" + "a-very-" * 20 + "long-name"
        server.jobs[7] = [ended("succeeded", params={"source": long, "target": "catalogue"})]
        server.collections = [{"name": long, "records": 12345, "edition": 2}]
        for command in ("jobs", "collections", "job show 7"):
            assert long in aparella(*command.split()).stdout
        assert "12,345" in aparella("collections").stdout

    def test_no_errors_is_said(self, aparella: Aparella) -> None:
        assert aparella("job", "errors", 7).stdout == "Job 7 has no errors.\n"

    def test_out_is_written_whole(
        self, server: ContractServer, aparella: Aparella, tmp_path: Path
    ) -> None:
        server.jobs[7] = [running(10), ended("succeeded_with_errors")]
        done = aparella("match", "a", "b", "--out", "out.csv")
        assert done.returncode == 3
        assert (tmp_path / "out.csv").read_bytes() == server.export
        assert f"Wrote out.csv ({len(server.export)} bytes)." in done.stdout

    @pytest.mark.parametrize("state", ["failed", "cancelled"])
    def test_a_job_that_came_to_nothing_writes_nothing(
        self, server: ContractServer, aparella: Aparella, tmp_path: Path, state: str
    ) -> None:
        server.jobs[7] = [ended(state)]
        assert aparella("match", "a", "b", "--out", "out.csv").returncode in {1, 4}
        assert list(tmp_path.iterdir()) == []

    def test_a_full_disk_leaves_nothing(
        self, server: ContractServer, aparella: Aparella, tmp_path: Path
    ) -> None:
        server.export = b"x" * 100_000
        done = aparella(
            *("job", "matches", 7, "--out", "out.csv"),
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000)),
        )
        assert done.returncode == 1
        assert done.stderr.startswith("aparella: out.csv could not be written: File too large.")
        assert list(tmp_path.iterdir()) == []


class TestTerminal:
    def test_bars(self, server: ContractServer, aparella: Aparella) -> None:
        server.jobs[7] = [
            job(
                7,
                "match",
                "running",
                stage("embed source", "running", 2500, 5000, rate=162.0, eta_seconds=15.4),
                stage("match", "waiting", 0, 0),
            ),
            job(
                7,
                "match",
                "succeeded",
                stage("embed source", "done", 5000, 5000),
                stage("match", "done", 1000, 1000),
            ),
        ]
        mother, child = pty.openpty()
        process = aparella.start("job", "watch", 7, stdin=child, stdout=child, stderr=child)
        os.close(child)
        text = _read_to_end(mother)
        assert process.wait(10) == 0
        assert "\x1b[?25l" in text
        assert "\x1b[?25h" in text
        plain = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", text)
        assert re.search(r"embed source [━╸╺]+ 2,500 of 5,000, 162/s, about 15 s left", plain)
        assert re.search(r"match +[━╸╺]+ waiting", plain)
        assert re.search(r"embed source ━+ 5,000 done, 31 s", plain)

    def test_ctrl_c_leaves_the_job_running(
        self, server: ContractServer, aparella: Aparella
    ) -> None:
        server.jobs[7] = [running(10)]
        pipe = subprocess.PIPE
        process = aparella.start("match", "a", "b", "--wait", stdout=pipe, stderr=pipe, text=True)
        assert process.stdout is not None
        assert process.stdout.readline() == "job 7: match: 10 of 100\n"
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=10)
        assert process.returncode == 130
        assert out == "Job 7 goes on. Come back to it with `aparella job watch 7`.\n"
        assert err == ""
        assert server.asked("POST", "/v1/jobs/7/cancel") == []

    def test_ctrl_c_ends_an_upload(self, aparella: Aparella, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "lines.csv")
        argv = ("import", "buyers", "lines.csv", "--key", "id", "--text", "name")
        process = aparella.start(*argv, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        with (tmp_path / "lines.csv").open("wb", buffering=0) as pipe:
            pipe.write(b"id,name\n")
            # Between opening the file and reading on, a signal may come too early to end the read.
            while _unread(pipe.fileno()) or psutil.Process(process.pid).status() != "sleeping":
                time.sleep(0.05)
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=30)
        assert process.returncode == 130
        assert out == "The upload was interrupted, nothing was imported.\n"
        assert err == ""

    def test_ctrl_c_ends_a_download_without_half_a_file(
        self, server: ContractServer, aparella: Aparella, tmp_path: Path
    ) -> None:
        server.export = b"x" * 30_000_000
        process = aparella.start(
            *("job", "matches", 7, "--out", "out.csv"), stdout=subprocess.PIPE, text=True
        )
        while not list(tmp_path.glob("*.part")):
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=10)
        assert process.returncode == 130
        assert "Get it with `aparella job matches 7 --out out.csv`." in out
        assert list(tmp_path.iterdir()) == []


def test_the_local_stack_is_found(
    server: ContractServer, aparella: Aparella, tmp_path: Path
) -> None:
    del aparella.environ["APARELLA_URL"]
    del aparella.environ["APARELLA_DATA"]
    server.token = "secret"
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    content = {"version": datafolder.FORMAT, "url": server.url, "token": "secret"}
    (folder / datafolder.STACK_FILE).write_text(json.dumps(content))
    with (folder / datafolder.LOCK_FILE).open("wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert aparella("jobs", "--data", folder).returncode == 0
        assert aparella("--data", folder, "jobs").returncode == 0
        aparella.environ["APARELLA_DATA"] = str(folder)
        # The variable's token is for a server that is named; a stack has its own.
        aparella.environ["APARELLA_TOKEN"] = "of another server"
        assert aparella("jobs").returncode == 0
    assert "No Aparella server found" in aparella("jobs").stderr


def _read_to_end(descriptor: int) -> str:
    """What a terminal was sent until its last user left it."""
    blocks = []
    while select.select([descriptor], [], [], 30)[0]:
        try:
            block = os.read(descriptor, 4096)
        except OSError:
            break
        if not block:
            break
        blocks.append(block)
    os.close(descriptor)
    return b"".join(blocks).decode()
