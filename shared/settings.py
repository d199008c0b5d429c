"""Everything an operator may set, read once from the environment and never changed.

    REACH_…       how the suite runs            WECOM_…      the corp's credentials and campaign policy
    REACH_AUTH_…  who may call, and over what   DASHSCOPE_…  the AI provider
    REACH_LIMIT_… figures worth tuning          OTEL_…       tracing, by its own standard (not here)

``load`` is the only way in. It takes a mapping and touches nothing but the files the mapping names,
so importing this module has no effect and tests need no environment. What the vendor dictates is a
constant where it is used; what a business user may change is data in the store.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from shared.environment import (
    ConfigurationError,
    Group,
    Reading,
    SettingsError,
    Variable,
    secrets_of,
    variables,
)
from shared.setting_auth import Auth
from shared.setting_checks import WECOM_API, contradictions
from shared.setting_types import (
    Address,
    AesKey,
    AmqpUrl,
    BaseUrl,
    Bytes,
    Cron,
    DatabaseUrl,
    Duration,
    Hosts,
    Listen,
    Owners,
    Pairs,
    ReadableFile,
    RobotKey,
    Target,
    Words,
    Zone,
)
from shared.values import value_class

__all__ = [
    "PORTS",
    "Address",
    "ConfigurationError",
    "Ports",
    "Settings",
    "SettingsError",
    "known_variables",
    "load",
]

DASHSCOPE_API = "https://dashscope.aliyuncs.com/api/v1"

Store = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]


@value_class
class Ports:
    """Where a process listens on loopback when nothing else is said."""

    grpc: int
    http: int | None


PORTS: Mapping[str, Ports] = {
    "up": Ports(50051, 8081),
    "notifier": Ports(50051, 8081),
    "ai_orchestrator": Ports(50052, None),
    "campaign": Ports(50053, 8083),
    "kf_session": Ports(50054, 8084),
}
"""By ``reach serve`` service; ``up`` is all of them in one process."""

# The names the four original systems use. They apply wherever they are unambiguous.
_ALIASES: Mapping[str, tuple[str, ...]] = {
    "WECOM_CORP_ID": ("WECHAT_CORP_ID", "WEWORK_CORP_ID"),
    "WECOM_AGENT_ID": ("WECHAT_AGENT_ID",),
    "WECOM_SECRET": ("WECHAT_CORP_SECRET",),
    "WECOM_KF_SECRET": ("WEWORK_SECRET",),
    "WECOM_KF_CALLBACK_TOKEN": ("WEWORK_TOKEN",),
    "WECOM_KF_CALLBACK_AES_KEY": ("WEWORK_AES_KEY",),
}
# In the campaign system's own environment WECOM_SECRET is the customer-contact secret.
_SERVICE_ALIASES: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "campaign": {"WECOM_CUSTOMER_SECRET": ("WECOM_SECRET",)},
}


class Callback(Group):
    """What a callback URL is verified and decrypted with; both or neither."""

    token: SecretStr | None = None
    """Token of the callback page: signs every call."""
    aes_key: AesKey | None = None
    """EncodingAESKey of the callback page, 43 characters."""


class AppCallback(Callback):
    """``/callback/app``: members write to the app, press buttons."""

    env_prefix: ClassVar[str] = "WECOM_APP_CALLBACK_"


class KfCallback(Callback):
    """``/callback/kf``: customers write to a KF account."""

    env_prefix: ClassVar[str] = "WECOM_KF_CALLBACK_"


class CustomerCallback(Callback):
    """``/callback/external-contact``: customers and groups change."""

    env_prefix: ClassVar[str] = "WECOM_CUSTOMER_CALLBACK_"


class Customer(Group):
    """Customer contact: group sync and campaigns."""

    env_prefix: ClassVar[str] = "WECOM_CUSTOMER_"

    secret: SecretStr | None = None
    """Secret of customer contact (客户联系)."""
    sync_cron: Cron = "*/10 * * * *"
    """When groups are synchronised: a cron line of five fields, in the default time zone."""
    read_qps: int = Field(default=20, ge=1, le=100)
    """Calls a second that read groups, over all replicas; WeCom allows 10,000 a minute."""
    stores: Owners = ()
    """Which store a group belongs to, by its owner: ``userid=store``, separated by commas; others are the default store's."""
    send_qps: int = Field(default=5, ge=1, le=50)
    """Calls to the mass-send API a second, over all replicas."""
    retry_max: int = Field(default=3, ge=0, le=10)
    """Tries after the first one of a call that did not reach WeCom."""
    dry_run: bool = True
    """Campaigns go through everything and send nothing."""
    manual_approval: bool = True
    """A person other than the creator approves every campaign. It cannot be switched off."""
    block_words: Words = ()
    """Words no campaign may contain, separated by commas; found whatever their width, spacing, case and script."""
    link_hosts: Hosts = ()
    """Hosts that links of campaigns may lead to, separated by commas; ``*.example.com`` is all below it. Empty: no links."""
    login_max_age: Duration = Field(default=timedelta(minutes=15), le=timedelta(hours=24))
    """How long ago whoever approves a campaign may have logged in."""
    approval_valid: Duration = Field(default=timedelta(hours=72), le=timedelta(days=30))
    """How long an approval holds, from when it was given or, if that is later, from the campaign's time."""
    schedule_grace: Duration = Field(default=timedelta(minutes=15), le=timedelta(hours=24))
    """How late a campaign may begin, and a step of a playbook be drafted; one whose time is longer ago is missed."""

    receive_limits: Words = ()
    """Mass messages a group may receive, where an administrator of the corp has set it: ``1/day`` or ``7/week``. Empty:
    what WeCom documents for the date."""
    remind_every: Duration = Field(default=timedelta(hours=6), ge=timedelta(minutes=1), le=timedelta(days=7))
    """How long after a task was made, and after each reminder, an owner who has not confirmed is reminded, within the
    campaign's window; WeCom takes three reminders of a task in 24 hours."""
    remind_most: int = Field(default=6, ge=0, le=50)
    """Reminders of one task that are given by themselves; 0 gives none."""

    def store_of(self, owner: str, default: str | None) -> str | None:
        """The store of a group by its owner; None where neither a pair nor *default* names one."""
        pairs = dict(pair.split("=", 1) for pair in self.stores)
        found = {userid.lower(): store for userid, store in pairs.items()}  # as the platform compares them
        return found.get(owner.lower(), default)


