"""`python -m sandbox`: serve until SIGTERM or SIGINT.

    python -m sandbox [--listen HOST:PORT] [--profile FILE]

REACH_SANDBOX_LISTEN sets the address when --listen does not; port 0 picks a free one. Prints one line,
`ready sandbox http://HOST:PORT`, once calls are accepted. Exit 2: the address or the profile does not serve.
"""

import argparse
import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from sandbox.profile import Profile
from sandbox.server import start

_new_loop: Callable[[], asyncio.AbstractEventLoop] | None = None
with contextlib.suppress(ImportError):  # where uvloop does not exist, the standard loop serves
    import uvloop

    _new_loop = uvloop.new_event_loop


async def _serve(listen: str, profile: Profile | None) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    running = await start(listen, profile)
    print(f"ready sandbox {running.url}", flush=True)
    await stop.wait()
    await running.stop()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m sandbox", description="A local WeCom and DashScope to develop against."
    )
    parser.add_argument(
        "--listen", default=os.environ.get("REACH_SANDBOX_LISTEN") or "127.0.0.1:9100", metavar="HOST:PORT"
    )
    parser.add_argument(
        "--profile", type=Path, metavar="FILE", help="JSON with the settings of sandbox.profile"
    )
    options = parser.parse_args(arguments)
    try:
        profile = Profile.load(options.profile) if options.profile else None
        with asyncio.Runner(loop_factory=_new_loop) as runner:
            runner.run(_serve(options.listen, profile))
    except (OSError, ValueError) as error:
        print(f"sandbox: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
