"""Traces of requests and chunks in OpenTelemetry's form, off unless a collector is configured.

Only this module knows opentelemetry, and it imports it only when there is a collector to send to.
A span holds what we name here: counts, ids, names of classes; never a text, a token or a query.
"""

import logging
import os
import secrets
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Self
from urllib.parse import urlsplit

from aparella import __version__
from aparella.errors import AparellaError, ConfigurationError

if TYPE_CHECKING:
    from opentelemetry import trace
    from opentelemetry.sdk.trace.export import SpanExporter
    from opentelemetry.sdk.trace.id_generator import IdGenerator

COLLECTOR = "OTEL_EXPORTER_OTLP_ENDPOINT"
"""The standard variable that turns traces on: a collector's URL, as `http://127.0.0.1:4318`."""
TRACES_COLLECTOR = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"
"""The same for traces alone: the URL as it is called, path included; it goes before the other."""
PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
PROTOCOL = "http/protobuf"

FLUSH_SECONDS = 3.0
"""How long a process that ends may wait for its collector."""

log = logging.getLogger(__name__)

Value = str | int | float


class Span:
    """What is being traced; without a collector, nothing."""

    def set(self, **attributes: Value) -> None:
        """Say more about it."""

    def rename(self, name: str) -> None:
        """Give it a better name, once there is one."""

    def fail(self, error: BaseException | str) -> None:
        """Say that it failed: by an error's class and code, not its words; or by a kind."""


class _Nothing(Span):
    """What `span` and `continued` are while tracing is off: one object that does nothing."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass


class _Recorded(Span):
    """A span of OpenTelemetry's."""

    def __init__(self, span: "trace.Span") -> None:
        self._span = span

    def set(self, **attributes: Value) -> None:
        self._span.set_attributes(attributes)

    def rename(self, name: str) -> None:
        self._span.update_name(name)

    def fail(self, error: BaseException | str) -> None:
        from opentelemetry.trace import StatusCode

        kind = error if isinstance(error, str) else type(error).__name__
        self._span.set_attribute("error.type", kind)
        if isinstance(error, AparellaError):
            self._span.set_attribute("code", error.code)
        self._span.set_status(StatusCode.ERROR)


class _Tracing:
    """This process's way to the collector.

    It is not OpenTelemetry's global provider: libraries that look for that one would add spans of
    their own, with paths and query strings in them.
    """

    def __init__(self, service: str, exporter: "SpanExporter") -> None:
        from opentelemetry import context, trace
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        self._context, self._trace = context, trace
        self._propagator = TraceContextTextMapPropagator()
        resource = Resource.create(
            {
                "service.name": os.environ.get("OTEL_SERVICE_NAME") or service,
                "service.version": __version__,
                "host.name": socket.gethostname(),
                "process.pid": os.getpid(),
            }
        )
        self._provider = TracerProvider(
            resource=resource, id_generator=_ids(), shutdown_on_exit=False
        )
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer("aparella", __version__)

    @contextmanager
    def span(
        self, name: str, attributes: dict[str, Value], *, since: int | None, server: bool
    ) -> Iterator[Span]:
        kinds = self._trace.SpanKind
        with self._tracer.start_as_current_span(
            name,
            kind=kinds.SERVER if server else kinds.INTERNAL,
            attributes=attributes,
            start_time=since,
            # Either would write the error's words, which may quote what a user sent.
            record_exception=False,
            set_status_on_exception=False,
        ) as recorded:
            span = _Recorded(recorded)
            try:
                yield span
            except BaseException as error:
                span.fail(error)
                raise

    @contextmanager
    def continued(self, traceparent: str) -> Iterator[None]:
        if self._trace.get_current_span().get_span_context().is_valid:
            yield
            return
        found = self._propagator.extract({"traceparent": traceparent}, self._context.get_current())
        token = self._context.attach(found)
        try:
            yield
        finally:
            self._context.detach(token)

    def traceparent(self) -> str | None:
        carrier: dict[str, str] = {}
        self._propagator.inject(carrier)
        return carrier.get("traceparent")

    def shut_down(self) -> None:
        # First the flush: a shutdown gives what still waits a tenth of a second to be taken up.
        self._provider.force_flush()
        self._provider.shutdown()


_NOTHING = _Nothing()
_tracing: _Tracing | None = None


