"""What the doctor says of a restaurant that is set up well, and of each way to set it up wrongly.

Every test asks OpsService over a channel. The platform is a strict sandbox: only what ``CORP_AS_IT_SHOULD_BE``
declares is there. A wrong thing must be the only one that is named, with the page on which it is put right.
"""

from __future__ import annotations

import asyncio
import base64
import re
import sqlite3
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
import pytest
import typer.main
from reach.events.v1 import event_service_pb2
from reach.notifier.v1 import delivery_pb2, target_pb2
from reach.notifier.v1 import notifier_service_pb2 as pb
from reach.ops.v1 import ops_service_pb2 as ops

from cli.main import app
from shared.clock import SystemClock
from shared.errors import Unavailable
from shared.ops.part import CheckStatus, Finding, Part
from shared.ops.servicer import OpsServicer
from tests.cli.support import Reach as Command
from tests.e2e.harness import (
    AGENT,
    CORP,
    ROLES,
    SECRET,
    STORE,
    Reach,
    Sandbox,
    embedded,
    eventually,
    robot,
    seconds,
    struct,
    user,
)
from tests.support.node import Broker

KEY = "693a91f6-7d5e-4bc4-97a0-0ec2d1fa5aaa"
APP: Mapping[str, Any] = {
    "agentid": AGENT,
    "name": "触达",
    "secret": SECRET,
    "corp_id": CORP,
    "visible": {"users": ["manager"], "departments": [2]},
    "ip_allowlist": ["127.0.0.1"],
}
CORP_AS_IT_SHOULD_BE: Mapping[str, Any] = {
    "corp_id": CORP,
    "apps": [APP],
    "departments": [
        {"id": 2, "name": "门店"},
        {"id": 3, "name": "后厨", "parentid": 2},
        {"id": 7, "name": "总部"},
    ],
    "tags": [{"id": 9, "name": "值班"}, {"id": 10, "name": "空"}],
    "users": [
        {"userid": "manager", "departments": [7]},
        *({"userid": role, "departments": [3], "tags": [9]} for role in ROLES if role != "manager"),
        {"userid": "auditor", "departments": [7]},
        {"userid": "unpaid", "departments": [2], "status": "unlicensed"},
    ],
    "robots": [{"key": KEY, "group": "前厅群"}],
}
SETTINGS: Mapping[str, str] = {
    "default_store": STORE,
    "WECOM_APP_CALLBACK_TOKEN": "callback-token-123",
    "WECOM_APP_CALLBACK_AES_KEY": base64.b64encode(bytes(range(32))).decode().rstrip("="),
}
OK, WARNING, FAILED, SKIPPED = (
    ops.CHECK_STATUS_OK,
    ops.CHECK_STATUS_WARNING,
    ops.CHECK_STATUS_FAILED,
    ops.CHECK_STATUS_SKIPPED,
)
PAGE = "应用管理 → 应用 → 触达"
BY_NUMBER = f"应用管理 → 应用 → AgentId {AGENT}"
Checks = Mapping[str, Any]


@asynccontextmanager
async def restaurant(world: Sandbox, home: Path, **settings: str) -> AsyncIterator[Reach]:
    """A notifier in which all is well: every role is held, one of them by a robot's group as well."""
    await world.profile(directory="strict")
    await world.declare(**CORP_AS_IT_SHOULD_BE)
    async with embedded(world.url, home, **{**SETTINGS, **settings}) as reach:
        await reach.staff()
        await add_robot(reach)
        await hold(reach, "front_desk", user("front_desk"), robot("front"))
        yield reach


async def add_robot(reach: Reach, name: str = "front", key: str = KEY) -> None:
    kind = ops.CREDENTIAL_KIND_ROBOT
    await reach.ops.SetCredential(ops.SetCredentialRequest(kind=kind, name=name, secret=key))


async def hold(reach: Reach, role: str, *targets: target_pb2.Target, store: str = "") -> None:
    request = pb.SetRoleTargetsRequest(role=role, store_id=store, targets=targets)
    await reach.notifier.SetRoleTargets(request)


def party(number: int) -> target_pb2.Target:
    return target_pb2.Target(kind=target_pb2.TARGET_KIND_PARTY, id=str(number))


