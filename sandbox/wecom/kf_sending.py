"""kf/send_msg and kf/send_msg_on_event."""

from collections.abc import Mapping

from sandbox.answers import Refused
from sandbox.call import KF_SECRET, Answer, Call, Endpoint
from sandbox.kf.lines import By
from sandbox.kf.sessions import ASSISTANT, UNTREATED, Session
from sandbox.wecom.content import Content
from sandbox.wecom.fields import Fields, text_of
from sandbox.wecom.kf_content import KF_TYPES
from sandbox.wecom.kf_fields import account_of, mark_of, session_of


def _send(call: Call) -> Answer:
    body = call.json()
    account = account_of(call, body.get("open_kfid"))
    session = session_of(call, account, text_of(body, "touser", "touser"))
    msgid = mark_of(body, "msgid")
    msgtype, content = _content(call, body, tuple(KF_TYPES))
    if msgid and call.world.kf.is_used(account.open_kfid, msgid):
        return _repeated(call, msgid)
    _check_session(call, session)
    _check_allowance(call, session)
    return _accepted(call, session, msgid, msgtype, content)


def _send_on_event(call: Call) -> Answer:
    body = call.json()
    name = text_of(body, "code", "code")
    code = call.world.kf.codes.find(name, call.now)
    if code is None:
        raise Refused(call.world.profile.kf_code_errcode, "invalid code. invalid Request Parameter")
    account = account_of(call, code.session.open_kfid)
    session = session_of(call, account, code.session.external_userid)  # ended by now, if it is too old
    msgid = mark_of(body, "msgid")
    msgtype, content = _content(call, body, code.msgtypes)
    if msgid and call.world.kf.is_used(account.open_kfid, msgid):
        return _repeated(call, msgid)
    if not code.fits_state:
        raise Refused(95018)
    if call.world.profile.kf_event_reply_counted:
        _check_allowance(call, session)
    # Only what is otherwise in order spends the code.
    call.world.kf.codes.spend(name)
    if code.occasion == "enter":
        session.welcomed_at = call.now
    return _accepted(call, session, msgid, msgtype, content, event_reply=True)


def _content(call: Call, body: Fields, msgtypes: tuple[str, ...]) -> tuple[str, Content]:
    msgtype = body.get("msgtype")
    if not isinstance(msgtype, str) or msgtype not in msgtypes:
        raise Refused(40008)
    return msgtype, KF_TYPES[msgtype](call, body)


def _repeated(call: Call, msgid: str) -> Answer:
    errcode = call.world.profile.kf_duplicate_msgid_errcode
    if errcode:
        raise Refused(errcode, "msgid duplicated. invalid Request Parameter")
    call.world.journal.totals["suppressed"] += 1
    return {"errcode": 0, "errmsg": "ok", "msgid": msgid}


def _check_session(call: Call, session: Session) -> None:
    if session.wrote_at is None:
        raise Refused(95018)
    if not call.world.kf.sessions.open_window(session, call.now):
        raise Refused(call.world.profile.kf_after_window_errcode)
    if session.state not in (UNTREATED, ASSISTANT):
        raise Refused(95018)


def _check_allowance(call: Call, session: Session) -> None:
    limit = call.world.profile.kf_messages_per_window
    if limit and session.counted >= limit:
        raise Refused(95001)


def _accepted(
    call: Call, session: Session, msgid: str, msgtype: str, content: Content, *, event_reply: bool = False
) -> Answer:
    by: By = "event_reply" if event_reply else "api"
    number = call.record.number
    msgid = call.world.kf.accept(session, msgid, msgtype, content, call.now, number, by=by)
    return {"errcode": 0, "errmsg": "ok", "msgid": msgid}


ENDPOINTS: Mapping[str, Endpoint] = {
    "/cgi-bin/kf/send_msg": Endpoint("POST", _send, kinds=KF_SECRET, counted=False),
    "/cgi-bin/kf/send_msg_on_event": Endpoint("POST", _send_on_event, kinds=KF_SECRET, counted=False),
}
