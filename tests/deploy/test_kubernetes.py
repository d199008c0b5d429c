"""The manifests as Kustomize builds them: they start what there is, closed to whom it may not concern, without secrets."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from cli.common import SERVICES
from services.ai_orchestrator.definition_files import load_apps
from shared.hosting.callers import check_bindings
from shared.process import GRACE
from shared.rpc.health import LIVE
from shared.settings import PORTS, Settings, known_variables, load
from shared.telemetry import metrics
from tools import lint

PLACE = lint.ROOT / "deploy/kubernetes"
README = (PLACE / "README.md").read_text(encoding="utf-8")
OVERLAYS = lint.OVERLAYS
PRODUCTION = "overlays/production"
SECRETS = {variable.name for variable in known_variables() if variable.secret}
OTHERS = {"OTEL_EXPORTER_OTLP_ENDPOINT", "REACH_SANDBOX_LISTEN"}
Object = dict[str, Any]


@cache
def objects(overlay: str) -> tuple[Object, ...]:
    """What *overlay* builds; the test is skipped where nothing can build it."""
    try:
        text = lint.built(overlay)
    except lint.Skipped as missing:
        pytest.skip(str(missing))
    return tuple(YAML(typ="safe").load_all(text))


def of_kind(overlay: str, kind: str) -> dict[str, Object]:
    """The objects of a kind, by name."""
    return {one["metadata"]["name"]: one for one in objects(overlay) if one["kind"] == kind}


def named(service: str) -> str:
    """A service's name among objects, which know no underscores."""
    return service.replace("_", "-")


def pods(overlay: str) -> Iterator[tuple[str, Object]]:
    """Every pod that is made, with the name of what makes it."""
    for kind in ("Deployment", "Job"):
        for name, one in of_kind(overlay, kind).items():
            yield name, one["spec"]["template"]["spec"]


def container(overlay: str, name: str) -> Object:
    """The one container of a Deployment or Job."""
    (found,) = dict(pods(overlay))[name]["containers"]
    assert isinstance(found, dict)
    return found


def variables(overlay: str, name: str) -> dict[str, str | None]:
    """What a container's environment has; None for what comes from a Secret."""
    found: dict[str, str | None] = {}
    one, maps = container(overlay, name), of_kind(overlay, "ConfigMap")
    for source in one.get("envFrom", []):
        found |= maps[source["configMapRef"]["name"]]["data"]
    for variable in one.get("env", []):
        found[variable["name"]] = variable.get("value")
    return found


def accepted(overlay: str, service: str, place: Path) -> Settings:
    """What *service* reads of its variables, with its secrets in files under *place*."""
    given = {}
    for name, value in variables(overlay, named(service)).items():
        if value is None:
            value = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFG" if name.endswith("AES_KEY") else "something"
        if value.startswith("/run/secrets/"):
            file = place / value.removeprefix("/run/secrets/")
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text({"database_url": "postgresql://h/d", "amqp_url": "amqp://h/"}.get(file.name, "x"))
            value = str(file)
        given[name] = value
    return load(given, service=service)


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_service_is_there_with_what_belongs_to_it(overlay: str) -> None:
    wanted = {named(service) for service in SERVICES}
    kinds = ["Deployment", "Service", "ServiceAccount", "NetworkPolicy"]
    for kind in kinds + (["HorizontalPodAutoscaler", "PodDisruptionBudget"] if overlay == PRODUCTION else []):
        assert wanted <= of_kind(overlay, kind).keys(), kind
    serving = [container(overlay, name)["args"] for name in wanted]
    assert sorted(serving) == sorted(["serve", service] for service in SERVICES)
    assert container(overlay, "migrate")["args"] == ["migrate"]


