"""The environment is read completely, judged completely, and never repeated where it is secret."""

from __future__ import annotations

import base64
from datetime import timedelta
from pathlib import Path

import pytest

from shared.settings import Address, Settings, SettingsError, known_variables, load

KEY = base64.b64encode(b"k" * 32).decode().rstrip("=")


def problems(environ: dict[str, str], service: str = "up") -> list[str]:
    with pytest.raises(SettingsError) as caught:
        load(environ, service=service)
    return caught.value.problems


def test_nothing_set_is_embedded_mode_on_loopback() -> None:
    settings = load({})
    assert settings.embedded
    assert settings.home == Path(".reach")
    assert (settings.grpc_listen, settings.http_listen) == (
        Address("127.0.0.1", 50051),
        Address("127.0.0.1", 8081),
    )
    assert settings.default_zone.key == "Asia/Shanghai"
    assert settings.wecom.customer.dry_run
    assert settings.limits.lease == timedelta(seconds=30)
    assert settings.allowed_hosts == {"qyapi.weixin.qq.com", "dashscope.aliyuncs.com"}


@pytest.mark.parametrize(
    ("service", "grpc", "http"),
    [("notifier", 50051, 8081), ("campaign", 50053, 8083), ("kf_session", 50054, 8084)],
)
def test_each_service_has_ports_of_its_own(service: str, grpc: int, http: int) -> None:
    settings = load({"REACH_AMQP_URL": "amqp://h"}, service=service)
    assert (settings.grpc_listen.port, settings.http_listen.port) == (grpc, http)
    assert settings.target(service) == f"127.0.0.1:{grpc}"


def test_the_process_environment_is_not_consulted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REACH_DEFAULT_STORE", "s9")
    monkeypatch.setenv("REACH_LIMIT_ROBOT_PER_MINUTE", "7")
    assert load({}).default_store is None
    assert Settings().default_store is None
    assert load({}).limits.robot_per_minute == 19


def test_every_problem_is_told_at_once_each_naming_its_variable() -> None:
    told = problems(
        {
            "REACH_AMPQ_URL": "amqp://h",
            "REACH_AMQP_URL": "http://user:pa55word@h",
            "REACH_DATABASE_URL": "sqlite:///x.db",
            "REACH_DEFAULT_ZONE": "Mars/Olympus",
            "REACH_GRPC_LISTEN": "50051",
            "REACH_CLOCK": "sundial",
            "REACH_REFLECTION": "perhaps",
            "REACH_DEFAULT_STORE": "a b",
            "REACH_LIMIT_LEASE": "0",
            "REACH_SECRET_KEY_FILE": "/does/not/exist",
            "WECOM_AGENT_ID": "abc",
            "WECOM_CUSTOMER_SYNC_CRON": "* * *",
            "WECOM_CUSTOMER_MANUAL_APPROVAL": "false",
            "WECOM_APP_CALLBACK_TOKEN": "t0k3n",
        }
    )
    for name in (
        *(
            "REACH_AMPQ_URL",
            "REACH_AMQP_URL",
            "REACH_DATABASE_URL",
            "REACH_DEFAULT_ZONE",
            "REACH_GRPC_LISTEN",
        ),
        *(
            "REACH_CLOCK",
            "REACH_REFLECTION",
            "REACH_DEFAULT_STORE",
            "REACH_LIMIT_LEASE",
            "REACH_SECRET_KEY_FILE",
        ),
        *(
            "WECOM_AGENT_ID",
            "WECOM_CUSTOMER_SYNC_CRON",
            "WECOM_CUSTOMER_MANUAL_APPROVAL",
            "WECOM_APP_CALLBACK_",
        ),
    ):
        assert sum(problem.startswith(name) for problem in told) == 1, (name, told)
    assert len(told) == 14
    assert all(len(problem.splitlines()) == 1 for problem in told)


