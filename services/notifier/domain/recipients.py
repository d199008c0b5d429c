"""What one answer means for each recipient: errcode 0 may name some who were not reached.

Nothing is known about the members of a department or tag; the department itself is accepted or invalid.
"""

from __future__ import annotations

from collections.abc import Iterable

from services.notifier.domain.lifecycle import DeliveryStatus, RecipientStatus
from services.notifier.domain.routing import Target, TargetKind
from shared.values import value_class


@value_class
class Refused:
    """The lists of invalid receivers in an answer, as the platform wrote them."""

    users: frozenset[str] = frozenset()
    unlicensed: frozenset[str] = frozenset()
    parties: frozenset[str] = frozenset()
    tags: frozenset[str] = frozenset()

    @classmethod
    def of(
        cls,
        users: Iterable[str] = (),
        unlicensed: Iterable[str] = (),
        parties: Iterable[str] = (),
        tags: Iterable[str] = (),
    ) -> Refused:
        """From lists; userids are compared in lower case, which is how the platform returns them."""
        return cls(_lower(users), _lower(unlicensed), frozenset(parties), frozenset(tags))

    def reason(self, target: Target) -> str:
        """Why *target* was not reached, as a stable word; empty when it is not in a list."""
        match target.kind:
            case TargetKind.USER:
                if target.id.lower() in self.users:
                    return "invalid_user"
                return "unlicensed_user" if target.id.lower() in self.unlicensed else ""
            case TargetKind.PARTY:
                return "invalid_party" if target.id in self.parties else ""
            case TargetKind.TAG:
                return "invalid_tag" if target.id in self.tags else ""
            case TargetKind.ROBOT:
                return ""


def _lower(names: Iterable[str]) -> frozenset[str]:
    return frozenset(name.lower() for name in names)


_FOLLOWS = {
    DeliveryStatus.PENDING: RecipientStatus.PENDING,
    DeliveryStatus.DEFERRED: RecipientStatus.PENDING,
    DeliveryStatus.SENDING: RecipientStatus.PENDING,
    DeliveryStatus.ACCEPTED: RecipientStatus.ACCEPTED,
    DeliveryStatus.FAILED: RecipientStatus.FAILED,
    DeliveryStatus.UNKNOWN: RecipientStatus.UNKNOWN,
    DeliveryStatus.SUPPRESSED: RecipientStatus.SUPPRESSED,
    DeliveryStatus.EXPIRED: RecipientStatus.SUPPRESSED,
    DeliveryStatus.CANCELLED: RecipientStatus.SUPPRESSED,
}


def follows(status: DeliveryStatus) -> RecipientStatus:
    """What a recipient without an outcome of its own has, once its delivery stands at *status*."""
    return _FOLLOWS[status]


def exceptions(targets: Iterable[Target], refused: Refused) -> dict[Target, str]:
    """The recipients of an accepted or refused call that the platform named as not reached, each with its reason."""
    named = ((target, refused.reason(target)) for target in targets)
    return {target: reason for target, reason in named if reason}