class WeCom(Group):
    """One corp. These seed the first app, robot and KF account; more are added with ``reach credentials``."""

    env_prefix: ClassVar[str] = "WECOM_"

    corp_id: str | None = None
    """Corp id (企业ID)."""
    agent_id: int | None = Field(default=None, ge=1)
    """Agent id of the app that sends."""
    secret: SecretStr | None = None
    """Secret of that app."""
    kf_secret: SecretStr | None = None
    """Secret of WeChat KF (微信客服)."""
    robot_key: RobotKey | None = None
    """Key of the first group robot; its whole webhook URL is accepted too."""
    app_callback: AppCallback = AppCallback()
    kf_callback: KfCallback = KfCallback()
    customer_callback: CustomerCallback = CustomerCallback()
    customer: Customer = Customer()


class Kf(Group):
    """WeChat KF (微信客服): sessions with customers."""

    env_prefix: ClassVar[str] = "REACH_KF_"

    poll: Duration = timedelta(seconds=60)
    """How often an account is asked for messages when no callback rings."""
    stores: Pairs = ()
    """Which store a KF account belongs to: ``open_kfid=store``, separated by commas; others are the default store's."""
    welcome: str = Field(default="", max_length=600)
    """What greets a customer who enters. Empty: nothing."""

    def store_of(self, open_kfid: str, default: str | None) -> str | None:
        """The store of an account; None where neither a pair nor *default* names one."""
        pairs = dict(pair.split("=", 1) for pair in self.stores)
        return pairs.get(open_kfid, default)


