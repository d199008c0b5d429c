"""The one check: gathers what a campaign's permission depends on, in the caller's transaction, and asks the domain."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import NoReturn, Protocol

import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from services.campaign.domain import permit
from services.campaign.domain.campaign import content_hash as hash_of
from services.campaign.domain.campaign import set_text_hash
from services.campaign.domain.lifecycle import Status
from services.campaign.domain.permit import Consent, Facts
from services.campaign.pipeline.ports import Hit, Lint
from services.campaign.store import approvals
from services.campaign.store.campaigns import Kept
from shared.clock import Clock
from shared.errors import Conflict, Invalid, ReachError, Unavailable, Violation
from shared.identity import TokenRecord, is_jwt

SCOPE = "campaign.approve"
"""What an approver's token must allow, when they approve and ever after."""

_log = structlog.get_logger("reach.campaign.permit")


class Issued(Protocol):
    """Knows all tokens, and what became of JWTs."""

    async def issued(self) -> Sequence[TokenRecord]:
        """Every token there ever was, as of a few seconds ago. Raises Unavailable."""
        ...

    async def upholds(self, subject: str, token_id: str, login_at: datetime) -> bool:
        """Whether what was done with a JWT in a login may still stand. Raises Unavailable."""
        ...


class Approvers:
    """Whether somebody who approved may still approve."""

    def __init__(self, tokens: Issued, clock: Clock) -> None:
        self._tokens = tokens
        self._clock = clock

    async def stands(self, consent: Consent, store_id: str) -> bool | None:
        """Whether the approver has a person's token for it; None where nobody can say.

        A token that was revoked takes what was approved by it along: nobody knows any more in whose hands it was. One
        that only expired does not, as long as they have another. A JWT is not kept by us: what it approved stands until
        the JWT, its subject or its issuer is revoked.
        """
        subject, token_id = consent.approver, consent.token_id
        try:
            if is_jwt(token_id):
                return await self._tokens.upholds(subject, token_id, consent.login_at)
            issued = await self._tokens.issued()
        except ReachError as error:
            _log.warning("cannot ask whether an approver still may", reason=error.reason)
            return None
        used = next((one for one in issued if one.principal.token_id == token_id), None)
        if used is None or used.revoked_at is not None or used.principal.subject != subject:
            return False
        now = self._clock.now()
        return any(
            one.principal.subject == subject
            and one.principal.kind == "human"
            and one.is_live(now)
            and SCOPE in one.principal.scopes
            and one.principal.may_touch(store_id)
            for one in issued
        )


class Stands(Protocol):
    """What Permitting asks of ``Approvers``."""

    async def stands(self, consent: Consent, store_id: str) -> bool | None:
        """See ``Approvers.stands``."""
        ...


class Permitting:
    """See ``ports.Permit``; *live* is whether the deployment sends at all."""

    def __init__(self, lint: Lint, approvers: Stands, *, live: bool) -> None:
        self._lint = lint
        self._approvers = approvers
        self._live = live

    async def refusal(
        self, conn: AsyncConnection, held: Kept, version: int, content_hash: str, now: datetime
    ) -> str:
        """For a task of a run; see ``ports.Permit``."""
        refused = permit.status_refusal(held.status)
        if refused:
            return refused
        facts = await self.facts(conn, held)
        refused = permit.claim_refusal(facts, held.status, version, content_hash, now)
        if refused:
            _log.warning("campaign may not send", campaign_id=held.id, version=version, reason=refused)
        return refused

    async def consent_refusal(self, conn: AsyncConnection, held: Kept, now: datetime) -> str:
        """'' where *held* may begin or go on; else the stable reason."""
        return permit.consent_refusal(await self.facts(conn, held), now)

    async def facts(self, conn: AsyncConnection, held: Kept) -> Facts:
        """All that the permission for the present version depends on, as it is now."""
        frozen = await approvals.snapshot(conn, held.id, held.version)
        latest = await approvals.latest(conn, held.id, held.version)
        consent = None if latest is None else latest.consent
        asked = consent is not None and consent.approved
        return Facts(
            store_id=held.store_id,
            version=held.version,
            frozen_hash="" if frozen is None or held.status is Status.DRAFT else frozen.content_hash,
            content_hash=await recalculated(conn, held),
            authors=await approvals.authors(conn, held.id),
            consent=consent,
            approver_stands=await self._approvers.stands(consent, held.store_id)
            if consent is not None and asked
            else False,
            clean=not await self.hits(conn, held),
            live=self._live,
        )

    async def hits(self, conn: AsyncConnection, held: Kept) -> Sequence[Hit]:
        """What is wrong with the words of *held* by the lists as they are now."""
        return await self._lint.hits(conn, held.store_id, held.spec.content, held.spec.banned_words)


async def recalculated(conn: AsyncConnection, held: Kept) -> str:
    """The hash over what is stored of the present version and of its frozen groups."""
    text = await approvals.frozen_text(conn, held.id, held.version)
    return hash_of(held.spec, held.store_id, set_text_hash(text))


def refuse(reason: str, hits: Sequence[Hit] = ()) -> NoReturn:
    """Raise what a caller is told for a reason of ``domain.permit``."""
    if reason == permit.BLOCK_WORD:
        refuse_hits(hits)
    if reason == permit.FOUR_EYES:
        raise Conflict("FOUR_EYES", "whoever approved it has written some of it")
    if reason == permit.APPROVER_UNKNOWN:
        raise Unavailable(
            "DEPENDENCY_DOWN", "cannot ask whether the approver still may approve", dependency="identity"
        )
    if reason == permit.DRY_RUN_ONLY:
        refuse_live()
    said = {
        permit.NOT_SUBMITTED: "it was not submitted",
        permit.NOT_APPROVED: "nobody has approved it",
        permit.VERSION_CHANGED: "another version was approved",
        permit.CONTENT_CHANGED: "what was approved is not what stands there now",
        permit.APPROVAL_EXPIRED: "the approval is too old",
        permit.APPROVER_GONE: "whoever approved it may not approve any more",
    }
    raise Conflict("APPROVAL_STALE", said.get(reason, reason), cause=reason)


def refuse_live() -> NoReturn:
    """Raise what a caller is told where the deployment only simulates."""
    raise Conflict(
        "LIVE_NOT_CONFIRMED",
        "this deployment sends nothing: WECOM_CUSTOMER_DRY_RUN is true",
        missing="WECOM_CUSTOMER_DRY_RUN",
    )


def refuse_hits(hits: Sequence[Hit]) -> NoReturn:
    """Raise what a caller is told of words and links that may not be there."""
    words = any(one.reason == permit.BLOCK_WORD for one in hits)
    violations = [
        Violation(one.field, f"“{one.word}” at {one.start} to {one.end}: “{one.found}”") for one in hits
    ]
    raise Invalid(
        "BLOCK_WORD" if words or not hits else "URL_NOT_ALLOWED",
        f"{len(hits)} words or links may not be there",
        violations=violations,
        count=len(hits),
    )
