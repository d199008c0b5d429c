"""What happens to a batch: handled whole, or halved until the message to blame stands alone."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence

from shared.bus import Handler, Incoming, Park
from shared.errors import ReachError, Unavailable

log = logging.getLogger(__name__)

Done = Callable[[int], Awaitable[None]]
"""Told how many more messages, from the front, are dealt with for good."""


async def settle(batch: Sequence[Incoming], handler: Handler, park: Park, done: Done) -> None:
    """Deal with every message of *batch*, in order.

    A batch whose handler raises is halved; a message that fails alone twice is parked ("handler_bug"). Raises
    ``Unavailable`` as soon as handler or *park* does, or when a message fails alone for a reason that passes (a full
    disk, a lost race), and whatever else *park* raises; *done* has then counted what came before.
    """
    try:
        await handler(batch)
    except Unavailable:
        raise
    except Exception as error:
        if len(batch) > 1:
            middle = len(batch) // 2
            await settle(batch[:middle], handler, park, done)
            await settle(batch[middle:], handler, park, done)
            return
        await _alone(batch[0], handler, park, error)
    await done(len(batch))


async def _alone(message: Incoming, handler: Handler, park: Park, first: Exception) -> None:
    """Give a message its second chance: what failed with it may have been a collision and not its fault."""
    try:
        await handler([message])
    except Unavailable:
        raise
    except Exception as error:
        if isinstance(error, ReachError) and error.transient:
            raise Unavailable("DEPENDENCY_DOWN", error.message) from error
        log.exception(
            "a handler failed on one message, which is parked", extra={"routing_key": message.routing_key}
        )
        # The class only: an error's text may quote the message, and details are shown to people.
        await park(message, "handler_bug", f"{type(first).__name__}, then {type(error).__name__}")
