"""Mass sends and owners as tests and the page see and play them: `/sandbox/mass-sends`, `/sandbox/owners`.

POST owners/ID/behaviour  {"behaviour": "at_once", "delay_seconds": 5}     # presses send so long after each prompt
                          {"behaviour": "late", "hours": 24} {"behaviour": "never"} {"behaviour": "by_hand"}
POST owners/ID/confirm    {}                                               # presses send for all that waits
                          {"msgid": "…", "chat_ids": ["wr1"]}              # for one; for some of its groups
POST mass-sends           {"creator": "zhangsan", "sender": "lisi", "chat_ids": ["wr1"], "text": "…", "personal": false}
                                                                           # made by hand, in the client or on the console
"""

from itertools import islice

from starlette.requests import Request

from sandbox.clock import rfc3339
from sandbox.documents import Document, document_of, flag, number, only, queried, text, texts
from sandbox.groups.mass import CORP, PERSONAL, MassSend
from sandbox.groups.owners import MANNERS, Behaviour
from sandbox.world import Handler, World

_MOST_LISTED = 10_000


async def _list(world: World, request: Request) -> object:
    query, mass_sends = request.query_params, world.mass_sends
    after, limit = queried(query.get("after"), 0, 2**62), queried(query.get("limit"), 1000, _MOST_LISTED)
    matching = (mass for mass in mass_sends.after(after) if _matches(mass, query))
    found = list(islice(matching, limit + 1))
    page, more = found[:limit], len(found) > limit
    return {
        "mass_sends": [mass.view() for mass in page],
        "count": len(page),
        "more": more,
        "next": page[-1].number if more else mass_sends.newest,
    }


def _matches(mass: MassSend, query: Document) -> bool:
    sender, chat_id, state = query.get("sender"), query.get("chat_id"), query.get("state")
    return (
        query.get("msgid") in (None, mass.msgid)
        and (not sender or str(sender).lower() == mass.sender.lower())
        and (not chat_id or chat_id in mass.chat_ids or chat_id in mass.outcomes)
        and state in (None, mass.state)
    )


async def _make(world: World, request: Request) -> object:
    document = await document_of(request)
    only(document, {"creator", "sender", "chat_ids", "text", "personal"})
    sender, creator = _member(world, text(document, "sender")), _member(world, text(document, "creator"))
    chat_ids, words = texts(document, "chat_ids"), text(document, "text")
    for chat_id in chat_ids:
        if world.groups.groups.get(chat_id) is None:
            raise LookupError(f"there is no group {chat_id!r}")
    kind = PERSONAL if flag(document, "personal", False) else CORP
    corp_id, now = world.directory.corp_id, world.clock.now()
    if corp_id is None:
        raise ValueError("a mass send belongs to a corp: declare corp_id")
    mass = world.mass_sends.create(corp_id, sender, chat_ids, words, [], now, creator=creator, kind=kind)
    return mass.view()


async def _owners(world: World, request: Request) -> object:
    return {"owners": owners(world)}


def owners(world: World) -> list[dict[str, object]]:
    """Whoever was told how to behave or is prompted, with what waits for them."""
    prompts: dict[str, list[MassSend]] = {userid: [] for userid in world.mass_sends.owners.told}
    for mass in world.mass_sends.waiting():
        prompts.setdefault(mass.sender.lower(), []).append(mass)
    return [_owner(world, userid, waiting) for userid, waiting in prompts.items()]


def _owner(world: World, userid: str, waiting: list[MassSend]) -> dict[str, object]:
    user, behaviour = world.directory.user(userid), world.mass_sends.owners.of(userid)
    return {
        "userid": user.userid if user is not None else userid,
        "name": user.name or user.userid if user is not None else userid,
        **behaviour.view(),
        "prompts": [
            {
                "msgid": mass.msgid,
                "text": mass.text,
                "attachments": len(mass.attachments),
                "groups": len(mass.chat_ids) or None,
                "created_at": rfc3339(mass.created_at),
                "reminded": len(mass.reminders),
            }
            for mass in waiting
        ],
    }


async def _behave(world: World, request: Request) -> object:
    document, now = await document_of(request), world.clock.now()
    only(document, {"behaviour", "delay_seconds", "hours"})
    userid = _member(world, request.path_params["userid"])
    manner = next((one for one in MANNERS if one == document.get("behaviour")), None)
    if manner is None:
        raise ValueError(f"behaviour is one of {', '.join(MANNERS)}")
    if "delay_seconds" in document and manner != "at_once":
        raise ValueError("delay_seconds goes with at_once")
    if "hours" in document and manner != "late":
        raise ValueError("hours goes with late")
    usual = world.mass_sends.owners.usual(manner, now)
    delay = usual.delay_seconds
    if "delay_seconds" in document:
        delay = float(number(document, "delay_seconds", 0, 0))
    if "hours" in document:
        delay = 3600.0 * number(document, "hours", 0, 0)
    world.mass_sends.owners.tell(userid, Behaviour(manner, delay, now))
    world.mass_sends.settle(now)
    return _told(world, userid)


async def _confirm(world: World, request: Request) -> object:
    document, now = await document_of(request), world.clock.now()
    only(document, {"msgid", "chat_ids"})
    userid = _member(world, request.path_params["userid"])
    chat_ids = texts(document, "chat_ids")
    if world.mass_sends.owners.of(userid).manner == "never":
        raise ValueError(f"{userid} never presses send: POST /sandbox/owners/{userid}/behaviour changes that")
    if "msgid" in document:
        found = world.mass_sends.get(text(document, "msgid"))
        if found is None or found.sender.lower() != userid.lower():
            raise LookupError(f"{userid} was not prompted for {document['msgid']!r}")
        chosen = [found]
    elif chat_ids:
        raise ValueError("chat_ids goes with msgid")
    else:
        chosen = [one for one in world.mass_sends.waiting() if one.sender.lower() == userid.lower()]
    for mass in chosen:
        world.mass_sends.confirm(mass, now, chat_ids)
    return {"confirmed": [mass.view() for mass in chosen]}


def _told(world: World, userid: str) -> dict[str, object]:
    return next(one for one in owners(world) if str(one["userid"]).lower() == userid.lower())


def _member(world: World, userid: str) -> str:
    """The userid as it is declared."""
    user = world.directory.user(userid)
    if user is None or user.status == "invalid":
        raise LookupError(f"there is no member {userid!r}")
    return user.userid


ROUTES: list[tuple[str, str, Handler]] = [
    ("GET", "/sandbox/mass-sends", _list),
    ("POST", "/sandbox/mass-sends", _make),
    ("GET", "/sandbox/owners", _owners),
    ("POST", "/sandbox/owners/{userid}/behaviour", _behave),
    ("POST", "/sandbox/owners/{userid}/confirm", _confirm),
]
