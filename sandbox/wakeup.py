"""Waking whoever waits for a change, in one event loop."""

import asyncio


class Signal:
    """A level that only moves forward: `send` wakes every waiter once; nobody waiting costs nothing.

    After `close` nobody waits any more: `wait` returns at once, and whoever loops must look at `closed`.
    """

    def __init__(self) -> None:
        self._waiters: list[asyncio.Future[None]] = []
        self.closed = False

    def send(self) -> None:
        """Wake those who wait now."""
        if self._waiters:
            waiters, self._waiters = self._waiters, []
            for waiter in waiters:
                if not waiter.done():
                    waiter.set_result(None)

    def close(self) -> None:
        """Wake those who wait now, and keep nobody from here on."""
        self.closed = True
        self.send()

    async def wait(self, seconds: float) -> bool:
        """Whether it was sent within `seconds`; False at once when closed."""
        if self.closed:
            return False
        waiter = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        try:
            await asyncio.wait_for(waiter, seconds)
        except TimeoutError:
            self._waiters.remove(waiter)
            return False
        return not self.closed
