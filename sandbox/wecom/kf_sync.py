"""kf/sync_msg: what customers and servicers wrote and what happened, page by page."""

from collections.abc import Mapping

from sandbox.answers import Refused
from sandbox.call import KF_SECRET, Answer, Call, Endpoint
from sandbox.wecom.fields import optional_text, within
from sandbox.wecom.kf_fields import account_of, number_of


def _sync(call: Call) -> Answer:
    body, world = call.json(), call.world
    account = account_of(call, body.get("open_kfid"))
    cursor = within(optional_text(body, "cursor", "cursor"), 64, "cursor")
    token = within(optional_text(body, "token", "token"), 128, "token")
    limit = number_of(body, "limit", 1000, 0, 1000) or 1000
    number_of(body, "voice_format", 0, 0, 1)
    after = world.kf.history.position(account.open_kfid, cursor)
    if after is None:
        raise Refused(50100)
    if token:
        if not world.kf.history.accepts(token, account.open_kfid, call.now):
            raise Refused(95007)
    else:
        _count_tokenless(call, account.open_kfid)
    page = world.kf.history.page(account.open_kfid, after, limit, call.now)
    return {
        "errcode": 0,
        "errmsg": "ok",
        "next_cursor": page.next_cursor,
        "has_more": int(page.more),
        "msg_list": page.items,
    }


def _count_tokenless(call: Call, open_kfid: str) -> None:
    windows, profile = call.world.minute, call.world.profile
    key = f"sync_msg/{call.corp_id}/{open_kfid}"
    if not windows.room(key, profile.kf_tokenless_per_minute, call.now, profile.rate_window):
        raise Refused(45009)
    windows.take(key, call.now)


ENDPOINTS: Mapping[str, Endpoint] = {
    "/cgi-bin/kf/sync_msg": Endpoint("POST", _sync, kinds=KF_SECRET),
}
