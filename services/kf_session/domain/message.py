"""What came in from a KF account, as the platform told it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from datetime import datetime
from enum import IntEnum

from shared.values import value_class


class Origin(IntEnum):
    """Who a message is from."""

    CUSTOMER = 3
    """The only one that opens a window and that is answered."""
    SYSTEM = 4
    SERVICER = 5


@value_class
class Inbound:
    """One item of a pull that is new to us."""

    open_kfid: str
    external_userid: str
    store_id: str
    msgid: str
    origin: Origin
    msgtype: str
    content: Mapping[str, object] = field(repr=False)
    """The object of its type, as it came."""
    sent_at: datetime
    """By the platform's clock."""
    servicer_userid: str = ""

    @property
    def text(self) -> str:
        """What the customer typed; empty for anything else."""
        said = self.content.get("content") if self.msgtype == "text" else None
        return said if isinstance(said, str) else ""

    @property
    def menu_id(self) -> str:
        """The menu item that the customer tapped; empty for anything else."""
        tapped = self.content.get("menu_id") if self.msgtype == "text" else None
        return tapped if isinstance(tapped, str) else ""


@value_class
class Entered:
    """A customer opened an account's chat."""

    open_kfid: str
    external_userid: str
    store_id: str
    scene: str
    """Which link or code they came by; empty where that is not known."""
    scene_param: str
    at: datetime
    """By the platform's clock."""
