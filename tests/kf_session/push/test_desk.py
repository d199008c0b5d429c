"""Pushes of unknown outcome, and what an operator makes of them."""

from __future__ import annotations

from datetime import timedelta

import pytest

from services.kf_session.pipeline.deciding import Job
from services.kf_session.unknowns import PushDesk
from shared.audit import AuditLog
from shared.clock import ManualClock
from shared.db.once import Once
from shared.errors import Conflict
from shared.ops.part import Verdict
from shared.rpc.principal import LOCAL_OPERATOR, acting_as
from shared.secrets import SecretKey
from shared.wecom.kf_sending import Sent
from tests.kf_session.push.push_support import LOST, STORE, Platform, Replica


async def test_an_unknown_push_is_listed_and_sent_again_with_the_same_msgid(
    replica: Replica, platform: Platform, clock: ManualClock
) -> None:
    async def script(job: Job) -> Sent | None:
        platform._answer(job)
        return LOST

    platform.script = script
    await replica.writes("ann")
    push_id = await replica.admit("ann", "m")
    for _ in range(4):
        await replica.turn()
        clock.advance(timedelta(seconds=10))
    desk = PushDesk(replica.database, AuditLog(replica.database.dialect, SecretKey(bytes(32))), clock)
    (found,) = await desk.list_unknown({STORE}, "", 10)
    assert (found.id, found.kind) == (push_id, "push")
    assert not await desk.list_unknown({"other"}, "", 10)
    platform.script = None
    once = Once(STORE, "reach.ops.v1.OpsService/ResolveUnknown", "k", "h")

    async def resolve(verdict: Verdict, stores: set[str] | None, once: Once) -> str | None:
        with acting_as(LOCAL_OPERATOR):
            return await desk.resolve(push_id, verdict, stores=stores, by="op", comment="", once=once)

    assert await resolve(Verdict.RESEND, {"other"}, once) is None
    assert await resolve(Verdict.RESEND, None, once) == "pending"
    assert await resolve(Verdict.RESEND, None, once) == "pending"
    await replica.turn()
    assert await replica.stands("m") == ("accepted", "")
    assert (len(platform.accepted), await replica.credits("ann")) == (1, 1)
    with pytest.raises(Conflict):
        await resolve(Verdict.SENT, None, Once(STORE, once.method, "k2", "h"))
