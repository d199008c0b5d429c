"""Words that an application is asked for: what it is told, when it is asked again, when it is given up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Final

from services.campaign.domain.campaign import AttachmentKind, Spec
from services.campaign.domain.tone import Tone
from services.campaign.domain.window import SendWindow
from shared.values import value_class

COUNT: Final = 3
MAX_CHARS: Final = 300
CARD_CHARS: Final = 100
BANNED_WORDS: Final = 200
"""Words that an application is told of at most; the others are looked for in what it writes."""
TONE_CHARS: Final = 1000
RULES: Final = 20
WINDOW_CHARS: Final = 200

LATEST: Final = timedelta(minutes=30)
"""How long after the call that wanted them words are still asked for."""
GENERATIONS: Final = 2
"""How often an application is asked anew that gave nothing of use."""
SHORTEST: Final = timedelta(seconds=2)
LONGEST: Final = timedelta(minutes=5)

REFUSED: Final = "copy_refused"
"""The application wrote nothing of use."""
NOT_CONFIGURED: Final = "not_configured"
"""Nobody here writes: no ai_orchestrator is configured, nor served by this process."""
TOO_LATE: Final = "too_late"
_DAYS: Final = "一二三四五六日"


class SetStatus(StrEnum):
    """Where a set stands once it is over; until then it is a due row."""

    READY = "ready"
    FAILED = "failed"


class Form(StrEnum):
    """What the words go into."""

    TEXT = "text"
    CARD = "card"


@value_class
class Asked:
    """What an application is told."""

    form: Form
    theme: str
    audience: str
    tone: str
    banned_words: tuple[str, ...]
    count: int
    max_chars: int
    language_rules: tuple[str, ...]
    send_window: str

    def document(self) -> dict[str, Any]:
        """As plain JSON."""
        lists = {"banned_words": list(self.banned_words), "language_rules": list(self.language_rules)}
        plain = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return {**plain, "form": self.form.value, **lists}

    @classmethod
    def read(cls, document: Mapping[str, Any]) -> Asked:
        """From its ``document``."""
        lists = {name: tuple(document[name]) for name in ("banned_words", "language_rules")}
        return cls(**{**document, "form": Form(document["form"]), **lists})


@value_class
class Written:
    """One way to say it, as an application wrote it."""

    text: str
    title: str
    angle: str
    tokens: int


@value_class
class Answer:
    """How one call of the application ended."""

    candidates: tuple[Written, ...] = ()
    """Empty: the reason says why."""
    reason: str = ""
    again: bool = False
    """Whether the same question may have an answer later."""
    anew: bool = False
    """Whether only another question of the same content may have one."""
    retry_after: timedelta | None = None
    run_id: str = ""
    app_version: str = ""
    prompt_hash: str = ""
    models: tuple[str, ...] = ()
    input_tokens: int = 0
    output_tokens: int = 0
    total_tokens: int = 0


def asked_of(
    spec: Spec,
    tone: Tone | None,
    deployment_words: Sequence[str],
    *,
    form: Form,
    audience: str,
    count: int,
    max_chars: int,
    language_rules: Sequence[str],
) -> Asked:
    """What is told for a campaign: nothing but what is written in it. 0 means the usual."""
    words = dict.fromkeys((*spec.banned_words, *deployment_words))
    rules = (*(tone.language_rules if tone else ()), *language_rules)
    return Asked(
        form,
        spec.theme,
        audience,
        tone.said()[:TONE_CHARS] if tone else "",
        tuple(word for word in words if len(word) <= 64)[:BANNED_WORDS],
        count or COUNT,
        max_chars or (CARD_CHARS if form is Form.CARD else MAX_CHARS),
        tuple(dict.fromkeys(rules))[:RULES],
        window_said(spec.window)[:WINDOW_CHARS],
    )


def has_card(spec: Spec) -> bool:
    """Whether there is a link whose title and description could be written."""
    return any(one.kind is AttachmentKind.LINK for one in spec.content.attachments)


def next_try(answer: Answer, asked_at: datetime, now: datetime) -> datetime | None:
    """When to ask once more; None: not any more."""
    at = now + min(max(answer.retry_after or SHORTEST, SHORTEST), LONGEST)
    return at if answer.again and at < asked_at + LATEST else None


def window_said(window: SendWindow) -> str:
    """When customers read it, in words."""
    by_hours: dict[str, list[int]] = {}
    for day, hours in window.weekdays:
        if hours:
            by_hours.setdefault("、".join(map(str, hours)), []).append(day)
    parts = []
    for hours_said, days in by_hours.items():
        which = "每天" if len(days) == len(_DAYS) else "、".join(f"周{_DAYS[day]}" for day in days)
        parts.append(f"{which} {hours_said}")
    return "；".join(parts)