def test_a_mistyped_variable_is_answered_with_the_nearest_name() -> None:
    assert problems({"REACH_AMPQ_URL": "amqp://h"}) == [
        "REACH_AMPQ_URL is not known; did you mean REACH_AMQP_URL?"
    ]
    assert problems({"WECOM_CUSTOMER_DRYRUN": "false"}) == [
        "WECOM_CUSTOMER_DRYRUN is not known; did you mean WECOM_CUSTOMER_DRY_RUN?"
    ]
    assert "REACH_FLUX is not known" in problems({"REACH_FLUX": "1"})[0]


def test_variables_of_others_are_let_be() -> None:
    load(
        {"WECOM_DEPLOYMENT": "blue", "REACH_TEST_AMQP_URL": "x", "PATH": "/bin", "REACH_BENCH_STORES": "4"},
        also_known={"REACH_BENCH_STORES"},
    )


@pytest.mark.parametrize(
    ("name", "value", "field"),
    [
        ("WECHAT_CORP_ID", "ww1", "corp_id"),
        ("WEWORK_CORP_ID", "ww1", "corp_id"),
        ("WECHAT_CORP_SECRET", "s", "secret"),
        ("WECHAT_AGENT_ID", "1000002", "agent_id"),
        ("WEWORK_SECRET", "s", "kf_secret"),
    ],
)
def test_the_names_of_the_original_systems_are_understood(name: str, value: str, field: str) -> None:
    assert getattr(load({name: value}).wecom, field) is not None


def test_the_kf_callback_of_the_original_system_is_understood() -> None:
    callback = load({"WEWORK_TOKEN": "t", "WEWORK_AES_KEY": KEY}).wecom.kf_callback
    assert callback.token is not None
    assert callback.aes_key is not None


def test_in_the_campaign_service_the_plain_secret_is_the_customer_contact_secret() -> None:
    environ = {"REACH_AMQP_URL": "amqp://h", "WECOM_SECRET": "contact"}
    campaign = load(environ, service="campaign").wecom.customer
    assert campaign.secret is not None
    assert campaign.secret.get_secret_value() == "contact"
    assert load(environ, service="notifier").wecom.customer.secret is None


def test_two_names_that_disagree_are_a_problem_and_two_that_agree_are_not() -> None:
    (problem,) = problems({"WECOM_CORP_ID": "ww1", "WECHAT_CORP_ID": "ww2"})
    assert "WECOM_CORP_ID and WECHAT_CORP_ID" in problem
    assert load({"WECOM_CORP_ID": "ww1", "WECHAT_CORP_ID": "ww1"}).wecom.corp_id == "ww1"


