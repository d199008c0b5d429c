"""What the doctor says of WeChat KF: each misconfiguration has a finding and a fix of its own."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from reach.ops.v1 import ops_service_pb2 as ops

from services.kf_session.domain.diagnosis import (
    access_findings,
    accounts_finding,
    callback_finding,
    reading_finding,
)
from shared.ops.finding import CheckStatus
from shared.wecom.errcodes import classify
from shared.wecom.outcome import Outcome, State
from tests.e2e.harness import Sandbox
from tests.kf_session.shop import WK, Shop, shop

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
OK, FAILED, SKIPPED = ops.CHECK_STATUS_OK, ops.CHECK_STATUS_FAILED, ops.CHECK_STATUS_SKIPPED
LIST = "/cgi-bin/kf/account/list"


async def examine(kf: Shop) -> Mapping[str, ops.Check]:
    """kf_session's findings, by name."""
    answer = await kf.reach.ops.Doctor(ops.DoctorRequest())
    return {one.name: one for one in answer.checks}


async def fault(world: Sandbox, **how: Any) -> None:
    """The next call fails."""
    await world.post("/sandbox/faults", count=1, **how)


async def test_each_thing_that_may_be_wrong_at_the_platform_is_named_with_its_fix(
    world: Sandbox, tmp_path: Path
) -> None:
    async with shop(world, tmp_path / "home") as kf:
        well = await examine(kf)
        names = (
            "kf_secret",
            "kf_ip",
            "kf_permission",
            "kf_accounts",
            "kf_clock",
            "kf_callback",
            "kf_reading",
        )
        assert {name: well[name].status for name in names} == dict.fromkeys(names, OK)

        hint = "not allow to access from your ip, hint: [1], from ip: 203.0.113.9, more info at https://x"
        await fault(world, path=LIST, errcode=60020, errmsg=hint)
        found = await examine(kf)
        assert (found["kf_secret"].status, found["kf_ip"].status) == (OK, FAILED)
        assert "203.0.113.9" in found["kf_ip"].fix
        assert "企业可信IP" in found["kf_ip"].fix
        assert found["kf_permission"].status == found["kf_accounts"].status == SKIPPED

        await fault(world, path=LIST, errcode=48002)
        found = await examine(kf)
        assert (found["kf_ip"].status, found["kf_permission"].status) == (OK, FAILED)
        assert "可调用接口的应用" in found["kf_permission"].fix

        await world.post("/sandbox/kf/accounts", open_kfid=WK, authorised=False)
        found = await examine(kf)
        assert found["kf_permission"].status == OK
        assert found["kf_accounts"].status == FAILED
        assert WK in found["kf_accounts"].found


async def test_a_wrong_secret_and_a_host_without_callbacks_are_named(world: Sandbox, tmp_path: Path) -> None:
    await world.post("/sandbox/faults", path="/cgi-bin/gettoken", errcode=40001, count=50)
    silent = {"WECOM_KF_CALLBACK_TOKEN": "", "WECOM_KF_CALLBACK_AES_KEY": ""}
    async with shop(world, tmp_path / "home", **silent) as kf:
        found = await examine(kf)
    assert found["kf_secret"].status == FAILED
    assert "40001" in found["kf_secret"].found
    assert "WECOM_KF_SECRET" in found["kf_secret"].fix
    assert found["kf_ip"].status == SKIPPED
    assert found["kf_callback"].status == ops.CHECK_STATUS_WARNING
    assert "slow poll" in found["kf_callback"].found


def refused(errcode: int | None, cause: str = "") -> Outcome:
    if errcode is None:
        return Outcome(State.NOT_SENT, cause or "refused", "nobody listens")
    entry = classify(errcode)
    return Outcome(
        State.REJECTED_PERMANENT, cause, errcode=errcode, errmsg="no", retry_class=entry.retry_class
    )


@pytest.mark.parametrize(
    ("outcome", "name", "fix"),
    [
        (refused(40001), "kf_secret", "copy again"),
        (refused(40013), "kf_secret", "企业ID"),
        (refused(40091), "kf_secret", "another corp"),
        (refused(60020, "token_rejected"), "kf_ip", "企业可信IP"),
        (refused(48001), "kf_permission", "可调用接口的应用"),
        (refused(95011), "kf_permission", "the other way to use WeChat KF"),
        (refused(95017), "kf_permission", "switch the interface on"),
        (refused(95023), "kf_permission", "handed to another app"),
        (refused(None), "kf_permission", "REACH_WECOM_BASE_URL"),
        (refused(None, "token_refused"), "kf_secret", "REACH_WECOM_BASE_URL"),
    ],
)
def test_a_refusal_is_told_where_it_stopped_the_call(outcome: Outcome, name: str, fix: str) -> None:
    found = access_findings(outcome)
    (failed,) = [one for one in found if one.status is CheckStatus.FAILED]
    assert failed.name == name
    assert fix in failed.fix


def test_a_callback_that_is_set_up_and_never_rings_is_told_once_customers_wrote() -> None:
    def say(heard_at: datetime | None, wrote_at: datetime | None) -> CheckStatus:
        kept = timedelta(days=3)
        return callback_finding(configured=True, heard_at=heard_at, wrote_at=wrote_at, kept=kept).status

    assert say(None, None) is CheckStatus.OK
    assert say(None, NOON) is CheckStatus.WARNING
    assert say(NOON, NOON) is CheckStatus.OK


def test_accounts_that_are_not_read_are_named_with_what_they_lack() -> None:
    assert accounts_finding([], [], []).status is CheckStatus.WARNING
    partly = accounts_finding(["a"], ["b"], [])
    assert (partly.status, "b" in partly.found, "管理权限" in partly.fix) == (CheckStatus.WARNING, True, True)
    assert "REACH_KF_STORES" in accounts_finding(["a", "b"], [], ["b"]).fix


def test_reading_that_is_behind_or_refused_says_since_when_and_what_to_see() -> None:
    behind = reading_finding({"a": NOON - timedelta(hours=30), "b": NOON}, {}, NOON)
    assert (behind.status, "30 h" in behind.found, "a" in behind.found) == (CheckStatus.FAILED, True, True)
    refused_one = reading_finding({"a": NOON}, {"a": "perm_config"}, NOON)
    assert (refused_one.status, "kf_ip" in refused_one.fix) == (CheckStatus.WARNING, True)
    assert reading_finding({"a": NOON}, {}, NOON).status is CheckStatus.OK
