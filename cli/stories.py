"""Explanations on a terminal: the verdict, each step, and each delivery with its people, words and attempts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Literal

from reach.ai_orchestrator.v1 import run_pb2
from reach.campaign.v1 import explain_pb2 as campaign_pb2
from reach.kf_session.v1 import push_pb2
from reach.notifier.v1 import delivery_pb2, explain_pb2, rule_pb2
from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.text import Text

from cli.roles import spelled
from cli.tables import console, table
from cli.times import clock, instant, local

Language = Literal["zh", "en"]

_GOOD, _BAD = "green", "red"
_BAD_STATUSES = frozenset({"failed", "unknown", "expired"})
_BAD_VERDICTS = _BAD_STATUSES | {
    "cancelled", "excluded", "group_gone", "limit_reached", "missed", "owner_never_confirmed", "paused", "refused",
}  # fmt: skip


def tell(stories: Sequence[explain_pb2.Explanation], lang: Language) -> None:
    """Print the stories, oldest matter first as they came."""
    out = console()
    if not stories:
        out.print("nothing was sent in that period")
    for at, story in enumerate(stories):
        if at:
            out.print()
        _tell(out, story, lang)


def tell_steps(steps: Sequence[push_pb2.ExplainStep], lang: Language) -> None:
    """Print what kf_session knows, push by push."""
    out = console()
    if not steps:
        out.print("nothing was to be sent in that period")
    for push_id, group in groupby(steps, key=lambda step: step.push_id):
        if push_id:
            out.print(Text.assemble(("push ", "dim"), push_id))
        rows = [(local(one, "time"), one.code, one.text_zh if lang == "zh" else one.text_en) for one in group]
        out.print(Padding(table(("time", "step", "what happened"), rows), (0, 0, 1, 2)))


def tell_runs(steps: Sequence[run_pb2.ExplainStep], lang: Language) -> None:
    """Print what ai_orchestrator knows, run by run."""
    out = console()
    runs = sorted({step.run_id for step in steps}, key=[step.run_id for step in steps].index)
    for run_id in runs:
        out.print(Text.assemble(("run ", "dim"), run_id or "none"))
        rows = [
            (clock(one, "time"), one.what, one.reason or "-", one.text_zh if lang == "zh" else one.text_en)
            for one in steps
            if one.run_id == run_id
        ]
        out.print(Padding(table(("time", "what", "reason", "what happened"), rows), (0, 0, 1, 2)))


def tell_campaigns(stories: Sequence[campaign_pb2.Explanation], lang: Language) -> None:
    """Print what campaign knows, campaign by campaign, with what comes next."""
    out = console()
    for story in stories:
        about = [("group", story.chat_id), ("task", story.task_id)]
        parts = [f"{kind} {one}" for kind, one in about if one]
        head = Text.assemble(
            ("campaign ", "dim"),
            f"{story.campaign_id}  {story.campaign_name}  {'  '.join(parts)}{'  ' if parts else ''}",
            (story.verdict, _BAD if story.verdict in _BAD_VERDICTS else _GOOD),
        )
        out.print(head)
        rows = [
            (local(one, "time"), one.code, one.text_zh if lang == "zh" else one.text_en)
            for one in story.steps
        ]
        out.print(Padding(table(("time", "step", "what happened"), rows), (0, 0, 0, 2)))
        after = story.next_zh if lang == "zh" else story.next_en
        out.print(Padding(Text(f"→ {after}" if after else ""), (0, 0, 1, 2)))


def _tell(out: Console, story: explain_pb2.Explanation, lang: Language) -> None:
    verdict = _word(explain_pb2.Verdict.Name(story.verdict), "VERDICT_")
    head = Text.assemble(
        (story.event_type or "?", "bold"),
        f"  {story.event_id}  {story.store_id and 'store ' + story.store_id}  ",
        (verdict, _GOOD if verdict == "planned" else _BAD),
    )
    out.print(head)
    facts = [f"received {local(story, 'receive_time')}"] if story.HasField("receive_time") else []
    if story.duplicate_count:
        facts.append(f"further copies {story.duplicate_count}")
    if story.derived_id:
        facts.append("id made from its content, good for 60 s")
    if story.trace_id:
        facts.append(f"trace {story.trace_id}")
    if facts:
        out.print(Text("  ".join(facts), style="dim"))
    steps = [(clock(step, "time"), step.code, _said(step, lang)) for step in story.steps]
    out.print(Padding(table(("time", "step", "what happened"), steps), (1, 0, 0, 2)))
    for delivery in story.deliveries:
        out.print(Padding(_delivery(delivery), (1, 0, 0, 2)))


def _said(step: explain_pb2.ExplainStep, lang: Language) -> str:
    """The sentence, and below it the smallest change that would have let it through."""
    text, change = (step.text_zh, step.change_zh) if lang == "zh" else (step.text_en, step.change_en)
    return f"{text}\n→ {change}" if change else text


def _delivery(one: delivery_pb2.Delivery) -> RenderableType:
    status = _word(delivery_pb2.DeliveryStatus.Name(one.status), "DELIVERY_STATUS_")
    why = one.reason or one.hold_reason
    head = Text.assemble(
        ("delivery ", "dim"),
        f"{one.delivery_id}  {one.channel}  {_word(rule_pb2.Priority.Name(one.priority), 'PRIORITY_')}  ",
        (status, _BAD if status in _BAD_STATUSES else _GOOD),
        f"  {why}" if why else "",
        f"  due {local(one, 'due_time')}" if status == "deferred" else "",
    )
    people = [(spelled(who.target), who.role or "-", *_outcome(who)) for who in one.recipients]
    parts: list[RenderableType] = [
        head,
        Padding(table(("to", "role", "outcome", "why"), people), (0, 0, 0, 2)),
    ]
    if one.text:
        parts.append(Padding(Text(one.text), (0, 0, 0, 4)))
    attempts = list(_attempts(one))
    if attempts:
        heads = ("try", "at", "took", "outcome", "http", "errcode", "detail")
        parts.append(Padding(table(heads, attempts), (0, 0, 0, 2)))
    return Group(*parts)


def _outcome(who: delivery_pb2.Recipient) -> tuple[str, str]:
    return _word(delivery_pb2.RecipientStatus.Name(who.status), "RECIPIENT_STATUS_"), who.reason


def _attempts(one: delivery_pb2.Delivery) -> Iterator[tuple[str, ...]]:
    for attempt in one.attempts:
        began, ended = instant(attempt, "start_time"), instant(attempt, "finish_time")
        yield (
            str(attempt.attempt_no),
            clock(attempt, "start_time"),
            f"{(ended - began).total_seconds() * 1000:.0f} ms" if began and ended else "-",
            _word(delivery_pb2.AttemptState.Name(attempt.state), "ATTEMPT_STATE_"),
            str(attempt.http_status or "-"),
            str(attempt.errcode) if attempt.HasField("errcode") else "-",
            attempt.detail,
        )


def _word(name: str, prefix: str) -> str:
    return name.removeprefix(prefix).lower()
