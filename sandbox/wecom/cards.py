"""template_card: which parts a card type has, needs and bounds.

The platform documents one code per field between 42027 and 42051 without publishing which; only the ones whose
meaning is known are used here, everything else is 40058 with the path of the field.
"""

import re
from collections.abc import Callable

from sandbox.answers import Refused, missing, too_long
from sandbox.wecom.fields import Fields, chars, object_of, objects_of, optional_text, text_of, url_of, within

INTERACTIVE = frozenset({"button_interaction", "vote_interaction", "multiple_interaction"})
APP_CARDS = frozenset({"text_notice", "news_notice", *INTERACTIVE})
ROBOT_CARDS = frozenset({"text_notice", "news_notice"})

_TASK_ID = re.compile(r"[0-9A-Za-z_\-@]{1,128}")


def read(card: Fields, allowed: frozenset[str]) -> dict[str, object]:
    """The card as its reader sees it; Refused when a part is missing or out of bounds."""
    kind = card.get("card_type")
    if not isinstance(kind, str) or kind not in allowed:
        raise Refused(40058, "template_card.card_type invalid. invalid Request Parameter")
    _check_common(card, kind)
    _check_task_id(card, kind)
    _KINDS[kind](card)
    return dict(card)


def _check_common(card: Fields, kind: str) -> None:
    title = _part(card, "main_title", {"title": 36, "desc": 44})
    if kind in INTERACTIVE and not title.get("title"):
        raise missing("template_card.main_title.title")
    _part(card, "source", {"desc": 20})
    _part(card, "emphasis_content", {"title": 14, "desc": 22})
    chars(
        optional_text(card, "sub_title_text", "template_card.sub_title_text"),
        160,
        "template_card.sub_title_text",
    )
    for item in _list(card, "horizontal_content_list", 6):
        path = "template_card.horizontal_content_list"
        chars(text_of(item, "keyname", f"{path}.keyname"), 5, f"{path}.keyname")
        chars(optional_text(item, "value", f"{path}.value"), 30, f"{path}.value")
    for item in _list(card, "jump_list", 3):
        path = "template_card.jump_list"
        chars(text_of(item, "title", f"{path}.title"), 18, f"{path}.title")
    for item in _list(card, "vertical_content_list", 4):
        text_of(item, "title", "template_card.vertical_content_list.title")


def _check_task_id(card: Fields, kind: str) -> None:
    task_id = optional_text(card, "task_id", "template_card.task_id")
    if task_id and not _TASK_ID.fullmatch(task_id):
        raise Refused(40058, "template_card.task_id invalid. invalid Request Parameter")
    menu = card.get("action_menu")
    if isinstance(menu, dict):
        for item in objects_of(menu, "action_list", "template_card.action_menu.action_list", at_most=3):
            _key(item, "template_card.action_menu.action_list")
    if not task_id and (kind in INTERACTIVE or menu is not None):
        raise missing("template_card.task_id")


def _text_notice(card: Fields) -> None:
    if not _part(card, "main_title", {}).get("title") and not card.get("sub_title_text"):
        raise missing("template_card.main_title.title")
    _action(card)


def _news_notice(card: Fields) -> None:
    image, area = card.get("card_image"), card.get("image_text_area")
    if isinstance(image, dict):
        url_of(image, "url", "template_card.card_image.url", needed=True)
        ratio = image.get("aspect_ratio", 1.3)
        if isinstance(ratio, bool) or not isinstance(ratio, int | float) or not 1.3 <= ratio <= 2.25:
            raise Refused(40058, "template_card.card_image.aspect_ratio invalid. invalid Request Parameter")
    elif isinstance(area, dict):
        url_of(area, "image_url", "template_card.image_text_area.image_url", needed=True)
    else:
        raise missing("template_card.card_image")
    _action(card)


def _buttons(card: Fields) -> None:
    for button in objects_of(card, "button_list", "template_card.button_list", at_most=6):
        path = "template_card.button_list"
        chars(text_of(button, "text", f"{path}.text"), 10, f"{path}.text")
        if button.get("type", 0) == 1:
            url_of(button, "url", f"{path}.url", needed=True)
        else:
            _key(button, path)
    if isinstance(card.get("button_selection"), dict):
        _selection(object_of(card, "button_selection"), "template_card.button_selection", 10)


def _vote(card: Fields) -> None:
    if not isinstance(card.get("checkbox"), dict):
        raise missing("template_card.checkbox")
    _selection(object_of(card, "checkbox"), "template_card.checkbox", 20)
    _submit(card)


def _multiple(card: Fields) -> None:
    for select in objects_of(card, "select_list", "template_card.select_list", at_most=3):
        _selection(select, "template_card.select_list", 10)
    _submit(card)


def _action(card: Fields) -> None:
    action = card.get("card_action")
    if not isinstance(action, dict):
        raise missing("template_card.card_action")
    if action.get("type") == 1:
        url_of(action, "url", "template_card.card_action.url", needed=True)
    elif action.get("type") == 2:
        text_of(action, "appid", "template_card.card_action.appid")
    else:
        raise Refused(40058, "template_card.card_action.type invalid. invalid Request Parameter")


def _selection(part: Fields, path: str, options: int) -> None:
    text_of(part, "question_key", f"{path}.question_key")
    for option in objects_of(part, "option_list", f"{path}.option_list", at_most=options):
        within(text_of(option, "id", f"{path}.option_list.id"), 128, f"{path}.option_list.id")
        text_of(option, "text", f"{path}.option_list.text")


def _submit(card: Fields) -> None:
    part, path = card.get("submit_button"), "template_card.submit_button"
    if not isinstance(part, dict):
        raise missing(path)
    chars(text_of(part, "text", f"{path}.text"), 10, f"{path}.text")
    _key(part, path)


def _key(item: Fields, path: str) -> None:
    text_of(item, "text", f"{path}.text")
    within(text_of(item, "key", f"{path}.key"), 1024, f"{path}.key")


def _part(card: Fields, name: str, limits: dict[str, int]) -> Fields:
    part = card.get(name)
    if part is None:
        return {}
    if not isinstance(part, dict):
        raise missing(f"template_card.{name}")
    for field, limit in limits.items():
        path = f"template_card.{name}.{field}"
        chars(optional_text(part, field, path), limit, path)
    return part


def _list(card: Fields, name: str, limit: int) -> list[dict[str, object]]:
    value = card.get(name)
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise missing(f"template_card.{name}")
    if len(value) > limit:
        raise too_long(f"template_card.{name}", limit)
    return value


_KINDS: dict[str, Callable[[Fields], None]] = {
    "text_notice": _text_notice,
    "news_notice": _news_notice,
    "button_interaction": _buttons,
    "vote_interaction": _vote,
    "multiple_interaction": _multiple,
}
