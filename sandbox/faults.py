"""Faults on request: which calls they strike, and what they do to them.

    POST /sandbox/faults
    {"path": "/cgi-bin/message/*",     # glob; default: every call
     "body": "订单",                    # the raw body contains this
     "to": "zhangsan",                 # a receiver of the call, its robot key, or the customer, KF account, group or sender it names
     "agentid": 1000002,
     "skip": 0,                        # let this many matching calls pass first
     "count": 1,                       # strike this many, then rest; absent: for ever
     "probability": 0.5, "seed": 7,    # strike a repeatable choice of the matching calls
     "latency_ms": 200,                # wait first; goes with any effect below, or alone
     ... one effect:
     "errcode": 45009, "errmsg": "…"   # a number strikes WeCom's calls, a word ("Throttling") DashScope's
     "spoil": "fenced"                 # DashScope's calls: what is wrong with the model's answer (SPOILS)
     "http_status": 502, "headers": {"retry-after": "5"}, "text": "…"
     "malformed": "truncated"          # truncated | html | wrong_types | non_utf8 | empty | array | no_errcode | huge | bomb
     "drop": "before-read"             # before-read | before-accept | after-accept; "reset": true sends RST
     "hang": true                      # no answer; the connection stays open until the client leaves
     "drip_ms": 100                    # the answer's body one byte at a time
     "short": true                     # the answer ends before its Content-Length
     "accepted": true}                 # whether the call takes effect all the same

`accepted` defaults to what the fault means on a network: the answer is harmed, not the work, for malformed, spoil,
drip and short; the call never happens for errcode, http_status and hang; drop says it itself. An errcode or status
with `accepted: true` is the treacherous kind: delivered, and answered as a failure.
`before-read` is decided before the body is read, so it matches by path alone.
"""

import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import cast

import orjson

from sandbox.dashscope.codes import CODES

MALFORMED = ("truncated", "html", "wrong_types", "non_utf8", "empty", "array", "no_errcode", "huge", "bomb")
DROPS = ("before-read", "before-accept", "after-accept")
SPOILS = (
    "fenced",
    "chatty",
    "cut",
    "wrong_schema",
    "empty",
    "no_output",
    "no_usage",
    "null_usage",
    "text_usage",
    "two_models",
    "no_stop",
)
"""Fenced as Markdown; words around it; the text ends early; another schema's; no text; no output; no usage, null or texts
for it; two models billed; a stream without its last event."""
_EFFECTS = ("errcode", "http_status", "malformed", "spoil", "drop", "hang", "drip_ms", "short")
_MATCHES = ("path", "body", "to", "agentid", "skip", "count", "probability", "seed", "latency_ms", "accepted")
_COMPANIONS = {"errmsg": "errcode", "headers": "http_status", "text": "http_status", "reset": "drop"}


@dataclass(slots=True)
class Fault:
    """One rule. At most one effect besides the latency is set."""

    id: str
    path: str = "*"
    body: str | None = None
    to: str | None = None
    agentid: int | None = None
    skip: int = 0
    count: int | None = None
    probability: float = 1.0
    seed: int = 0
    latency_ms: float = 0.0
    errcode: int | str | None = None
    errmsg: str | None = None
    http_status: int | None = None
    headers: dict[str, str] = field(default_factory=dict)
    text: str | None = None
    malformed: str | None = None
    spoil: str | None = None
    drop: str | None = None
    reset: bool = False
    hang: bool = False
    drip_ms: float | None = None
    short: bool = False
    accepted: bool = True
    applied: int = 0
    passed: int = 0
    dice: random.Random = field(default_factory=random.Random)

    def strikes(self, path: str, body: bytes, query: Mapping[str, str]) -> bool:
        """Whether this call is struck; counts it against `skip` and `count`."""
        if self.count is not None and self.applied >= self.count:
            return False
        if not fnmatchcase(path, self.path) or not self._suits(path) or not self._fits(body, query):
            return False
        if self.passed < self.skip:
            self.passed += 1
            return False
        if self.probability < 1 and self.dice.random() >= self.probability:
            return False
        self.applied += 1
        return True

    def _suits(self, path: str) -> bool:
        """Whether the platform of *path* can fail like this at all."""
        wecom = path.startswith("/cgi-bin/")
        if self.spoil is not None or isinstance(self.errcode, str):
            return not wecom
        return wecom or self.errcode is None

    def _fits(self, body: bytes, query: Mapping[str, str]) -> bool:
        if self.body is not None and self.body.encode() not in body:
            return False
        if self.to is None and self.agentid is None:
            return True
        try:
            parsed = orjson.loads(body)
        except orjson.JSONDecodeError:
            parsed = None
        fields = parsed if isinstance(parsed, dict) else {}
        if self.agentid is not None and self.agentid not in (
            fields.get("agentid"),
            _number(query.get("agentid")),
        ):
            return False
        if self.to is None:
            return True
        receivers = str(fields.get("touser", "")).lower().split("|")
        named = [fields.get(name) for name in ("external_userid", "open_kfid", "chat_id", "sender")]
        groups = fields.get("chat_id_list")
        if self.to in (*named, *(groups if isinstance(groups, list) else ())):
            return True
        return self.to.lower() in receivers or self.to == query.get("key")

    def view(self) -> dict[str, object]:
        """As JSON shows it: what is set, and how often it struck."""
        names = (*_MATCHES, *_EFFECTS, *_COMPANIONS)
        shown = {
            name: getattr(self, name) for name in names if getattr(self, name) not in (None, False, {}, 0)
        }
        return {"id": self.id, **shown, "accepted": self.accepted, "applied": self.applied}


