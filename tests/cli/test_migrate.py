"""``reach migrate``: every schema, and the broker."""

from __future__ import annotations

from tests.cli.support import Reach


def test_migrate_says_what_it_did_and_does_it_once(reach: Reach) -> None:
    first = reach.process("migrate")
    assert first.code == 0, first.err
    assert "identity: brought up to date" in first.out
    assert "notifier: brought up to date" in first.out
    assert "kf_session: brought up to date" in first.out
    assert "ai_orchestrator: brought up to date" in first.out
    assert "campaign: brought up to date" in first.out
    again = reach("migrate")
    assert again.code == 0
    assert again.out.count("up to date already") == 5


def test_migrate_works_on_postgresql(reach: Reach, postgres_database: str) -> None:
    assert "notifier: brought up to date" in reach("migrate", REACH_DATABASE_URL=postgres_database).out
    assert "notifier: up to date already" in reach("migrate", REACH_DATABASE_URL=postgres_database).out


def test_an_unreachable_database_is_one_line(reach: Reach) -> None:
    done = reach("migrate", REACH_DATABASE_URL="postgresql://nobody:hush-hush@127.0.0.1:1/none")
    assert done.code == 1
    assert "127.0.0.1" in done.err
    assert "hush-hush" not in done.err
    assert "Traceback" not in done.err


def test_an_unreachable_broker_is_one_line(reach: Reach) -> None:
    done = reach("migrate", REACH_AMQP_URL="amqp://nobody:hush-hush@127.0.0.1:1/")
    assert done.code == 1
    assert done.lines[-1].startswith("reach: the broker")
    assert "hush-hush" not in done.err
    assert "Traceback" not in done.err