def check() -> None:
    """See whether tracing, if it is configured, could start; sends nothing.

    Raises:
        ConfigurationError: it is configured, and its packages are missing or a variable is wrong.
    """
    if (exporter := _exporter()) is not None:
        exporter.shutdown()


def start(service: str) -> None:
    """Trace from now on, if a collector is configured; a second start changes nothing.

    For the process that calls it alone: threads do not survive a fork, so each process of a pool
    calls it for itself.

    Args:
        service: this process's name in the traces, unless `OTEL_SERVICE_NAME` gives another.

    Raises:
        ConfigurationError: as `check`.
    """
    global _tracing
    if _tracing is None and (exporter := _exporter()) is not None:
        # Its warnings tell of each try; what is lost in the end it reports as an error.
        logging.getLogger("opentelemetry.exporter").setLevel(logging.ERROR)
        _tracing = _Tracing(service, exporter)


def shut_down() -> None:
    """Send what is left and trace no more; a collector that hangs is not waited for long."""
    global _tracing
    tracing, _tracing = _tracing, None
    if tracing is None:
        return
    # The libraries' own time-outs add up to half a minute.
    thread = threading.Thread(target=tracing.shut_down, name="traces", daemon=True)
    thread.start()
    thread.join(FLUSH_SECONDS)
    if thread.is_alive():
        log.warning("the collector of traces does not answer: the last ones are lost")


def on() -> bool:
    """Whether this process traces."""
    return _tracing is not None


def span(
    name: str,
    facts: Mapping[str, Value] | None = None,
    /,
    *,
    since: int | None = None,
    server: bool = False,
    **attributes: Value,
) -> AbstractContextManager[Span]:
    """Trace the block as a part of what is traced around it; an error leaves by its class and code.

    Args:
        name: one of few: what varies is an attribute.
        facts: what is known of it; counts, ids and words of ours.
        since: when it began, in nanoseconds since 1970 (`time.time_ns`), if not now.
        server: it answers a request.
        attributes: more facts.
    """
    if _tracing is None:
        return _NOTHING
    return _tracing.span(name, {**(facts or {}), **attributes}, since=since, server=server)


def continued(traceparent: str | None) -> AbstractContextManager[object]:
    """Let the block's spans continue another process's trace, unless they are within one here.

    Args:
        traceparent: of the span to continue, as W3C's Trace Context writes it; what is none, or
            wrong, begins a trace anew.
    """
    if _tracing is None or not traceparent:
        return _NOTHING
    return _tracing.continued(traceparent)


def traceparent() -> str | None:
    """The current span, for another process to continue; None when nothing is traced."""
    return None if _tracing is None else _tracing.traceparent()


def _exporter() -> "SpanExporter | None":
    """What sends spans to the collector that the environment names, if it names one."""
    if (endpoint := _endpoint()) is None:
        return None
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    except ImportError as error:
        raise ConfigurationError(
            f"{COLLECTOR} asks for traces, and the packages that make them are not installed: "
            "pip install 'aparella[traces]', or unset it."
        ) from error
    return OTLPSpanExporter(endpoint=endpoint)


def _endpoint() -> str | None:
    """The URL that traces are sent to."""
    variable = next((name for name in (TRACES_COLLECTOR, COLLECTOR) if os.environ.get(name)), None)
    if variable is None:
        return None
    url = os.environ[variable]
    if not _is_http(url):
        raise ConfigurationError(
            f"The variable {variable} is wrong: it is no URL like http://127.0.0.1:4318."
        )
    protocol = next((found for name in PROTOCOLS if (found := os.environ.get(name))), PROTOCOL)
    if protocol != PROTOCOL:
        raise ConfigurationError(
            f"Traces are sent as {PROTOCOL} only, and the variable {PROTOCOLS[1]} asks for another "
            "protocol. Unset it, and name the collector's port for HTTP, which is mostly 4318."
        )
    return url if variable == TRACES_COLLECTOR else url.rstrip("/") + "/v1/traces"


def _is_http(url: str) -> bool:
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.hostname)


def _ids() -> "IdGenerator":
    """Numbers for traces and spans that leave `random` alone: trainings seed and restore it."""
    from opentelemetry.sdk.trace.id_generator import IdGenerator

    class Ids(IdGenerator):
        def generate_span_id(self) -> int:
            return secrets.randbelow(2**64 - 1) + 1

        def generate_trace_id(self) -> int:
            return secrets.randbelow(2**128 - 1) + 1

    return Ids()
