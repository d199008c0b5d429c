"""Ways into groups: a QR code or a mini-program's button, and the state by which its users are known."""

from collections.abc import Callable
from dataclasses import dataclass, field
from io import BytesIO

import segno


@dataclass(slots=True)
class JoinWay:
    """One configuration. `secret`: whose it is; nobody else sees it. `made`: groups it has brought about."""

    config_id: str
    secret: str
    scene: int
    chat_ids: list[str]
    remark: str = ""
    auto_create_room: bool = True
    room_base_name: str = ""
    room_base_id: int = 0
    state: str = ""
    mark_source: bool = True
    made: list[str] = field(default_factory=list)

    def answer(self, picture: str) -> dict[str, object]:
        """As get_join_way shows it; *picture* is the address of its QR code."""
        return {
            "config_id": self.config_id,
            "scene": self.scene,
            "remark": self.remark,
            "auto_create_room": int(self.auto_create_room),
            "room_base_name": self.room_base_name,
            "room_base_id": self.room_base_id,
            "chat_id_list": list(self.chat_ids),
            "qr_code": picture,
            "state": self.state,
            "mark_source": self.mark_source,
        }

    def view(self) -> dict[str, object]:
        """As `GET /sandbox/join-ways` shows it."""
        return {**self.answer(picture_path(self.config_id)), "made": list(self.made)}


class JoinWays:
    """Those that there are, by id."""

    def __init__(self, new_id: Callable[[str], str]) -> None:
        self._new_id = new_id
        self.clear()

    def clear(self) -> None:
        """Forget all of them."""
        self._ways: dict[str, JoinWay] = {}

    def __len__(self) -> int:
        return len(self._ways)

    def get(self, config_id: str) -> JoinWay | None:
        """The way of an id."""
        return self._ways.get(config_id)

    def all(self) -> list[JoinWay]:
        """In the order they were made."""
        return list(self._ways.values())

    def new_id(self) -> str:
        """The id of the next one."""
        return self._new_id("jw")

    def keep(self, way: JoinWay) -> None:
        """A new way, or the same one anew."""
        self._ways[way.config_id] = way

    def delete(self, config_id: str) -> None:
        """Its code leads nowhere from here on."""
        del self._ways[config_id]


def picture_path(config_id: str) -> str:
    """Where the sandbox serves the QR code of a way."""
    return f"/sandbox/join-ways/{config_id}/qr.png"


def picture(config_id: str) -> bytes:
    """The QR code as a PNG; it holds an address of the platform that ends in the id."""
    file = BytesIO()
    segno.make(f"https://work.weixin.qq.com/gm/{config_id}", error="m", micro=False).save(
        file, kind="png", scale=8, border=4
    )
    return file.getvalue()
