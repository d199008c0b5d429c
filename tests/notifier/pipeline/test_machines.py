"""Merging, quiet hours, budgets and deliveries against a small model of what must hold: any history, no exception.

A machine drives two replicas that share a database. It keeps only what operators and publishers know: which event was
for whom, and what the policies said at each moment. After every step it looks at all rows there are.
"""

from __future__ import annotations

import asyncio
import sys
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, time, timedelta
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import sqlalchemy as sa
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from services.notifier.domain.lifecycle import TRANSITIONS, DeliveryStatus, Verb
from services.notifier.domain.merging import MergeMode
from services.notifier.domain.policy import Budget, Excess, Policy, subject_of
from services.notifier.domain.routing import Role, Target, TargetKind
from services.notifier.domain.rules import Priority
from services.notifier.pipeline.admission import Arrival
from services.notifier.pipeline.job import Job
from services.notifier.pipeline.waiting import Settling
from services.notifier.store.tables import attempt, bin_, bin_item, delivery, metadata, recipient
from services.notifier.store.work import GATHERING
from services.notifier.usecases.deliveries import Deliveries
from shared.audit import AuditLog
from shared.clock import ManualClock
from shared.db.engine import Database
from shared.db.once import Once
from shared.db.tables import audit_entry, audit_head, shared_metadata
from shared.quiet import QuietHours, QuietMode, Window
from shared.rpc.principal import LOCAL_OPERATOR, acting_as
from shared.secrets import SecretKey
from shared.wecom.errcodes import RetryClass
from shared.wecom.outcome import Outcome, State
from tests.notifier.pipeline.bench import ACCEPTED, LEASE, STORE, Replica, prepare, robot, user
from tests.notifier.pipeline.kinds import (
    COOL,
    KINDS,
    MINUTE,
    NOON,
    SHANGHAI,
    WHO,
    WINDOW,
    brought,
    furnish,
    say,
)

T = TypeVar("T")

_AUDIT = (audit_entry.name, audit_head.name)
"""Nothing of it can be deleted."""

ANSWERS = {
    "accepted": ACCEPTED,
    "not_sent": Outcome(State.NOT_SENT, "refused", "nobody listens", retry_class=RetryClass.RETRY),
    "busy": Outcome(State.REJECTED_RETRYABLE, errcode=-1, http_status=200, retry_class=RetryClass.RETRY),
    "unknown": Outcome(State.UNKNOWN, "timeout", "no answer"),
    "refused": Outcome(
        State.REJECTED_PERMANENT, errcode=44004, http_status=200, retry_class=RetryClass.PERM_INPUT
    ),
}
UNDELIVERED = {"not_sent", "rejected_retryable", "rejected_permanent"}

SUBJECTS = ("", "role:manager", "role:kitchen_staff", subject_of(user("ann")), subject_of(robot("hall")))
QUIET = (Window(time(12, 1), time(12, 10)), Window(time(12, 10), time(12, 20)))
BUDGETS = (
    (Budget(1, MINUTE),),
    (Budget(1, MINUTE, Excess.DROP),),
    (Budget(2, 10 * MINUTE, Excess.DROP), Budget(1, MINUTE)),
    (Budget(1, MINUTE), Budget(2, None)),
    (Budget(2, None, Excess.DROP),),
    (),
)
SAID = st.builds(
    partial(Policy, "", ""),
    quiet=st.none() | st.builds(QuietHours, st.just(QUIET), st.sampled_from(QuietMode)),
    budgets=st.none() | st.sampled_from(BUDGETS),
    merging=st.none() | st.sampled_from([WINDOW, COOL]),
)


class Bench:
    """One database for many histories, emptied between them."""

    def __init__(self, url: str) -> None:
        self.loop = asyncio.new_event_loop()
        self.database = Database.open(url, schema="public")
        self.run(self._prepare)

    async def _prepare(self) -> None:
        await prepare(self.database)
        await furnish(self.database)

    async def empty(self) -> None:
        """As it was at the start."""
        kept = {"rulebook", "rule", "rule_version", "rule_switch", "role_binding", *_AUDIT}
        async with self.database.write() as conn:
            for table in (*metadata.sorted_tables, *shared_metadata.sorted_tables):
                if table.name not in kept:
                    await conn.execute(sa.delete(table))
            await conn.execute(sa.text("UPDATE rulebook SET version = version + 1"))

    def run(self, work: Callable[[], Awaitable[T]]) -> T:
        """Wait for *work*."""

        async def awaited() -> T:
            return await work()

        return self.loop.run_until_complete(awaited())

    def close(self) -> None:
        """Leave nothing behind."""
        self.run(self.database.close)
        self.loop.close()


