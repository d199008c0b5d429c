"""``reach token``: who may call. Works on the identity database itself, whether services run or not."""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from cli.common import TOKEN_VARIABLE, quieten_logs, refuse, run, settings, words
from cli.identity import registry
from cli.inputs import duration

if TYPE_CHECKING:
    from shared.identity.registry import Revocation, TokenRecord
    from shared.settings import Settings

app = typer.Typer(help="Who may call: create, list and revoke tokens.", no_args_is_help=True)


@app.command("create")
def create(
    subject: Annotated[str, typer.Argument(help="Who it is for: alice, pos-gateway.")],
    kind: Annotated[Literal["human", "service"], typer.Option(help="A person, or a program.")],
    scopes: Annotated[str, typer.Option(metavar="A,B", help="What it may do, separated by commas.")],
    stores: Annotated[str, typer.Option(metavar="S1,S2", help="For which stores; * for every store.")],
    ttl: Annotated[str, typer.Option(help="How long it is good: 12h, 30d. Empty: until revoked.")] = "",
) -> None:
    """Issue a token; it is printed once, alone on its line, and cannot be had again."""
    chosen, life = _chosen(), duration(ttl, "--ttl") if ttl else None

    async def work() -> str:
        async with registry(chosen) as tokens:
            return await tokens.create(subject, kind, words(scopes), words(stores), life)

    typer.echo(run(work()))
    typer.echo("Keep it: it is not shown again. Calls need a token from now on.", err=True)


@app.command("list")
def list_tokens() -> None:
    """List every token ever issued, without its secret, and what was revoked of JWTs."""
    chosen = _chosen()

    async def work() -> tuple[Sequence[TokenRecord], Sequence[Revocation]]:
        async with registry(chosen) as tokens:
            return await tokens.list(), await tokens.revocations()

    records, revocations = run(work())
    _print(records)
    for one in revocations:
        typer.echo(
            f"JWTs of {one.kind} {one.name} are revoked, up to {one.revoked_at:%Y-%m-%d %H:%M:%S} UTC",
        )


@app.command("revoke")
def revoke(
    which: Annotated[
        str, typer.Argument(metavar="TOKEN|ID", help="What `list` shows, a token, or jwt:… as logs have it.")
    ] = "",
    subject: Annotated[
        str, typer.Option(help="All that this caller can show, JWTs too: alice, https://id.example#alice.")
    ] = "",
    issuer: Annotated[str, typer.Option(help="All JWTs of this issuer up to now.")] = "",
) -> None:
    """Make a token useless, everywhere within five seconds; or all of a caller, or all JWTs of an issuer.

    What was approved with them is void, too. Who logs in later is not meant.
    """
    if sum(map(bool, (which, subject, issuer))) != 1:
        refuse("name one of: a token or its id, --subject, --issuer")
    chosen = _chosen()

    async def work() -> str:
        async with registry(chosen) as tokens:
            if subject:
                return f"revoked, and {await tokens.revoke_subject(subject)} tokens of theirs"
            await (tokens.revoke_issuer(issuer) if issuer else tokens.revoke(which))
            return "revoked"

    typer.echo(run(work()))


@app.command("login")
def login(
    which: Annotated[str, typer.Argument(metavar="TOKEN|ID", help="Empty: the token in REACH_TOKEN.")] = "",
) -> None:
    """Say that the person behind a token is there now; approvals ask for it."""
    given = which or os.environ.get(TOKEN_VARIABLE, "").strip()
    if not given:
        refuse(f"name a token or its id, or set {TOKEN_VARIABLE}")
    chosen = _chosen()

    async def work() -> datetime:
        async with registry(chosen) as tokens:
            return await tokens.login(given)

    typer.echo(f"logged in at {run(work()):%Y-%m-%d %H:%M:%S} UTC")


def _chosen() -> Settings:
    quieten_logs()
    return settings()


def _print(records: Sequence[TokenRecord]) -> None:
    from datetime import UTC

    from cli.tables import show

    now = datetime.now(UTC)
    rows = []
    for one in records:
        who = one.principal
        state = "revoked" if one.revoked_at else "live" if one.is_live(now) else "expired"
        stores = "*" if who.stores == "*" else ",".join(sorted(who.stores))
        until, login = _minute(one.expires_at), _minute(who.login_at)
        scopes = ",".join(sorted(who.scopes))
        rows.append((who.token_id or "", who.subject, who.kind, state, stores, scopes, login, until))
    heads = ("id", "subject", "kind", "state", "stores", "scopes", "login", "expires")
    show(heads, rows, empty="no token yet")


def _minute(at: datetime | None) -> str:
    return f"{at:%Y-%m-%d %H:%M}" if at is not None else "-"
