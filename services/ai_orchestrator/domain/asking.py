"""What may be asked of an app on demand, and which steps a rerun asks anew."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from services.ai_orchestrator.domain.definitions import AppDefinition, Subject
from services.ai_orchestrator.domain.lifecycle import Part
from services.ai_orchestrator.domain.planning import ALL, Site, about, lacking
from shared.errors import Invalid


def checked(app: AppDefinition, subject: Subject, site: Site, apps: Iterable[AppDefinition]) -> Subject:
    """The subject as the app's steps have it. Raises Invalid for too little, too much, and what the site does not have."""
    for part in lacking(app.needs, subject):
        raise Invalid.field(f"subject.{part}", f"{app.app_type} needs it")
    for part, value in subject.parts.items():
        if part not in app.needs and not (part == "area" and value == ALL):
            raise Invalid.field(f"subject.{part}", f"{app.app_type} is not about that; leave it out")
    for part, known in (("time_dimension", site.time_dimensions), ("area", site.areas)):
        value = subject.parts.get(part, "")
        if value and value not in known:
            raise Invalid.field(f"subject.{part}", f"there are {', '.join(known)}")
    if "area" in app.needs and subject.area == ALL:
        rest = set(app.needs) - {"area"}
        whole = [one.app_type for one in apps if set(one.needs) == rest]
        raise Invalid.field(
            "subject.area", f"the whole store is {' or '.join(whole) or 'another app'}'s; name an area"
        )
    return about(app, subject)


def check_given(app: AppDefinition, given: Mapping[str, Any], user_id: str) -> None:
    """Whether the app is given what it needs beside the facts, and nothing else. Raises Invalid."""
    if app.conversation and not user_id:
        raise Invalid.field("user_id", f"{app.app_type} keeps conversations; name whose this goes on with")
    if user_id and not app.conversation:
        raise Invalid.field("user_id", f"{app.app_type} keeps no conversation; leave it out")
    if app.given and not given:
        raise Invalid.field("given", f"{app.app_type} needs a {app.given}")
    if given and not app.given:
        raise Invalid.field("given", f"{app.app_type} takes nothing beside the facts; leave it out")


def asked_anew(parts: Sequence[Part], from_step: str) -> set[str]:
    """The names of the steps a rerun asks: *from_step*, or all without a result, and those behind such."""
    anew = {from_step} if from_step else {part.name for part in parts if not part.status.has_result}
    by_name: Mapping[str, Part] = {part.name: part for part in parts}
    while more := {name for name, part in by_name.items() if name not in anew and anew & set(part.after)}:
        anew |= more
    return anew
