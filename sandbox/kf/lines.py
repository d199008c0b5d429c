"""What customers see on their phones: both sides of each chat."""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from sandbox.clock import rfc3339
from sandbox.ring import Ring

By = Literal["customer", "api", "event_reply", "servicer"]


@dataclass(slots=True)
class Line:
    """One message in a chat. `fail_type` says why the customer never got it."""

    number: int
    open_kfid: str
    external_userid: str
    by: By
    msgid: str
    msgtype: str
    content: dict[str, object]
    at: float
    servicer_userid: str = ""
    fail_type: int | None = None
    recalled: bool = False

    def view(self) -> dict[str, object]:
        """As `GET /sandbox/kf/messages` shows it."""
        return {
            "number": self.number,
            "open_kfid": self.open_kfid,
            "external_userid": self.external_userid,
            "direction": "in" if self.by == "customer" else "out",
            "by": self.by,
            "servicer_userid": self.servicer_userid or None,
            "msgid": self.msgid,
            "msgtype": self.msgtype,
            "content": self.content,
            "at": rfc3339(self.at),
            "fail_type": self.fail_type,
            "recalled": self.recalled,
        }


class Lines:
    """The newest lines of all chats, in order."""

    def __init__(self, kept: int) -> None:
        self.ring: Ring[Line] = Ring(kept)
        self.clear()

    def clear(self) -> None:
        """Forget the lines, not their numbering."""
        self.ring.clear()
        self.recalled: deque[int] = deque(maxlen=200)  # numbers, newest last

    def add(
        self,
        by: By,
        pair: tuple[str, str],
        msgid: str,
        msgtype: str,
        content: dict[str, object],
        at: float,
        *,
        servicer_userid: str = "",
        fail_type: int | None = None,
    ) -> Line:
        """A new line in the chat of an account and a customer."""
        line = Line(self.ring.next_number, *pair, by, msgid, msgtype, content, at, servicer_userid, fail_type)
        self.ring.append(line)
        return line

    def find(self, open_kfid: str | None, external_userid: str | None, after: int = 0) -> Iterator[Line]:
        """Those of an account, of a customer or of both, oldest first."""
        for line in self.ring.after(after):
            if open_kfid in (None, line.open_kfid) and external_userid in (None, line.external_userid):
                yield line

    def recall(self, line: Line) -> None:
        """Take a line back."""
        line.recalled = True
        self.recalled.append(line.number)
