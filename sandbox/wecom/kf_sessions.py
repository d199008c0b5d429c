"""kf/service_state: who has a customer, and handing them on."""

from collections.abc import Mapping

from sandbox.answers import Refused
from sandbox.call import KF_SECRET, Answer, Call, Endpoint
from sandbox.kf.people import Account
from sandbox.kf.sessions import ASSISTANT, ENDED, HUMAN, POOL, UNTREATED, Session
from sandbox.wecom.fields import text_of
from sandbox.wecom.kf_fields import named_session, number_of

_LEADS_TO: Mapping[int, frozenset[int]] = {
    UNTREATED: frozenset({POOL, HUMAN}),
    ASSISTANT: frozenset({POOL, HUMAN}),
    POOL: frozenset({HUMAN}),
    HUMAN: frozenset({HUMAN, ENDED}),
    ENDED: frozenset(),
}


def _get(call: Call) -> Answer:
    _, session = named_session(call, call.json())
    answer: dict[str, object] = {"errcode": 0, "errmsg": "ok", "service_state": session.state}
    if session.state == HUMAN:
        answer["servicer_userid"] = session.servicer
    return answer


def _trans(call: Call) -> Answer:
    body = call.json()
    account, session = named_session(call, body)
    if body.get("service_state") is None:
        raise Refused(40058, "missing field `body.service_state`. invalid Request Parameter")
    wanted = number_of(body, "service_state", 0, 0, 4)
    if not _allowed(call, session, wanted):
        raise Refused(95016)
    servicer = ""
    if wanted == HUMAN:
        servicer = text_of(body, "servicer_userid", "servicer_userid").lower()
        check_servicer(call, account, servicer)
        if session.state == HUMAN and session.servicer == servicer:
            raise Refused(95016)
    code = _move(call, session, wanted, servicer)
    answer: dict[str, object] = {"errcode": 0, "errmsg": "ok"}
    return {**answer, "msg_code": code} if code else answer


def check_servicer(call: Call, account: Account, userid: str) -> None:
    """Refused with 95014 for who is not a servicer of the account or not active, 95019 for who does not receive."""
    directory = call.world.directory
    user = directory.user(userid)
    through_department = any(
        member.userid.lower() == userid
        for department in account.departments
        for member in directory.members_of(department)
    )
    if user is None or user.status != "active" or not (userid in account.servicers or through_department):
        raise Refused(95014)
    if account.servicers.get(userid, "receiving") != "receiving":
        raise Refused(95019)


def _allowed(call: Call, session: Session, wanted: int) -> bool:
    profile = call.world.profile
    if wanted == ASSISTANT and session.state == UNTREATED:
        return profile.kf_trans_to_assistant
    if wanted == ENDED and session.state in (UNTREATED, ASSISTANT, POOL):
        return profile.kf_trans_unattended_to_end
    return wanted in _LEADS_TO[session.state]


def _move(call: Call, session: Session, wanted: int, servicer: str) -> str:
    """Change the state; the code for a word on it, empty when there is none."""
    codes = call.world.kf.codes
    session.state, session.servicer = wanted, servicer
    if wanted == POOL and not session.pool_code_given:
        session.pool_code_given = True
        return codes.issue(session, "pool", call.now)
    if wanted == HUMAN and not session.human_code_given:
        session.human_code_given = True
        return codes.issue(session, "accepted", call.now)
    if wanted == ENDED:
        return codes.issue(session, "ended", call.now)
    return ""


ENDPOINTS: Mapping[str, Endpoint] = {
    "/cgi-bin/kf/service_state/get": Endpoint("POST", _get, kinds=KF_SECRET),
    "/cgi-bin/kf/service_state/trans": Endpoint("POST", _trans, kinds=KF_SECRET),
}
