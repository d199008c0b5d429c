"""Figures for Prometheus: every one declared here, with its unit and what it means.

Labels are few and bounded (a service, a channel, an outcome): never an id, never a person. Those of AI calls have the
names and labels of OpenTelemetry's conventions for generative AI.
"""

from __future__ import annotations

from typing import Final, TypeVar

import prometheus_client as prometheus
from aiohttp import web

from shared.setting_types import Address
from shared.values import value_class


@value_class
class Count:
    """Only ever grows; exported with ``_total``."""

    name: str
    meaning: str
    labels: tuple[str, ...] = ()


@value_class
class Level:
    """Goes up and down."""

    name: str
    meaning: str
    labels: tuple[str, ...] = ()


@value_class
class Spread:
    """How values are distributed; in seconds unless its name says otherwise."""

    name: str
    meaning: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)


EVENTS_ACCEPTED: Final = Count("reach_events_accepted", "Events recorded in the inbox", ("service", "door"))
EVENTS_DUPLICATE: Final = Count(
    "reach_events_duplicate", "Events that were known already", ("service", "door")
)
EVENTS_CONFLICT: Final = Count(
    "reach_events_conflict", "Events whose id was known with other content", ("service", "door")
)
EVENTS_PARKED: Final = Count(
    "reach_events_parked", "Events put among the dead letters", ("service", "reason")
)
EVENTS_UNROUTED: Final = Count(
    "reach_events_unrouted", "Published events that nobody had bound", ("service",)
)
INTAKE_BATCH: Final = Spread(
    "reach_intake_batch_events",
    "Events recorded in one transaction",
    ("service",),
    (1, 2, 5, 10, 20, 50, 100, 200),
)
OUTBOX_PENDING: Final = Level("reach_outbox_pending", "Events waiting to be published", ("service",))
OUTBOX_OLDEST: Final = Level("reach_outbox_oldest_seconds", "Age of the oldest of them", ("service",))
PUBLISH: Final = Count(
    "reach_publish",
    "Publishes of announcements by outcome: confirmed, failed",
    ("service", "outcome"),
)
BROKER_CONNECTED: Final = Level("reach_broker_connected", "1 while messages can be published")
BROKER_BLOCKED: Final = Level(
    "reach_broker_blocked", "1 while the broker takes no publishes because of an alarm"
)
DUE_ROWS: Final = Level(
    "reach_due_rows", "Rows of a queue by state: pending, deferred, running", ("service", "queue", "state")
)
DUE_OLDEST: Final = Level(
    "reach_due_oldest_seconds",
    "How long the ready row that has waited longest has waited",
    ("service", "queue"),
)
ATTEMPTS: Final = Count("reach_attempts", "Vendor calls by outcome", ("service", "channel", "outcome"))
ATTEMPT_SECONDS: Final = Spread("reach_attempt_seconds", "How long vendor calls take", ("service", "channel"))
UNKNOWN_OPEN: Final = Level(
    "reach_unknown_open", "Calls of unknown outcome not yet resolved, 1,000 at most", ("service",)
)
UNKNOWN_OLDEST: Final = Level("reach_unknown_oldest_seconds", "Age of the oldest of them", ("service",))
LEASES_LOST: Final = Count("reach_leases_lost", "Claims that ran out while in hand", ("service",))
WRITES_FENCED: Final = Count("reach_writes_fenced", "Outcomes refused: the row had a new owner", ("service",))
RATE_WAITS: Final = Count("reach_rate_waits", "Work put off by a rate limit", ("service", "limit"))
WINDOW_REFUSALS: Final = Count(
    "reach_window_refusals", "Pushes refused by their window", ("service", "reason")
)
BUDGET_TOKENS: Final = Level(
    "reach_budget_tokens", "AI tokens of the day: reserved, used", ("service", "kind")
)
BREAKER_OPEN: Final = Level("reach_breaker_open", "1 while the circuit is open", ("service", "breaker"))
BREAKER_ALERTS: Final = Count(
    "reach_breaker_alerts", "Openings told by another way: sent, undeliverable", ("service", "outcome")
)
AI_CALL_SECONDS: Final = Spread(
    "gen_ai_client_operation_duration_seconds",
    "How long calls of AI applications take; error_type is empty for an answer",
    ("gen_ai_operation_name", "gen_ai_provider_name", "gen_ai_agent_name", "error_type"),
    (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92, 163.84),
)
AI_CALL_TOKENS: Final = Spread(
    "gen_ai_client_token_usage",
    "Tokens of an answered call: input, output",
    ("gen_ai_operation_name", "gen_ai_provider_name", "gen_ai_agent_name", "gen_ai_token_type"),
    (1, 4, 16, 64, 256, 1024, 4096, 16_384, 65_536, 262_144, 1_048_576),
)
CALLBACKS: Final = Count("reach_callbacks", "Vendor callbacks by verdict", ("service", "door", "verdict"))
COPY_SECONDS: Final = Spread(
    "reach_copy_seconds",
    "How long ai_orchestrator takes to write candidates for a campaign",
    ("service",),
    (0.5, 1, 2.5, 5, 10, 20, 30, 60, 120),
)
COPY_TOKENS: Final = Count("reach_copy_tokens", "Tokens charged for candidates of campaigns", ("service",))
KF_PULLS: Final = Count(
    "reach_kf_pulls", "Calls of kf/sync_msg by outcome: accepted, a class of refusal, unknown", ("outcome",)
)
KF_ITEMS: Final = Count(
    "reach_kf_items", "What pulls brought: customer, servicer, event, known, unreadable", ("kind",)
)
KF_BEHIND: Final = Level(
    "reach_kf_behind_seconds", "Since the KF account that is furthest behind was read to its end"
)
CAMPAIGN_TASKS: Final = Count(
    "reach_campaign_tasks",
    "Owners' tasks by what became of them: created, found, simulated, deferred, refused, unknown, cancelled",
    ("outcome",),
)
CAMPAIGN_TASK_SECONDS: Final = Spread(
    "reach_campaign_task_duration_seconds",
    "From the request that made an owner's task until it was known to be made",
    buckets=(0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120),
)
CAMPAIGN_ERRORS: Final = Count(
    "reach_campaign_errors", "Refusals of customer contact by errcode", ("api", "errcode")
)
CAMPAIGN_LOOKS: Final = Count(
    "reach_campaign_looks",
    "Calls that follow owners' tasks by outcome: accepted, a class of refusal, not_sent, unknown",
    ("api", "outcome"),
)
CAMPAIGN_TARGETS: Final = Count(
    "reach_campaign_targets",
    "Groups of tasks that were made by what became of them: sent, owner_never_confirmed, limit_reached, group_gone, …",
    ("status",),
)
CAMPAIGN_REMINDERS: Final = Count(
    "reach_campaign_reminders",
    "Reminders of owners by outcome: given, refused, not_sent, unknown, dropped",
    ("outcome",),
)
CAMPAIGN_CONFIRM_SECONDS: Final = Spread(
    "reach_campaign_confirm_duration_seconds",
    "From the making of an owner's task until the owner pressed send",
    buckets=(60, 300, 900, 3600, 7200, 14400, 28800, 57600, 86400, 172800, 259200),
)
CUSTOMER_GROUPS: Final = Level("reach_customer_groups", "Customer groups by state: here, gone", ("state",))
GROUP_READS: Final = Count(
    "reach_group_reads",
    "Calls that read customer groups by outcome: accepted, a class of refusal, unknown",
    ("api", "outcome"),
)
GROUP_SYNCS: Final = Count("reach_group_syncs", "Syncs of customer groups by how they ended", ("status",))
GROUP_SYNC_AGE: Final = Level(
    "reach_group_sync_age_seconds", "Since the groups were last listed to their end"
)
JOIN_WAYS: Final = Level("reach_join_ways", "Join ways by state: active, drifted, gone, unknown", ("state",))
RPCS: Final = Count("reach_rpcs", "Calls by method and outcome: OK or the reason", ("method", "outcome"))
RPC_SECONDS: Final = Spread("reach_rpc_seconds", "How long calls take", ("method",))
LOOP_FAILURES: Final = Count("reach_loop_failures", "Failures of background loops", ("loop",))
LOOP_AGE: Final = Level("reach_loop_age_seconds", "Since the loop last went round", ("loop",))
CLOCK_DISAGREEMENTS: Final = Level(
    "reach_clock_disagreements",
    "Times since the start that this host's clock was over 5 s off the database's",
)

