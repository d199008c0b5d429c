"""Whether a campaign may send now: one question, over all that was written down of it and nothing else.

Asked in the transaction of every claim, and by whoever wants to know beforehand. No setting answers it; one can only
forbid more (``live``).
"""

from __future__ import annotations

import unicodedata
from collections.abc import Collection
from datetime import datetime
from typing import Final

from services.campaign.domain.lifecycle import Status
from shared.values import value_class

PAUSED: Final = "paused"
NOT_RUNNING: Final = "not_running"
DRY_RUN_ONLY: Final = "dry_run_only"
NOT_SUBMITTED: Final = "not_submitted"
NOT_APPROVED: Final = "not_approved"
VERSION_CHANGED: Final = "version_changed"
CONTENT_CHANGED: Final = "content_changed"
APPROVAL_EXPIRED: Final = "approval_expired"
FOUR_EYES: Final = "four_eyes"
APPROVER_GONE: Final = "approver_gone"
APPROVER_UNKNOWN: Final = "approver_unknown"
BLOCK_WORD: Final = "block_word"

PASSING: Final = frozenset({PAUSED, DRY_RUN_ONLY, APPROVER_UNKNOWN})
"""Refusals that may pass by themselves: whoever is refused so waits. After any other one nothing will ever be sent."""


@value_class
class Consent:
    """What one person decided of one version."""

    approved: bool
    version: int
    store_id: str
    content_hash: str
    approver: str
    token_id: str
    login_at: datetime
    expires_at: datetime


@value_class
class Facts:
    """All that the answer depends on, read in one transaction."""

    store_id: str
    version: int
    """That the campaign has now."""
    frozen_hash: str
    """What the snapshot of the version was submitted as; '' where it was not."""
    content_hash: str
    """Over what is stored of the version and of its groups, calculated now."""
    authors: Collection[str]
    """Subjects of who created it, wrote a version, or had an application write for it."""
    consent: Consent | None
    """The last decision about this version."""
    approver_stands: bool | None
    """Whether the approver is still a person who may approve for the store; None: it could not be found out."""
    clean: bool
    """Whether the words pass the lists as they are now."""
    live: bool
    """Whether the deployment sends at all."""


def consent_refusal(facts: Facts, now: datetime) -> str:
    """'' where somebody who may has said yes to exactly what stands there now; else the stable reason."""
    if not facts.frozen_hash:
        return NOT_SUBMITTED
    found = facts.consent
    if found is None or not found.approved:
        return NOT_APPROVED
    if found.version != facts.version or found.store_id != facts.store_id:
        return VERSION_CHANGED
    if not (found.content_hash == facts.content_hash == facts.frozen_hash):
        return CONTENT_CHANGED
    if now >= found.expires_at:
        return APPROVAL_EXPIRED
    if is_author(found.approver, facts.authors):
        return FOUR_EYES
    if facts.approver_stands is None:
        return APPROVER_UNKNOWN
    if not facts.approver_stands:
        return APPROVER_GONE
    if not facts.clean:
        return BLOCK_WORD
    return "" if facts.live else DRY_RUN_ONLY


def claim_refusal(facts: Facts, status: Status, version: int, content_hash: str, now: datetime) -> str:
    """The same for a task of a run: of *version*, made for *content_hash*, while the campaign is *status*."""
    refused = status_refusal(status)
    if refused:
        return refused
    if version != facts.version:
        return VERSION_CHANGED
    if content_hash != facts.content_hash:
        return CONTENT_CHANGED
    return consent_refusal(facts, now)


def status_refusal(status: Status) -> str:
    """'' where a campaign in *status* sends; else the stable reason."""
    if status is Status.RUNNING:
        return ""
    return PAUSED if status is Status.PAUSED else NOT_RUNNING


def is_author(subject: str, authors: Collection[str]) -> bool:
    """Whether *subject* is one of *authors*, however either is written.

    Somebody with a token of ours and a JWT has two subjects, which end alike: what comes before ``#``, the issuer, makes
    nobody another person here.
    """
    return _name(subject) in {_name(one) for one in authors if one}


def _name(subject: str) -> str:
    return canonical(subject).rpartition("#")[2].strip()


def canonical(subject: str) -> str:
    """One form of a subject for all its spellings: full width, case, spaces around it."""
    folded = unicodedata.normalize("NFKC", subject).casefold()
    return unicodedata.normalize("NFKC", folded).strip()
