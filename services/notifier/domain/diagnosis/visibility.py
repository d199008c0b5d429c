"""Whom an app can reach of those who hold roles through it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum

from services.notifier.domain.diagnosis.platform import MEMBERS_PAGE, AppFacts
from services.notifier.domain.routing import EVERYONE, Bindings, Role, Target, TargetKind
from shared.ops.finding import CheckStatus, Finding
from shared.values import value_class

_SHOWN = 5
"""Holders that are named; of more, the number."""


class Sight(StrEnum):
    """Whether an app's messages reach a holder of a role."""

    SEEN = "seen"
    GONE = "not known to WeCom"
    OUTSIDE = "outside the app's visible range"
    EITHER = "not known to WeCom, or outside the app's visible range"
    """The platform has one answer for both."""
    EMPTY = "given to nobody whom the app sees"
    UNTRIED = "could not be asked about"


_SIGHTS: Mapping[int, Sight] = {
    0: Sight.SEEN,
    **dict.fromkeys((40003, 40068, 46004), Sight.GONE),
    **dict.fromkeys((50002, 60011, 60021), Sight.OUTSIDE),
    **dict.fromkeys((40066, 60111, 60123), Sight.EITHER),
}


def sight(errcode: int | None) -> Sight:
    """What the platform's answer to a question about one holder means."""
    return _SIGHTS.get(errcode, Sight.UNTRIED) if errcode is not None else Sight.UNTRIED


@value_class
class Range:
    """An app's visible range as ``agent/get`` lists it; a member below a listed department is not listed."""

    users: frozenset[str] = frozenset()
    """Userids in lower case."""
    parties: frozenset[str] = frozenset()
    tags: frozenset[str] = frozenset()

    @classmethod
    def of(cls, answer: Mapping[str, object]) -> Range:
        """From the answer; what is not there or has another form is taken as not listed, and then asked about."""
        users = _within(answer, "allow_userinfos", "user")
        return cls(
            frozenset(str(one.get("userid", "")).lower() for one in users if isinstance(one, Mapping)),
            frozenset(map(str, _within(answer, "allow_partys", "partyid"))),
            frozenset(map(str, _within(answer, "allow_tags", "tagid"))),
        )

    def lists(self, target: Target) -> bool:
        """Whether *target* need not be asked about."""
        match target.kind:
            case TargetKind.USER:
                return target.id == EVERYONE or target.id.lower() in self.users
            case TargetKind.PARTY:
                return target.id in self.parties
            case TargetKind.TAG:
                return target.id in self.tags
            case TargetKind.ROBOT:
                return True


def _within(answer: Mapping[str, object], name: str, inner: str) -> Sequence[object]:
    table = answer.get(name)
    found = table.get(inner) if isinstance(table, Mapping) else None
    return found if isinstance(found, list) else []


@value_class
class Holder:
    """A target, and the roles it holds: (store, role), the store empty for the default of all."""

    target: Target
    posts: tuple[tuple[str, Role], ...]

    @property
    def spelled(self) -> str:
        """The target as people write it, with its first role."""
        store, role = self.posts[0]
        more = f" and {len(self.posts) - 1} more" if len(self.posts) > 1 else ""
        return f"{self.target} ({role.value}{store and f' at {store}'}{more})"


def holders(bindings: Bindings, address: str) -> list[Holder]:
    """Those who hold roles through the channel *address*, each once."""
    found: dict[tuple[str, str, str], tuple[Target, list[tuple[str, Role]]]] = {}
    for post, targets in bindings.items():
        for target in targets:
            if target.address == address:
                found.setdefault(target.key, (target, []))[1].append(post)
    return [Holder(target, tuple(posts)) for target, posts in found.values()]


def visibility_finding(app: AppFacts, seen: Mapping[Sight, Sequence[Holder]], left_out: int = 0) -> Finding:
    """``wecom_visibility`` of one app: who holds a role through it and is not reached.

    *left_out* is how many were not asked about because there are too many of them.
    """
    name = f"wecom_visibility:{app.name}"
    missed = {kind: ones for kind, ones in seen.items() if kind is not Sight.SEEN and ones}
    count = sum(map(len, seen.values()))
    rest = f"; {left_out} more were not asked about" if left_out else ""
    if not missed:
        if not count:
            return Finding(name, CheckStatus.SKIPPED, "nobody holds a role through this app")
        return Finding(name, CheckStatus.OK, f"all {count} who hold a role through it are in its range{rest}")
    mild = set(missed) <= {Sight.EMPTY, Sight.UNTRIED}
    found = "; ".join(f"{kind.value}: {_named(ones)}" for kind, ones in missed.items())
    # What is done about EITHER begins with what is done about OUTSIDE.
    told = [kind for kind in missed if kind is not Sight.OUTSIDE or Sight.EITHER not in missed]
    fixes = [_fix(app, kind, missed[kind][0]) for kind in told]
    return Finding(
        name,
        CheckStatus.WARNING if mild else CheckStatus.FAILED,
        found + rest,
        "; ".join(dict.fromkeys(fixes)),
    )


def _named(ones: Sequence[Holder]) -> str:
    more = f" and {len(ones) - _SHOWN} more" if len(ones) > _SHOWN else ""
    return ", ".join(one.spelled for one in ones[:_SHOWN]) + more


def _fix(app: AppFacts, kind: Sight, one: Holder) -> str:
    store, role = one.posts[0]
    correct = f"`reach roles set {role.value}{store and f' --store {store}'} …`"
    widen = f"{app.page} → 可见范围: add them"
    page = {
        TargetKind.USER: f"{MEMBERS_PAGE} → the member's page → 账号",
        TargetKind.PARTY: f"{MEMBERS_PAGE} → the department → 部门ID",
        TargetKind.TAG: f"{MEMBERS_PAGE} → 标签",
        TargetKind.ROBOT: MEMBERS_PAGE,
    }[one.target.kind]
    match kind:
        case Sight.GONE:
            return f"{page}: see how it is written; then {correct}"
        case Sight.EITHER:
            return f"{widen}; or, if it is misspelt, {page} says how it is written: {correct}"
        case Sight.EMPTY:
            return f"{page}: give the tag to members whom the app sees ({app.page} → 可见范围)"
        case Sight.UNTRIED:
            return (
                f"ask again in a minute; where it stays so, the app may not read {MEMBERS_PAGE}, and only a message "
                "shows whom it reaches"
            )
        case _:
            return f"{widen}; or {correct}"


@value_class
class Word:
    """What WeCom said of a person the last time a message was for them."""

    target: Target
    reason: str


def last_words_finding(said: Iterable[Word]) -> Finding:
    """``recipients``: who holds a role and was not reached by the last message, as WeCom's answer had it."""
    name = "recipients"
    unlicensed = [word.target.id for word in said if word.reason == "unlicensed_user"]
    if not unlicensed:
        return Finding(
            name, CheckStatus.OK, "nobody who holds a role was named as unlicensed by the last send"
        )
    more = f" and {len(unlicensed) - _SHOWN} more" if len(unlicensed) > _SHOWN else ""
    return Finding(
        name,
        CheckStatus.WARNING,
        f"the last message to {', '.join(unlicensed[:_SHOWN])}{more} was not delivered: no API licence",
        "the corp's 接口调用许可 (base licence): activate or renew the member's; this goes with the next message that arrives",
    )