def tag(number: int) -> target_pb2.Target:
    return target_pb2.Target(kind=target_pb2.TARGET_KIND_TAG, id=str(number))


async def examined(reach: Reach) -> tuple[bool, Checks]:
    """Whether all is well, and each check by its name."""
    answer = await reach.ops.Doctor(ops.DoctorRequest())
    checks = {check.name: check for check in answer.checks}
    assert len(checks) == len(answer.checks), "every name is there once"
    for check in checks.values():
        assert check.found
        assert bool(check.fix) == (check.status in (WARNING, FAILED)), check
        for words in re.findall(r"`reach ([^`]*)`", check.fix):
            assert_command(words.split())
        for secret in (SECRET, KEY, *SETTINGS.values()):
            assert secret == STORE or secret not in str(check)
    assert answer.healthy == all(check.status != FAILED for check in checks.values())
    return answer.healthy, checks


def assert_command(words: list[str]) -> None:
    """A command that a fix names is there, with its options."""
    command = typer.main.get_command(app)
    while (inner := getattr(command, "commands", {})) and words:
        command = inner[words.pop(0)]
    known = {option for one in command.params for option in one.opts}
    assert {word for word in words if word.startswith("--")} <= known, (command.name, words)


def named(checks: Checks) -> set[str]:
    """The checks that want something done."""
    return {name for name, check in checks.items() if check.status in (WARNING, FAILED)}


# --- All is well ----------------------------------------------------------------------------------------


async def test_the_doctor_finds_nothing_wrong_with_what_is_well(world: Sandbox, tmp_path: Path) -> None:
    async with restaurant(world, tmp_path / "home") as reach:
        await hold(reach, "kitchen_staff", party(3), tag(9), user("KITCHEN_STAFF"), store="s2")
        healthy, checks = await examined(reach)
        assert healthy
        assert {name: check.status for name, check in checks.items()} == dict.fromkeys(
            (
                "database",
                "schema",
                "secret_key",
                "credentials",
                "breakers",
                "broker",
                "clock",
                "wecom_token:default",
                "wecom_ip:default",
                "wecom_app:default",
                "wecom_visibility:default",
                "wecom_clock",
                "wecom_robot:front",
                "wecom_callback",
                "roles",
                "role_credentials",
                "rules",
                "rule_recipients",
                "recipients",
                "outbox",
                "dead_letters",
                "unknown_sends",
            ),
            OK,
        )
        assert str(AGENT) in checks["wecom_app:default"].found
        assert await world.sends() == []
        assert await world.messages() == []


async def test_what_the_sandbox_makes_up_is_well(reach: Reach) -> None:
    await hold(reach, "kitchen_staff", party(12), tag(5), user("whoever"))
    healthy, checks = await examined(reach)
    assert (healthy, named(checks)) == (True, set())
    assert (checks["wecom_robots"].status, checks["wecom_callback"].status) == (SKIPPED, SKIPPED)


async def test_a_token_that_ended_early_is_fetched_anew_before_anything_is_said(
    world: Sandbox, tmp_path: Path
) -> None:
    async with restaurant(world, tmp_path / "home") as reach:
        assert named((await examined(reach))[1]) == set()
        await world.post("/sandbox/tokens/expire", mode="invalidate")
        assert named((await examined(reach))[1]) == set()


# --- Apps -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Wrong:
    """One way to get it wrong, and what the doctor must say."""

    check: str
    found: str
    fix: tuple[str, ...]
    """What the fix must name: the page, the setting, the command."""
    status: int = FAILED
    app: Mapping[str, Any] = field(default_factory=dict)
    """How the app differs on the platform."""
    profile: Mapping[str, Any] = field(default_factory=dict)
    settings: Mapping[str, str] = field(default_factory=dict)
    fault: Mapping[str, Any] = field(default_factory=dict)
    skipped: tuple[str, ...] = ()
    """What cannot be tried then."""


