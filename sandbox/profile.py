"""How this platform behaves where the documents are silent, disagree or set a number."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import UnionType
from typing import Literal, Union, get_args, get_origin, get_type_hints

import orjson

from sandbox.windows import WindowKind


@dataclass(slots=True)
class Profile:
    """One field per point in doubt or in number; the default is what is documented, or seen most.

    A limit of 0 turns that limit off. Every field can be changed while running (`POST /sandbox/profile`)
    except those whose name ends in `_kept`, which size the memory at start.
    """

    directory: Literal["open", "strict"] = "open"
    """open: whatever was not declared exists (see `sandbox.directory`); strict: only what was declared."""

    token_ttl_seconds: int = 7200
    token_refetch: Literal["same", "new_old_alive", "new_old_dead"] = "same"
    """What gettoken gives while a token is valid."""
    wrong_secret_ban_after: int = 2000
    """Failing gettoken calls from one address within an hour that ban it for an hour (45009)."""
    disabled_app: Literal["gettoken", "calls", "sends"] = "gettoken"
    """A disabled app: no token any more (40001), every call refused (50003), or sends alone, while agent/get says
    that it is closed."""
    unseen_user_errcode: Literal[60111, 60011] = 60111
    """What user/get answers for a member outside the app's range; for one who does not exist it is 60111."""
    allowlist_on_gettoken: bool = False
    """Whether 60020 is answered by gettoken already, or only by the first real call."""

    app_text_overlong: Literal["cut", "refuse"] = "cut"
    """App text above 2048 bytes: the rest is cut off, or 45002."""
    robot_text_max_bytes: int = 2048
    """Documented 2048; 5120 was seen in the wild."""
    duplicate_answer: Literal["with_msgid", "without_msgid"] = "with_msgid"
    """A send suppressed by the duplicate check is answered errcode 0: with the first msgid, or with none."""
    miniprogram_to_all: bool = False
    """Whether miniprogram_notice may go to @all."""
    robot_image_md5_errcode: Literal[301019, 40058, 40009] = 301019
    robot_image_size_errcode: Literal[40009, 40058, 301019] = 40009

    rate_window: WindowKind = "sliding"
    """Shape of the windows below."""
    member_per_minute: int = 30
    """App messages per app and member; the surplus vanishes without an error."""
    member_per_hour: int = 1000
    robot_per_minute: int = 20
    endpoint_per_minute: int = 10_000
    """Calls per corp and endpoint (45009); sending is not counted."""
    concurrent_calls: int = 0
    """Calls in flight per endpoint above which 45033 is answered; the platform publishes no number."""
    account_cap: int = 0
    """Person-sends per app and day are at most 200 times this (45009)."""
    uploadimg_per_day: int = 1000

    callback_seconds: int = 5
    """How long a callback URL has to answer."""
    callback_tries: int = 3
    callback_retry_non_200: bool = False
    """Whether an answer other than 200 counts as a failure to be tried again, as the older page says."""

    kf_window_seconds: int = 48 * 3600
    """How long after a customer's last message an app may answer, and how long a session lasts."""
    kf_messages_per_window: int = 5
    """Messages of an app between two messages of a customer (95001)."""
    kf_after_window_errcode: Literal[95002, 95018] = 95002
    """What a send later than that is answered; the table of codes allows both."""
    kf_duplicate_msgid_errcode: int = 40058
    """What a msgid that was used before is answered; 0: errcode 0, and nothing is sent a second time."""
    kf_menu_items: Literal[10, 50] = 10
    """Items of a msgmenu (95008); of 50, ten at most can be tapped."""
    kf_text_overlong: Literal["cut", "refuse"] = "cut"
    """KF text above 2048 bytes: the rest is cut off, or 40058."""
    kf_trans_to_assistant: bool = False
    """Whether service_state/trans leads from 0 to 1; documented is only that a reply does."""
    kf_trans_unattended_to_end: bool = False
    """Whether service_state/trans leads from 0, 1 or 2 to 4, or answers 95016."""
    kf_event_reply_counted: bool = False
    """Whether a reply to an event counts towards the messages per window."""
    kf_code_errcode: int = 40058
    """What a code that was used, is too old or never was is answered."""
    kf_welcome_once_written: Literal["never", "after_48h"] = "never"
    """When a customer who has written is welcome again: the documents can be read either way."""
    kf_tokenless_per_minute: int = 6
    """Calls of sync_msg without a callback's token, per account (45009); the platform publishes no number."""
    kf_history_seconds: int = 3 * 86_400
    kf_sync_page: int = 0
    """Most items of one answer of sync_msg, whatever limit was asked for; 0: as many as asked."""
    kf_accounts: int = 5000

    group_unknown_errcode: Literal[40050, 40058] = 40050
    """What groupchat/get answers for a chat_id that never was; of a dismissed group it is 49008."""
    group_internal_errcode: Literal[90501, 90509] = 90501
    """What it answers for a group of members only."""
    group_lag_seconds: int = 0
    """How long groupchat/get still shows a group as it was before it changed; about 2 have been seen."""
    group_list_range: int = 1000
    """Members in an app's range above which groupchat/list without owners is refused (81017)."""
    group_members: int = 500
    """Most members of a group: whoever scans the code of a full one comes into the next."""

    group_sends_per_day: int = 0
    """Mass messages that a group receives in a day, and below in a week and a month (Asia/Shanghai); what is more has
    status 3. Documented are the days of the month, or by an administrator's choice 1 a day or 7 a week; in 2022 it was
    1 a day, before that 4 a month."""
    group_sends_per_week: int = 0
    group_sends_per_month: int | Literal["days"] = "days"
    """days: as many as the month has days."""
    mass_send_dispatch_seconds: int = 0
    """How long after a mass send was made a query for it is answered 41063."""
    mass_send_listed: Literal["at_once", "once_dispatched"] = "at_once"
    """Whether get_groupmsg_list_v2 shows a mass send before it is dispatched."""
    mass_send_cancelled: Literal["refused", "answered"] = "refused"
    """What a query for a cancelled mass send is answered: 41093, or what was sent before."""
    mass_send_unserved: Literal["fail_list", "silent"] = "fail_list"
    """Whether groups that are gone, or not the sender's, are in fail_list; they get nothing either way."""
    mass_send_foreign_picture: Literal["refuse", "accept"] = "refuse"
    """Whether pic_url may lead elsewhere than to what uploadimg answered."""
    owner_behaviour: Literal["by_hand", "at_once", "late", "never"] = "by_hand"
    """What owners do about a mass send: press send at once, late or never, or when they are made to on the page or by
    `/sandbox/owners`, where each can be told apart."""
    owner_delay_seconds: int = 0
    """Between prompt and press, at_once."""
    owner_late_hours: int = 24
    """Between prompt and press, late."""

    ai_arrears: bool = False
    """Whether DashScope's account owes money: every call is refused (Arrearage)."""
    ai_requests_per_minute: int = 0
    """Calls of DashScope's account per minute (Throttling.RateQuota); the platform's depends on account and model."""
    ai_tokens_per_minute: int = 0
    """Tokens of the account per minute, counted when an answer is made (Throttling.AllocationQuota)."""
    ai_burst_per_second: int = 0
    """Calls of the account within one second (Throttling.BurstRate)."""
    ai_session_seconds: int = 3600
    """How long a conversation (session_id) is remembered after its last turn."""
    ai_session_rounds: int = 50

    media_ttl_seconds: int = 3 * 86_400
    media_bytes_kept: int = 256 * 1024 * 1024
    messages_kept: int = 50_000
    requests_kept: int = 200_000
    ai_requests_kept: int = 10_000
    body_bytes_kept: int = 16 * 1024
    """How much of each request body the journal keeps."""

    @classmethod
    def from_mapping(cls, values: Mapping[str, object]) -> "Profile":
        """A profile with these fields; ValueError names the unknown field or the value it does not take."""
        profile = cls()
        profile.update(values)
        return profile

    @classmethod
    def load(cls, path: Path) -> "Profile":
        """A profile from a JSON file; OSError or ValueError when it cannot be read or does not fit."""
        document = orjson.loads(path.read_bytes())
        if not isinstance(document, dict):
            raise ValueError("a profile is a JSON object")
        return cls.from_mapping(document)

    def update(self, values: Mapping[str, object], *, running: bool = False) -> None:
        """Change these fields, all or none; `running` refuses those that size memory."""
        hints = get_type_hints(type(self))
        for name, value in values.items():
            if name not in hints:
                raise ValueError(f"no setting is called {name!r}")
            if running and name.endswith("_kept"):
                raise ValueError(f"{name} is fixed at start")
            _check(name, value, hints[name])
        for name, value in values.items():
            setattr(self, name, value)

    def view(self) -> dict[str, object]:
        """Every field by name."""
        return dataclasses.asdict(self)


def _check(name: str, value: object, hint: object) -> None:
    if get_origin(hint) in (Union, UnionType):  # a number, or a word
        words, hint = next(one for one in get_args(hint) if get_origin(one) is Literal), int
        if value in get_args(words):
            return
    if get_origin(hint) is Literal:
        if value not in get_args(hint) or isinstance(value, bool):
            raise ValueError(f"{name} is one of {', '.join(map(str, get_args(hint)))}")
    elif hint is bool:
        if not isinstance(value, bool):
            raise ValueError(f"{name} is true or false")
    elif (
        isinstance(value, bool) or not isinstance(value, int) or value < (1 if name.endswith("_kept") else 0)
    ):
        raise ValueError(f"{name} is a whole number, at least {1 if name.endswith('_kept') else 0}")