ALL: Final[tuple[Count | Level | Spread, ...]] = tuple(
    value for value in list(globals().values()) if isinstance(value, (Count, Level, Spread))
)


T = TypeVar("T", prometheus.Counter, prometheus.Gauge)


class Metrics:
    """The figures of one process, in a registry of their own. Adding is about a microsecond."""

    def __init__(self) -> None:
        self.registry = prometheus.CollectorRegistry()
        self._counts = {m: self._make(prometheus.Counter, m) for m in ALL if isinstance(m, Count)}
        self._levels = {m: self._make(prometheus.Gauge, m) for m in ALL if isinstance(m, Level)}
        self._spreads = {
            m: prometheus.Histogram(m.name, m.meaning, m.labels, buckets=m.buckets, registry=self.registry)
            for m in ALL
            if isinstance(m, Spread)
        }
        prometheus.ProcessCollector(registry=self.registry)

    def _make(self, kind: type[T], metric: Count | Level) -> T:
        return kind(metric.name, metric.meaning, metric.labels, registry=self.registry)

    def add(self, metric: Count, amount: float = 1, **labels: str) -> None:
        """Count *amount* more."""
        counter = self._counts[metric]
        (counter.labels(**labels) if labels else counter).inc(amount)

    def set(self, metric: Level, value: float, **labels: str) -> None:
        """Note the present value."""
        gauge = self._levels[metric]
        (gauge.labels(**labels) if labels else gauge).set(value)

    def observe(self, metric: Spread, value: float, **labels: str) -> None:
        """Note one more value."""
        histogram = self._spreads[metric]
        (histogram.labels(**labels) if labels else histogram).observe(value)

    def text(self) -> bytes:
        """Everything, as Prometheus reads it."""
        return prometheus.generate_latest(self.registry)


class MetricsServer:
    """``GET /metrics`` on a port of its own, so that scraping needs no token and reaches nothing else."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._runner: web.AppRunner | None = None

    async def start(self, listen: Address) -> Address:
        """Serve on *listen*; returns the address bound, which port 0 leaves to the system.

        Raises OSError when the port is taken.
        """
        app = web.Application(client_max_size=1024)
        app.router.add_get("/metrics", self._scrape)
        runner = web.AppRunner(app, access_log=None, handle_signals=False, keepalive_timeout=15)
        await runner.setup()
        self._runner = runner
        # A handful of scrapers is normal; the short backlog keeps a stampede out of our event loop.
        await web.TCPSite(runner, listen.host, listen.port, backlog=16).start()
        return Address(*runner.addresses[0][:2])

    async def _scrape(self, request: web.Request) -> web.Response:
        return web.Response(
            body=self._metrics.text(), headers={"Content-Type": prometheus.CONTENT_TYPE_LATEST}
        )

    async def close(self) -> None:
        """Stop serving; safe to call twice."""
        if self._runner is not None:
            runner, self._runner = self._runner, None
            await runner.cleanup()
