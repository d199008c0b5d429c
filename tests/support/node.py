"""What a private server can do, whichever it is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Self


class Node(ABC):
    """A server of our own on a free loopback port; its data survive ``stop`` and ``kill`` until ``close``."""

    url: str

    @abstractmethod
    def start(self) -> None:
        """Start, or start again on the same port and data; return when it answers."""

    @abstractmethod
    def stop(self) -> None:
        """Shut down in good order and wait."""

    @abstractmethod
    def kill(self) -> None:
        """End it the way a power cut does."""

    @abstractmethod
    def close(self) -> None:
        """End it and delete its data."""

    def __enter__(self) -> Self:
        """Start, cleaning up when that fails."""
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        """Close."""
        self.close()


class Broker(Node):
    """A RabbitMQ node."""

    @abstractmethod
    def ctl(self, *arguments: str) -> str:
        """Run ``rabbitmqctl`` against this node and return what it prints."""

    def add_vhost(self, name: str) -> str:
        """Make a virtual host of that name and return its URL."""
        # One Erlang call instead of two commands: each start of the command costs most of a second.
        self.ctl(
            "eval",
            f'rabbit_vhost:add(<<"{name}">>, <<"tests">>), rabbit_auth_backend_internal:set_permissions('
            f'<<"guest">>, <<"{name}">>, <<".*">>, <<".*">>, <<".*">>, <<"tests">>).',
        )
        return f"{self.url}{name}"

    def alarm(self, on: bool) -> None:
        """Raise or lift the memory alarm: while it stands the broker blocks every publisher."""
        self.ctl("set_vm_memory_high_watermark", "0" if on else "0.4")
