"""Tracing that is off, that cannot start, and whose collector does not answer."""

import logging
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import pytest

from aparella import traces
from aparella.errors import ConfigurationError

EXPORTER = "opentelemetry.exporter.otlp.proto.http.trace_exporter"
OFF = """
import sys
from aparella import traces
traces.check()
traces.start("aparella-test")
parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
with traces.continued(parent), traces.span("chunk", since=1, server=True, job=1) as span:
    span.set(outcome="done")
    span.rename("other")
    span.fail(ValueError("no"))
    print(traces.on(), traces.traceparent())
traces.shut_down()
print([name for name in sys.modules if name.startswith(("opentelemetry", "requests", "google"))])
"""


@pytest.fixture(autouse=True)
def _unconfigured(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in [name for name in os.environ if name.startswith("OTEL_")]:
        monkeypatch.delenv(name)
    logger = logging.getLogger("opentelemetry.exporter")
    level = logger.level
    yield
    traces.shut_down()
    logger.setLevel(level)


@pytest.mark.parametrize("variables", [{}, {"OTEL_EXPORTER_OTLP_ENDPOINT": ""}])
def test_off_it_does_nothing_and_imports_nothing(variables: dict[str, str]) -> None:
    done = subprocess.run(
        [sys.executable, "-c", OFF],
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, **variables},
    )
    assert done.stdout.splitlines() == ["False None", "[]"]


def test_off_every_span_is_one_object() -> None:
    """What a chunk pays for spans that nobody wants: a few calls that create nothing."""
    spans = {id(traces.span("chunk embed", job=1)), id(traces.span("work")), id(traces.span("a"))}
    assert spans == {id(traces.continued("00-" + "1" * 32 + "-" + "1" * 16 + "-01"))}


def test_off_an_error_leaves_the_block() -> None:
    with pytest.raises(ZeroDivisionError), traces.span("work"):
        _ = 1 / 0


@pytest.mark.parametrize(
    ("variables", "url"),
    [
        ({"ENDPOINT": "http://collector:4318"}, "http://collector:4318/v1/traces"),
        ({"ENDPOINT": "https://collector/otlp/"}, "https://collector/otlp/v1/traces"),
        ({"TRACES_ENDPOINT": "http://traces/in"}, "http://traces/in"),
        (
            {"ENDPOINT": "http://all:4318", "TRACES_ENDPOINT": "http://traces/in"},
            "http://traces/in",
        ),
        ({"ENDPOINT": "http://all:4318", "TRACES_ENDPOINT": ""}, "http://all:4318/v1/traces"),
    ],
)
def test_where_traces_are_sent(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], url: str
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(f"OTEL_EXPORTER_OTLP_{name}", value)
    exporter = traces._exporter()
    assert exporter is not None
    assert exporter._endpoint == url  # type: ignore[attr-defined]
    exporter.shutdown()


def test_without_its_packages_it_says_which_extra_has_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4318")
    monkeypatch.setitem(sys.modules, EXPORTER, None)
    with pytest.raises(ConfigurationError, match=r"pip install 'aparella\[traces\]'"):
        traces.check()
    with pytest.raises(ConfigurationError, match="OTEL_EXPORTER_OTLP_ENDPOINT asks for traces"):
        traces.start("aparella-test")
    assert not traces.on()


@pytest.mark.parametrize(
    ("variables", "sentence"),
    [
        ({"ENDPOINT": "collector:4318"}, "OTEL_EXPORTER_OTLP_ENDPOINT is wrong"),
        ({"ENDPOINT": "http://"}, "OTEL_EXPORTER_OTLP_ENDPOINT is wrong"),
        ({"ENDPOINT": "http://["}, "OTEL_EXPORTER_OTLP_ENDPOINT is wrong"),
        ({"TRACES_ENDPOINT": "grpc://c:4317"}, "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT is wrong"),
        ({"ENDPOINT": "http://c:4317", "PROTOCOL": "grpc"}, "sent as http/protobuf only"),
    ],
)
def test_a_wrong_variable_is_a_sentence(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], sentence: str
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(f"OTEL_EXPORTER_OTLP_{name}", value)
    with pytest.raises(ConfigurationError, match=sentence):
        traces.check()


@pytest.mark.parametrize(
    "module", ["aparella.api", "aparella.workers", "aparella.workers.reconciler"]
)
def test_each_process_says_so_before_it_starts(module: str) -> None:
    environ = {
        **os.environ,
        "DATABASE_URL": "postgresql://nobody@127.0.0.1:1/nothing",
        "REDIS_URL": "redis://127.0.0.1:1/0",
        "OTEL_EXPORTER_OTLP_ENDPOINT": "collector:4318",
    }
    done = subprocess.run(
        [sys.executable, "-m", module],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
        env=environ,
    )
    assert done.returncode == 1
    assert done.stderr == (
        "aparella: The variable OTEL_EXPORTER_OTLP_ENDPOINT is wrong: it is no URL like "
        "http://127.0.0.1:4318.\n"
    )


def test_a_collector_that_hangs_does_not_hold_up_the_end(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(traces, "FLUSH_SECONDS", 0.2)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "1")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{port}")
        traces.start("aparella-test")
        with traces.span("chunk test"):
            pass
        started = time.monotonic()
        traces.shut_down()
        taken = time.monotonic() - started
        (left,) = (thread for thread in threading.enumerate() if thread.name == "traces")
        left.join(20)
    assert taken < 1.0
    assert "the collector of traces does not answer" in caplog.text
    assert not left.is_alive()


def test_a_collector_that_is_away_is_logged_and_nothing_more(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "0.5")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{port}")
        traces.start("aparella-test")
        started = time.monotonic()
        for _ in range(5_000):  # more than are kept
            with traces.span("chunk test", job=1):
                pass
        assert time.monotonic() - started < 10
        traces.shut_down()
    failed = [record for record in caplog.records if record.name.startswith("opentelemetry")]
    assert failed
    assert {record.levelname for record in failed} == {"ERROR"}