AFTER_TOKEN = ("wecom_ip:default", "wecom_app:default", "wecom_visibility:default")
AFTER_IP, AFTER_APP = AFTER_TOKEN[1:], AFTER_TOKEN[2:]
GETTOKEN, AGENT_GET = "/cgi-bin/gettoken", "/cgi-bin/agent/get"
APPS: Mapping[str, Wrong] = {
    "the secret is another one": Wrong(
        "wecom_token:default",
        "40001",
        (f"{BY_NUMBER} → Secret", "reach credentials add app default", "WECOM_SECRET"),
        settings={"WECOM_SECRET": "another-secret-0123456789"},
        skipped=AFTER_TOKEN,
    ),
    "the corp id is another one": Wrong(
        "wecom_token:default",
        "40013",
        ("我的企业 → 企业信息 → 企业ID", "WECOM_CORP_ID"),
        settings={"WECOM_CORP_ID": "ww1111111111111111"},
        skipped=AFTER_TOKEN,
    ),
    "the secret is another corp's": Wrong(
        "wecom_token:default",
        "40091",
        ("我的企业 → 企业信息 → 企业ID", "Secret"),
        app={"corp_id": "ww2222222222222222"},
        skipped=AFTER_TOKEN,
    ),
    "the secret is judged insecure": Wrong(
        "wecom_token:default",
        "45031",
        (f"{BY_NUMBER} → Secret: reset it",),
        fault={"path": GETTOKEN, "errcode": 45031},
        skipped=AFTER_TOKEN,
    ),
    "the address was shut out after wrong secrets": Wrong(
        "wecom_token:default",
        "45009",
        ("for an hour", "Secret"),
        fault={"path": GETTOKEN, "errcode": 45009},
        skipped=AFTER_TOKEN,
    ),
    "something else answers where WeCom should": Wrong(
        "wecom_token:default",
        "cannot be understood",
        ("REACH_WECOM_BASE_URL",),
        fault={"path": GETTOKEN, "malformed": "html"},
        skipped=AFTER_TOKEN,
    ),
    "a proxy answers where WeCom should": Wrong(
        "wecom_app:default",
        "502",
        ("REACH_WECOM_BASE_URL",),
        fault={"path": AGENT_GET, "http_status": 502},
        skipped=("wecom_ip:default", *AFTER_APP),
    ),
    "the address is not trusted": Wrong(
        "wecom_ip:default",
        "60020",
        (f"{BY_NUMBER} → 企业可信IP: add 127.0.0.1",),
        app={"ip_allowlist": ["203.0.113.7"]},
        skipped=AFTER_IP,
    ),
    "the address is not trusted, and no token is given to it": Wrong(
        "wecom_ip:default",
        "60020",
        (f"{BY_NUMBER} → 企业可信IP: add 127.0.0.1",),
        app={"ip_allowlist": ["203.0.113.7"]},
        profile={"allowlist_on_gettoken": True},
        skipped=("wecom_token:default", *AFTER_IP),
    ),
    "the agent id is another app's": Wrong(
        "wecom_app:default",
        "301002",
        ("应用管理 → 应用", "AgentId", "WECOM_AGENT_ID"),
        app={"agentid": 1000077},
        skipped=AFTER_APP,
    ),
    "the agent id is none": Wrong(
        "wecom_app:default",
        "40056",
        ("应用管理 → 应用", "AgentId", "WECOM_AGENT_ID"),
        fault={"path": AGENT_GET, "errcode": 40056},
        skipped=AFTER_APP,
    ),
    "the app is off, and gets no token": Wrong(
        "wecom_token:default",
        "40001",
        (BY_NUMBER, "已启用"),
        app={"disabled": True},
        skipped=AFTER_TOKEN,
    ),
    "the app is off, and its calls are refused": Wrong(
        "wecom_app:default",
        "50003",
        (f"{BY_NUMBER} → 启用",),
        app={"disabled": True},
        profile={"disabled_app": "calls"},
        skipped=AFTER_APP,
    ),
    "the app is off, and says so": Wrong(
        "wecom_app:default",
        "已停用",
        (f"{PAGE} → 启用",),
        app={"disabled": True},
        profile={"disabled_app": "sends"},
    ),
    "the app is barred from the API": Wrong(
        "wecom_app:default",
        "60031",
        (f"{BY_NUMBER} → 启用", "barred"),
        fault={"path": AGENT_GET, "errcode": 60031},
        skipped=AFTER_APP,
    ),
    "the secret is that of the address book": Wrong(
        "wecom_app:default",
        "48002",
        (BY_NUMBER, "通讯录同步", "客户联系 → 可调用接口的应用", "微信客服 → 可调用接口的应用"),
        app={"kind": "contacts"},
        skipped=AFTER_APP,
    ),
    "WeCom is busy": Wrong(
        "wecom_app:default",
        "errcode -1",
        ("Wait",),
        status=WARNING,
        fault={"path": AGENT_GET, "errcode": -1},
        skipped=AFTER_APP,
    ),
}


