"""Whom an event is about."""

from __future__ import annotations

from collections.abc import Mapping

from services.ai_orchestrator.domain.definitions import ChainDefinition, Subject
from services.ai_orchestrator.domain.planning import lacking


class SubjectMissing(ValueError):
    """An event that does not say whom it is about; the message names the field."""


def subject_of(chain: ChainDefinition, store_id: str, data: Mapping[str, object]) -> Subject:
    """The subject of an event of *chain*. Raises SubjectMissing."""
    assistant = str(data.get("assistant_id") or "")
    served = data.get("has_assistant")
    if served and not assistant:
        raise SubjectMissing("assistant_id: has_assistant says that one served; name them")
    if served is False:
        assistant = ""  # one that is named and did not serve
    subject = Subject(store_id, str(data.get("member_id") or ""), assistant)
    if missing := lacking(chain.needs, subject):
        raise SubjectMissing(f"{missing[0]}: is needed for {chain.event_type}")
    return subject