class DashScope(Group):
    """The AI provider (百炼)."""

    env_prefix: ClassVar[str] = "DASHSCOPE_"

    api_key: SecretStr | None = None
    """API key of the workspace that holds the apps."""
    app_ids: dict[str, str] = Field(default={}, exclude=True)
    """App id by app type in lower case (``app3_clue``), from ``DASHSCOPE_APP_ID_<APP TYPE>``."""
    trace_content: bool = False
    """Whether spans bear what applications were asked and answered, masked and cut; people's data is among it."""


class Ai(Group):
    """AI chains: how many steps at once, and when the store's figures are prepared."""

    env_prefix: ClassVar[str] = "REACH_AI_"

    at_once: int = Field(default=16, ge=1, le=200)
    """Steps that one replica has under way."""
    prewarm_at_once: int = Field(default=8, ge=1, le=100)
    """Of which for prewarm, and how wide one prewarm run is."""
    step_limit: Duration = timedelta(seconds=180)
    """How long a step may take, its repeats included; a chain has five times as long."""
    quiet_period: Duration = timedelta(minutes=30)
    """How long later facts of a day gather before a chain runs once more for them."""
    prewarm_cron: Cron = "0 10 * * *"
    """When every active store's figures are prepared: a cron line of five fields, on the store's own clocks."""
    words_kept: Duration = timedelta(days=30)
    """How long prompts and responses are kept, masked."""
    runs_kept: Duration = timedelta(days=90)
    """How long runs and the record of every request are kept."""
    facts_kept: Duration = Field(default=timedelta(days=1095), ge=timedelta(days=400))
    """How long visits, notes and tasks are kept. The figures of six months are compared with those of the six before, so it is
    400 days at least."""


class Limits(Group):
    """Figures worth tuning; each default is right for most."""

    env_prefix: ClassVar[str] = "REACH_LIMIT_"

    event_bytes: Bytes = 256 * 1024
    """Largest event accepted at any door."""
    grpc_message_bytes: Bytes = 1024 * 1024
    """Largest gRPC message."""
    http_reply_bytes: Bytes = 256 * 1024
    """Most that is read of a vendor's reply."""
    http_total: Duration = timedelta(seconds=10)
    """Deadline of a vendor call, connecting included."""
    http_connect: Duration = timedelta(seconds=3)
    """Of which for connecting."""
    publish_confirm: Duration = timedelta(seconds=10)
    """How long a publisher confirm may take before the publish counts as unknown."""
    lease: Duration = timedelta(seconds=30)
    """How long a claimed delivery is a replica's; one that died loses what it held after that."""
    dedupe_horizon: Duration = timedelta(days=14)
    """How long an event's id is remembered."""
    robot_per_minute: int = Field(default=19, ge=1, le=20)
    """Messages a robot sends a minute (WeCom refuses the 21st)."""
    member_per_minute: int = Field(default=28, ge=1, le=30)
    """App messages one member gets a minute (WeCom drops the 31st)."""
    member_per_hour: int = Field(default=950, ge=1, le=1000)
    """App messages one member gets an hour (WeCom drops the 1001st)."""
    kf_attribution: Duration = timedelta(hours=24)
    """How long after a push to a customer what they do counts as its effect."""
    operator_per_minute: int = Field(default=30, ge=1, le=1000)
    """Messages and reports one caller may write a minute (SendMessage, SendReport); events are not counted."""
    operator_per_day: int = Field(default=1000, ge=1, le=1_000_000)
    """Messages and reports one caller may write in 24 hours."""
    breaker_threshold: int = Field(default=10, ge=1, le=1000)
    """Failures in a row after which nothing is sent with a credential for a while."""
    breaker_open: Duration = timedelta(seconds=60)
    """How long that is at first; twice as long after each try that fails again."""
    breaker_open_most: Duration = timedelta(minutes=10)
    """The longest that it becomes."""
    ai_breaker_failures: int = Field(default=5, ge=1, le=10)
    """Failures among the last ten calls of an AI application after which it is not called for a while; three time-outs
    in a row do as well."""
    ai_breaker_open: Duration = timedelta(seconds=30)
    """How long that is at first; twice as long after each try that fails again."""
    ai_breaker_open_most: Duration = timedelta(minutes=5)
    """The longest that it becomes."""
    ai_store_per_minute: int = Field(default=120, ge=1, le=100_000)
    """AI calls a minute for one store."""
    ai_per_minute: int = Field(default=600, ge=1, le=100_000)
    """AI calls a minute for all stores together; the platform counts by account."""
    ai_store_tokens_per_minute: int = Field(default=1_000_000, ge=1, le=10**12)
    """Tokens a minute that the AI calls of one store may cost; a call counts with what it is held for until it is over."""
    ai_tokens_per_minute: int = Field(default=5_000_000, ge=1, le=10**12)
    """Tokens a minute for all stores together: the quota of the account, of the model that is used most."""
    ai_store_tokens_per_day: int = Field(default=2_000_000, ge=0, le=10**15)
    """Tokens one store may spend a day, where SetBudget said nothing."""
    ai_store_tokens_per_month: int = Field(default=40_000_000, ge=0, le=10**15)
    """Tokens one store may spend a month."""
    ai_tokens_per_day: int = Field(default=100_000_000, ge=0, le=10**15)
    """Tokens all stores together may spend a day."""
    ai_tokens_per_month: int = Field(default=2_000_000_000, ge=0, le=10**15)
    """Tokens all stores together may spend a month."""
    ai_prewarm_percent: int = Field(default=80, ge=1, le=100)
    """How much of each AI rate and budget work may take that nobody waits for."""


