"""update_template_card: a card that people have already changes, once for each code."""

from collections.abc import Mapping

from sandbox.answers import Refused, missing
from sandbox.call import Answer, Call, Endpoint
from sandbox.journal import Arrival, Message
from sandbox.wecom import cards
from sandbox.wecom.fields import Fields, chars, object_of, text_of
from sandbox.wecom.messages import agent_of

_UPDATABLE = cards.INTERACTIVE


def _update(call: Call) -> Answer:
    body = call.json()
    agentid = agent_of(call, body.get("agentid"))
    code = text_of(body, "response_code", "response_code")
    readers = _readers(body)
    if "template_card" in body:
        shown = cards.read(object_of(body, "template_card"), _UPDATABLE)
    else:
        shown = None
        name = text_of(object_of(body, "button"), "replace_name", "button.replace_name")
        chars(name, 10, "button.replace_name")
    # Only what is otherwise in order spends the code.
    message = call.world.codes.redeem(code, agentid, call.now)
    if message is None:
        raise Refused(40058, "response_code invalid. invalid Request Parameter")
    if shown is None:
        shown = {**message.content, "button_list": [{"text": name, "disabled": True}]}
    invalid = _show(call, message, shown, readers)
    return {"errcode": 0, "errmsg": "ok", **({"invaliduser": invalid} if invalid else {})}


def _readers(body: Fields) -> set[str] | None:
    """Who is to see it, as arrivals know them; None for everybody the card was sent to."""
    if body.get("atall") == 1:
        return None
    found: set[str] = set()
    for name, prefix, limit, errcode in (
        ("userids", "", 1000, 40032),
        ("partyids", "party:", 100, 82002),
        ("tagids", "tag:", 100, 82003),
    ):
        listed = body.get(name, [])
        if not isinstance(listed, list):
            raise missing(name)
        if len(listed) > limit:
            raise Refused(errcode)
        found.update(f"{prefix}{one}".lower() for one in listed)
    if not found:
        raise Refused(82001)
    return found


def _show(call: Call, message: Message, shown: dict[str, object], readers: set[str] | None) -> list[str]:
    journal = call.world.journal
    copies: list[Arrival] = [one for one in journal.arrivals.newest_first() if one.message is message]
    for one in copies:
        if readers is None or one.to.lower() in readers:
            journal.change(one, shown)
    held = {one.to.lower() for one in copies}
    return sorted(one for one in readers or () if ":" not in one and one not in held)


ENDPOINTS: Mapping[str, Endpoint] = {
    "/cgi-bin/message/update_template_card": Endpoint("POST", _update),
}
