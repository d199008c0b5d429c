"""Callbacks that the platform sends by itself, and what may happen to them on the way.

`POST /sandbox/callbacks/deliveries` steers those of one kind from here on, and `GET` shows what became of each:

    {"kind": "kf",            # or customer
     "lose": 2,              # the next two never leave
     "silent": false,        # or none leaves until this is false again
     "copies": 1,            # each arrives so often, byte for byte
     "resigned": false,      # or each copy sealed and signed anew
     "hold": true,           # keep them back …
     "release": "reversed"}  # … and send what was kept: given, reversed or together
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import cast

from sandbox.callbacks import MOST_COPIES, ORDERS, Callback, Callbacks, in_order
from sandbox.clock import SandboxClock, rfc3339
from sandbox.ring import Ring
from sandbox.wakeup import Signal

_KEPT = 2_000
_KINDS = ("kf", "customer")  # what comes by itself; a pressed button says with the press how its event fares


@dataclass(slots=True)
class Plan:
    """How callbacks of one kind fare."""

    lose: int = 0
    silent: bool = False
    copies: int = 1
    resigned: bool = False
    hold: bool = False


@dataclass(slots=True)
class Delivery:
    """One event on its way. `state`: under_way, held, lost, nowhere (no URL is set up) or done."""

    number: int
    kind: str
    event: str
    facts: Mapping[str, str]
    at: float
    state: str = "under_way"
    tries: list[list[dict[str, object]]] = field(default_factory=list)

    def view(self) -> dict[str, object]:
        """As JSON shows it: the tries of the first copy, then those of each further one."""
        return {
            "number": self.number,
            "kind": self.kind,
            **self.facts,
            "at": rfc3339(self.at),
            "state": self.state,
            "tries": self.tries[0] if self.tries else [],
            "copies": self.tries[1:],
        }


class Courier:
    """Sends events in the background, each on its own: a slow receiver of one does not hold up the next."""

    def __init__(self, callbacks: Callbacks, clock: SandboxClock) -> None:
        self._callbacks = callbacks
        self._clock = clock
        self._deliveries: Ring[Delivery] = Ring(_KEPT)
        self._tasks: set[asyncio.Task[None]] = set()
        self._settled = Signal()
        self.clear()

    def clear(self) -> None:
        """Forget plans, what is held, under way and delivered."""
        self._plans = {kind: Plan() for kind in _KINDS}
        self._held: dict[str, list[Delivery]] = {kind: [] for kind in _KINDS}
        self._deliveries.clear()
        self._drop()

    def close(self) -> None:
        """Drop what is under way: the sandbox is about to stop."""
        self._drop()
        self._settled.close()

    def send(self, kind: str, event: str, facts: Mapping[str, str]) -> None:
        """Let an event (XML) leave, or not, as the plan of its kind says; *facts* tell readers which it is."""
        delivery = Delivery(self._deliveries.next_number, kind, event, facts, self._clock.now())
        self._deliveries.append(delivery)
        plan = self._plans[kind]
        if plan.silent or plan.lose > 0:
            plan.lose -= int(not plan.silent)
            delivery.state = "lost"
        elif plan.hold:
            delivery.state = "held"
            self._held[kind].append(delivery)
        else:
            task = asyncio.get_running_loop().create_task(self._deliver(delivery))
            self._tasks.add(task)
            task.add_done_callback(self._done)

    def door(self, kind: str) -> Callback | None:
        """Where events of a kind go; None when nowhere is set up."""
        return self._callbacks.of(None, kind)

    async def steer(self, document: object) -> list[dict[str, object]]:
        """Change a plan and release what is held, as *document* says; what was released."""
        kind, order, changes = _read(document)
        for name, value in changes.items():
            setattr(self._plans[kind], name, value)
        if order is None:
            return []
        held, self._held[kind] = self._held[kind], []
        return await in_order(order, [partial(self._released, one) for one in held])

    async def view(self, kind: str | None, wait: float) -> dict[str, object]:
        """All deliveries, once none is under way, or after *wait* seconds at most."""
        until = asyncio.get_running_loop().time() + wait
        while self._tasks and not self._settled.closed:
            left = until - asyncio.get_running_loop().time()
            if left <= 0:
                break
            await self._settled.wait(left)
        shown = [one.view() for one in self._deliveries.after(0) if kind in (None, one.kind)]
        return {"deliveries": shown, "under_way": len(self._tasks)}

    async def _deliver(self, delivery: Delivery) -> None:
        callback = self.door(delivery.kind)
        if callback is None:
            delivery.state = "nowhere"
            return
        delivery.state = "under_way"
        plan, now = self._plans[delivery.kind], self._clock.now()
        requests = self._callbacks.copies(callback, delivery.event, now, plan.copies, resigned=plan.resigned)
        for request in requests:
            delivery.tries.append(await self._callbacks.deliver(request))
        delivery.state = "done"

    async def _released(self, delivery: Delivery) -> dict[str, object]:
        await self._deliver(delivery)
        return delivery.view()

    def _drop(self) -> None:
        for task in self._tasks:
            task.cancel()

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not self._tasks:
            self._settled.send()


def _read(document: object) -> tuple[str, str | None, dict[str, object]]:
    if not isinstance(document, Mapping):
        raise ValueError("the body is a JSON object")
    changes = dict(document)
    kind, order = changes.pop("kind", None), changes.pop("release", None)
    if kind not in _KINDS:
        raise ValueError(f"kind is one of {', '.join(_KINDS)}")
    if order is not None and order not in ORDERS:
        raise ValueError(f"release is one of {', '.join(ORDERS)}")
    for name, value in changes.items():
        if name in ("silent", "resigned", "hold"):
            if not isinstance(value, bool):
                raise ValueError(f"{name} is true or false")
        elif name not in ("lose", "copies"):
            raise ValueError(f"no field is called {name!r}")
        elif isinstance(value, bool) or not isinstance(value, int) or value < (name == "copies"):
            raise ValueError(f"{name} is a whole number")
    if cast(int, changes.get("copies", 1)) > MOST_COPIES:
        raise ValueError(f"copies is 1 to {MOST_COPIES}")
    return str(kind), order, changes
