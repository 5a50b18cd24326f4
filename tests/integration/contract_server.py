"""A small HTTP server that speaks the contract of docs/architecture.md, for the client's tests.

It is a real server on a real socket, with a script instead of a database: each job is a list of
the documents that successive looks at it get, of which the last one stays.
"""

import json
import threading
from collections import defaultdict
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

TIMES = {
    "created_at": "2026-01-05T10:00:00Z",
    "started_at": "2026-01-05T10:00:01Z",
    "finished_at": "2026-01-05T10:00:32Z",
}


def stage(name: str, state: str, done: int, total: int, **values: Any) -> dict[str, Any]:
    return {
        "name": name,
        "state": state,
        "total": total,
        "done": done,
        "failed": 0,
        "skipped": 0,
        "rate": None,
        "eta_seconds": None,
        "started_at": None if state == "waiting" else TIMES["started_at"],
        "finished_at": TIMES["finished_at"] if state in {"done", "failed"} else None,
        **values,
    }


def job(number: int, kind: str, state: str, *stages: dict[str, Any], **values: Any) -> Any:
    finished = state not in {"queued", "running", "cancelling"}
    counts = {name: sum(s[name] for s in stages) for name in ("total", "done", "failed", "skipped")}
    return {
        "id": number,
        "kind": kind,
        "state": state,
        "params": {"source": "buyers", "target": "catalogue", "k": 10},
        "model": "all-MiniLM-L6-v2@1",
        "created_at": TIMES["created_at"],
        "started_at": None if state == "queued" else TIMES["started_at"],
        "finished_at": TIMES["finished_at"] if finished else None,
        "error": None,
        "summary": {},
        "errors": 0,
        "progress": counts,
        "rate": None,
        "eta_seconds": None,
        "stages": list(stages),
        **values,
    }


@dataclass
class Request:
    """What the server was asked."""

    method: str
    path: str
    query: dict[str, list[str]]
    headers: dict[str, str]
    body: bytes


@dataclass
class Fault:
    """What one request gets instead of its answer; status 0 ends the connection without one."""

    status: int
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)
    content_type: str = "application/problem+json"
    announced: int | None = None


class ContractServer(ThreadingHTTPServer):
    """Serves on a free port of the loopback interface, until `stop`."""

    daemon_threads = True

    def __init__(self, port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self.token: str | None = None
        self.requests: list[Request] = []
        self.faults: list[Fault] = []
        self.jobs: dict[int, list[Any]] = {}
        self.errors: dict[int, list[Any]] = defaultdict(list)
        self.matches: dict[int, list[Any]] = defaultdict(list)
        self.collections: list[Any] = []
        self.models: list[Any] = []
        self.export = b"source_key,rank\n1,1\n"
        self._thread = threading.Thread(target=self.serve_forever, args=(0.05,))
        self._thread.start()

    def stop(self) -> None:
        self.shutdown()
        self._thread.join()
        self.server_close()

    def asked(self, method: str, path: str) -> list[Request]:
        return [r for r in self.requests if (r.method, r.path) == (method, path)]

    def look(self, number: int) -> Any:
        documents = self.jobs[number]
        return documents.pop(0) if len(documents) > 1 else documents[0]


class _Handler(BaseHTTPRequestHandler):
    server: ContractServer
    protocol_version = "HTTP/1.1"
    wbufsize = -1

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def log_message(self, *_: object) -> None:
        pass

    def _answer(self) -> None:
        url = urlsplit(self.path)
        body = self._body()
        request = Request(self.command, url.path, parse_qs(url.query), dict(self.headers), body)
        self.server.requests.append(request)
        if self.server.faults:
            self._fail(self.server.faults.pop(0))
        elif self.server.token and self.headers["Authorization"] != f"Bearer {self.server.token}":
            self._fail(Fault(401, {"detail": "The token is wrong.", "code": "unauthorized"}))
        else:
            self._route(request)

    def _body(self) -> bytes:
        if self.headers["Transfer-Encoding"] == "chunked":
            blocks = []
            while size := int(self.rfile.readline(), 16):
                blocks.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(blocks)
        return self.rfile.read(int(self.headers["Content-Length"] or 0))

    def _route(self, request: Request) -> None:
        match request.method, request.path.strip("/").split("/")[1:]:
            case "POST", ["collections", _, "records"] | ["jobs"]:
                newest = max(self.server.jobs)
                self._send(202, self.server.look(newest), {"Location": f"/v1/jobs/{newest}"})
            case "GET", ["collections"]:
                self._send(200, {"items": self.server.collections})
            case "GET", ["models"]:
                self._send(200, {"items": self.server.models})
            case "GET", ["jobs"]:
                self._page(
                    [self.server.look(n) for n in sorted(self.server.jobs, reverse=True)],
                    request,
                    "before",
                )
            case _, ["jobs", number, *rest] if int(number) in self.server.jobs:
                self._job(int(number), rest, request)
            case _:
                self._fail(Fault(404, {"detail": "There is no such thing.", "code": "not_found"}))

    def _job(self, number: int, rest: list[str], request: Request) -> None:
        match rest:
            case [] | ["cancel"] | ["retry"]:
                self._send(200 if not rest else 202, self.server.look(number))
            case ["errors"]:
                self._page(self.server.errors[number], request, "after")
            case ["matches"]:
                self._page(self.server.matches[number], request, "after")
            case _:
                self._chunks(self.server.export)

    def _page(self, items: list[Any], request: Request, cursor: str) -> None:
        """A page; the cursor is the place of the next item."""
        start = int(request.query.get(cursor, ["0"])[0])
        end = start + int(request.query["limit"][0])
        self._send(200, {"items": items[start:end], "next": end if end < len(items) else None})

    def _chunks(self, content: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/csv")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for start in range(0, len(content), 7):
            block = content[start : start + 7]
            self.wfile.write(f"{len(block):x}\r\n".encode() + block + b"\r\n")
        self.wfile.write(b"0\r\n\r\n")

    def _send(self, status: int, document: Any, headers: dict[str, str] | None = None) -> None:
        self._fail(Fault(status, document, headers or {}, "application/json"))

    def _fail(self, fault: Fault) -> None:
        if fault.status == 0:
            self.close_connection = True
            return
        body = fault.body if isinstance(fault.body, bytes) else json.dumps(fault.body).encode()
        self.send_response(fault.status)
        self.send_header("Content-Type", fault.content_type)
        self.send_header("Content-Length", str(fault.announced or len(body)))
        for name, value in fault.headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)
        self.close_connection = fault.announced is not None
