"""As few calls as the platform allows for what has to be said to whom.

One app call reaches up to a thousand people, a hundred departments and a hundred tags; a robot is a call of its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from services.notifier.domain.content import Content
from services.notifier.domain.gates import OPEN, Passage, among
from services.notifier.domain.routing import EVERYONE, Channel, Role, Target, TargetKind
from services.notifier.domain.rules import Priority
from shared.values import value_class

MOST_PER_CALL = {TargetKind.USER: 1000, TargetKind.PARTY: 100, TargetKind.TAG: 100, TargetKind.ROBOT: 1}
"""Addresses of each kind that one call takes (message/send 90236)."""


@value_class
class Recipient:
    """One target of a call, and what it is told for."""

    target: Target
    rule_id: str = ""
    """The rule that tells it; empty for messages that somebody wrote."""
    role: Role | None = None
    """The role it was found by; None when it was addressed directly."""


@value_class
class Assignment:
    """What one recipient is to be told."""

    recipient: Recipient
    content: Content
    priority: Priority
    rule_version: int = 0
    passage: Passage = OPEN
    """What the gates say of it."""


@value_class
class PlannedCall:
    """One call to be made: a delivery before it has an id."""

    address: str
    """``app:<credential>`` or ``robot:<name>``."""
    priority: Priority
    content: Content
    recipients: tuple[Recipient, ...]
    """At least one; each target in one call of the plan only."""
    rule_id: str = ""
    """The rule of the first recipient."""
    rule_version: int = 0
    passage: Passage = OPEN
    """What the gates say of it."""

    @property
    def channel(self) -> Channel:
        """The way it goes."""
        return Channel(self.address.partition(":")[0])

    @property
    def account(self) -> str:
        """Name of the app credential or of the robot."""
        return self.address.partition(":")[2]

    @property
    def targets(self) -> tuple[Target, ...]:
        """Whom it goes to."""
        return tuple(recipient.target for recipient in self.recipients)


def plan(assignments: Iterable[Assignment]) -> tuple[PlannedCall, ...]:
    """The calls for *assignments*, the most urgent first, else in the order they were first needed.

    Assignments of one channel, priority and content share calls up to ``MOST_PER_CALL``. Each target is expected once.
    """
    groups: dict[tuple[Priority, str, Content, bool, Passage | None], list[Assignment]] = {}
    for one in assignments:
        target = one.recipient.target
        # "@all" makes the platform ignore the departments and tags beside it.
        alone = target.kind is TargetKind.USER and target.id == EVERYONE
        key = (one.priority, target.address, one.content, alone, None if one.passage is OPEN else one.passage)
        groups.setdefault(key, []).append(one)
    calls = [
        PlannedCall(
            address,
            priority,
            content,
            tuple(one.recipient for one in batch),
            batch[0].recipient.rule_id,
            batch[0].rule_version,
            OPEN if passage is None else _gathered(passage, address, priority, batch),
        )
        for (priority, address, content, _, passage), group in groups.items()
        for batch in _batches(group)
    ]
    return tuple(sorted(calls, key=lambda call: call.priority))


def _gathered(passage: Passage, address: str, priority: Priority, batch: Sequence[Assignment]) -> Passage:
    if passage.gathering is None:
        return passage
    targets = [one.recipient.target for one in batch]
    return replace(passage, gathering=among(passage.gathering, address, priority, targets))


def _batches(group: Sequence[Assignment]) -> Iterator[list[Assignment]]:
    if len(group) == 1:
        yield list(group)
        return
    kinds: dict[TargetKind, list[Assignment]] = {kind: [] for kind in TargetKind}
    for one in group:
        kinds[one.recipient.target.kind].append(one)
    start = dict.fromkeys(kinds, 0)
    while any(start[kind] < len(ones) for kind, ones in kinds.items()):
        batch: list[Assignment] = []
        for kind, ones in kinds.items():
            batch += ones[start[kind] : start[kind] + MOST_PER_CALL[kind]]
            start[kind] += MOST_PER_CALL[kind]
        yield batch