@dataclass
class Claim:
    """One attempt that somebody set out to make, as it was claimed."""

    delivery_id: str
    attempt_no: int
    at: datetime


@dataclass
class Seen:
    """All rows after a step."""

    deliveries: dict[str, Any]
    readers: dict[str, set[Target]]
    told: dict[tuple[str, Target], str]
    items: dict[str, set[str]]
    bins: Sequence[Any]
    attempts: dict[tuple[str, int], str] = field(default_factory=dict)


_MANUAL = {Verb.REPLAY, Verb.RESEND}


def reachable(manual: bool) -> dict[str, set[str]]:
    """Where a delivery may stand after a step, by where it stood before."""
    found = {status.value: {status.value} for status in DeliveryStatus}
    while True:
        before = sum(map(len, found.values()))
        for (old, verb), new in TRANSITIONS.items():
            if manual or verb not in _MANUAL:
                for ends in found.values():
                    if old.value in ends:
                        ends.add(new.value)
        if before == sum(map(len, found.values())):
            return found


BY_ITSELF, BY_HAND = reachable(False), reachable(True)


class Life(RuleBasedStateMachine):
    """Events, policies, claims, answers, deaths and people's second thoughts."""

    def __init__(self, bench: Bench) -> None:
        super().__init__()
        self.bench, self.run = bench, bench.run
        self.clock = ManualClock(NOON)
        self.run(bench.empty)
        self.replicas = [Replica(bench.database, self.clock, owner) for owner in "ab"]
        for replica in self.replicas:
            self._watch(replica)
        audit = AuditLog(bench.database.dialect, SecretKey(bytes(32)))
        self.changes = Deliveries(bench.database, Settling(bench.database), audit, self.clock)
        self.policies: dict[tuple[str, str], Policy] = {}
        self.events: dict[str, Arrival] = {}
        self.meant: dict[str, tuple[str, str]] = {}
        """Of each event: its kind, and to whom."""
        self.counted: dict[tuple[object, ...], list[Claim]] = defaultdict(list)
        """Claims by the budget that counts them."""
        self.status: dict[str, str] = {}
        self.closed: dict[str, set[str]] = {}
        """What was in each digest when it stopped gathering."""
        self.by_hand = False
        self.looked = False
        """Whether the rows are as they were when they were looked at."""

    def teardown(self) -> None:
        if sys.exc_info()[0] is None:
            self.all_ends()

    # --- What happens ---------------------------------------------------------------------------------

    @rule(kind=st.sampled_from(sorted(KINDS)), who=st.sampled_from(sorted(WHO)), at=st.integers(0, 1))
    def admit(self, kind: str, who: str, at: int) -> None:
        self._admit(at, kind, who, 1)

    @rule(
        kind=st.sampled_from(["window", "cool", "plain"]),
        who=st.sampled_from(sorted(WHO)),
        at=st.integers(0, 1),
    )
    def admit_many(self, kind: str, who: str, at: int) -> None:
        self._admit(at, kind, who, 3)

    def _admit(self, at: int, kind: str, who: str, count: int) -> None:
        arrivals = []
        for _ in range(count):
            key, now = f"e{len(self.events)}", self.clock.now()
            arrivals.append(brought(key, kind, who, now))
            self.events[key], self.meant[key] = arrivals[-1], (kind, who)
        assert self.run(lambda: self.replicas[at].admit(*arrivals)) == ["new"] * count
        seen = self.look()
        for one in arrivals:
            self.as_foretold(one.event.id, seen)

    @rule(data=st.data(), at=st.integers(0, 1))
    def admit_a_copy(self, data: st.DataObject, at: int) -> None:
        if self.events:
            again = self.events[data.draw(st.sampled_from(sorted(self.events)))]
            assert self.run(lambda: self.replicas[at].admit(again)) == ["duplicate"]

    @rule(seconds=st.sampled_from([1, 20, 31, 61, 61, 121, 301, 1801, 39_600]))
    def time_passes(self, seconds: int) -> None:
        self.clock.advance(timedelta(seconds=seconds))
        self.looked = True

    @initialize(said=SAID, kind=st.sampled_from(sorted(KINDS)), who=st.sampled_from(sorted(WHO)))
    def begin(self, said: Policy, kind: str, who: str) -> None:
        self.set_policy("", "", said)
        self._admit(0, kind, who, 2)
        self.turn(0, "accepted")

    @rule(at=st.integers(0, 1), who=st.sampled_from(["ann", "both"]))
    def gather_past_a_budget(self, at: int, who: str) -> None:
        ann = subject_of(user("ann"))
        self.set_policy(STORE, ann, Policy("", "", budgets=(Budget(2, None, Excess.DROP),)))
        self._admit(at, "high", "ann", 2)
        self._admit(at, "window", who, 2)
        self.wait_and_work(at, 61)

    @rule(at=st.integers(0, 1), seconds=st.sampled_from([61, 121]))
    def wait_and_work(self, at: int, seconds: int) -> None:
        self.time_passes(seconds)
        self.work(at, "accepted")
        self.looked = False

    @rule(at=st.integers(0, 1), answer=st.sampled_from(sorted(ANSWERS)))
    def work(self, at: int, answer: str) -> None:
        self.claim(at)
        self.turn(at, answer)

    @rule(at=st.integers(0, 1))
    def claim(self, at: int) -> None:
        self.run(self.replicas[at].claim)
        for one in self.look().deliveries.values():
            late = one.priority == Priority.URGENT and one.status == "pending" and one.lane is None
            assert not late, "an urgent message that is in no lane goes at the next claim"

    @rule(at=st.integers(0, 1), answer=st.sampled_from(["accepted", *sorted(ANSWERS)]))
    def turn(self, at: int, answer: str) -> None:
        replica = self.replicas[at]
        if not replica.senders.held and replica.outcomes.empty():
            return

        async def answered(job: Job) -> Outcome:
            return ANSWERS[answer]

        replica.world.answer = answered
        self.run(replica.turn)

    @rule(at=st.integers(0, 1))
    def kill(self, at: int) -> None:
        self.replicas[at] = Replica(self.bench.database, self.clock, "ab"[at])
        self._watch(self.replicas[at])

    @rule(at=st.integers(0, 1))
    def take_over(self, at: int) -> None:
        self.run(lambda: self.replicas[at].dispatcher._take_over(self.clock.now()))

    @rule(data=st.data(), verb=st.sampled_from([Verb.CANCEL, Verb.CANCEL, Verb.REPLAY]))
    def change_by_hand(self, data: st.DataObject, verb: Verb) -> None:
        may = [key for key, status in self.status.items() if (DeliveryStatus(status), verb) in TRANSITIONS]
        if not may:
            return
        chosen, once = data.draw(st.sampled_from(sorted(may))), Once(STORE, "", "", "")
        change = self.changes.cancel if verb is Verb.CANCEL else self.changes.replay
        with acting_as(LOCAL_OPERATOR):
            view = self.run(lambda: change(chosen, None, once=once))
        assert view.status == ("cancelled" if verb is Verb.CANCEL else "pending")
        self.by_hand = verb is Verb.REPLAY

    @rule(store=st.sampled_from(["", STORE]), subject=st.sampled_from(SUBJECTS), said=SAID)
    def set_policy(self, store: str, subject: str, said: Policy) -> None:
        one = Policy(store, subject, None, said.quiet, said.budgets, said.merging)
        self._write([one])

    @rule()
    def forget_policies(self) -> None:
        self._write([Policy(*key) for key in self.policies])

    def _write(self, policies: Iterable[Policy]) -> None:
        policies = list(policies)
        self.run(lambda: say(self.bench.database, *policies))
        for one in policies:
            self.policies[one.store_id, one.subject] = one
            if one.empty:
                del self.policies[one.store_id, one.subject]

    # --- What the model knows -------------------------------------------------------------------------

    def closest(self, part: str, target: Target, role: Role | None) -> Policy | None:
        """The policy that counts: the address before the role before everybody, the store before all."""
        subjects = [subject_of(target), *([f"role:{role.value}"] if role else []), ""]
        keys = [(store, subject) for subject in subjects for store in (STORE, "")]
        found = (self.policies[key] for key in keys if key in self.policies)
        return next((one for one in found if getattr(one, part) is not None), None)

    def quiet(self, target: Target, role: Role | None, at: datetime) -> QuietMode | None:
        """In which mode *target* is left alone at *at*."""
        found = self.closest("quiet", target, role)
        if found is None or found.quiet is None:
            return None
        wall = at.astimezone(SHANGHAI).time()
        return found.quiet.mode if any(w.start <= wall < w.end for w in found.quiet.windows) else None

    def as_foretold(self, event_id: str, seen: Seen) -> None:
        """What must become of an event that was just admitted."""
        kind, who = self.meant[event_id]
        (priority, own), (role, targets) = KINDS[kind], WHO[who]
        for target in targets:
            one = seen.deliveries[seen.told[event_id, target]]
            quiet = self.quiet(target, role, self.clock.now())
            said = self.closest("merging", target, role)
            merging = own or (said.merging if said is not None else None)
            merged = merging is not None and merging.mode is not MergeMode.OFF
            gathers = GATHERING in one.content
            if priority is Priority.URGENT:
                assert (one.status in ("sending", "pending"), one.hold_reason, gathers) == (True, None, False)
            elif quiet is QuietMode.DROP:
                assert (one.status, one.reason) == ("suppressed", "quiet_hours")
            elif quiet is QuietMode.DIGEST or (quiet is QuietMode.HOLD and merged):
                assert (gathers, one.status in ("deferred", "pending")) == (True, True)
            elif quiet is QuietMode.HOLD:
                assert (one.status, one.hold_reason, gathers) == ("deferred", "quiet_hours", False)
            elif merging is not None and merging.mode is MergeMode.WINDOW:
                assert (gathers, one.status in ("deferred", "pending")) == (True, True)
            elif not merged:
                held = one.hold_reason or one.reason
                assert not gathers
                assert one.status in ("sending", "pending") or held.startswith("budget:")

    def _watch(self, replica: Replica) -> None:
        submit = replica.senders.submit
        replica.senders._count = 2  # as many as a step has work for; each costs a task a turn

        def watched(jobs: Iterable[Job]) -> None:
            jobs = list(jobs)
            for job in jobs:
                self.goes(job)
            submit(jobs)

        replica.senders.submit = watched  # type: ignore[method-assign]

    def goes(self, job: Job) -> None:
        """Somebody sets out to send *job*."""
        if job.priority == Priority.URGENT or job.unclear_since is not None:
            return
        claim = Claim(job.delivery_id, job.attempt_no, job.claimed_at)
        for target in job.targets:
            role = job.roles.get(target)
            assert self.quiet(target, role, job.claimed_at) is None, "nobody is told in quiet hours"
            found = self.closest("budgets", target, role)
            for budget in (found.budgets if found is not None else None) or ():
                assert found is not None
                key = (found.store_id, found.subject, budget.most, budget.per, target)
                self.counted[key].append(claim)

    # --- What must hold -------------------------------------------------------------------------------

    def look(self) -> Seen:
        """All rows."""

        async def read() -> Seen:
            async with self.bench.database.read() as conn:
                deliveries = (await conn.execute(sa.select(delivery))).all()
                recipients = (await conn.execute(sa.select(recipient))).all()
                items = (await conn.execute(sa.select(bin_item))).all()
                found = (await conn.execute(sa.select(bin_))).all()
            seen = Seen({one.id: one for one in deliveries}, defaultdict(set), {}, defaultdict(set), found)
            told: dict[tuple[str, Target], set[str]] = defaultdict(set)
            for row in recipients:
                kind = TargetKind(row.kind)
                target = Target(kind, row.target, "" if kind is TargetKind.ROBOT else "default")
                seen.readers[row.delivery_id].add(target)
                told[row.event_id, target].add(row.delivery_id)
            for row in items:
                seen.items[row.delivery_id].add(row.event_id)
                for target in seen.readers[row.delivery_id]:
                    told[row.event_id, target].add(row.delivery_id)
            for key, ids in told.items():
                assert len(ids) == 1, f"{key} is in {len(ids)} messages"
                seen.told[key] = ids.pop()
            return seen

        return self.run(read)

    @invariant()
    def all_holds(self) -> None:
        if not self.looked:
            self.everybody_is_told_once()
            self.no_budget_is_exceeded()
        self.looked = False

    def everybody_is_told_once(self) -> None:
        seen = self.look()
        expected = {(event, target) for event, (_, who) in self.meant.items() for target in WHO[who][1]}
        assert seen.told.keys() == expected
        self.digests_are_closed_for_good(seen)
        self.statuses_follow_the_table(seen)
        self.urgent_is_not_kept(seen)

    def digests_are_closed_for_good(self, seen: Seen) -> None:
        for one in seen.bins:
            if one.delivery_id is not None:
                gathers = seen.deliveries[one.delivery_id]
                assert GATHERING in gathers.content
                assert gathers.status in ("deferred", "pending"), "what comes now would never go"
        for key, one in seen.deliveries.items():
            if key in self.closed:
                assert seen.items[key] == self.closed[key]
            elif GATHERING not in one.content or one.status not in ("deferred", "pending"):
                self.closed[key] = set(seen.items[key])
            if GATHERING not in one.content and len(seen.items[key]) > 1:
                assert f"：共 {len(seen.items[key])} 条（" in one.content["text"]

    def statuses_follow_the_table(self, seen: Seen) -> None:
        allowed = BY_HAND if self.by_hand else BY_ITSELF
        for key, one in seen.deliveries.items():
            if key in self.status:
                assert one.status in allowed[self.status[key]]
            else:
                assert one.status in ("pending", "deferred", "sending", "suppressed", "accepted")
            if one.status == "suppressed":
                assert one.reason == "quiet_hours" or one.reason.startswith("budget:")
        self.status = {key: one.status for key, one in seen.deliveries.items()}
        self.by_hand = False

    def urgent_is_not_kept(self, seen: Seen) -> None:
        on_purpose = ("quiet_hours", "merging", "budget:")
        for one in seen.deliveries.values():
            if one.priority != Priority.URGENT:
                continue
            assert one.status != "suppressed"
            assert GATHERING not in one.content
            assert not (one.hold_reason or "").startswith(on_purpose)
            if one.status == "pending" and one.lane is not None:
                lane = [other for other in seen.deliveries.values() if other.lane == one.lane]
                before = [
                    other
                    for other in lane
                    if other.status == "deferred" and (other.rank, other.id) < (one.rank, one.id)
                ]
                for other in before:
                    assert not (other.hold_reason or "").startswith(on_purpose)

    def no_budget_is_exceeded(self) -> None:
        if not self.counted:
            return
        rows = {
            (one.delivery_id, one.attempt_no): one.state
            for one in self.run(lambda: self.replicas[0].rows(attempt))
        }
        for key, claims in self.counted.items():
            most, per = key[2], key[3]
            assert isinstance(most, int)
            alive = sorted(
                one.at for one in claims if rows.get((one.delivery_id, one.attempt_no)) not in UNDELIVERED
            )
            days = [one.astimezone(SHANGHAI).date() for one in alive]
            for first, last in zip(range(len(alive)), range(most, len(alive)), strict=False):
                if isinstance(per, timedelta):
                    assert alive[last] - alive[first] >= per, f"more than {most} in {per}"
                else:
                    assert days[last] != days[first], f"more than {most} in a day"

    def all_ends(self) -> None:
        """Left to itself, everything comes to an end, and every event is somewhere."""
        self.forget_policies()
        for _ in range(40):
            open_ = [one for one in self.look().deliveries.values() if DeliveryStatus(one.status).open]
            if not open_:
                break
            self.clock.advance(LEASE + timedelta(seconds=40))
            waits = [one.due_at for one in open_ if one.status == "deferred"]
            if waits and min(waits) > self.clock.now():
                self.clock.advance(min(waits) - self.clock.now())
            self.take_over(0)
            for at in (0, 1):
                self.turn(at, "accepted")
                self.claim(at)
                self.turn(at, "accepted")
        self.everybody_is_told_once()
        self.no_budget_is_exceeded()
        assert not [status for status in self.status.values() if DeliveryStatus(status).open]


def live(url: str, examples: int, steps: int) -> None:
    """So many histories on the database at *url*."""
    bench = Bench(url)
    try:
        run_state_machine_as_test(
            partial(Life, bench),
            settings=settings(max_examples=examples, stateful_step_count=steps, deadline=None),
        )
    finally:
        bench.close()


def test_any_history_of_merging_quiet_hours_and_budgets_holds_on_sqlite(tmp_path: Path) -> None:
    live(f"sqlite:///{tmp_path}/machine.db", 20, 25)


def test_any_history_of_merging_quiet_hours_and_budgets_holds_on_postgresql(postgres_database: str) -> None:
    live(postgres_database, 8, 25)