class Faults:
    """The rules in force; the oldest one that strikes a call decides."""

    def __init__(self) -> None:
        self._rules: dict[str, Fault] = {}
        self._made = 0

    def __iter__(self) -> Iterator[Fault]:
        return iter(self._rules.values())

    def add(self, document: object) -> Fault:
        """A new rule in force; ValueError says what does not fit."""
        self._made += 1
        fault = read_fault(f"fault-{self._made}", document)
        self._rules[fault.id] = fault
        return fault

    def remove(self, fault_id: str) -> bool:
        """Lift one rule; whether there was one."""
        return self._rules.pop(fault_id, None) is not None

    def clear(self) -> None:
        """Lift all rules."""
        self._rules.clear()

    def before_read(self, path: str) -> Fault | None:
        """The rule that cuts this call off before its body is read."""
        return self._first(
            [rule for rule in self._rules.values() if rule.drop == "before-read"], path, b"", {}
        )

    def strike(self, path: str, body: bytes, query: Mapping[str, str]) -> Fault | None:
        """The rule that strikes this call, now that it is read."""
        return self._first(
            [rule for rule in self._rules.values() if rule.drop != "before-read"], path, body, query
        )

    def __bool__(self) -> bool:
        return bool(self._rules)

    @staticmethod
    def _first(rules: list[Fault], path: str, body: bytes, query: Mapping[str, str]) -> Fault | None:
        return next((rule for rule in rules if rule.strikes(path, body, query)), None)


def read_fault(fault_id: str, document: object) -> Fault:
    """A fault from its JSON; ValueError names the field that does not fit."""
    if not isinstance(document, dict):
        raise ValueError("a fault is a JSON object")
    fields = {str(name).replace("-", "_"): value for name, value in document.items()}
    unknown = set(fields) - {*_MATCHES, *_EFFECTS, *_COMPANIONS}
    if unknown:
        raise ValueError(f"a fault has no field {sorted(unknown)[0]!r}")
    effects = [name for name in _EFFECTS if fields.get(name) not in (None, False)]
    if len(effects) > 1:
        raise ValueError(f"{effects[0]} and {effects[1]} do not go together")
    if not effects and not fields.get("latency_ms"):
        raise ValueError(f"a fault needs latency_ms or one of {', '.join(_EFFECTS)}")
    for name, owner in _COMPANIONS.items():
        if name in fields and owner not in effects:
            raise ValueError(f"{name} goes with {owner}")
    _check_values(fields)
    fields.setdefault("accepted", _accepted_by_default(fields))
    fault = Fault(id=fault_id, **cast(dict[str, object], fields))  # type: ignore[arg-type]
    fault.dice = random.Random(fault.seed)
    return fault


def _accepted_by_default(fields: Mapping[str, object]) -> bool:
    if fields.get("drop") is not None:
        return fields["drop"] == "after-accept"
    return not any(fields.get(name) not in (None, False) for name in ("errcode", "http_status", "hang"))


def _check_values(fields: Mapping[str, object]) -> None:
    for name in ("path", "body", "to", "errmsg", "text"):
        _want(fields, name, str)
    for name in ("agentid", "skip", "count", "seed", "http_status"):
        _want(fields, name, int)
    _want(fields, "errcode", (int, str))
    if isinstance(fields.get("errcode"), str) and fields["errcode"] not in CODES:
        raise ValueError("errcode is a number, or a code of DashScope")
    for name in ("latency_ms", "drip_ms", "probability"):
        _want(fields, name, (int, float))
    for name in ("reset", "hang", "short", "accepted"):
        _want(fields, name, bool)
    for name, choices in (("malformed", MALFORMED), ("spoil", SPOILS), ("drop", DROPS)):
        if fields.get(name) is not None and fields[name] not in choices:
            raise ValueError(f"{name} is one of {', '.join(choices)}")
    for name in ("skip", "count", "latency_ms", "drip_ms"):
        if cast(float, fields.get(name) or 0) < 0:
            raise ValueError(f"{name} is not negative")
    if not 0 <= cast(float, fields.get("probability", 1)) <= 1:
        raise ValueError("probability lies between 0 and 1")
    if not 200 <= cast(int, fields.get("http_status") or 200) <= 599:
        raise ValueError("http_status lies between 200 and 599")
    if fields.get("drop") == "before-read" and any(
        fields.get(n) is not None for n in ("body", "to", "agentid")
    ):
        raise ValueError("before-read strikes before the body is read: it matches by path alone")
    if "accepted" in fields and fields.get("drop") is not None:
        raise ValueError("drop says itself whether the call takes effect")
    headers = fields.get("headers", {})
    if not isinstance(headers, dict) or not all(isinstance(value, str) for value in headers.values()):
        raise ValueError("headers map names to texts")


def _want(fields: Mapping[str, object], name: str, kind: type | tuple[type, ...]) -> None:
    value = fields.get(name)
    wrong_bool = isinstance(value, bool) and kind is not bool
    if value is not None and (wrong_bool or not isinstance(value, kind)):
        raise ValueError(f"{name} has the wrong type")


def _number(text: str | None) -> int | None:
    return int(text) if text is not None and text.isdecimal() else None