@pytest.mark.parametrize("what", APPS)
async def test_what_is_wrong_with_an_app_is_named_with_the_page_that_puts_it_right(
    world: Sandbox, tmp_path: Path, what: str
) -> None:
    wrong = APPS[what]
    async with restaurant(world, tmp_path / "home", **wrong.settings) as reach:
        await world.declare(apps=[{**APP, **wrong.app}])
        if wrong.profile:
            await world.profile(**wrong.profile)
        if wrong.fault:
            await world.fault(**wrong.fault)
        healthy, checks = await examined(reach)
        assert named(checks) == {wrong.check}, checks
        assert healthy == (wrong.status != FAILED)
        says(checks, wrong.check, wrong.found, *wrong.fix, status=wrong.status)
        for name in wrong.skipped:
            assert checks[name].status == SKIPPED, checks[name]


def says(checks: Checks, name: str, found: str, *fix: str, status: int = FAILED) -> None:
    check = checks[name]
    assert check.status == status, check
    assert found in check.found, check
    for part in fix:
        assert part in check.fix, check


async def test_a_refused_secret_is_said_again_without_asking_with_it(world: Sandbox, tmp_path: Path) -> None:
    async with restaurant(world, tmp_path / "home", WECOM_SECRET="another-secret-0123456789") as reach:
        for _ in range(3):
            says((await examined(reach))[1], "wecom_token:default", "errcode 40001", f"{BY_NUMBER} → Secret")
        assert len(await world.requests(GETTOKEN)) == 1


async def test_each_app_is_examined_on_its_own(world: Sandbox, tmp_path: Path) -> None:
    async with restaurant(world, tmp_path / "home") as reach:
        kind = ops.CREDENTIAL_KIND_APP
        request = ops.SetCredentialRequest(kind=kind, name="night", corp_id=CORP, agent_id=7, secret="s" * 20)
        await reach.ops.SetCredential(request)
        _, checks = await examined(reach)
        assert named(checks) == {"wecom_token:night"}
        says(
            checks,
            "wecom_token:night",
            "40001",
            "应用管理 → 应用 → AgentId 7",
            "reach credentials add app night",
        )


async def test_the_doctor_says_when_the_platform_cannot_be_reached(tmp_path: Path) -> None:
    async with embedded("http://127.0.0.1:9", tmp_path / "home", default_store=STORE) as reach:
        await add_robot(reach)
        healthy, checks = await examined(reach)
        assert not healthy
        for name in ("wecom_token:default", "wecom_robot:front"):
            says(checks, name, "refused", "REACH_WECOM_BASE_URL")


async def test_the_doctor_says_when_no_app_is_registered(world: Sandbox, tmp_path: Path) -> None:
    none = {"WECOM_SECRET": "", "WECOM_AGENT_ID": "", "WECOM_CORP_ID": ""}
    async with embedded(world.url, tmp_path / "home", default_store=STORE, **none) as reach:
        _, checks = await examined(reach)
        says(checks, "wecom_app", "no app", "WECOM_SECRET", "应用管理 → 应用", "reach credentials add app")


# --- Whom it reaches ------------------------------------------------------------------------------------


