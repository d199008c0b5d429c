"""Sessions are where the platform has them, and are handed on once."""

from __future__ import annotations

import grpc
import pytest
from reach.kf_session.v1 import session_pb2 as pb
from reach.ops.v1 import audit_pb2

from services.kf_session.store.tables import event_code, message, session
from shared.db.tables import idempotency
from tests.e2e.harness import STORE, eventually, refused
from tests.kf_session.shop import WK, WM, Shop

POOL, HUMAN, ENDED = pb.SESSION_STATE_POOL, pb.SESSION_STATE_HUMAN, pb.SESSION_STATE_ENDED
UNTREATED = pb.SESSION_STATE_UNTREATED


def transfer(state: int, **more: str) -> pb.TransferSessionRequest:
    """TransferSession of the customer."""
    return pb.TransferSessionRequest(open_kfid=WK, external_userid=WM, state=state, **more)  # type: ignore[arg-type]


async def test_a_session_goes_through_all_hands(kf: Shop) -> None:
    await kf.writes()
    found = await kf.until_state(UNTREATED)
    assert found.store_id == STORE
    to_pool = await kf.stub.TransferSession(transfer(POOL))
    assert to_pool.session.state == POOL
    await kf.servicer("accept")
    assert (await kf.until_state(HUMAN)).servicer_userid == "ann"
    await kf.servicer("transfer", "ben")

    async def with_ben() -> bool:
        return (await kf.session()).servicer_userid == "ben"

    await eventually(with_ben)
    await kf.servicer("end", "ben")
    ended = await kf.until_state(ENDED)
    assert (ended.servicer_userid, ended.window_open) == ("", True)
    await kf.servicer("write", "ann", text="还在吗")
    assert (await kf.until_state(HUMAN)).servicer_userid == "ann"
    (kept,) = await kf.rows(session)
    assert kept.window_no == 1  # who writes to the customer opens nothing
    told = await kf.announced()
    assert {"kf.session.opened", "kf.session.transferred", "kf.session.accepted", "kf.session.ended"} <= set(
        told
    )
    occasions = {row.occasion for row in await kf.rows(event_code)}
    assert occasions == {"pooled", "accepted", "ended"}


async def test_a_message_after_the_end_begins_anew(kf: Shop) -> None:
    await kf.writes()
    await kf.until_state(UNTREATED)
    await kf.stub.TransferSession(transfer(HUMAN, servicer_userid="ann"))
    await kf.stub.TransferSession(transfer(ENDED))
    assert (await kf.session()).state == ENDED
    await kf.world.advance(2)
    await kf.writes("再问一下")
    assert (await kf.until_state(UNTREATED)).credits_left == 5


async def test_a_transfer_is_done_once_audited_and_refused_for_a_reason(kf: Shop) -> None:
    await kf.writes()
    await kf.until_state(UNTREATED)
    request = transfer(HUMAN, servicer_userid="ann", comment="退款", idempotency_key="t1")
    for _ in range(3):
        assert (await kf.stub.TransferSession(request)).session.servicer_userid == "ann"
    assert len(await kf.calls("service_state/trans")) == 1
    (known,) = await kf.rows(idempotency)
    assert known.store_id == STORE  # another store's keys are its own
    assert (await kf.stub.TransferSession(transfer(HUMAN, servicer_userid="ann"))).session.state == HUMAN
    entries = (
        await kf.reach.ops.ListAuditLog(audit_pb2.ListAuditLogRequest(method="TransferSession"))
    ).entries
    assert len(entries) == 2
    code, why = await refused(kf.stub.TransferSession(transfer(HUMAN, servicer_userid="nobody")))
    assert (code, why.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "KF_SERVICER_UNAVAILABLE")
    code, why = await refused(kf.stub.TransferSession(transfer(POOL)))
    assert (code, why.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "KF_TRANSITION_REFUSED")
    code, why = await refused(kf.stub.TransferSession(transfer(HUMAN)))
    assert code == grpc.StatusCode.INVALID_ARGUMENT


async def test_a_transfer_whose_answer_was_lost_is_looked_up(kf: Shop) -> None:
    await kf.writes()
    await kf.until_state(UNTREATED)
    await kf.world.fault(path="/cgi-bin/kf/service_state/trans", drop="after-accept", count=1)
    found = await kf.stub.TransferSession(transfer(HUMAN, servicer_userid="ben"))
    assert (found.session.state, found.session.servicer_userid) == (HUMAN, "ben")


async def test_the_window_closes_and_sessions_are_found_by_what_is_asked(kf: Shop) -> None:
    await kf.writes()
    for other in ("wm2", "wm3"):
        await kf.writes(external_userid=other)
    await kf.until(message, 3)
    first = await kf.stub.ListSessions(pb.ListSessionsRequest(store_id=STORE, page_size=2))
    rest = await kf.stub.ListSessions(
        pb.ListSessionsRequest(store_id=STORE, page_size=2, page_token=first.next_page_token)
    )
    found = [one.external_userid for one in (*first.sessions, *rest.sessions)]
    assert (sorted(found), rest.next_page_token) == (["wm1", "wm2", "wm3"], "")
    only = await kf.stub.ListSessions(pb.ListSessionsRequest(external_userid="wm2", states=[UNTREATED]))
    assert [one.external_userid for one in only.sessions] == ["wm2"]
    await kf.world.advance(48 * 3600 - 20)

    async def closed() -> bool:
        return not (await kf.stub.ListSessions(pb.ListSessionsRequest(open_only=True))).sessions

    await eventually(closed)
    late = await kf.session()
    assert (late.window_open, late.credits_left) == (False, 0)


async def test_what_a_servicer_did_unseen_is_found_when_it_is_asked_for(kf: Shop) -> None:
    await kf.writes()
    await kf.until_state(UNTREATED)
    # By the API of another app: the platform tells nobody of that.
    async with kf.database.write() as conn:
        from sqlalchemy import update

        await conn.execute(update(session).values(state=3, servicer_userid="ghost"))
    await kf.world.advance(11 * 60)

    async def corrected() -> bool:
        return (await kf.session()).state == UNTREATED

    await eventually(corrected)


async def test_a_recalled_message_says_so_and_a_refusal_blocks(kf: Shop) -> None:
    msgid = await kf.writes("发错了")
    await kf.until(message, 1)
    await kf.world.post(f"/sandbox/kf/customers/{WM}", recall=msgid)

    async def recalled() -> bool:
        return any(row.recalled_at is not None for row in await kf.rows(message) if row.msgid == msgid)

    await eventually(recalled)


async def test_a_link_is_made_with_its_scene(kf: Shop) -> None:
    await kf.writes()
    await kf.until(message, 1)
    made = await kf.stub.CreateContactWay(
        pb.CreateContactWayRequest(open_kfid=WK, scene="door", scene_param="桌 7", idempotency_key="w1")
    )
    assert made.url.endswith("&scene_param=%E6%A1%8C%207")
    code, _ = await refused(kf.stub.CreateContactWay(pb.CreateContactWayRequest(open_kfid="wk-other")))
    assert code == grpc.StatusCode.NOT_FOUND


@pytest.mark.parametrize("customer", ["wm-unknown", "x"])
async def test_nobody_is_nobody(kf: Shop, customer: str) -> None:
    request = pb.GetSessionRequest(open_kfid=WK, external_userid=customer)
    code, why = await refused(kf.stub.GetSession(request))
    assert (code, why.reason) == (grpc.StatusCode.NOT_FOUND, "NOT_FOUND")
