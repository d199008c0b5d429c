"""The deployment files as data: what they name exists, and no secret is in them."""

from __future__ import annotations

import re
import stat
from pathlib import Path
from typing import Any

import pytest
import typer.main
from ruamel.yaml import YAML

from cli.common import SERVICES
from cli.main import app
from services.ai_orchestrator.definition_files import load_apps
from shared.secrets import SecretKey
from shared.settings import PORTS, Settings, known_variables, load
from tests.support import compose
from tools import make_secrets
from tools.lint import tracked

ROOT = Path(__file__).parents[2]
COMPOSE: dict[str, Any] = YAML(typ="safe").load(ROOT / "docker-compose.yml")
OURS = {name: service for name, service in COMPOSE["services"].items() if service["image"] == "reach"}
LOOPBACK = "127.0.0.1:"
TOKENS = {"kf_session_token", "campaign_token"}
"""Secrets that are made when there is a database (docs/deploy.md)."""


def environment(service: str) -> dict[str, str]:
    """A service's variables with Compose's ``${NAME:-default}`` resolved to the default."""
    declared = OURS[service].get("environment", {})
    return {name: re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", str(value)) for name, value in declared.items()}


def command_exists(words: list[str]) -> bool:
    """Whether the CLI has the command a list of words begins with."""
    commands = getattr(typer.main.get_command(app), "commands", {})
    return words[0] in commands


@pytest.mark.parametrize("service", OURS)
def test_a_service_runs_a_command_that_the_cli_has(service: str) -> None:
    assert command_exists(OURS[service]["command"])


@pytest.mark.parametrize("service", OURS)
def test_a_service_sets_only_variables_that_are_read(service: str) -> None:
    known = {variable.name for variable in known_variables()}
    known |= {f"{variable.name}_FILE" for variable in known_variables() if variable.secret}
    known |= {f"DASHSCOPE_APP_ID_{app.app_type.upper()}" for app in load_apps()}
    known.add("OTEL_EXPORTER_OTLP_ENDPOINT")
    assert environment(service).keys() <= known


def test_a_health_check_asks_with_a_command_that_the_cli_has() -> None:
    question = OURS["notifier"]["healthcheck"]["test"]
    assert question[:2] == ["CMD", "reach"]
    assert command_exists(question[2:])


def accepted(service: str, place: Path) -> Settings:
    """What *service* reads of its variables as they stand."""
    make_secrets.write(place)
    for name in TOKENS:
        (place / name).write_text("reach_x")
    given = environment(service)
    return load(
        {name: value.replace("/run/secrets", str(place)) for name, value in given.items()}, service=service
    )


def test_every_service_there_is_runs_in_a_container_of_its_own() -> None:
    serving = [one["command"][1] for one in OURS.values() if one["command"][0] == "serve"]
    assert serving == list(SERVICES)


@pytest.mark.parametrize("service", SERVICES)
def test_a_services_settings_are_accepted_as_they_stand(service: str, tmp_path: Path) -> None:
    settings = accepted(service, tmp_path)
    assert not settings.embedded
    assert settings.secret_key_file is not None
    SecretKey.load(settings.secret_key_file)
    assert OURS[service]["healthcheck"]["test"][-1].endswith(f":{PORTS[service].grpc}")


def test_every_ai_application_has_its_id_and_a_key(tmp_path: Path) -> None:
    settings = accepted("ai_orchestrator", tmp_path)
    assert settings.dashscope.app_ids.keys() == {app.app_type for app in load_apps()}
    assert settings.dashscope.api_key is not None


def test_every_secret_is_declared_and_made() -> None:
    declared = {Path(secret["file"]).name for secret in COMPOSE["secrets"].values()}
    assert declared == make_secrets.contents("", "", b"").keys() | TOKENS


def test_a_secret_file_that_is_named_is_mounted() -> None:
    for name, service in OURS.items():
        named = {Path(v).name for v in environment(name).values() if v.startswith("/run/secrets/")}
        assert named <= set(service.get("secrets", ()))


@pytest.mark.parametrize("name", sorted(COMPOSE["services"].keys() - OURS.keys()))
def test_somebody_elses_image_is_of_one_version(name: str) -> None:
    assert re.fullmatch(r"[\w./-]+:v?\d[\d.]*", COMPOSE["services"][name]["image"])


@pytest.mark.parametrize("name", COMPOSE["services"])
def test_a_file_that_is_mounted_exists_and_is_read_only(name: str) -> None:
    for volume in COMPOSE["services"][name].get("volumes", []):
        source, _, how = volume.partition(":")
        if source.startswith("."):
            assert (ROOT / source).exists()
            assert how.endswith(":ro")


def test_every_replica_is_scraped_where_it_tells_its_figures() -> None:
    config = YAML(typ="safe").load(ROOT / "deploy/observability/prometheus.yml")
    (job,) = config["scrape_configs"]
    (found,) = job["dns_sd_configs"]
    serving = [name for name, one in OURS.items() if one["command"][0] == "serve"]
    assert sorted(found["names"]) == sorted(serving)
    assert {environment(name)["REACH_METRICS_LISTEN"] for name in serving} == {f"0.0.0.0:{found['port']}"}


def test_every_service_knows_where_the_others_are() -> None:
    for service in SERVICES:
        for other in SERVICES:
            target = environment(service)[f"REACH_{other.upper()}_TARGET"]
            assert target == f"{other}:{PORTS[other].grpc}"


def test_no_file_of_the_deployment_holds_a_password_or_a_key() -> None:
    written = re.compile(
        r"://[^/\s:@]+:[^/\s@]+@|-----BEGIN|\b(?:password|secret|token)\s*[:=]\s*['\"]?[\w+/]{16,}", re.I
    )
    files = [path for path in tracked() if path.is_relative_to(ROOT / "deploy")]
    assert len(files) > 20
    for path in [*files, ROOT / "docker-compose.yml"]:
        assert not written.search(path.read_text(encoding="utf-8")), path


def test_secrets_are_made_once_and_closed_to_others(tmp_path: Path) -> None:
    place = tmp_path / "secrets"
    assert make_secrets.write(place)
    before = {path.name: path.read_text() for path in place.iterdir()}
    assert not make_secrets.write(place)
    assert {path.name: path.read_text() for path in place.iterdir()} == before
    assert stat.S_IMODE(place.stat().st_mode) == 0o700


@pytest.mark.parametrize("service", COMPOSE["services"])
def test_a_port_is_published_on_loopback_only(service: str) -> None:
    assert all(str(port).startswith(LOOPBACK) for port in COMPOSE["services"][service].get("ports", []))


@pytest.mark.parametrize("service", OURS)
def test_what_a_service_waits_for_can_become_true(service: str) -> None:
    for name, wait in OURS[service].get("depends_on", {}).items():
        awaited = COMPOSE["services"][name]
        if wait["condition"] == "service_healthy":
            assert "healthcheck" in awaited
        else:
            assert awaited["restart"] == "on-failure"  # a job that ends, and is not started again after


def test_the_image_runs_as_nobody_of_this_host() -> None:
    lines = (ROOT / "Dockerfile").read_text().splitlines()
    assert lines.index("USER 10001") < next(
        n for n, line in enumerate(lines) if line.startswith("ENTRYPOINT")
    )


def test_what_the_wheel_needs_is_let_into_the_image() -> None:
    admitted = {
        line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")
    }
    sources = {path.name for path in ROOT.iterdir() if (path / "__init__.py").exists()} - {"tests", "bench"}
    needed = {"pyproject.toml", "requirements.in", "requirements.txt", "README.md", "protos", "tools"}
    assert sources | needed <= admitted


def test_the_tests_own_servers_are_the_versions_we_deploy() -> None:
    own = YAML(typ="safe").load(compose.FILE)["services"]
    for name in ("rabbitmq", "postgres"):
        assert own[name]["image"] == COMPOSE["services"][name]["image"]
