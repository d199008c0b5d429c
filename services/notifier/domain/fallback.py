"""Whom to tell instead: the steps a rule names for what does not get through, in order.

A rule that names none tells the manager instead, unless it tells the manager already. A step is a role or an address.
It is used where a role has no target, and where a delivery failed for good; not where the outcome is unknown, since
that may have arrived.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace

from services.notifier.domain.content import Content, Format
from services.notifier.domain.routing import ROLE_NAMES, Bindings, Role, Target, TargetKind, resolve
from shared.errors import Invalid
from shared.values import value_class

Step = Role | Target

MOST_STEPS = 5
"""Steps of one rule; also how deep a failure can lead to another."""

NOTE = "【改送】"
"""Begins the first line of a message that goes to somebody else than it was meant for."""

_DEFAULT: tuple[Step, ...] = (Role.MANAGER,)


@value_class
class Instead:
    """Those whom one step of the chain leads to."""

    step: Step
    number: int
    """The step's place in the chain, from 1."""
    targets: tuple[Target, ...]

    @property
    def role(self) -> Role | None:
        """The role they were found by; None for an address."""
        return self.step if isinstance(self.step, Role) else None


def chain(named: tuple[Step, ...] | None, roles: Collection[Role]) -> tuple[Step, ...]:
    """The steps of a rule that names *named* (None: nothing, which is not the same as no step) and tells *roles*."""
    if named is not None:
        return named
    return () if Role.MANAGER in roles else _DEFAULT


def held(steps: Sequence[Step], store_id: str, bindings: Bindings) -> Iterator[Instead]:
    """Each of *steps* that leads to anybody in the store, in order."""
    for number, step in enumerate(steps, 1):
        targets = resolve(step, store_id, bindings).targets if isinstance(step, Role) else (step,)
        if targets:
            yield Instead(step, number, targets)


def noted(content: Content, failed: str) -> Content:
    """*content* for somebody else: its first line says that *failed* (应用 default, 机器人 kitchen) did not work."""
    text = content.text
    if text.startswith(NOTE):  # it has been handed on before; the last way that failed is what helps
        text = text.partition("\n")[2]
    words = f"{NOTE}原发送通道（{failed.strip()}）发送失败，请代为处理"
    said = replace(content, text=f"{words}\n{text}", mentioned=(), mentioned_mobiles=())
    # A card's buttons are the delivery's own, and no robot can post them.
    return Content(Format.TEXT, said.text) if content.format is Format.TEMPLATE_CARD else said


def spoken(step: Step) -> tuple[str, str]:
    """What people call a step, in Chinese and in English."""
    return (f"「{ROLE_NAMES[step]}」", str(step)) if isinstance(step, Role) else (str(step), str(step))


def objection(steps: Sequence[Step]) -> str:
    """What is wrong with *steps*, or nothing."""
    if len(steps) > MOST_STEPS:
        return f"at most {MOST_STEPS} steps"
    names = [written(one) for one in steps]
    twice = next((one for one in names if names.count(one) > 1), "")
    return f"{twice} is named twice; name it once" if twice else ""


def written(step: Step) -> str:
    """A step as text: ``manager``, ``robot:kitchen``, ``user:anna`` or ``user:anna/second`` for another app."""
    if isinstance(step, Role):
        return step.value
    # The default app is not written, so that a chain says the same wherever it was made.
    named = step.account not in ("", "default")
    return f"{step.kind}:{step.id}/{step.account}" if named else f"{step.kind}:{step.id}"


def read(text: str, field: str = "fallback") -> Step:
    """What ``written`` wrote, or somebody typed. Raises Invalid for *field*."""
    kind, colon, rest = text.partition(":")
    if not colon:
        if text not in set(Role):
            raise Invalid.field(
                field,
                f"{text!r} is neither a role ({', '.join(Role)}) nor an address like robot:NAME or user:ID",
            )
        return Role(text)
    if kind not in set(TargetKind):
        raise Invalid.field(field, f"an address begins with {', '.join(TargetKind)}, not {kind!r}")
    ident, _, account = rest.partition("/")
    return Target.checked(TargetKind(kind), ident, account, field=field)
