"""Customers who are written to by everybody at once: what WeChat KF counted is held against what we say.

The platform of a run sets no limit and only counts, so that a sixth message would arrive and be seen. A third of the
customers lose answers and get refusals, a third write while we send to them, and the others have nothing happen to
them: of their five, at most one may be left.

    KfStorm(…)     what happens, to replicas wherever they run
    programs(…)    three replicas as programs of their own, that may be killed
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
from google.protobuf.duration_pb2 import Duration
from reach.kf_session.v1 import push_pb2 as pb
from reach.kf_session.v1 import session_pb2
from reach.kf_session.v1.kf_session_service_pb2_grpc import KfSessionServiceStub

from shared.rpc.status import from_call
from shared.secrets import SecretKey
from tests.chaos.checker import Violation
from tests.chaos.load import Doors
from tests.chaos.storm import Member, Servers
from tests.e2e.harness import CORP, STORE, Sandbox, environment, eventually, sandbox_program
from tests.kf_session.shop import AES_KEY, CALLBACK, SECRET, TOKEN, WK
from tests.support.home import free_port
from tests.support.process import Program

STEADY, TROUBLED, TALKING = "steady", "troubled", "talking"
KINDS = (STEADY, TROUBLED, TALKING)
ABREAST = 12
"""Customers who are written to at a time, by all their senders at once."""

PAUSE = 2.2
"""Between two parts of a talk: what went within a second of the customer's word may count after it, and is counted so."""

_TRIES = 200
_CALL_SECONDS = 20.0
_AGAIN = (
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.CANCELLED,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
)
_ENDED = (pb.PUSH_STATUS_ACCEPTED, pb.PUSH_STATUS_FAILED, pb.PUSH_STATUS_UNKNOWN, pb.PUSH_STATUS_SUPPRESSED)


@dataclass
class Report:
    """How a run ended."""

    seed: int
    violations: list[Violation]
    sums: dict[str, int]
    seconds: float

    def __str__(self) -> str:
        figures = ", ".join(f"{name} {count}" for name, count in self.sums.items())
        shown = [str(one) for one in self.violations[:10]]
        return "\n".join([f"seed {self.seed}: {figures}; {self.seconds:.0f} s", *shown])