class Settings(BaseSettings):
    """The settings of one process. Secrets are ``SecretStr``: absent from repr, logs and problems."""

    model_config = SettingsConfigDict(
        env_prefix="REACH_",
        frozen=True,
        extra="forbid",
        use_attribute_docstrings=True,
        hide_input_in_errors=True,
    )

    home: Path = Path(".reach")
    """Where embedded mode keeps its files; one process at a time."""
    amqp_url: AmqpUrl | None = None
    """RabbitMQ. Unset: the in-process bus of embedded mode."""
    amqp_exchange: str = Field(default="reach.events", pattern=r"^[A-Za-z0-9._-]{1,127}$")
    """Topic exchange of all events."""
    amqp_prefix: str = Field(default="reach", pattern=r"^[A-Za-z0-9._-]{1,63}$")
    """What names of queues begin with; give each suite that shares a broker its own."""
    database_url: DatabaseUrl | None = None
    """PostgreSQL, one schema per service. Unset: SQLite files under REACH_HOME."""
    wecom_base_url: BaseUrl | None = None
    """Base URL of WeCom. Unset: ``reach up`` starts the sandbox, ``reach serve`` calls the real one."""
    dashscope_base_url: BaseUrl | None = None
    """Base URL of DashScope, ending in /api/v1. Unset: as above."""
    grpc_listen: Listen = Address("127.0.0.1", PORTS["up"].grpc)
    """Where gRPC is served; the port's default depends on the service."""
    http_listen: Listen = Address("127.0.0.1", 8081)
    """Where callbacks are served; the port's default depends on the service."""
    sandbox_listen: Listen = Address("127.0.0.1", 9100)
    """Where the sandbox is served."""
    metrics_listen: Listen | None = None
    """Where Prometheus may scrape. Unset: nowhere."""
    default_store: Store | None = None
    """Store of events that name none. Unset: they are parked."""
    default_zone: Zone = ZoneInfo("Asia/Shanghai")
    """IANA time zone of stores that name none."""
    clock: Literal["system", "sandbox"] = "system"
    """Whose time it is; ``sandbox`` follows the sandbox's clock, for tests that play days."""
    secret_key_file: ReadableFile | None = None
    """File with the key that encrypts stored credentials. Unset: one is made under REACH_HOME."""
    service_token_file: ReadableFile | None = None
    """File with the token this process shows when it calls another service."""
    notifier_target: Target | None = None
    """host:port of the notifier's gRPC."""
    ai_orchestrator_target: Target | None = None
    """host:port of the AI orchestrator's gRPC."""
    campaign_target: Target | None = None
    """host:port of the campaign service's gRPC."""
    kf_session_target: Target | None = None
    """host:port of the KF session service's gRPC."""
    announce_accepted: bool = True
    """Announce deliveries that WeCom accepted (notifier.delivery.accepted); other ends are announced in any case."""
    reflection: bool = True
    """Serve gRPC reflection, for grpcurl."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """Least severe level that is logged."""
    log_format: Literal["auto", "json", "console"] = "auto"
    """``auto``: console on a terminal, JSON lines elsewhere."""
    auth: Auth = Auth()
    wecom: WeCom = WeCom()
    kf: Kf = Kf()
    dashscope: DashScope = DashScope()
    ai: Ai = Ai()
    limits: Limits = Limits()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Only what ``load`` passes in: the process's own environment is never consulted behind its back."""
        return (init_settings,)

    @property
    def embedded(self) -> bool:
        """Whether events stay in this process (no broker is configured)."""
        return self.amqp_url is None

    @property
    def wecom_url(self) -> str:
        """Where WeCom is called: as configured, else the real one."""
        return self.wecom_base_url or WECOM_API

    @property
    def dashscope_url(self) -> str:
        """Where DashScope is called: as configured, else the real one."""
        return self.dashscope_base_url or DASHSCOPE_API

    @property
    def allowed_hosts(self) -> frozenset[str]:
        """The only hosts vendor calls may go to, as ``host`` in lower case."""
        urls = (self.wecom_url, self.dashscope_url)
        return frozenset(host for url in urls if (host := urlsplit(url).hostname))

    def target(self, service: str) -> str:
        """host:port of *service*'s gRPC: as configured, else its default port on this machine."""
        configured: str | None = getattr(self, f"{service}_target")
        return configured or f"127.0.0.1:{PORTS[service].grpc}"

    def secrets(self) -> list[str]:
        """Every secret value held, to be registered with ``shared.telemetry.redaction``."""
        return list(secrets_of(self))