VISIBILITY: Mapping[str, tuple[target_pb2.Target, int, str, tuple[str, ...]]] = {
    "outside": (
        user("auditor"),
        FAILED,
        "user:auditor (kitchen_staff at s2)",
        (f"{PAGE} → 可见范围", "账号"),
    ),
    "misspelt": (user("chef9"), FAILED, "user:chef9 (kitchen_staff at s2)", ("通讯录", "账号")),
    "department outside": (
        party(7),
        FAILED,
        "outside the app's visible range: party:7 (kitchen_staff at s2)",
        (f"{PAGE} → 可见范围",),
    ),
    "no such department": (
        party(99),
        FAILED,
        "not known to WeCom, or outside the app's visible range: party:99 (kitchen_staff at s2)",
        ("部门ID",),
    ),
    "no such tag": (tag(99), FAILED, "not known to WeCom: tag:99 (kitchen_staff at s2)", ("通讯录 → 标签",)),
    "tag of nobody": (
        tag(10),
        WARNING,
        "given to nobody whom the app sees: tag:10 (kitchen_staff at s2)",
        ("通讯录 → 标签",),
    ),
}


@pytest.mark.parametrize("who", VISIBILITY)
async def test_a_holder_whom_the_app_does_not_reach_is_named(
    world: Sandbox, tmp_path: Path, who: str
) -> None:
    target, status, found, fix = VISIBILITY[who]
    async with restaurant(world, tmp_path / "home") as reach:
        await hold(reach, "kitchen_staff", user("kitchen_staff"), target, store="s2")
        _, checks = await examined(reach)
        assert named(checks) == {"wecom_visibility:default"}
        says(checks, "wecom_visibility:default", found, *fix, status=status)
        if status == FAILED:
            assert "reach roles set kitchen_staff --store s2" in checks["wecom_visibility:default"].fix


@pytest.mark.parametrize(
    ("errcode", "words"),
    [
        (60011, "outside the app's visible range: user:auditor (manager)"),
        (60021, "outside the app's visible range: user:auditor (manager)"),
        (46004, "not known to WeCom: user:auditor (manager)"),
    ],
)
async def test_outside_and_gone_are_told_apart_where_the_platform_does(
    world: Sandbox, tmp_path: Path, errcode: int, words: str
) -> None:
    async with restaurant(world, tmp_path / "home") as reach:
        await world.fault(path="/cgi-bin/user/get", errcode=errcode)
        for role in ROLES:
            await hold(reach, role, user("auditor" if role == "manager" else "manager"))
        _, checks = await examined(reach)
        says(checks, "wecom_visibility:default", words)
        assert ", or outside" not in checks["wecom_visibility:default"].found


async def test_a_holder_who_cannot_be_asked_about_is_no_failure(world: Sandbox, tmp_path: Path) -> None:
    async with restaurant(world, tmp_path / "home") as reach:
        await world.fault(path="/cgi-bin/user/get", errcode=-1)
        healthy, checks = await examined(reach)
        assert healthy
        says(checks, "wecom_visibility:default", "could not be asked", "again", status=WARNING)


async def test_of_many_holders_a_bounded_number_is_asked_about(world: Sandbox, tmp_path: Path) -> None:
    async with restaurant(world, tmp_path / "home") as reach:
        many = [{"userid": f"waiter{number}", "departments": [2]} for number in range(70)]
        await world.declare(users=many)
        await hold(reach, "service_staff", *(user(one["userid"]) for one in many))
        _, checks = await examined(reach)
        assert named(checks) == set()
        assert "more were not asked about" in checks["wecom_visibility:default"].found
        assert len(await world.requests("/cgi-bin/user/get")) == 60


async def test_who_has_no_licence_is_named_after_a_message_missed_them(
    world: Sandbox, tmp_path: Path
) -> None:
    async with restaurant(world, tmp_path / "home") as reach:
        await hold(reach, "cashier", user("unpaid"))
        assert named((await examined(reach))[1]) == set()
        answer = await reach.push("payment.completed")
        assert answer.deliveries[0].status == delivery_pb2.DELIVERY_STATUS_FAILED
        healthy, checks = await examined(reach)
        assert (healthy, named(checks)) == (True, {"recipients"})
        says(checks, "recipients", "unpaid", "接口调用许可", status=WARNING)
        await world.declare(users=[{"userid": "unpaid", "departments": [2]}])
        await reach.push("payment.completed", idempotency_key="again")
        assert named((await examined(reach))[1]) == set()


# --- Robots ---------------------------------------------------------------------------------------------


