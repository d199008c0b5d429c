"""Who sends: an app or a group robot. Plain values whose secrets stay out of ``repr``."""

from __future__ import annotations

import hashlib
from dataclasses import field

from shared.values import value_class


@value_class
class App:
    """An app of one corp."""

    corp_id: str
    agent_id: int
    secret: str = field(repr=False)
    name: str
    token_key: str = field(init=False, repr=False, compare=False)
    """Names the app's token row. A new secret has a new row: its breaker is not the old one's."""

    def __post_init__(self) -> None:
        digest = hashlib.sha256(f"reach token\0{self.corp_id}\0{self.secret}".encode()).hexdigest()
        object.__setattr__(self, "token_key", f"{self.corp_id}/{self.name}/{digest[:16]}")


@value_class
class Robot:
    """A group robot; whoever knows the key can post."""

    name: str
    key: str = field(repr=False)
    pool: str = ""
    """The group that it serves together with others; empty for one of its own."""
