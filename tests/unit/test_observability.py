"""Prometheus' configuration, the alerts and Grafana's dashboard: they ask for what there is."""

import json
import re
from typing import Any

import pytest
import yaml

from tests.composefile import ROOT

FOLDER = ROOT / "deploy" / "observability"
LABELS = {
    "aparella_chunks_waiting": {"queue", "stage"},
    "aparella_chunks_leased": {"queue"},
    "aparella_oldest_waiting_seconds": {"queue"},
    "aparella_broker_queue_length": {"queue"},
    "aparella_jobs": {"state"},
    "aparella_workers_alive": {"queue"},
    "aparella_worker_chunk_seconds_bucket": {"stage", "le"},
    "aparella_worker_chunk_seconds_count": {"stage"},
    "aparella_worker_texts_per_second": {"worker"},
    "aparella_leases_expired_total": set(),
    "aparella_chunk_retries_total": set(),
    "aparella_chunks_dead_total": set(),
    "aparella_worker_memory_bytes": {"worker"},
    "aparella_reconcilers_alive": set(),
    "aparella_broker_up": set(),
}
"""The metrics of `/metrics`, with the labels that they have."""


def load(name: str) -> Any:
    text = (FOLDER / name).read_text(encoding="utf-8")
    return json.loads(text) if name.endswith(".json") else yaml.safe_load(text)


def dashboard() -> Any:
    return load("grafana/dashboards/aparella.json")


def expressions() -> list[str]:
    panels = [target["expr"] for panel in dashboard()["panels"] for target in panel["targets"]]
    alerts = [rule["expr"] for group in load("alerts.yml")["groups"] for rule in group["rules"]]
    return panels + [alert for alert in alerts if not alert.startswith("up ")]


@pytest.mark.parametrize("expression", expressions())
def test_an_expression_asks_for_metrics_and_labels_that_there_are(expression: str) -> None:
    metrics = re.findall(r"aparella_\w+", expression)
    assert metrics
    known = set.union(*(LABELS[metric] for metric in metrics))
    grouped = re.findall(r"(?:by|on) \(([^)]*)\)", expression)
    assert {label.strip() for words in grouped for label in words.split(",")} <= known


def test_every_metric_is_shown() -> None:
    shown = set(re.findall(r"aparella_\w+", " ".join(expressions())))
    assert shown == set(LABELS)


def test_the_dashboard_finds_its_source_and_its_place() -> None:
    (source,) = load("grafana/provisioning/datasources/prometheus.yml")["datasources"]
    (provider,) = load("grafana/provisioning/dashboards/aparella.yml")["providers"]
    panels = dashboard()["panels"]
    assert {panel["datasource"]["uid"] for panel in panels} == {source["uid"]}
    assert len({panel["id"] for panel in panels}) == len(panels)
    grafana = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]["grafana"]
    mounted = [volume.split(":")[1] for volume in grafana["volumes"]]
    assert provider["options"]["path"] in mounted


def test_prometheus_asks_the_api() -> None:
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    (job,) = load("prometheus.yml")["scrape_configs"]
    (static,) = job["static_configs"]
    host, _, port = static["targets"][0].partition(":")
    assert port in compose[host]["command"]
    # Without a token it would be told nothing.
    file = job["authorization"]["credentials_file"]
    assert file.removeprefix("/run/secrets/") in compose["prometheus"]["secrets"]


def test_every_alert_says_what_to_do() -> None:
    for group in load("alerts.yml")["groups"]:
        for rule in group["rules"]:
            assert rule["annotations"]["action"].endswith(".")
            assert rule["labels"]["severity"] in ("page", "ticket")