@pytest.mark.parametrize("service", SERVICES)
@pytest.mark.parametrize("overlay", OVERLAYS)
def test_a_services_settings_are_accepted_and_may_be_bound(
    overlay: str, service: str, tmp_path: Path
) -> None:
    settings = accepted(overlay, service, tmp_path)
    assert not settings.embedded
    check_bindings(settings, has_credentials=True)
    assert settings.auth.allow_plaintext == (overlay != PRODUCTION)
    assert settings.auth.tls_require_client
    assert (settings.auth.tls_ca_file is not None) == (overlay == PRODUCTION)
    assert settings.grpc_listen.port == PORTS[service].grpc
    for other in SERVICES:
        assert settings.target(other) == f"{named(other)}:{PORTS[other].grpc}"


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_only_variables_that_are_read_are_set(overlay: str) -> None:
    known = {variable.name for variable in known_variables()} | OTHERS | {f"{name}_FILE" for name in SECRETS}
    known |= {f"DASHSCOPE_APP_ID_{app.app_type.upper()}" for app in load_apps()}
    for name, _ in pods(overlay):
        assert variables(overlay, name).keys() <= known


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_ai_application_may_have_an_id(overlay: str) -> None:
    given = variables(overlay, "ai-orchestrator")
    assert {f"DASHSCOPE_APP_ID_{app.app_type.upper()}" for app in load_apps()} <= given.keys()


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_no_secret_is_in_the_files(overlay: str) -> None:
    assert not of_kind(overlay, "Secret")
    for name, _ in pods(overlay):
        for variable, value in variables(overlay, name).items():
            assert variable not in SECRETS or value is None, variable


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_a_secret_that_is_named_is_in_the_readme(overlay: str) -> None:
    for name, pod in pods(overlay):
        wanted = [
            (one["valueFrom"]["secretKeyRef"]["name"], one["valueFrom"]["secretKeyRef"]["key"])
            for one in container(overlay, name).get("env", [])
            if "valueFrom" in one
        ]
        for volume in pod.get("volumes", []):
            if "secret" in volume:
                wanted.append((volume["secret"]["secretName"], ""))
            for source in volume.get("projected", {}).get("sources", []):
                wanted += [(source["secret"]["name"], item["key"]) for item in source["secret"]["items"]]
        for secret, key in wanted:
            rows = [line for line in README.splitlines() if line.startswith("|") and f"`{secret}`" in line]
            assert len(rows) == 1, secret
            assert not key or f"`{key}`" in rows[0], f"{secret}: {key}"


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_what_the_migration_needs_is_applied_with_it(overlay: str) -> None:
    first = {"common", "migration", "toolbox"}  # as docs/deploy.md says
    chosen = {
        (one["kind"], one["metadata"]["name"])
        for one in objects(overlay)
        if one["metadata"].get("labels", {}).get("app.kubernetes.io/component") in first
    }
    for name in ("migrate", "toolbox"):
        maps = [source["configMapRef"]["name"] for source in container(overlay, name)["envFrom"]]
        assert {("ServiceAccount", name), *(("ConfigMap", one) for one in maps)} <= chosen
    assert ("NetworkPolicy", "reach-out") in chosen


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_a_file_that_is_named_is_mounted(overlay: str) -> None:
    for name, pod in pods(overlay):
        mounts = {one["mountPath"]: one["name"] for one in container(overlay, name)["volumeMounts"]}
        assert set(mounts.values()) == {volume["name"] for volume in pod["volumes"]}
        for value in variables(overlay, name).values():
            if value and value.startswith("/"):
                assert str(Path(value).parent) in mounts


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_a_container_may_do_nothing_that_it_need_not(overlay: str) -> None:
    for name, pod in pods(overlay):
        security = container(overlay, name)["securityContext"]
        assert security == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert pod["securityContext"]["runAsNonRoot"]
        assert pod["securityContext"]["runAsUser"] == 10001
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert pod["automountServiceAccountToken"] is False
        assert "memory" in container(overlay, name)["resources"]["limits"]
        assert pod["serviceAccountName"] == name
        assert re.fullmatch(r"reach:\d+\.\d+\.\d+", container(overlay, name)["image"])


def asked_of(probe: Object) -> tuple[int, str]:
    """The port and the name a probe asks, by the kubelet or by our own program."""
    if "grpc" in probe:
        return probe["grpc"]["port"], probe["grpc"]["service"]
    words = probe["exec"]["command"]
    assert words[:2] == ["reach", "health"]
    return int(words[2].partition(":")[2]), words[words.index("--service") + 1]


