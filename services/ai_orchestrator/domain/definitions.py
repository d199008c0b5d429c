"""Apps and chains as data: what an application is asked and must answer, and in which order applications run.

Their files are in ``presets/apps`` and ``presets/chains``; a version of either never changes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from datetime import timedelta
from typing import Any

from shared.values import value_class


@value_class
class AppDefinition:
    """One application: from facts to a result."""

    app_type: str
    """Its name everywhere: ``app3_clue``. The 百炼 application id is ``DASHSCOPE_APP_ID_<APP TYPE>``."""
    version: str
    """A digest of the definition's content."""
    title: str
    """In Chinese, for people."""
    needs: tuple[str, ...]
    """Names of the subject's parts it cannot do without, of `Subject`: ``member_id``, ``assistant_id``,
    ``time_dimension``, ``area``."""
    facts: tuple[str, ...]
    """Views of the facts its prompt shows, by name."""
    inputs: tuple[str, ...]
    """Apps whose newest result its prompt shows, from this run or from the insights; it can work without them."""
    prompt: str
    """In Chinese. What comes from facts, people and other apps enters as delimited data."""
    schema: Mapping[str, Any] = field(hash=False)
    """JSON Schema (2020-12) of its result, an object."""
    cache_type: str
    """Under which its result is kept as an insight; empty keeps none."""
    target: str
    """The insight's target id, of the subject's parts: ``{assistant_id}_{member_id}``."""
    timeout: timedelta = timedelta(seconds=180)
    """For one attempt, the whole of it."""
    input_max_age: timedelta = timedelta(days=30)
    """Older input is shown as stale."""
    given: str = ""
    """The view that a caller gives, beside those of the facts: such an app is asked through an RPC of its own."""
    conversation: bool = False
    """Whether a user's questions follow each other: the platform remembers what was said, for each store and user apart."""
    clues: str = ""
    """The source under which the clues of its result replace the member's, or ``by_trigger``; empty replaces none. See
    ``domain.clues``."""


@value_class
class StepDefinition:
    """One application in a chain."""

    name: str
    """Unique in the chain."""
    app_type: str
    after: tuple[str, ...] = ()
    """Names of the steps whose end it awaits, whatever end that is; their results are its inputs."""
    when: str = ""
    """A part of the subject without which the step is left out, such as ``assistant_id``; empty: never left out."""
    each: tuple[str, ...] = ()
    """Lists of the site it is repeated for: ``time_dimensions``, ``areas`` (without ``all``)."""


@value_class
class ChainDefinition:
    """Which applications an event starts, as a graph of steps."""

    name: str
    version: str
    """A digest of the definition's content."""
    event_type: str
    needs: tuple[str, ...]
    """Parts of the subject without which it does not start."""
    dedup: tuple[str, ...]
    """Parts of the subject that tell runs of one day apart; empty: one run a store and day."""
    steps: tuple[StepDefinition, ...]
    prewarm: bool = False
    """Work nobody waits for: behind everything else, and as wide as the deployment says."""


@value_class
class Subject:
    """Whom or what a step is about."""

    store_id: str
    member_id: str = ""
    assistant_id: str = ""
    time_dimension: str = ""
    area: str = ""

    @property
    def parts(self) -> Mapping[str, str]:
        """By name, those that are not empty, without the store."""
        named = {
            "member_id": self.member_id,
            "assistant_id": self.assistant_id,
            "time_dimension": self.time_dimension,
            "area": self.area,
        }
        return {name: value for name, value in named.items() if value}
