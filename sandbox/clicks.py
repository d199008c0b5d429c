"""People press the buttons of cards: `POST /sandbox/clicks`.

    {"userid": "zhangsan",                 # who presses
     "task_id": "…" or "msgid": "…",       # on which card
     "key": "acknowledge",                 # which button
     "copies": 1,                          # the event arrives so often, byte for byte
     "resigned": false,                    # or each copy sealed and signed anew
     "anyway": false}                      # also one that the person was not sent, or whose buttons are gone

or several at once, `{"clicks": [{…}, {…}], "order": "given" | "reversed" | "together"}`: callbacks may overtake each
other. The answer lists for each what came of every try.
"""

from collections.abc import Mapping
from functools import partial
from xml.sax.saxutils import escape

from sandbox.callbacks import MOST_COPIES, ORDERS, Request, in_order
from sandbox.journal import Message
from sandbox.world import World

_FIELDS = {"userid", "task_id", "msgid", "key", "copies", "resigned", "anyway"}


async def press(world: World, document: object) -> dict[str, object]:
    """Press what *document* says; ValueError or LookupError says what does not fit."""
    if not isinstance(document, Mapping):
        raise ValueError("the body is a JSON object")
    if "clicks" not in document:
        return {"clicks": [await _deliver(world, *_sealed(world, document))]}
    clicks, order = document["clicks"], document.get("order", "given")
    if not isinstance(clicks, list) or not all(isinstance(click, dict) for click in clicks):
        raise ValueError("clicks is a list of objects")
    if set(document) - {"clicks", "order"} or order not in ORDERS:
        raise ValueError(f"beside clicks there is order: {', '.join(ORDERS)}")
    # All are pressed before the first event leaves.
    sealed = [_sealed(world, click) for click in clicks]
    return {"clicks": await in_order(str(order), [partial(_deliver, world, *one) for one in sealed])}


def _sealed(world: World, click: Mapping[str, object]) -> tuple[dict[str, object], list[Request]]:
    """What is known of the press, and the requests that tell of it."""
    unknown = sorted(set(click) - _FIELDS)
    if unknown:
        raise ValueError(f"no field is called {unknown[0]!r}")
    userid, key, copies = click.get("userid"), click.get("key"), click.get("copies", 1)
    if not isinstance(userid, str) or not userid or not isinstance(key, str) or not key:
        raise ValueError("userid and key are texts, and required")
    if isinstance(copies, bool) or not isinstance(copies, int) or not 1 <= copies <= MOST_COPIES:
        raise ValueError(f"copies is 1 to {MOST_COPIES}")
    message = _message(world, click)
    if not click.get("anyway"):
        _check(world, message, userid, key)
    callback = world.callbacks.of(message.agentid)
    if callback is None:
        raise LookupError("the app has no callback URL: POST /sandbox/callbacks")
    now = world.clock.now()
    code = world.codes.issue(message, now)
    event = _event(message, userid, key, code, int(now))
    requests = world.callbacks.copies(callback, event, now, copies, resigned=bool(click.get("resigned")))
    facts: dict[str, object] = {
        "userid": userid,
        "task_id": message.content.get("task_id"),
        "msgid": message.msgid,
        "key": key,
        "response_code": code,
    }
    return facts, requests


async def _deliver(world: World, facts: dict[str, object], requests: list[Request]) -> dict[str, object]:
    deliveries = [await world.callbacks.deliver(request) for request in requests]
    return {**facts, "tries": deliveries[0], "copies": deliveries[1:]}


def _message(world: World, click: Mapping[str, object]) -> Message:
    msgid, task_id = click.get("msgid"), click.get("task_id")
    if isinstance(msgid, str):
        found = world.journal.message(msgid)
    elif isinstance(task_id, str):
        found = world.journal.card(task_id)
    else:
        raise ValueError("task_id or msgid says which card")
    if found is None or found.msgtype != "template_card":
        raise LookupError("there is no such card")
    return found


def _check(world: World, message: Message, userid: str, key: str) -> None:
    mine = [
        one
        for one in world.journal.arrivals.newest_first()
        if one.message is message
        and not one.dropped
        and (one.kind != "user" or one.to.lower() == userid.lower())
    ]
    if not mine or message.recalled_at is not None:
        raise ValueError(f'{userid} does not have that card. "anyway": true presses all the same')
    buttons = mine[0].content.get("button_list", [])
    keys = [one.get("key") for one in buttons if isinstance(one, dict)] if isinstance(buttons, list) else []
    if key not in keys:
        left = ", ".join(str(one) for one in keys if one) or "none that can be pressed"
        raise ValueError(
            f'the card has no button {key!r} now; it has {left}. "anyway": true presses all the same'
        )


def _event(message: Message, userid: str, key: str, code: str, now: int) -> str:
    fields = {
        "ToUserName": message.corp_id,
        "FromUserName": userid,
        "CreateTime": str(now),
        "MsgType": "event",
        "Event": "template_card_event",
        "EventKey": key,
        "TaskId": str(message.content.get("task_id", "")),
        "CardType": str(message.content.get("card_type", "")),
        "ResponseCode": code,
        "AgentID": "" if message.agentid is None else str(message.agentid),
    }
    return "<xml>" + "".join(f"<{name}>{escape(value)}</{name}>" for name, value in fields.items()) + "</xml>"
