"""Merging, quiet hours, budgets and deliveries in memory: the domain's own answers, followed as the pipeline does."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from datetime import datetime, time, timedelta
from functools import partial

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from services.notifier.domain import retry
from services.notifier.domain.decide import decide
from services.notifier.domain.digest import Gathered, digest
from services.notifier.domain.gates import Gathering, Way
from services.notifier.domain.lifecycle import TRANSITIONS, AttemptState, DeliveryStatus, Verb, after
from services.notifier.domain.merging import BinState, Fate, arrive
from services.notifier.domain.planning import PlannedCall, Recipient
from services.notifier.domain.policy import Budget, Counted, Excess, Policies, Policy, subject_of
from services.notifier.domain.routing import Target
from services.notifier.domain.rules import Priority, RuleBook
from shared import limits
from shared.events.envelope import make_event
from shared.quiet import QuietHours, QuietMode, Window
from tests.notifier.pipeline.bench import STORE, robot, user
from tests.notifier.pipeline.kinds import COOL, KINDS, MINUTE, NOON, SHANGHAI, WHO, WINDOW, rules

_S = DeliveryStatus
BOOK = RuleBook(rules(), {})
BINDINGS = {("", role): targets for role, targets in WHO.values()}
WINDOWS = (Window(time(12, 1), time(12, 10)), Window(time(12, 10), time(12, 20)))
BUDGETS = (
    (Budget(1, MINUTE),),
    (Budget(1, MINUTE, Excess.DROP), Budget(2, None)),
    (Budget(2, 10 * MINUTE), Budget(1, MINUTE, Excess.DROP)),
    (),
)
SAID = st.builds(
    partial(Policy, "", ""),
    quiet=st.none() | st.builds(QuietHours, st.just(WINDOWS), st.sampled_from(QuietMode)),
    budgets=st.none() | st.sampled_from(BUDGETS),
    merging=st.none() | st.sampled_from([WINDOW, COOL]),
)
SUBJECTS = ("", "role:manager", subject_of(user("ann")), subject_of(robot("hall")))
ANSWERS = {
    "accepted": retry.Answer(AttemptState.ACCEPTED),
    "not_sent": retry.Answer(AttemptState.NOT_SENT, retry.RetryClass.RETRY),
    "busy": retry.Answer(AttemptState.REJECTED_RETRYABLE, retry.RetryClass.RETRY, -1),
    "unknown": retry.Answer(AttemptState.UNKNOWN),
    "refused": retry.Answer(AttemptState.REJECTED_PERMANENT, retry.RetryClass.PERM_INPUT, 44004),
}
VERBS = {
    _S.ACCEPTED: Verb.ACCEPT,
    _S.FAILED: Verb.FAIL,
    _S.UNKNOWN: Verb.LOSE,
    _S.DEFERRED: Verb.DEFER,
    _S.PENDING: Verb.RELEASE,
}


@dataclass
class Life:
    """One message."""

    call: PlannedCall
    readers: list[Recipient]
    status: DeliveryStatus
    events: list[str]
    due_at: datetime
    gathering: Gathering | None = None
    spent: retry.Spent = field(default_factory=retry.Spent)
    started_at: datetime = NOON
    counted: list[tuple[Counted, Target]] = field(default_factory=list)
    text: str = ""
    tries: int = 0

    @property
    def urgent(self) -> bool:
        return self.call.priority is Priority.URGENT


class Lives(RuleBasedStateMachine):
    """Every answer of the domain, to any history."""

    def __init__(self) -> None:
        super().__init__()
        self.now = NOON
        self.by_subject: dict[tuple[str, str], Policy] = {}
        self.policies = Policies((), SHANGHAI)
        self.lives: list[Life] = []
        self.bins: dict[str, BinState] = {}
        self.windows: dict[str, limits.State] = defaultdict(dict)
        self.meant: dict[str, str] = {}
        self.taken: dict[tuple[object, ...], list[tuple[datetime, Life, int]]] = defaultdict(list)
        """What each budget counted for each reader: when, for which message, in which of its tries."""
        self.undelivered: set[tuple[int, int]] = set()

    # --- What happens ---------------------------------------------------------------------------------

    @rule(subject=st.sampled_from(SUBJECTS), store=st.sampled_from(["", STORE]), said=SAID)
    def say(self, subject: str, store: str, said: Policy) -> None:
        self.by_subject[store, subject] = Policy(store, subject, None, said.quiet, said.budgets, said.merging)
        self.policies = Policies(self.by_subject.values(), SHANGHAI)

    @initialize(said=SAID, kind=st.sampled_from(sorted(KINDS)), who=st.sampled_from(sorted(WHO)))
    def begin(self, said: Policy, kind: str, who: str) -> None:
        self.say("", "", said)
        self.bring(kind, who, 2)

    @rule()
    def unsay(self) -> None:
        self.by_subject.clear()
        self.policies = Policies((), SHANGHAI)

    @rule(seconds=st.sampled_from([1, 31, 61, 61, 301, 1801, 39_600]))
    def time_passes(self, seconds: int) -> None:
        self.now += timedelta(seconds=seconds)

    @rule(kind=st.sampled_from(sorted(KINDS)), who=st.sampled_from(sorted(WHO)), count=st.integers(1, 3))
    def bring(self, kind: str, who: str, count: int) -> None:
        for _ in range(count):
            key = f"e{len(self.meant)}"
            self.meant[key] = who
            event = make_event(
                f"test.{kind}.{who}", {"text": key}, id=key, store_id=STORE, now=self.now, door="grpc"
            )
            made = decide(event, BOOK, BINDINGS, zone=SHANGHAI, now=self.now, policies=self.policies)
            for call in made.calls:
                self._plan(call, key)

    def _plan(self, call: PlannedCall, event: str) -> None:
        passage = call.passage
        life = Life(call, list(call.recipients), _S.PENDING, [event], self.now)
        if passage.way is Way.GATHER and self._gathers(life, event):
            return
        if passage.way is Way.DROP:
            life.status = after(life.status, Verb.SUPPRESS)
        elif passage.way is Way.HOLD:
            assert passage.until is not None
            life.status, life.due_at = after(life.status, Verb.DEFER), passage.until
        self.lives.append(life)

    def _gathers(self, life: Life, event: str) -> bool:
        found = life.call.passage.gathering
        assert found is not None
        state = self.bins.get(found.bin.key, BinState())
        fate, until = arrive(found.bin, state, self.now)
        if fate is Fate.JOIN:
            assert state.digest is not None
            self.lives[int(state.digest)].events.append(event)
            return True
        if fate is Fate.GO:
            self.bins[found.bin.key] = BinState(None, until)
            return False
        self.bins[found.bin.key] = BinState(str(len(self.lives)), state.free_at)
        life.status, life.due_at, life.gathering = after(life.status, Verb.DEFER), until, found
        self.lives.append(life)
        return True

    @rule()
    def claim(self) -> None:
        for life in list(self.lives):
            if life.status is _S.DEFERRED and life.due_at <= self.now:
                life.status = after(life.status, Verb.PROMOTE)
            if life.status is _S.PENDING:
                self._try(life)
        assert not any(life.urgent and life.status is _S.PENDING for life in self.lives)

    def _try(self, life: Life) -> None:
        unclear = life.spent.unclear_since is not None
        if (
            unclear
            and life.call.address.startswith("app")
            and retry.forgotten(life.spent.unclear_since, self.now)
        ):
            life.status = after(after(life.status, Verb.CLAIM), Verb.LOSE)
            return
        going: list[Recipient] = []
        counted: list[tuple[Counted, Target]] = []
        waits: list[tuple[Recipient, datetime, bool]] = []
        for one in life.readers:
            until, drop, took = (None, False, []) if unclear else self._asks(life, one)
            if until is None:
                going.append(one)
                counted += took
            else:
                waits.append((one, until, drop))
        if waits and (not going or len(life.readers) == 1):
            self._wait(life, waits)
            return
        for one, until, drop in waits:
            # A digest that is left closes for those who wait as it does for those who go.
            status = after(_S.PENDING, Verb.SUPPRESS if drop else Verb.DEFER)
            self.lives.append(Life(life.call, [one], status, list(life.events), until))
        life.readers, life.counted = going, counted
        self._go(life)

    def _wait(self, life: Life, waits: list[tuple[Recipient, datetime, bool]]) -> None:
        if all(drop for *_, drop in waits):
            life.status = after(life.status, Verb.SUPPRESS)
            self._close(life, None)
        else:
            life.status = after(life.status, Verb.DEFER)
            life.due_at = min(until for _, until, drop in waits if not drop)

    def _asks(self, life: Life, one: Recipient) -> tuple[datetime | None, bool, list[tuple[Counted, Target]]]:
        said = self.policies.said(STORE, one.target, one.role)
        if said.quiet is not None and said.quiet.quiet is not None and not life.urgent:
            until = said.quiet.quiet.until(self.now, SHANGHAI)
            if until is not None:
                return until, False, []
        asked = self.policies.counted(STORE, one.target, one.role, life.call.priority, self.now)
        verdicts = [(each, limits.reserve(self.windows[each.key], each.limits, self.now)) for each in asked]
        full = [(each, found) for each, found in verdicts if isinstance(found, limits.Wait)]
        if not full:
            for each, found in verdicts:
                self.windows[each.key] = found.state
            return None, False, [(each, one.target) for each in asked]
        ends = [each.budget.free_at(found.until, self.now, each.zone) for each, found in full]
        assert all(self.now < end for end in ends)
        return max(ends), any(each.budget.excess is Excess.DROP for each, _ in full), []

    def _go(self, life: Life) -> None:
        for one in life.readers if life.spent.unclear_since is None and not life.urgent else ():
            found = self.policies.said(STORE, one.target, one.role).quiet
            if found is not None and found.quiet is not None:
                wall = self.now.astimezone(SHANGHAI).time()
                assert not any(w.start <= wall < w.end for w in found.quiet.windows)
        life.status, life.started_at = after(life.status, Verb.CLAIM), self.now
        life.tries += 1
        for each, target in life.counted:
            key = (each.policy.store_id, each.policy.subject, each.budget.most, each.budget.per, target)
            self.taken[key].append((self.now, life, life.tries))
        if life.gathering is not None:
            lines = tuple(life.events)
            if len(life.events) > 1:
                found = Gathered(len(life.events), NOON, self.now, lines)
                life.text = digest(life.gathering.heading, found, life.call.channel).text
            cools = life.gathering.bin.length if life.gathering.bin.cools else None
            self._close(life, None if cools is None else self.now + cools)

    def _close(self, life: Life, free_at: datetime | None) -> None:
        if life.gathering is not None:
            self.bins[life.gathering.bin.key] = BinState(None, free_at)
            life.gathering = None

    @rule(answer=st.sampled_from(sorted(ANSWERS)))
    def answers(self, answer: str) -> None:
        for life in self.lives:
            if life.status is not _S.SENDING:
                continue
            found = retry.after(
                ANSWERS[answer],
                channel=life.call.channel,
                priority=life.call.priority,
                spent=life.spent,
                now=self.now,
                started_at=life.started_at,
                jitter=0.0,
            )
            if answer in ("not_sent", "busy", "refused"):
                self.undelivered.add((id(life), life.tries))
                for each, _ in life.counted:
                    self.windows[each.key] = limits.release(
                        self.windows[each.key], each.limits, life.started_at
                    )
            life.counted = []
            life.status = after(life.status, VERBS[found.status])
            life.due_at = found.due_at or life.due_at
            unclear = life.spent.unclear_since or (life.started_at if answer == "unknown" else None)
            life.spent = retry.Spent(
                life.spent.retries + found.counts_as_retry, 0, found.resend_mark, unclear
            )

    @rule(data=st.data(), verb=st.sampled_from([Verb.CANCEL, Verb.REPLAY]))
    def by_hand(self, data: st.DataObject, verb: Verb) -> None:
        may = [at for at, life in enumerate(self.lives) if (life.status, verb) in TRANSITIONS]
        if not may:
            return
        life = self.lives[data.draw(st.sampled_from(may))]
        life.status = after(life.status, verb)
        if verb is Verb.CANCEL:
            self._close(life, None)
        else:
            life.spent, life.due_at = retry.Spent(), self.now

    # --- What must hold -------------------------------------------------------------------------------

    @invariant()
    def every_event_is_in_one_message_for_each_reader(self) -> None:
        told: dict[tuple[str, Target], int] = defaultdict(int)
        for life in self.lives:
            assert len(set(life.events)) == len(life.events)
            for one in life.readers:
                for event in life.events:
                    told[event, one.target] += 1
        expected = {(event, target) for event, who in self.meant.items() for target in WHO[who][1]}
        assert told.keys() == expected
        assert set(told.values()) <= {1}

    @invariant()
    def only_what_waits_gathers_and_nothing_urgent_does(self) -> None:
        for state in self.bins.values():
            if state.digest is not None:
                life = self.lives[int(state.digest)]
                assert life.status in (_S.PENDING, _S.DEFERRED)
                assert not life.urgent
        for life in self.lives:
            assert not (life.urgent and life.status is _S.SUPPRESSED)
            if life.text:
                assert f"：共 {len(life.events)} 条（" in life.text

    @invariant()
    def no_budget_is_exceeded(self) -> None:
        for (_, _, most, per, _), entries in self.taken.items():
            alive = [at for at, life, number in entries if (id(life), number) not in self.undelivered]
            assert isinstance(most, int)
            for first, last in zip(alive, alive[most:], strict=False):
                if isinstance(per, timedelta):
                    assert last - first >= per
                else:
                    assert last.astimezone(SHANGHAI).date() > first.astimezone(SHANGHAI).date()


class TestLives(Lives.TestCase):  # type: ignore[name-defined, misc]
    settings = settings(max_examples=500, stateful_step_count=20, deadline=None)
