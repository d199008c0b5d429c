"""What stands between a message and its reader: quiet hours, then merging. Urgent messages pass both.

Each gate says what it found, and for a no the smallest change that would have let the message through at once.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import datetime
from enum import StrEnum
from typing import Any

from services.notifier.domain.content import Format
from services.notifier.domain.digest import Heading, line_of
from services.notifier.domain.merging import Bin, MergeMode, Merging
from services.notifier.domain.policy import Policies, Policy, words_of
from services.notifier.domain.routing import Role, Target
from services.notifier.domain.rules import Priority
from shared.quiet import QuietMode
from shared.values import value_class

WAKE_TITLE = "免打扰期间的消息"
"""What the digest of what came in quiet hours is called."""


class Gate(StrEnum):
    """What can hold a message back on purpose."""

    QUIET = "quiet_hours"
    MERGING = "merging"
    BUDGET = "budget"
    RATE = "rate"


class Way(StrEnum):
    """What becomes of a message at the gates."""

    GO = "go"
    HOLD = "hold"
    DROP = "drop"
    GATHER = "gather"


@value_class
class Gathering:
    """How a message goes together with its like."""

    bin: Bin
    heading: Heading
    line: str


@value_class
class Passage:
    """What the gates say of one recipient's message."""

    way: Way = Way.GO
    gate: Gate | None = None
    """The one that holds it; None where it goes."""
    until: datetime | None = None
    """Until when it is held; None where it goes, is dropped, or gathers for as long as its bin says."""
    gathering: Gathering | None = None


OPEN = Passage()


@value_class
class GateNote:
    """What one gate found about some recipients of one rule."""

    gate: Gate
    way: Way
    rule_id: str
    targets: tuple[str, ...]
    policy: str = ""
    """Which policy says so; empty for a rule's own merging."""
    policy_zh: str = ""
    until: datetime | None = None
    change_zh: str = ""
    """The smallest change that would let it through; empty where it goes through."""
    change_en: str = ""

    def to_json(self) -> dict[str, object]:
        """As plain JSON, without what is empty."""
        plain: dict[str, object] = {
            "gate": self.gate.value,
            "way": self.way.value,
            "rule_id": self.rule_id,
            "targets": list(self.targets),
        }
        for name in ("policy", "policy_zh", "change_zh", "change_en"):
            if value := getattr(self, name):
                plain[name] = value
        if self.until is not None:
            plain["until"] = self.until.isoformat()
        return plain

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> GateNote:
        """What ``to_json`` wrote."""
        until = plain.get("until")
        return cls(
            Gate(plain["gate"]),
            Way(plain["way"]),
            plain["rule_id"],
            tuple(plain["targets"]),
            plain.get("policy", ""),
            plain.get("policy_zh", ""),
            None if until is None else datetime.fromisoformat(until),
            plain.get("change_zh", ""),
            plain.get("change_en", ""),
        )


@value_class
class Message:
    """What the gates look at, beside whom it is for."""

    store_id: str
    priority: Priority
    format: Format
    rule_id: str = ""
    """Empty for what somebody wrote, which is held but never merged."""
    rule_name: str = ""
    merging: Merging | None = None
    """The rule's own."""
    kind: tuple[str, ...] = ()
    """The values of the merge key's fields."""
    line: str = ""


def judge(
    message: Message, target: Target, role: Role | None, policies: Policies, now: datetime
) -> tuple[Passage, list[GateNote]]:
    """What the gates say at *now* to *message* for *target*, and what each of them found."""
    said = policies.said(message.store_id, target, role)
    merging = message.merging or (said.merging.merging if said.merging is not None else None)
    if merging is not None and merging.mode is MergeMode.OFF:
        merging = None
    notes: list[GateNote] = []
    passage = OPEN
    if said.quiet is not None:
        passage, note = _quiet(message, target, said.quiet, merging, policies, now)
        notes.append(note)
    if merging is not None and message.rule_id and passage.way is Way.GO:
        policy = said.merging if message.merging is None else None
        passage, note = _merge(message, target, merging, policy, policies)
        notes.append(note)
    return passage, notes