ROBOTS: Mapping[str, tuple[Mapping[str, Any], str, str, tuple[str, ...]]] = {
    "removed": ({"removed": True}, KEY, "93000", ("消息推送", "reach credentials add robot front")),
    "switched off": ({"disabled": True}, KEY, "93004", ("消息推送", "switch front on")),
    "another key": ({}, KEY.replace("6", "7"), "93000", ("消息推送", "reach credentials add robot front")),
    "no key": (
        {},
        f"https://qyapi.weixin.qq.com/?key={KEY}",
        "no robot key",
        ("reach credentials add robot front",),
    ),
}


@pytest.mark.parametrize("what", ROBOTS)
async def test_what_is_wrong_with_a_robot_is_named_and_nothing_is_posted(
    world: Sandbox, tmp_path: Path, what: str
) -> None:
    declared, key, found, fix = ROBOTS[what]
    async with restaurant(world, tmp_path / "home") as reach:
        await world.declare(robots=[{"key": KEY, "group": "前厅群", **declared}])
        await add_robot(reach, key=key)
        healthy, checks = await examined(reach)
        assert (healthy, named(checks)) == (False, {"wecom_robot:front"})
        says(checks, "wecom_robot:front", found, *fix)
        assert key not in str(checks)
        assert await world.sends() == []


async def test_a_robot_that_is_busy_is_no_failure(world: Sandbox, tmp_path: Path) -> None:
    async with restaurant(world, tmp_path / "home") as reach:
        await world.fault(path="/cgi-bin/webhook/upload_media", errcode=45009)
        healthy, checks = await examined(reach)
        assert (healthy, named(checks)) == (True, {"wecom_robot:front"})


# --- Rules and roles ------------------------------------------------------------------------------------


async def test_a_role_held_through_what_is_not_registered_is_named(world: Sandbox, tmp_path: Path) -> None:
    async with restaurant(world, tmp_path / "home") as reach:
        night = user("cashier")
        night.account = "night"
        await hold(reach, "cashier", night)
        await hold(reach, "tech_support", robot("bar"), store="s2")
        healthy, checks = await examined(reach)
        assert (healthy, named(checks)) == (False, {"role_credentials"})
        says(checks, "role_credentials", "app:night (cashier)", "reach credentials add app night")
        says(checks, "role_credentials", "robot:bar (tech_support at s2)", "reach credentials add robot bar")


async def test_the_doctor_names_roles_that_nobody_holds_and_rules_that_nobody_hears(
    world: Sandbox, tmp_path: Path
) -> None:
    async with restaurant(world, tmp_path / "home") as reach:
        await hold(reach, "kitchen_staff")
        healthy, checks = await examined(reach)
        assert (healthy, named(checks)) == (True, {"roles", "rule_recipients"})
        says(checks, "roles", "后厨 (kitchen_staff)", "reach roles set", status=WARNING)
        says(
            checks,
            "rule_recipients",
            "order.created (新订单提醒)",
            "reach roles set kitchen_staff",
            status=WARNING,
        )
        await hold(
            reach, "kitchen_staff", user("kitchen_staff"), store="s2"
        )  # in one store somebody does hear it
        assert named((await examined(reach))[1]) == set()


async def test_a_rule_that_is_off_needs_nobody(world: Sandbox, tmp_path: Path) -> None:
    async with restaurant(world, tmp_path / "home") as reach:
        await hold(reach, "kitchen_staff")
        await reach.notifier.ToggleRule(pb.ToggleRuleRequest(rule_id="order.created", enabled=False))
        assert named((await examined(reach))[1]) == {"roles"}


async def test_a_rule_that_cannot_speak_is_named(world: Sandbox, tmp_path: Path) -> None:
    home = tmp_path / "home"
    async with restaurant(world, home) as reach:
        rewrite(
            home,
            "UPDATE rule_version SET spec = json_set(spec, '$.template', '{was_there_once}') "
            "WHERE rule_id = 'order.created'",
            "UPDATE rulebook SET version = version + 1",
        )
        healthy, checks = await examined(reach)
        assert (healthy, named(checks)) == (False, {"rules"})
        says(checks, "rules", "was_there_once", "reach rules show order.created", "reach rules put")


def rewrite(home: Path, *statements: str) -> None:
    """Change rows behind the process's back."""
    with closing(sqlite3.connect(home / "notifier.db")) as database, database:
        for statement in statements:
            assert database.execute(statement).rowcount > 0, statement


