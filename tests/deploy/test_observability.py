"""Dashboards and alerts speak of figures that there are, by labels they have, and lead to a page that exists."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from prometheus_client.parser import text_string_to_metric_families
from reach.errors.v1 import error_reason_pb2
from ruamel.yaml import YAML

from cli.common import SERVICES
from services.ai_orchestrator.service import SPECIAL
from shared.settings import load
from shared.telemetry import metrics
from tools import lint

ROOT = Path(__file__).parents[2]
PLACE = ROOT / lint.OBSERVABILITY
YAML_ = YAML(typ="safe")
GROUPS: list[dict[str, Any]] = YAML_.load(PLACE / "alerts.yml")["groups"]
RULES = [rule for group in GROUPS for rule in group["rules"]]
ALERTS = {rule["alert"]: rule for rule in RULES if "alert" in rule}
RECORDED = {rule["record"] for rule in RULES if "record" in rule}
DASHBOARDS = sorted((PLACE / "grafana/dashboards").glob("*.json"))
OF_TARGETS = {"job", "instance", "process"}
"""Labels that Prometheus adds to whatever it scrapes; prometheus.yml says so."""

SELECTED = re.compile(r"(?<![\w:])([a-z_][a-z0-9_:]*)\s*\{([^}]*)\}")
MATCHER = re.compile(r'(\w+)\s*(?:=~|!~|!=|=)\s*"([^"]*)"')
CLAUSE = re.compile(r"\b(?:by|on|without)\s*\(([^)]*)\)")
NAME = re.compile(r"(?<![\w:])(?:reach_|reach:|gen_ai_|process_)[\w:]+")


def exported() -> dict[str, set[str]]:
    """By name of a sample, as a process tells it: the labels it has."""
    numbers = metrics.Metrics()
    for one in metrics.ALL:
        labels = dict.fromkeys(one.labels, "x")
        match one:
            case metrics.Count():
                numbers.add(one, 1, **labels)
            case metrics.Level():
                numbers.set(one, 1, **labels)
            case metrics.Spread():
                numbers.observe(one, 1, **labels)
    families = text_string_to_metric_families(numbers.text().decode())
    return {sample.name: set(sample.labels) for family in families for sample in family.samples}


EXPORTED = exported()


def panels() -> Iterator[tuple[str, str]]:
    """Every query of every dashboard, with where it stands."""
    for path in DASHBOARDS:
        board = json.loads(path.read_text(encoding="utf-8"))
        for panel in board["panels"]:
            for target in panel["targets"]:
                yield f"{path.stem}: {panel['title']}", target["expr"]


EXPRESSIONS = [*((rule.get("alert") or rule["record"], rule["expr"]) for rule in RULES), *panels()]


def unknown_in(expression: str) -> list[str]:
    """What an expression names and nobody exports."""
    found, named = [], set()
    for name, selector in SELECTED.findall(expression):
        known = OF_TARGETS if name in ("up", "ALERTS") else EXPORTED.get(name, set()) | OF_TARGETS
        known = known | ({"alertname", "alertstate"} if name == "ALERTS" else set())
        found += [f"{name}{{{label}}}" for label, _ in MATCHER.findall(selector) if label not in known]
    bare = CLAUSE.sub("", SELECTED.sub(r"\1", expression))
    for name in NAME.findall(bare):
        if name not in RECORDED | EXPORTED.keys():
            found.append(name)
        named |= EXPORTED.get(name, set()) | OF_TARGETS
    for clause in CLAUSE.findall(expression):
        found += [f"by {label.strip()}" for label in clause.split(",") if label.strip() not in named]
    return found


@pytest.mark.parametrize(("where", "expression"), EXPRESSIONS, ids=[where for where, _ in EXPRESSIONS])
def test_what_is_asked_for_is_exported(where: str, expression: str) -> None:
    assert unknown_in(expression) == []


@pytest.mark.parametrize(
    ("expression", "found"),
    [
        ("max(reach_outbox_age)", ["reach_outbox_age"]),
        ("sum(rate(reach_rpcs[5m]))", ["reach_rpcs"]),
        ('max(reach_due_rows{kind="x"})', ["reach_due_rows{kind}"]),
        ("sum by (store) (reach_due_rows)", ["by store"]),
    ],
)
def test_a_mistake_would_be_found(expression: str, found: list[str]) -> None:
    assert unknown_in(expression) == found


@pytest.mark.parametrize("name", ALERTS)
def test_an_alert_says_what_to_do_and_leads_to_the_runbook(name: str) -> None:
    rule = ALERTS[name]
    told = rule["annotations"]
    assert told["summary"]
    assert told["do"]
    page, _, heading = told["runbook"].partition("#")
    text = (ROOT / page).read_text(encoding="utf-8")
    assert heading in lint.anchors(text)
    assert rule["labels"]["severity"] in ("page", "ticket")


def test_every_alert_fires_in_a_test_of_its_own() -> None:
    cases = [
        case for one in YAML_.load(PLACE / "alerts.test.yml")["tests"] for case in one["alert_rule_test"]
    ]
    assert {case["alertname"] for case in cases if case["exp_alerts"]} == ALERTS.keys()


@pytest.mark.parametrize("name", ALERTS)
def test_a_summary_names_only_labels_that_the_alert_keeps(name: str) -> None:
    named = set(re.findall(r"\$labels\.(\w+)", ALERTS[name]["annotations"]["summary"]))
    kept = {
        label.strip() for clause in CLAUSE.findall(ALERTS[name]["expr"]) for label in clause.split(",")
    } | OF_TARGETS
    assert named <= kept


def test_what_counts_as_our_failure_is_a_reason_or_a_code() -> None:
    words = {
        word
        for rule in RULES
        for label, value in MATCHER.findall(rule["expr"])
        if label == "outcome" and value.isupper()
        for word in value.split("|")
    }
    reasons = {
        name.removeprefix("ERROR_REASON_") for name in error_reason_pb2.ErrorReason.DESCRIPTOR.values_by_name
    }
    assert words
    assert words <= reasons | {code.name for code in grpc.StatusCode}


def test_every_service_is_missed_when_it_is_gone() -> None:
    expression = ALERTS["ReachProcessGone"]["expr"]
    assert sorted(re.findall(r'up\{job="reach", process="(\w+)"\}', expression)) == sorted(SERVICES)


def test_calls_that_wait_for_a_model_are_not_slow() -> None:
    left_out = {
        value
        for _, expression in EXPRESSIONS
        if "rpc_seconds" in expression
        for label, value in MATCHER.findall(expression)
        if label == "method"
    }
    assert len(left_out) == 1
    assert all(re.fullmatch(pattern, method) for pattern in left_out for method in SPECIAL)


def test_the_budget_that_is_nearly_spent_is_that_of_the_settings() -> None:
    (limit,) = re.findall(r"> (\S+)$", ALERTS["ReachAiBudgetNearlySpent"]["expr"])
    assert float(limit) == 0.8 * load({}).limits.ai_tokens_per_day


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_a_dashboard_has_its_place_and_its_sources(path: Path) -> None:
    board = json.loads(path.read_text(encoding="utf-8"))
    provisioned = YAML_.load(PLACE / "grafana/provisioning/datasources/prometheus.yaml")["datasources"]
    assert board["uid"] == f"reach-{path.stem}"
    assert {panel["datasource"]["uid"] for panel in board["panels"]} <= {one["uid"] for one in provisioned}
    assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"])
    cells = [
        (x, y)
        for panel in board["panels"]
        for x in range(panel["gridPos"]["x"], panel["gridPos"]["x"] + panel["gridPos"]["w"])
        for y in range(panel["gridPos"]["y"], panel["gridPos"]["y"] + panel["gridPos"]["h"])
    ]
    assert len(cells) == len(set(cells)), "panels lie on each other"
    assert max(x for x, _ in cells) < 24


def test_the_collector_uses_what_it_declares() -> None:
    collector = YAML_.load(PLACE / "otel-collector.yaml")
    pipeline = collector["service"]["pipelines"]["traces"]
    for kind in ("receivers", "processors", "exporters"):
        assert set(pipeline[kind]) == collector[kind].keys()
    assert pipeline["processors"][0] == "memory_limiter"
    assert collector["service"]["extensions"] == list(collector["extensions"])