def _quiet(
    message: Message,
    target: Target,
    policy: Policy,
    merging: Merging | None,
    policies: Policies,
    now: datetime,
) -> tuple[Passage, GateNote]:
    assert policy.quiet is not None
    zone = policies.zone_of(policy)
    until = policy.quiet.until(now, zone)
    note = GateNote(Gate.QUIET, Way.GO, message.rule_id, (str(target),), policy.words, policy.words_zh)
    if until is None or message.priority is Priority.URGENT:
        return OPEN, note
    wall = f"{now.astimezone(zone):%H:%M}"
    note = replace(
        note,
        until=until,
        change_zh=f"把优先级设为 urgent，或让{policy.words_zh}的免打扰时段（{policy.quiet}）不含 {wall}",
        change_en=f"make it urgent, or leave {wall} out of the quiet hours ({policy.quiet}) of {policy.words}",
    )
    if policy.quiet.mode is QuietMode.DROP:
        return Passage(Way.DROP, Gate.QUIET), replace(note, way=Way.DROP, until=None)
    if message.rule_id and policy.quiet.mode is QuietMode.DIGEST:
        parts = ("wake", message.store_id, *target.key, until.isoformat())
        heading = Heading(WAKE_TITLE, Format.TEXT, str(zone), named=True)
        line = line_of(f"【{message.rule_name}】{message.line}")
        gathering = Gathering(Bin(_hash(parts), until), heading, line)
        return Passage(Way.GATHER, Gate.QUIET, until, gathering), replace(note, way=Way.GATHER)
    if message.rule_id and merging is not None:
        # What was to be merged is not let loose one by one when the quiet ends.
        found = _gathering(message, merging, str(zone), until)
        return Passage(Way.GATHER, Gate.QUIET, until, found), replace(note, way=Way.GATHER)
    return Passage(Way.HOLD, Gate.QUIET, until), replace(note, way=Way.HOLD)


def _merge(
    message: Message, target: Target, merging: Merging, policy: Policy | None, policies: Policies
) -> tuple[Passage, GateNote]:
    words, words_zh = (policy.words, policy.words_zh) if policy is not None else ("", "")
    note = GateNote(Gate.MERGING, Way.GO, message.rule_id, (str(target),), words, words_zh)
    if message.priority is Priority.URGENT:
        return OPEN, note
    zone = str(policies.zone_of(policy) if policy is not None else policies.zone)
    found = _gathering(message, merging, zone, None)
    whose_zh = f"{words_zh}的策略" if words else f"规则 {message.rule_id}"
    whose_en = f"the policy of {words}" if words else f"rule {message.rule_id}"
    length = words_of(merging.length)
    note = replace(
        note,
        way=Way.GATHER,
        change_zh=f"把优先级设为 urgent，或关闭{whose_zh}的合并（{merging.mode} {length}）",
        change_en=f"make it urgent, or switch off the merging ({merging.mode} {length}) of {whose_en}",
    )
    return Passage(Way.GATHER, Gate.MERGING, None, found), note


def _gathering(message: Message, merging: Merging, zone: str, wake: datetime | None) -> Gathering:
    parts = ("rule", message.store_id, message.rule_id, *message.kind, wake.isoformat() if wake else "")
    cools = merging.mode is MergeMode.COOLDOWN and wake is None
    heading = Heading(message.rule_name, message.format, zone, merging.top)
    return Gathering(Bin(_hash(parts), wake, merging.length, cools), heading, message.line)


def among(gathering: Gathering, address: str, priority: Priority, targets: Iterable[Target]) -> Gathering:
    """*gathering* for one call: what goes to others, or otherwise, gathers elsewhere."""
    # What one person missed is one message, whatever it was about and however urgent.
    kind = "" if gathering.heading.named else priority.word
    parts = (gathering.bin.key, address, kind, *sorted("/".join(one.key) for one in targets))
    return replace(gathering, bin=replace(gathering.bin, key=_hash(parts)))


def _hash(parts: Iterable[str]) -> str:
    # Each part with its length: two lists of parts never read alike.
    return hashlib.sha256("".join(f"{len(part)}:{part}" for part in parts).encode()).hexdigest()[:40]


def gathered(notes: Iterable[GateNote]) -> tuple[GateNote, ...]:
    """*notes*, those that differ in their targets only as one."""
    found: dict[GateNote, list[str]] = {}
    for note in notes:
        found.setdefault(replace(note, targets=()), []).extend(note.targets)
    return tuple(replace(note, targets=tuple(targets)) for note, targets in found.items())
