"""Figures are declared once, with few labels, and can be scraped."""

from __future__ import annotations

import re
from pathlib import Path

import aiohttp
import pytest

from shared.setting_types import Address
from shared.telemetry import metrics
from shared.telemetry.metrics import ALL, ATTEMPTS, Count, Level, Metrics, MetricsServer, Spread

ROOT = Path(__file__).parents[2]

BOUNDED = {
    "service",
    "door",
    "reason",
    "outcome",
    "channel",
    "state",
    "limit",
    "kind",
    "breaker",
    "verdict",
} | {
    "method",
    "loop",
    "queue",
    "status",
    "api",
    "errcode",
}
# OpenTelemetry's, for generative AI: an agent is an app type here.
GEN_AI = {
    "gen_ai_operation_name",
    "gen_ai_provider_name",
    "gen_ai_agent_name",
    "gen_ai_token_type",
    "error_type",
}


def test_every_figure_is_set_somewhere() -> None:
    names = {name for name, value in vars(metrics).items() if isinstance(value, (Count, Level, Spread))}
    sources = [path for folder in ("shared", "services") for path in (ROOT / folder).rglob("*.py")]
    told = " ".join(path.read_text() for path in sources if path.name != "metrics.py")
    assert {name for name in names if not re.search(rf"\b{name}\b", told)} == set()


def test_every_figure_is_described_prefixed_and_has_bounded_labels() -> None:
    assert len(ALL) > 25
    assert len({figure.name for figure in ALL}) == len(ALL)
    for figure in ALL:
        assert figure.meaning
        if figure.name.startswith("gen_ai_client_"):
            assert set(figure.labels) <= GEN_AI
            continue
        assert figure.name.startswith("reach_")
        assert set(figure.labels) <= BOUNDED
        assert len(figure.labels) <= 3


def test_figures_of_two_processes_in_one_do_not_mix() -> None:
    one, other = Metrics(), Metrics()
    one.add(ATTEMPTS, 2, service="notifier", channel="app", outcome="accepted")
    line = b'reach_attempts_total{channel="app",outcome="accepted",service="notifier"} 2.0'
    assert line in one.text()
    assert line not in other.text()


async def test_they_are_scraped_on_a_port_of_their_own_and_nothing_else_is() -> None:
    figures = Metrics()
    figures.set(metrics.OUTBOX_PENDING, 7, service="notifier")
    figures.observe(metrics.ATTEMPT_SECONDS, 0.2, service="notifier", channel="app")
    server = MetricsServer(figures)
    address = await server.start(Address("127.0.0.1", 0))
    try:
        async with aiohttp.ClientSession() as session:
            async with session.get(f"http://{address}/metrics") as reply:
                assert reply.headers["Content-Type"].startswith("text/plain")
                assert b'reach_outbox_pending{service="notifier"} 7.0' in await reply.read()
            async with session.get(f"http://{address}/") as reply:
                assert reply.status == 404
            async with session.post(f"http://{address}/metrics") as reply:
                assert reply.status == 405
        with pytest.raises(OSError, match="address already in use"):
            await MetricsServer(figures).start(address)
    finally:
        await server.close()
        await server.close()
