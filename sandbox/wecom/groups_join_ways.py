"""Ways into customer groups: each app sees only its own."""

from collections.abc import Mapping

from sandbox.answers import Refused, missing
from sandbox.call import CUSTOMER_SECRET, Answer, Call, Endpoint
from sandbox.groups.ways import JoinWay, picture_path
from sandbox.wecom.fields import Fields, chars, optional_text, text_of
from sandbox.wecom.groups_fields import group_of, texts_of
from sandbox.wecom.kf_fields import number_of

_MOST_GROUPS = 5
_REMARK = 30
_OK: Mapping[str, object] = {"errcode": 0, "errmsg": "ok"}


def _add(call: Call) -> Answer:
    ways = call.world.groups.ways
    way = _read(call, call.json(), ways.new_id())
    ways.keep(way)
    return {**_OK, "config_id": way.config_id}


def _get(call: Call) -> Answer:
    way = _way(call, call.json())
    return {**_OK, "join_way": way.answer(f"http://{call.record.host}{picture_path(way.config_id)}")}


def _update(call: Call) -> Answer:
    body = call.json()
    known = _way(call, body)
    way = _read(call, body, known.config_id)
    way.made = known.made
    call.world.groups.ways.keep(way)
    return dict(_OK)


def _delete(call: Call) -> Answer:
    call.world.groups.ways.delete(_way(call, call.json()).config_id)
    return dict(_OK)


def _way(call: Call, body: Fields) -> JoinWay:
    way = call.world.groups.ways.get(text_of(body, "config_id", "config_id"))
    if way is None or way.secret != call.app.secret:
        raise Refused(40058, "invalid config_id. invalid Request Parameter")
    return way


def _read(call: Call, body: Fields, config_id: str) -> JoinWay:
    """All fields; what is left out is the default, in an update as well."""
    if "scene" not in body:
        raise missing("scene")
    scene = number_of(body, "scene", 0, 1, 2)
    chat_ids = texts_of(body, "chat_id_list", _MOST_GROUPS, too_many=41091)
    if not chat_ids:
        raise missing("chat_id_list")
    mark_source = body.get("mark_source", True)
    if not isinstance(mark_source, bool):
        raise Refused(40058, "`mark_source` is not a boolean. invalid Request Parameter")
    return JoinWay(
        config_id=config_id,
        secret=call.app.secret,
        scene=scene,
        chat_ids=[group_of(call, chat_id).chat_id for chat_id in chat_ids],
        remark=optional_text(body, "remark", "remark")[:_REMARK],
        auto_create_room=bool(number_of(body, "auto_create_room", 1, 0, 1)),
        room_base_name=chars(optional_text(body, "room_base_name", "room_base_name"), 40, "room_base_name"),
        room_base_id=number_of(body, "room_base_id", 1, 0, 2**31 - 1),
        state=chars(optional_text(body, "state", "state"), 30, "state"),
        mark_source=mark_source,
    )


ENDPOINTS: Mapping[str, Endpoint] = {
    "/cgi-bin/externalcontact/groupchat/add_join_way": Endpoint("POST", _add, kinds=CUSTOMER_SECRET),
    "/cgi-bin/externalcontact/groupchat/get_join_way": Endpoint("POST", _get, kinds=CUSTOMER_SECRET),
    "/cgi-bin/externalcontact/groupchat/update_join_way": Endpoint("POST", _update, kinds=CUSTOMER_SECRET),
    "/cgi-bin/externalcontact/groupchat/del_join_way": Endpoint("POST", _delete, kinds=CUSTOMER_SECRET),
}
