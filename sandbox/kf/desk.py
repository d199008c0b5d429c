"""WeChat KF at work: what people do on their phones and clients, what apps send, and who is told of it."""

from collections.abc import Callable, Mapping
from typing import cast
from xml.sax.saxutils import escape

from sandbox.courier import Courier
from sandbox.directory import Directory
from sandbox.journal import Journal, Message
from sandbox.kf.codes import EventCodes
from sandbox.kf.history import History, Item
from sandbox.kf.lines import By, Line, Lines
from sandbox.kf.people import Account, Customer, ServicerStatus
from sandbox.kf.sessions import ASSISTANT, ENDED, HUMAN, POOL, UNTREATED, Session, Sessions
from sandbox.profile import Profile

REFUSED_BY_CUSTOMER = 10
_WELCOME_SECONDS = 48 * 3600
_MSGIDS_KEPT = 100_000
_STATUS_EVENT = {"receiving": (1, None), "stopped": (2, 0), "suspended": (2, 1)}


class Desk:
    """The state of WeChat KF, and every change to it."""

    def __init__(
        self,
        profile: Profile,
        directory: Directory,
        journal: Journal,
        courier: Courier,
        new_id: Callable[[str], str],
    ) -> None:
        self._profile = profile
        self._directory = directory
        self._journal = journal
        self._courier = courier
        self._new_id = new_id
        self.sessions = Sessions(profile)
        self.history = History(profile)
        self.codes = EventCodes(new_id)
        self.lines = Lines(profile.messages_kept)
        self.clear()

    def clear(self) -> None:
        """Forget sessions, messages, codes and what was to fail; accounts and people belong to the directory."""
        for part in (self.sessions, self.history, self.codes, self.lines):
            part.clear()
        self._msgids: dict[tuple[str, str], None] = {}
        self._failing: list[dict[str, object]] = []

    # What people do.

    def customer_writes(self, session: Session, msgtype: str, content: dict[str, object], now: float) -> str:
        """A customer sends a message: the app's allowance is whole again; its msgid."""
        msgid = self._new_id("km")
        session.wrote(now)
        self._spoken(session, "customer", msgid, msgtype, content, now)
        self._add_message(session, msgid, 3, msgtype, content, now)
        return msgid

    def customer_enters(self, session: Session, context: dict[str, object], now: float) -> str | None:
        """A customer opens the chat; the welcome code, if they are to be welcomed."""
        session.context = context
        code = self.codes.issue(session, "enter", now) if self._is_welcome(session, now) else None
        self._event(session, "enter_session", now, **context, **({"welcome_code": code} if code else {}))
        return code

    def customer_recalls(self, line: Line, now: float) -> None:
        """A customer takes a message back."""
        self.lines.recall(line)
        session = self.sessions.of(line.open_kfid, line.external_userid, now)
        self._event(session, "user_recall_msg", now, recall_msgid=line.msgid)

    def servicer_accepts(self, session: Session, userid: str, now: float) -> str | None:
        """A servicer takes a customer out of the pool; the code for a word on that."""
        if session.state != POOL:
            raise ValueError(
                f"only who waits in the pool (2) is accepted; the session's state is {session.state}"
            )
        return self._hand_over(session, userid, 1, now)

    def servicer_transfers(self, session: Session, userid: str, now: float) -> None:
        """A servicer hands a customer on to another one."""
        if session.state != HUMAN or session.servicer == userid:
            raise ValueError(
                "a customer is transferred from the servicer who has them (state 3) to another one"
            )
        self._hand_over(session, userid, 2, now)

    def servicer_ends(self, session: Session, now: float) -> str:
        """A servicer ends the session; the code for a last word."""
        if session.state != HUMAN:
            raise ValueError(
                f"a servicer ends what a servicer has (3); the session's state is {session.state}"
            )
        old = session.servicer
        session.end()
        code = self.codes.issue(session, "ended", now)
        self._event(
            session,
            "session_status_change",
            now,
            change_type=3,
            old_servicer_userid=old,
            new_servicer_userid="",
            msg_code=code,
        )
        return code

    def servicer_writes(
        self, session: Session, userid: str, msgtype: str, content: dict[str, object], now: float
    ) -> str:
        """A servicer types in the client, which takes an ended session up again; the msgid."""
        if session.state == ENDED:
            session.begin(HUMAN, now)
            self._hand_over(session, userid, 4, now)
        elif session.state != HUMAN or session.servicer != userid:
            raise ValueError(f"{userid} does not have this customer; the session's state is {session.state}")
        msgid = self._new_id("km")
        self._spoken(session, "servicer", msgid, msgtype, content, now, servicer_userid=userid)
        self._arrive(session, userid, msgid, msgtype, content, now, 0)
        self._add_message(session, msgid, 5, msgtype, content, now, servicer_userid=userid)
        return msgid

    def servicer_recalls(self, line: Line, now: float) -> None:
        """A servicer takes a message back that was typed in the client."""
        self.lines.recall(line)
        session = self.sessions.of(line.open_kfid, line.external_userid, now)
        fields = {"recall_msgid": line.msgid, "servicer_userid": line.servicer_userid}
        self._event(session, "servicer_recall_msg", now, **fields)

    def servicer_status(self, account: Account, userid: str, status: ServicerStatus, now: float) -> None:
        """A servicer receives, stops or has a rest."""
        account.servicers[userid] = status
        shown, stop_type = _STATUS_EVENT[status]
        event: dict[str, object] = {
            "servicer_userid": userid,
            "status": shown,
            "open_kfid": account.open_kfid,
        }
        if stop_type is not None:
            event["stop_type"] = stop_type
        self._tell(account.open_kfid, {"event_type": "servicer_status_change", **event}, now)

    def servicer_rejects(self, session: Session, userid: str, on: bool, now: float) -> None:
        """A servicer refuses a customer's messages from here on, or no longer."""
        self._event(
            session,
            "reject_customer_msg_switch_change",
            now,
            servicer_userid=userid,
            reject_switch=int(on),
        )

    def authorise(self, account: Account, authorised: bool, now: float) -> None:
        """The administrator hands an account to the API, or takes it back."""
        account.authorised = authorised
        name = "AuthAddOpenKfId" if authorised else "AuthDelOpenKfId"
        self._call_back("kf_account_auth_change", {name: account.open_kfid}, account.open_kfid, now)

    # What apps do.

    def is_used(self, open_kfid: str, msgid: str) -> bool:
        """Whether an app has sent with this msgid before."""
        return (open_kfid, msgid) in self._msgids

    def accept(
        self,
        session: Session,
        msgid: str,
        msgtype: str,
        content: dict[str, object],
        now: float,
        request_number: int,
        *,
        by: By = "api",
    ) -> str:
        """Take a message of the app: it reaches the customer, or an event says later that it failed; its msgid."""
        msgid = msgid or self._new_id("km")
        self._msgids[session.open_kfid, msgid] = None
        if len(self._msgids) > _MSGIDS_KEPT:
            del self._msgids[next(iter(self._msgids))]
        if by == "event_reply":
            session.event_replies += 1
            session.counted += int(self._profile.kf_event_reply_counted)
        else:
            session.took()
            if session.state == UNTREATED:
                session.state = ASSISTANT
        fail_type = self._fails_with(session)
        self._journal.totals["accepted"] += 1
        self._spoken(session, by, msgid, msgtype, content, now, fail_type=fail_type)
        sender = self.name_of(session.open_kfid)
        dropped = fail_type is not None
        self._arrive(session, sender, msgid, msgtype, content, now, request_number, dropped=dropped)
        if fail_type is not None:
            self._event(session, "msg_send_fail", now, fail_msgid=msgid, fail_type=fail_type)
        return msgid

    def fail_next(self, open_kfid: str | None, external_userid: str, count: int, fail_type: int) -> None:
        """Let the next messages to a customer fail after they were accepted."""
        self._failing.append(
            {
                "open_kfid": open_kfid,
                "external_userid": external_userid,
                "count": count,
                "fail_type": fail_type,
            }
        )

    @property
    def failing(self) -> list[dict[str, object]]:
        """What is still to fail."""
        return [dict(one) for one in self._failing]

    def name_of(self, open_kfid: str) -> str:
        """An account's name as customers see it."""
        account = self._directory.kf.accounts.get(open_kfid)
        return account.name if account is not None else open_kfid

    def customer_of(self, session: Session) -> Customer:
        """Whom a session is with."""
        found = self._directory.kf.customers.get(session.external_userid)
        return found or Customer(session.external_userid, session.external_userid)

    # Who is told.

    def _hand_over(self, session: Session, userid: str, change_type: int, now: float) -> str | None:
        old, code = session.servicer, None
        session.state, session.servicer = HUMAN, userid
        if change_type == 1 and not session.human_code_given:
            session.human_code_given = True
            code = self.codes.issue(session, "accepted", now)
        self._event(
            session,
            "session_status_change",
            now,
            change_type=change_type,
            old_servicer_userid=old,
            new_servicer_userid=userid,
            **({"msg_code": code} if code else {}),
        )
        return code

    def _is_welcome(self, session: Session, now: float) -> bool:
        if session.welcomed_at is not None and now < session.welcomed_at + _WELCOME_SECONDS:
            return False
        if session.wrote_at is None:
            return True
        after = self._profile.kf_welcome_once_written == "after_48h"
        return after and now >= session.wrote_at + _WELCOME_SECONDS

    def _fails_with(self, session: Session) -> int | None:
        for plan in self._failing:
            same = plan["open_kfid"] in (None, session.open_kfid)
            if same and plan["external_userid"] == session.external_userid:
                plan["count"] = cast(int, plan["count"]) - 1
                self._failing = [one for one in self._failing if one["count"]]
                return cast(int, plan["fail_type"])
        return REFUSED_BY_CUSTOMER if self.customer_of(session).refuses else None

    def _spoken(
        self,
        session: Session,
        by: By,
        msgid: str,
        msgtype: str,
        content: dict[str, object],
        now: float,
        *,
        servicer_userid: str = "",
        fail_type: int | None = None,
    ) -> None:
        pair = session.open_kfid, session.external_userid
        self.lines.add(
            by, pair, msgid, msgtype, content, now, servicer_userid=servicer_userid, fail_type=fail_type
        )
        self._journal.arrived.send()

    def _arrive(
        self,
        session: Session,
        sender: str,
        msgid: str,
        msgtype: str,
        content: dict[str, object],
        now: float,
        request_number: int,
        *,
        dropped: bool = False,
    ) -> None:
        customer = self.customer_of(session)
        message = Message(
            msgid=msgid,
            msgtype=msgtype,
            content=content,
            sender=sender,
            agentid=None,
            corp_id=self._directory.corp_id or "",
            received_at=now,
            request_number=request_number,
        )
        name = customer.nickname or customer.external_userid
        self._journal.arrive("customer", customer.external_userid, name, message, dropped=dropped)

    def _add_message(
        self,
        session: Session,
        msgid: str,
        origin: int,
        msgtype: str,
        content: dict[str, object],
        now: float,
        **more: object,
    ) -> None:
        item: Item = {
            "msgid": msgid,
            "open_kfid": session.open_kfid,
            "external_userid": session.external_userid,
            "send_time": int(now),
            "origin": origin,
            **more,
            "msgtype": msgtype,
            msgtype: content,
        }
        self._announce(session.open_kfid, item, now)

    def _event(self, session: Session, event_type: str, now: float, **fields: object) -> None:
        pair = {"open_kfid": session.open_kfid, "external_userid": session.external_userid}
        self._tell(session.open_kfid, {"event_type": event_type, **pair, **fields}, now)

    def _tell(self, open_kfid: str, event: dict[str, object], now: float) -> None:
        # As the platform does: account and customer of an event stand inside it, not on top.
        item: Item = {
            "msgid": self._new_id("ke"),
            "send_time": int(now),
            "origin": 4,
            "msgtype": "event",
            "event": event,
        }
        self._announce(open_kfid, item, now)

    def _announce(self, open_kfid: str, item: Item, now: float) -> None:
        self.history.add(open_kfid, item, now)
        token = self.history.token(open_kfid, now)
        self._call_back("kf_msg_or_event", {"Token": token, "OpenKfId": open_kfid}, open_kfid, now)

    def _call_back(self, event: str, fields: Mapping[str, str], open_kfid: str, now: float) -> None:
        door = self._courier.door("kf")
        named = {
            "ToUserName": door.corp_id if door is not None else "",
            "CreateTime": str(int(now)),
            "MsgType": "event",
            "Event": event,
            **fields,
        }
        xml = "".join(f"<{name}>{escape(value)}</{name}>" for name, value in named.items())
        self._courier.send("kf", f"<xml>{xml}</xml>", {"event": event, "open_kfid": open_kfid})
