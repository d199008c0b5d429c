"""``reach migrate``: every schema up to date, and the broker's queues declared."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import typer

from cli.common import SERVICES, quieten_logs, run, settings

if TYPE_CHECKING:
    from shared.db.migrate import Location
    from shared.settings import Settings


def migrate() -> None:
    """Bring every database schema up to date, and declare the broker's exchange and queues."""
    chosen = settings()
    quieten_logs()
    run(_migrate(chosen))


async def _migrate(chosen: Settings) -> None:
    from importlib import import_module

    from shared import identity

    assemblies = [import_module(f"services.{service}.assembly") for service in SERVICES]
    for schema, locations in (
        (identity.SCHEMA, (identity.LOCATION,)),
        *((assembly.NAME, assembly.LOCATIONS) for assembly in assemblies),
    ):
        typer.echo(f"{schema}: {await _schema(chosen, schema, locations)}")
    if chosen.amqp_url is None:
        typer.echo("broker: none is configured (REACH_AMQP_URL); events stay inside reach up")
    else:
        typer.echo(f"broker: {await _declare(chosen)}")


async def _schema(chosen: Settings, schema: str, locations: Sequence[Location]) -> str:
    """Bring one schema up to date; what was done, for people."""
    import asyncio

    from shared.db.migrate import migrate as upgrade
    from shared.hosting.resources import database_url

    if chosen.database_url is None:
        chosen.home.mkdir(mode=0o700, parents=True, exist_ok=True)
    url = database_url(chosen, schema)
    current = await _is_current(url, schema, locations)
    await asyncio.to_thread(upgrade, url, schema, locations)
    return "up to date already" if current else "brought up to date"


async def _is_current(url: str, schema: str, locations: Sequence[Location]) -> bool:
    from shared.db.engine import Database
    from shared.db.migrate import check
    from shared.errors import Unavailable

    database = Database.open(url, schema=schema)
    try:
        await check(database, locations)
    except Unavailable as error:
        if error.reason != "SCHEMA_BEHIND":
            raise
        return False
    finally:
        await database.close()
    return True


async def _declare(chosen: Settings) -> str:
    import aiormq

    from services.notifier import assembly
    from services.notifier.subscriptions import TYPES
    from shared.bus.link import Lost, call
    from shared.bus.topology import Topology
    from shared.errors import Unavailable

    assert chosen.amqp_url is not None
    topology = Topology(chosen.amqp_prefix, chosen.amqp_exchange)
    try:
        connection = await call(aiormq.connect(chosen.amqp_url.get_secret_value()))
        try:
            channel = await call(connection.channel(publisher_confirms=False))
            await call(topology.declare_exchanges(channel))
            await call(topology.declare_service(channel, assembly.NAME, TYPES))
        finally:
            await call(connection.close())
    except Lost as error:
        raise Unavailable(
            "BROKER_UNAVAILABLE", f"the broker of REACH_AMQP_URL cannot be reached: {error}"
        ) from None
    return f"exchange {topology.events}, queue {topology.queue(assembly.NAME)} bound to {len(TYPES)} types"
