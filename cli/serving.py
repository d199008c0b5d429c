"""``reach up``, ``reach serve`` and ``reach sandbox``: the processes."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.common import SERVICES, configure_logs, refuse, settings

if TYPE_CHECKING:
    from shared.hosting.service import Build
    from shared.process import Stop
    from shared.settings import Settings


def up() -> None:
    """Run all services in this process; embedded, with the sandbox, unless URLs are set."""
    chosen = settings("up")
    configure_logs(chosen, "up")
    from shared.process import run

    raise typer.Exit(run(partial(_up, chosen)))


def serve(
    service: Annotated[str, typer.Argument(metavar="SERVICE", help=f"One of: {', '.join(SERVICES)}.")],
) -> None:
    """Run one service as a process of its own; several replicas may run."""
    if service not in SERVICES:
        refuse(f"there is no service {service}; there is: {', '.join(SERVICES)}")
    chosen = settings(service)
    configure_logs(chosen, service)
    from shared.hosting.host import Host
    from shared.process import run

    host = Host(chosen, [build_of(service)], name=service)
    raise typer.Exit(run(host.run))


def sandbox(
    listen: Annotated[
        str | None,
        typer.Option(metavar="HOST:PORT", help="Where to listen; port 0 picks a free one."),
    ] = None,
    profile: Annotated[
        Path | None, typer.Option(metavar="FILE", help="JSON with how the platform behaves where in doubt.")
    ] = None,
) -> None:
    """Run the simulator of WeCom, with a page at / that shows the phones."""
    from sandbox.__main__ import main

    arguments = ["--listen", listen] if listen is not None else []
    arguments += ["--profile", str(profile)] if profile is not None else []
    raise typer.Exit(main(arguments))


async def _up(chosen: Settings, stop: Stop) -> None:
    from cli import demo_credentials
    from sandbox.server import start
    from shared.environment import ConfigurationError
    from shared.hosting.host import Host
    from shared.telemetry import redaction

    builds = [build_of(service) for service in SERVICES]
    if chosen.wecom_base_url is not None:
        await Host(chosen, builds, name="up").run(stop)
        return
    try:
        running = await start(str(chosen.sandbox_listen))
    except OSError as error:
        why = (error.strerror or str(error)).lower()
        raise ConfigurationError(
            [
                f"cannot listen on {chosen.sandbox_listen}: {why}. Stop what uses it or set REACH_SANDBOX_LISTEN to "
                "another address (port 0 picks a free one)."
            ]
        ) from None
    try:
        chosen = demo_credentials.with_sandbox(chosen, running.url)
        redaction.register_secret(*chosen.secrets())
        introduced: list[asyncio.Task[None]] = []  # held, or it might be collected before it is done

        def ready(facts: Mapping[str, str]) -> None:
            telling = demo_credentials.introduce(chosen, running.url, facts["http"])
            introduced.append(asyncio.create_task(telling, name="introduce"))

        await Host(chosen, builds, name="up").run(stop, also={"sandbox": running.url}, on_ready=ready)
    finally:
        await running.stop()


def build_of(service: str) -> Build:
    """What opens and wires *service*, one of ``SERVICES``."""
    from importlib import import_module

    build: Build = import_module(f"services.{service}.assembly").build
    return build