# --- The process ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("moved", "words"), [(3600, "behind"), (-3600, "ahead of")])
async def test_a_clock_that_is_not_wecoms_is_named(
    world: Sandbox, tmp_path: Path, moved: int, words: str
) -> None:
    async with restaurant(world, tmp_path / "home") as reach:
        await world.advance(moved)
        healthy, checks = await examined(reach)
        assert (healthy, named(checks)) == (True, {"wecom_clock"})
        says(checks, "wecom_clock", words, "NTP", status=WARNING)


async def test_a_schema_that_is_behind_is_named(world: Sandbox, tmp_path: Path) -> None:
    home = tmp_path / "home"
    async with restaurant(world, home) as reach:
        rewrite(home, "DELETE FROM revision_notifier")
        healthy, checks = await examined(reach)
        assert (healthy, named(checks)) == (False, {"schema"})
        says(checks, "schema", "notifier", "reach migrate")


def _replaced(file: Path) -> None:
    file.write_bytes(b"k" * 32)


def _torn(file: Path) -> None:
    file.write_bytes(b"half")


def _loosened(file: Path) -> None:
    file.chmod(0o644)


KEY_FILES: Mapping[str, tuple[Callable[[Path], None], int, str, str]] = {
    "replaced": (_replaced, FAILED, "holds key", "REACH_SECRET_KEY_FILE"),
    "torn": (_torn, FAILED, "32 bytes", "bring the file back"),
    "gone": (Path.unlink, FAILED, "cannot be read", "bring the file back"),
    "readable by others": (_loosened, WARNING, "can be read by others", "chmod 600"),
}


@pytest.mark.parametrize("what", KEY_FILES)
async def test_a_secret_key_that_will_not_serve_the_next_start_is_named(
    world: Sandbox, tmp_path: Path, what: str
) -> None:
    change, status, found, fix = KEY_FILES[what]
    async with restaurant(world, tmp_path / "home") as reach:
        change(tmp_path / "home" / "secret.key")
        _, checks = await examined(reach)
        assert named(checks) == {"secret_key"}
        says(checks, "secret_key", found, fix, status=status)


async def test_a_stored_secret_that_does_not_open_is_named_once(world: Sandbox, tmp_path: Path) -> None:
    home = tmp_path / "home"
    async with restaurant(world, home) as reach:
        rewrite(home, "UPDATE credential SET secret_enc = 'v1.0123456789ab.AAAA' WHERE kind = 'robot'")
        _, checks = await examined(reach)
        assert named(checks) == {"credentials"}
        says(checks, "credentials", "another key", "reach credentials add", "REACH_SECRET_KEY_FILE")


async def test_what_piles_up_is_named(world: Sandbox, tmp_path: Path) -> None:
    async with restaurant(world, tmp_path / "home") as reach:
        event = event_service_pb2.PublishEventRequest(
            type="weather.changed", id="lost", store_id=STORE, json=struct({"sky": "grey"})
        )
        await reach.events.PublishEvent(event)
        await eventually(lambda: parked(reach))
        await world.fault(path="/cgi-bin/webhook/send", drop="after-accept", count=1)
        lost = pb.SendMessageRequest(store_id=STORE, targets=[robot("front")], text="x", wait=seconds(5))
        await reach.notifier.SendMessage(lost)
        healthy, checks = await examined(reach)
        assert healthy
        assert named(checks) == {"dead_letters", "unknown_sends"}
        says(checks, "dead_letters", "1: parked", "reach dead list", "reach dead replay", status=WARNING)
        says(checks, "unknown_sends", "1: nobody knows", "ResolveUnknown", status=WARNING)


async def parked(reach: Reach) -> list[Any]:
    return list((await reach.ops.ListDeadLetters(ops.ListDeadLettersRequest())).dead_letters)


