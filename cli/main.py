"""``reach``: every command in one place, declared without importing what they work with."""

from __future__ import annotations

import typer

from cli import (
    audit,
    breakers,
    campaigns,
    counting,
    credentials,
    dead,
    demonstrating,
    doctor,
    explaining,
    facts,
    groups,
    migrating,
    playbooks,
    policy,
    probing,
    publishing,
    roles,
    rules,
    sending,
    serving,
    tokens,
)

app = typer.Typer(
    name="reach",
    help="触达 Reach: the right WeCom message to the right person.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

_RUN, _USE, _KEEP = "Run", "Use", "Look after"

app.command("up", rich_help_panel=_RUN)(serving.up)
app.command("serve", rich_help_panel=_RUN)(serving.serve)
app.command("sandbox", rich_help_panel=_RUN)(serving.sandbox)
app.command("migrate", rich_help_panel=_RUN)(migrating.migrate)
app.command("demo", rich_help_panel=_RUN)(demonstrating.demo)
app.command("publish", rich_help_panel=_USE)(publishing.publish)
app.command("send", rich_help_panel=_USE)(sending.send)
app.command("explain", rich_help_panel=_USE)(explaining.explain)
app.command("stats", rich_help_panel=_USE)(counting.stats)
app.add_typer(campaigns.app, name="campaign", rich_help_panel=_USE)
app.add_typer(playbooks.app, name="playbook", rich_help_panel=_USE)
app.add_typer(groups.app, name="groups", rich_help_panel=_USE)
app.add_typer(facts.app, name="facts", rich_help_panel=_USE)
app.add_typer(roles.app, name="roles", rich_help_panel=_USE)
app.add_typer(rules.app, name="rules", rich_help_panel=_USE)
app.add_typer(policy.app, name="policy", rich_help_panel=_USE)
app.command("doctor", rich_help_panel=_KEEP)(doctor.doctor)
app.command("health", rich_help_panel=_KEEP)(probing.health)
app.add_typer(dead.app, name="dead", rich_help_panel=_KEEP)
app.add_typer(audit.app, name="audit", rich_help_panel=_KEEP)
app.add_typer(breakers.app, name="breakers", rich_help_panel=_KEEP)
app.add_typer(tokens.app, name="token", rich_help_panel=_KEEP)
app.add_typer(credentials.app, name="credentials", rich_help_panel=_KEEP)


def main() -> None:
    """The console script."""
    app()


if __name__ == "__main__":
    main()
