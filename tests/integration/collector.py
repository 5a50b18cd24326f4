"""A collector of traces: a small HTTP server that takes OTLP, and what it was sent."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.trace.v1 import trace_pb2


@dataclass(frozen=True)
class Span:
    """One span. Ids are hexadecimal, times nanoseconds since 1970; `parent` is "" of a root."""

    resource: dict[str, Any]
    trace: str
    id: str
    parent: str
    name: str
    server: bool
    failed: bool
    began: int
    ended: int
    attributes: dict[str, Any]
    events: int

    @property
    def service(self) -> str:
        return str(self.resource["service.name"])


@dataclass
class Collector:
    """What came in, as it was sent: the paths and the bodies."""

    url: str
    paths: list[str] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)

    def spans(self) -> list[Span]:
        """All spans, in the order in which they began."""
        found = []
        for body in self.bodies:
            for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
                about = _values(resource.resource.attributes)
                for scope in resource.scope_spans:
                    found += [_span(about, span) for span in scope.spans]
        return sorted(found, key=lambda span: (span.began, -span.ended))

    def named(self, name: str) -> list[Span]:
        """The spans of that name."""
        return [span for span in self.spans() if span.name == name]

    def children(self, parent: Span) -> list[Span]:
        """The spans right below another."""
        return [s for s in self.spans() if (s.trace, s.parent) == (parent.trace, parent.id)]


@contextmanager
def collecting() -> Iterator[Collector]:
    """A collector on a free port of this machine's loopback."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            collector.paths.append(self.path)
            collector.bodies.append(body)
            answer = ExportTraceServiceResponse().SerializeToString()
            self.send_response(200)
            self.send_header("Content-Type", "application/x-protobuf")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        collector = Collector(f"http://127.0.0.1:{server.server_port}")
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield collector
        finally:
            server.shutdown()
            thread.join()


def _span(resource: dict[str, Any], span: trace_pb2.Span) -> Span:
    return Span(
        resource=resource,
        trace=span.trace_id.hex(),
        id=span.span_id.hex(),
        parent=span.parent_span_id.hex(),
        name=span.name,
        server=span.kind == trace_pb2.Span.SPAN_KIND_SERVER,
        failed=span.status.code == trace_pb2.Status.STATUS_CODE_ERROR,
        began=span.start_time_unix_nano,
        ended=span.end_time_unix_nano,
        attributes=_values(span.attributes),
        events=len(span.events),
    )


def _values(attributes: Any) -> dict[str, Any]:
    def value(entry: KeyValue) -> Any:
        return getattr(entry.value, entry.value.WhichOneof("value"))

    return {entry.key: value(entry) for entry in attributes}