@dataclass
class KfStorm:
    """*stubs* are the replicas, in front of *world*; the callbacks go to the door *http*."""

    world: Sandbox
    stubs: Sequence[Any]
    http: str
    seed: int
    customers: int
    each: int
    kill: Callable[[int], Awaitable[None]] | None = field(default=None, kw_only=True)
    """Ends the replica of a number without mercy and starts it again; called three times on the way."""

    took: dict[str, str] = field(default_factory=dict)
    """By push: what it said, of those that a replica took."""
    refused: Counter[str] = field(default_factory=Counter)
    """By reason."""

    async def run(self) -> Report:
        """Play it and judge."""
        began, dice = time.monotonic(), random.Random(self.seed)
        names = [f"wm-{KINDS[number % 3]}-{number:03d}" for number in range(self.customers)]
        await self._prepare(names)
        await self._trouble()
        kills = {len(names) * part // 4 for part in (1, 2, 3)} if self.kill is not None else set()
        for at in range(0, len(names), ABREAST):
            some = names[at : at + ABREAST]
            calls = self._all(some, dice)
            if self.kill is not None and kills & set(range(at, at + len(some))):
                calls.append(self.kill(dice.randrange(len(self.stubs))))
            await asyncio.gather(*calls)
        ended = await self._ended()
        violations, sums = await self._judge(names, ended)
        return Report(self.seed, violations, sums, time.monotonic() - began)

    async def _prepare(self, names: Sequence[str]) -> None:
        """Everybody has written once, and every replica's database knows."""
        people = [{"external_userid": name, "nickname": name} for name in names]
        account = {"open_kfid": WK, "name": "门店客服"}
        await self.world.profile(kf_messages_per_window=0)
        await self.world.declare(
            corp_id=CORP, kf={"secret": SECRET, "accounts": [account], "customers": people}
        )
        url = f"http://{self.http}/callback/kf"
        more = {"token": TOKEN, "aes_key": AES_KEY, "corp_id": CORP, "kind": "kf"}
        await self.world.post("/sandbox/callbacks", url=url, **more)
        for name in names:
            await self._write(name)
        for name in names:
            await eventually(lambda name=name: self._free(name), timeout=90, every=0.1)  # type: ignore[misc]

    async def _free(self, name: str) -> bool:
        """Whether a replica knows that the customer may be written to."""
        asked = session_pb2.GetSessionRequest(open_kfid=WK, external_userid=name)
        for stub in self.stubs:
            try:
                found = (await stub.GetSession(asked, timeout=_CALL_SECONDS)).session
            except grpc.aio.AioRpcError as error:
                if error.code() not in (*_AGAIN, grpc.StatusCode.NOT_FOUND):
                    raise
                continue
            return bool(found.window_open and found.credits_left)
        return False

    async def _write(self, name: str) -> None:
        await self.world.post("/sandbox/kf/messages", external_userid=name, open_kfid=WK, text="在吗")

    async def _trouble(self) -> None:
        """Lost requests, lost answers and refusals for some; jitter for all."""
        path = "/cgi-bin/kf/send_msg"
        for number, what in enumerate(
            ({"drop": "after-accept"}, {"drop": "before-accept"}, {"errcode": -1}, {"http_status": 502})
        ):
            more = {"probability": 0.07, "seed": self.seed + number, "latency_ms": 10 * number}
            await self.world.fault(path=path, body=f"wm-{TROUBLED}", **what, **more)
        for number, (share, latency) in enumerate(((0.3, 3), (0.5, 15), (0.5, 40), (1.0, 90))):
            more = {"probability": share, "seed": self.seed + number, "latency_ms": latency}
            await self.world.fault(path=path, **more)

    def _all(self, names: Sequence[str], dice: random.Random) -> list[Awaitable[None]]:
        """Everything that happens to some customers, all of it at once."""
        calls: list[Awaitable[None]] = []
        for name in names:
            draws = [dice.randrange(1 << 20) for _ in range(self.each)]
            if TALKING in name:
                calls.append(self._talk(name, draws, [dice.random() for _ in range(3)]))
            else:
                calls += [self._push(name, number, draw) for number, draw in enumerate(draws)]
        dice.shuffle(calls)
        return calls

    async def _talk(self, name: str, draws: Sequence[int], moments: Sequence[float]) -> None:
        """A customer who writes while everybody writes to them, and after a while again."""
        half = len(draws) // 2
        first = [self._push(name, number, draw) for number, draw in enumerate(draws[:half])]
        await asyncio.gather(*first, self._at(moments[0], self._write(name)))
        await self._ended(name)
        await asyncio.sleep(PAUSE)
        await self._write(name)
        await eventually(lambda: self._free(name), timeout=90, every=0.1)
        second = [self._push(name, half + number, draw) for number, draw in enumerate(draws[half:])]
        await asyncio.gather(*second, *(self._at(moment, self._write(name)) for moment in moments[1:]))

    @staticmethod
    async def _at(seconds: float, then: Awaitable[None]) -> None:
        """*then*, at a moment that the seed decided and nothing else."""
        await asyncio.sleep(seconds)
        await then

    async def _push(self, name: str, number: int, draw: int) -> None:
        """One sender, who tries again elsewhere when a replica is away, as the same call."""
        said = f"{name}/{number}"
        request = pb.PushRequest(
            store_id=STORE,
            open_kfid=WK,
            external_userid=name,
            content=pb.PushContent(text=pb.PushText(content=said)),
            idempotency_key=said,
            wait=Duration(nanos=draw % 3 * 200_000_000),
        )
        for attempt in range(_TRIES):
            try:
                answer = await self.stubs[(draw + attempt) % len(self.stubs)].Push(
                    request, timeout=_CALL_SECONDS
                )
            except grpc.aio.AioRpcError as error:
                if error.code() not in _AGAIN:
                    self.refused[from_call(error).reason] += 1
                    return
                await asyncio.sleep(0.2)
                continue
            self.took[answer.push.push_id] = said
            return
        self.refused["nobody answered"] += 1

    async def _ended(self, name: str = "") -> dict[str, int]:
        """By id: how each push (of a customer, else of all) ended; waits until all have."""

        async def look() -> dict[str, int] | None:
            found = dict[str, int]()
            asked = pb.ListPushesRequest(store_id=STORE, external_userid=name, page_size=200)
            while True:
                try:
                    page = await self.stubs[0].ListPushes(asked, timeout=_CALL_SECONDS)
                except grpc.aio.AioRpcError as error:
                    if error.code() not in _AGAIN:
                        raise
                    return None
                found |= {one.push_id: one.status for one in page.pushes}
                if not page.next_page_token:
                    return found if all(status in _ENDED for status in found.values()) else None
                asked.page_token = page.next_page_token

        return await eventually(look, timeout=100, every=0.3) or {}

    async def _judge(
        self, names: Sequence[str], ended: dict[str, int]
    ) -> tuple[list[Violation], dict[str, int]]:
        found = (await self.world.get("/sandbox/kf/sessions"))["sessions"]
        counts = {one["external_userid"]: one for one in found}
        phones = Counter(await self._on_phones())
        wrong: list[Violation] = []

        def see(invariant: str, told: str, where: str) -> None:
            wrong.append(Violation(invariant, told, where))

        for name in names:
            most, last = counts[name]["accepted_most"], counts[name]["accepted"]
            if most > 5:
                see("I16", "more than five after one message of the customer", f"{name}: {most}")
            if STEADY in name and last < 4:
                see("I16", "credits were left where nothing failed", f"{name}: {last} of 5")
        for said, times in phones.items():
            if times > 1:
                see("I2", "the same push arrived more than once", f"{said}: {times}")
        for push_id, status in ended.items():
            said = self.took.get(push_id, "")
            if status == pb.PUSH_STATUS_ACCEPTED and said and not phones[said]:
                see("I3", "accepted, and on no phone", said)
            if status in (pb.PUSH_STATUS_FAILED, pb.PUSH_STATUS_SUPPRESSED) and phones[said]:
                see("I3", "on a phone, and said not to be", f"{said}: {pb.PushStatus.Name(status)}")
        for push_id in self.took.keys() - ended.keys():
            see("I1", "taken, and forgotten", self.took[push_id])
        unexpected = self.refused.keys() - {"KF_WINDOW_FULL"}
        if unexpected:
            see("I1", "refused for another reason than the window", str(dict(self.refused)))
        sums = {
            "customers": len(names),
            "pushes": len(names) * self.each,
            "arrived": phones.total(),
            "of them before a later word": sum(phones[said] for said in phones if TALKING in said)
            - sum(counts[name]["accepted"] for name in names if TALKING in name),
            "refused": self.refused["KF_WINDOW_FULL"],
            "most in a window": max(one["accepted_most"] for one in found),
            "least of who had no trouble": min(counts[name]["accepted"] for name in names if STEADY in name),
            "unknown": sum(status == pb.PUSH_STATUS_UNKNOWN for status in ended.values()),
        }
        return wrong, sums

    async def _on_phones(self) -> list[str]:
        """What customers were told, from their phones."""
        found, after = list[str](), 0
        while True:
            page = await self.world.get("/sandbox/kf/messages", since=after, limit=5000)
            found += [one["content"]["content"] for one in page["messages"] if one["by"] == "api"]
            if not page["more"]:
                return found
            after = page["next"]


SETTINGS = {"default_store": STORE, "WECOM_KF_SECRET": SECRET, **CALLBACK}
"""Of every replica; see ``environment``."""


@asynccontextmanager
async def programs(
    home: Path, servers: Servers, seed: int, customers: int, each: int
) -> AsyncIterator[KfStorm]:
    """A run over three replicas of ``reach serve kf_session``, a sandbox of its own in front of them."""
    async with AsyncExitStack() as stack:
        world = await stack.enter_async_context(sandbox_program())
        await asyncio.to_thread(SecretKey.create, home / "secret.key")
        more = {
            "database_url": servers.database_url,
            "amqp_url": servers.amqp_url,
            "secret_key_file": str(home / "secret.key"),
            **servers.names.settings,
            **SETTINGS,
        }
        members: list[Member] = []
        for number in range(3):
            grpc_at, http_at = (f"127.0.0.1:{free_port()}" for _ in range(2))
            own = environment(world.url, home / str(number), grpc_listen=grpc_at, http_listen=http_at, **more)
            doors = Doors(grpc_at, http_at)
            stack.push_async_callback(doors.close)
            members.append(Member(own, doors, ["-m", "cli.main", "serve", "kf_session"]))

        async def kill(number: int) -> None:
            await members[number].end(Program.kill)
            await members[number].start()

        async def end_all() -> None:
            for member in members:
                if member.program is not None:
                    await member.end(Program.kill)

        stack.push_async_callback(end_all)
        for member in members:
            await member.start()
        stubs = [KfSessionServiceStub(member.doors.channel) for member in members]  # type: ignore[no-untyped-call]
        http = members[0].environ["REACH_HTTP_LISTEN"]
        yield KfStorm(world, stubs, http, seed, customers, each, kill=kill)