def known_variables(service: str = "up") -> list[Variable]:
    """The table of variables, for the manual, ``reach doctor`` and the check for typing mistakes."""
    return variables(Settings, "REACH_", {**_ALIASES, **_SERVICE_ALIASES.get(service, {})})


def load(
    environ: Mapping[str, str],
    *,
    service: str = "up",
    ports: Mapping[str, Ports] = PORTS,
    also_known: Collection[str] = (),
) -> Settings:
    """Read and check every setting for *service* (a key of *ports*).

    Empty variables count as unset. Any secret may come from the file named by ``<NAME>_FILE`` instead.
    *also_known* are REACH_ variables somebody else reads. Raises ``SettingsError`` with every problem
    at once: values, combinations, unreadable files, names that are not known.
    """
    reading = Reading(environ, known_variables(service))
    reading.unknown(prefix="REACH_", also=also_known, only_near=False)
    reading.unknown(prefix="WECOM_", also=also_known, only_near=True)
    app_ids = _app_ids(environ)
    try:
        settings = _build(reading.nested(), app_ids, ports[service])
        refused: set[tuple[str, ...]] = set()
    except ValidationError as error:
        refused = reading.explain(error)
        settings = _build(reading.nested(without=refused), app_ids, ports[service])
    reading.problems += [
        text for fields, text in contradictions(settings, service) if not refused.intersection(fields)
    ]
    if reading.problems:
        raise SettingsError(reading.problems)
    return settings


def _build(values: dict[str, Any], app_ids: dict[str, str], ports: Ports) -> Settings:
    values.setdefault("grpc_listen", f"127.0.0.1:{ports.grpc}")
    if ports.http is not None:
        values.setdefault("http_listen", f"127.0.0.1:{ports.http}")
    values.setdefault("dashscope", {})["app_ids"] = app_ids
    return Settings(**values)


def _app_ids(environ: Mapping[str, str]) -> dict[str, str]:
    prefix = "DASHSCOPE_APP_ID_"
    return {
        name.removeprefix(prefix).lower(): value.strip()
        for name, value in environ.items()
        if name.startswith(prefix) and name != prefix and value.strip()
    }