@pytest.mark.fault
async def test_a_broker_and_a_database_that_go_away_are_named(
    world: Sandbox, tmp_path: Path, rabbit_node: Broker, postgres_url: str, postgres_database: str
) -> None:
    settings = {"amqp_url": rabbit_node.url, "database_url": postgres_database}

    async def found_wrong(reach: Reach, name: str) -> bool:
        return (await examined(reach))[1][name].status == FAILED

    async with restaurant(world, tmp_path / "home", **settings) as reach:
        await reach.push()
        assert named((await examined(reach))[1]) == set()
        await asyncio.to_thread(rabbit_node.stop)
        await eventually(lambda: found_wrong(reach, "broker"))
        _, checks = await examined(reach)
        assert named(checks) - {"outbox"} == {"broker"}
        assert "RabbitMQ" in checks["broker"].fix
        name = postgres_database.rpartition("/")[2]
        with psycopg.connect(postgres_url, autocommit=True) as admin:
            admin.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS false'.encode())
            admin.execute(
                f"SELECT pg_terminate_backend(pid, 30000) FROM pg_stat_activity WHERE datname = '{name}'".encode()
            )
            command = Command(
                tmp_path,
                REACH_NOTIFIER_TARGET=reach.grpc,
                REACH_KF_SESSION_TARGET=reach.grpc,
                REACH_AI_ORCHESTRATOR_TARGET=reach.grpc,
            )
            try:
                # Whether the checks answer depends on how long ago it was looked up who asks; the command tells alike.
                for _ in range(2):
                    done = await asyncio.to_thread(command.process, "doctor")
                    assert done.code == 1, done.err
                    assert re.search(r"✗ +notifier +database +PostgreSQL", done.out), done.out
                    assert "→ start the database, or correct REACH_DATABASE_URL" in done.out
            finally:
                admin.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS true'.encode())


async def test_a_check_that_cannot_be_tried_does_not_hide_the_others() -> None:
    """With the database away, roles and backlog cannot be read; the doctor still answers, and names it."""

    async def away() -> list[Finding]:
        raise Unavailable("DEPENDENCY_DOWN", "the database does not answer")

    async def failed() -> list[Finding]:
        return [Finding("database", CheckStatus.FAILED, "does not answer", "start it")]

    nothing: Any = None
    part = Part("notifier", nothing, (failed, away), nothing, nothing, nothing, nothing, nothing)
    answer = await OpsServicer([part], nothing, SystemClock()).Doctor(ops.DoctorRequest(), None)
    assert not answer.healthy
    assert [(one.name, one.status) for one in answer.checks] == [("database", FAILED), ("away", FAILED)]
    assert all(one.found and one.fix for one in answer.checks)


# --- The command ----------------------------------------------------------------------------------------


async def test_the_command_exits_1_for_what_fails_and_0_once_it_is_right(
    world: Sandbox, tmp_path: Path
) -> None:
    async with restaurant(world, tmp_path / "home") as reach:
        command = Command(
            tmp_path,
            REACH_NOTIFIER_TARGET=reach.grpc,
            REACH_KF_SESSION_TARGET=reach.grpc,
            REACH_AI_ORCHESTRATOR_TARGET=reach.grpc,
            REACH_CAMPAIGN_TARGET=reach.grpc,
        )
        await world.declare(apps=[{**APP, "ip_allowlist": ["203.0.113.7"]}])
        done = await asyncio.to_thread(command.process, "doctor")
        assert done.code == 1, done.err
        assert "✗" in done.out
        assert f"→ {BY_NUMBER} → 企业可信IP: add 127.0.0.1" in done.out
        assert "22 checks: 1 failed, 0 to look at" in done.out
        await world.declare(apps=[APP])
        done = await asyncio.to_thread(command.process, "doctor")
        assert done.code == 0, done.out
        assert "→ " not in done.out
        assert "22 checks: 0 failed, 0 to look at" in done.out


def test_half_a_callback_is_refused_before_anything_is_asked(tmp_path: Path) -> None:
    done = Command(tmp_path)("doctor", WECOM_APP_CALLBACK_TOKEN="callback-token-123")
    assert done.code == 2
    assert "WECOM_APP_CALLBACK_TOKEN and WECOM_APP_CALLBACK_AES_KEY go together" in done.err
    short = Command(tmp_path)(
        "doctor", WECOM_APP_CALLBACK_TOKEN="callback-token-123", WECOM_APP_CALLBACK_AES_KEY="a" * 42
    )
    assert short.code == 2
    assert "43 letters and digits" in short.err