def test_secrets_come_from_files_as_well(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text("fr0m-a-file\n")
    secret = load({"WECHAT_CORP_SECRET_FILE": str(file)}).wecom.secret
    assert secret is not None
    assert secret.get_secret_value() == "fr0m-a-file"
    assert "both set" in problems({"WECOM_SECRET": "x", "WECOM_SECRET_FILE": str(file)})[0]
    file.write_text("\n")
    assert "empty" in problems({"WECOM_SECRET_FILE": str(file)})[0]
    assert "cannot read" in problems({"WECOM_SECRET_FILE": str(tmp_path)})[0]


def test_secrets_are_in_no_repr_and_no_problem() -> None:
    secret = "s3cr3t-value-xyz"
    names = [variable.name for variable in known_variables() if variable.secret]
    assert len(names) >= 13
    every = dict.fromkeys(names, secret)
    assert secret not in "\n".join(problems(every))
    fine = {name: secret for name in names if name.endswith("SECRET") or name == "DASHSCOPE_API_KEY"}
    settings = load(fine)
    assert secret not in repr(settings) + str(settings.model_dump())
    assert settings.secrets() == [secret] * len(fine)


@pytest.mark.parametrize(
    "given", ["693a91f6-7xxx", "https://qyapi.weixin.qq.com/cgi-bin/webhook/send?key=693a91f6-7xxx"]
)
def test_of_a_robot_only_the_key_is_kept(given: str) -> None:
    key = load({"WECOM_ROBOT_KEY": given}).wecom.robot_key
    assert key is not None
    assert key.get_secret_value() == "693a91f6-7xxx"


def test_app_ids_are_read_by_app_type() -> None:
    assert load({"DASHSCOPE_APP_ID_APP3_CLUE": "a3", "DASHSCOPE_APP_ID_APP7": ""}).dashscope.app_ids == {
        "app3_clue": "a3"
    }


def test_beyond_loopback_tls_is_required_unless_waived(tmp_path: Path) -> None:
    listen = {"REACH_GRPC_LISTEN": "0.0.0.0:50051"}
    assert "without TLS" in problems(listen)[0]
    assert load({**listen, "REACH_AUTH_ALLOW_PLAINTEXT": "true"}).auth.allow_plaintext
    pem = tmp_path / "pem"
    pem.write_text("pem")
    assert "go together" in problems({**listen, "REACH_AUTH_TLS_CERT_FILE": str(pem)})[0]
    load({**listen, "REACH_AUTH_TLS_CERT_FILE": str(pem), "REACH_AUTH_TLS_KEY_FILE": str(pem)})
    for loopback in ("127.0.0.1:0", "[::1]:0", "localhost:0"):
        assert load({"REACH_GRPC_LISTEN": loopback}).grpc_listen.loopback


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:9100", "http://sandbox:9100", "https://qyapi.weixin.qq.com/"]
)
def test_base_urls_lose_their_last_slash_and_allow_their_host(url: str) -> None:
    settings = load({"REACH_WECOM_BASE_URL": url})
    assert settings.wecom_base_url == url.rstrip("/")
    assert url.split("/")[2].split(":")[0] in settings.allowed_hosts


@pytest.mark.parametrize(
    "url", ["http://qyapi.weixin.qq.com", "ftp://h", "https://u:p@h", "https://h/?a=1", "https://h:x"]
)
def test_base_urls_that_would_leak_or_mislead_are_refused(url: str) -> None:
    assert len(problems({"REACH_WECOM_BASE_URL": url})) == 1


def test_the_sandbox_clock_needs_the_sandbox() -> None:
    environ = {"REACH_AMQP_URL": "amqp://h", "REACH_CLOCK": "sandbox"}
    assert "needs the sandbox" in problems(environ, "notifier")[0]
    assert (
        "needs the sandbox" in problems({**environ, "REACH_WECOM_BASE_URL": "https://qyapi.weixin.qq.com"})[0]
    )
    load({**environ, "REACH_WECOM_BASE_URL": "http://127.0.0.1:9100"}, service="notifier")
    load({"REACH_CLOCK": "sandbox"})


def test_a_service_alone_needs_a_broker() -> None:
    assert problems({}, "notifier")[0].startswith("REACH_AMQP_URL is not set")


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("10", 10), ("0.5", 0.5), ("500ms", 0.5), ("5m", 300), ("72h", 259200), ("14d", 1209600)],
)
def test_durations_are_written_in_seconds_or_with_a_unit(text: str, seconds: float) -> None:
    assert load({"REACH_LIMIT_DEDUPE_HORIZON": text}).limits.dedupe_horizon.total_seconds() == seconds


def test_sizes_and_lists_are_written_plainly() -> None:
    settings = load(
        {"REACH_LIMIT_EVENT_BYTES": "64KiB", "WECOM_CUSTOMER_BLOCK_WORDS": "返现, 保本，医疗治愈"}
    )
    assert settings.limits.event_bytes == 65536
    assert settings.wecom.customer.block_words == ("返现", "保本", "医疗治愈")


def test_an_empty_variable_is_not_set() -> None:
    assert load({"REACH_AMQP_URL": "", "WECOM_AGENT_ID": " ", "REACH_LIMIT_LEASE": ""}).embedded


def test_every_variable_is_described_and_unique() -> None:
    table = known_variables()
    assert all(variable.description for variable in table)
    names = [name for variable in table for name in (variable.name, *variable.aliases)]
    assert len(names) == len(set(names))