@pytest.mark.parametrize("service", SERVICES)
@pytest.mark.parametrize("overlay", OVERLAYS)
def test_probes_ask_what_the_process_answers(overlay: str, service: str) -> None:
    one, port = container(overlay, named(service)), PORTS[service].grpc
    assert asked_of(one["startupProbe"]) == (port, LIVE)
    asked, name = asked_of(one["readinessProbe"])
    assert asked == port
    assert name == import_module(f"services.{service}.assembly").SERVICE
    live = one["livenessProbe"]
    if overlay == PRODUCTION:
        assert live["httpGet"] == {"path": "/metrics", "port": "metrics"}
    else:
        assert asked_of(live) == (port, LIVE)


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_a_process_has_the_time_it_takes_to_end(overlay: str) -> None:
    for service in SERVICES:
        pod = dict(pods(overlay))[named(service)]
        (_, before) = container(overlay, named(service))["lifecycle"]["preStop"]["exec"]["command"]
        assert pod["terminationGracePeriodSeconds"] > GRACE.total_seconds() + int(before)


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_what_is_selected_exists(overlay: str) -> None:
    labels = [
        one["spec"]["template"]["metadata"]["labels"] for one in of_kind(overlay, "Deployment").values()
    ]
    for kind in ("Service", "PodDisruptionBudget", "NetworkPolicy"):
        for name, one in of_kind(overlay, kind).items():
            spec = one["spec"]
            wanted = (spec.get("podSelector") or spec["selector"]) if kind != "Service" else spec["selector"]
            wanted = wanted.get("matchLabels", wanted)
            assert any(wanted.items() <= found.items() for found in labels), f"{kind} {name}"


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_a_service_leads_to_the_ports_of_its_pods(overlay: str) -> None:
    for name, one in of_kind(overlay, "Service").items():
        ports = {port["name"]: port["containerPort"] for port in container(overlay, name)["ports"]}
        for port in one["spec"]["ports"]:
            assert ports[port["targetPort"]] == port["port"]


def test_production_never_has_fewer_than_two() -> None:
    scalers, budgets = (
        of_kind(PRODUCTION, "HorizontalPodAutoscaler"),
        of_kind(PRODUCTION, "PodDisruptionBudget"),
    )
    for service in SERVICES:
        spec = scalers[named(service)]["spec"]
        assert spec["minReplicas"] >= 2
        assert spec["maxReplicas"] > spec["minReplicas"]
        assert spec["scaleTargetRef"]["name"] == named(service)
        assert budgets[named(service)]["spec"]["maxUnavailable"] == 1
        assert "replicas" not in of_kind(PRODUCTION, "Deployment")[named(service)]["spec"]


def test_autoscalers_ask_for_figures_that_the_adapter_serves_and_processes_tell() -> None:
    rules = YAML(typ="safe").load(PLACE / "monitoring/adapter.yml")["rules"]
    served = {rule["seriesQuery"].partition("{")[0] for rule in rules}
    assert served <= {one.name for one in metrics.ALL if isinstance(one, metrics.Level)}
    for scaler in of_kind(PRODUCTION, "HorizontalPodAutoscaler").values():
        assert {one["pods"]["metric"]["name"] for one in scaler["spec"]["metrics"]} == served


def test_nothing_comes_in_that_no_policy_lets_in() -> None:
    closed = of_kind(PRODUCTION, "NetworkPolicy")["reach-closed"]["spec"]
    assert closed["policyTypes"] == ["Ingress"]
    assert "ingress" not in closed
    assert closed["podSelector"] == {"matchLabels": {"app.kubernetes.io/part-of": "reach"}}
    for overlay in OVERLAYS:
        for one in of_kind(overlay, "Deployment").values():
            assert one["spec"]["template"]["metadata"]["labels"]["app.kubernetes.io/part-of"] == "reach"


def test_the_way_out_reaches_every_port_of_a_service() -> None:
    ways = of_kind(PRODUCTION, "NetworkPolicy")["reach-out"]["spec"]["egress"]
    open_ports = {
        port
        for way in ways
        for one in way["ports"]
        for port in range(one["port"], one.get("endPort", one["port"]) + 1)
    }
    assert {PORTS[service].grpc for service in SERVICES} <= open_ports
