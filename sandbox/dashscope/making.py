"""Answers as a model would give them, but the same for the same prompt: text, or JSON that meets a schema."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from hashlib import sha256
from typing import Any

Schema = Mapping[str, Any]

_TRIES = 2000
_DEPTH = 12
_NAMED: Mapping[str, Sequence[str]] = {
    "emoji": ("🎱", "🌙", "💳", "🍜", "👍"),
    "summary": ("偏好周末下午时段消费", "常与两三位球友同来", "近一月到店变少", "习惯使用储值支付"),
    "detail": (
        "近三十天多在周末下午到店，每次约两小时。",
        "多次与同行好友开台，消费以台费为主。",
        "与上一周期相比，到店间隔拉长了几天。",
    ),
    "category": ("消费习惯", "客户基础", "社交关系", "促销偏好"),
    "title": ("本期经营概览", "值得留意的变化", "下一步建议"),
    "providers": ("系统",),
    "scenario": ("到店打招呼", "开台之后", "结账离店", "久未到店时"),
    "script": (
        "王哥您来啦，老位置给您留着呢，今天还是两小时？",
        "刚才那杆真漂亮，要不要我陪您再打一局？",
        "今天打得尽兴吧？周末下午人多，要不要先帮您约个台？",
        "好久没见您了，最近新换了台呢，有空来试试手感。",
    ),
    "tip": ("语气轻松，不要催促。", "先听对方说，再接话。", "只提一次，对方没接就换话题。", "点到为止。"),
    "action": (
        "工作日下午安排回访。",
        "调整下午时段的排班。",
        "把储值方案放到前台显眼处。",
        "核对退单原因。",
    ),
    "content": (
        "工作日下午推出两小时套餐，先试两周。",
        "由熟悉的助教回访，问问最近的安排。",
        "到店时当面介绍储值，不群发。",
    ),
    "text": (
        "周末约上球友来一局？下午两点前到店，台费九折，位置先到先得。",
        "天冷了，来店里活动活动筋骨，热茶管够，老友同行更开心。",
        "本周新换了台呢，手感顺滑，欢迎来试杆。",
        "会员日到了：开台满两小时送一小时，记得带上会员码。",
    ),
    "angle": ("限时优惠", "朋友相聚", "设备焕新", "会员专享"),
}
_SENTENCES = (
    "整体平稳，建议保持现有节奏。",
    "到店频次略有上升，可在工作日安排回访。",
    "客单价变化不大，关注下午时段的空台。",
    "可在下次到店时介绍储值方案。",
    "老客贡献稳定，新客转化仍有空间。",
)
_SHAPED = ("128.00", "128", "2026-03-02", "2026-03-02T12:00:00+08:00", "12.5%", "app3_clue", "高", "A", "1")
_FORMATS: Mapping[str, str] = {
    "date": "2026-03-02",
    "date-time": "2026-03-02T12:00:00+08:00",
    "time": "12:00:00",
}


def schema_in(prompt: str) -> Schema | None:
    """The JSON Schema of an object that a prompt asks its answer to meet: the last one written in it."""
    found = None
    for value in _objects(prompt):
        if value.get("type") == "object" and isinstance(value.get("properties"), dict):
            found = value
    return found


def made(schema: Schema, prompt: str) -> Any:
    """A value that meets *schema*, chosen by *prompt*.

    ValueError for a schema that asks for more than the sandbox understands (recursion, or a pattern no word of its own fits).
    """
    return _Maker(schema, prompt).value(schema, "", 0)


def words(prompt: str) -> str:
    """What is said to a prompt that asks for nothing in particular."""
    return str(_chosen(_SENTENCES, prompt, ""))


def _objects(text: str) -> Iterator[dict[str, Any]]:
    """The JSON objects written in a text, outermost ones only."""
    decoder, at = json.JSONDecoder(), 0
    for _ in range(_TRIES):
        at = text.find("{", at)
        if at < 0:
            return
        try:
            value, at = decoder.raw_decode(text, at)
        except (ValueError, RecursionError):
            at += 1
            continue
        yield value


def _number(seed: str, where: str, below: int) -> int:
    return int.from_bytes(sha256(f"{where}\n{seed}".encode()).digest()[:6]) % below


def _chosen(choices: Sequence[Any], seed: str, where: str) -> Any:
    return choices[_number(seed, where, len(choices))]


class _Maker:
    def __init__(self, root: Schema, seed: str) -> None:
        self._root = root
        self._seed = seed
        self._said: set[str] = set()

    def value(self, schema: Schema, where: str, depth: int) -> Any:
        if depth > _DEPTH:
            raise ValueError(f"the schema goes deeper than {_DEPTH} levels at {where}")
        schema = self._resolved(schema)
        if "const" in schema:
            return schema["const"]
        if "enum" in schema:
            return _chosen(schema["enum"], self._seed, where)
        kind = schema.get("type", "object" if "properties" in schema else "string")
        if isinstance(kind, list):
            kind = next((one for one in kind if one != "null"), "null")
        if kind == "object":
            properties = schema.get("properties", {})
            return {
                name: self.value(inner, f"{where}/{name}", depth + 1) for name, inner in properties.items()
            }
        if kind == "array":
            return self._list(schema, where, depth)
        if kind in ("integer", "number"):
            return self._amount(schema, where, whole=kind == "integer")
        if kind == "boolean":
            return _chosen((True, False), self._seed, where)
        return None if kind == "null" else self._text(schema, where)

    def _resolved(self, schema: Schema) -> Schema:
        """With references followed, and of alternatives the first."""
        for _ in range(_DEPTH):
            if "$ref" in schema:
                target: Any = self._root
                for part in str(schema["$ref"]).removeprefix("#").strip("/").split("/"):
                    target = target[part] if part else target
                schema = {**target, **{name: value for name, value in schema.items() if name != "$ref"}}
            elif alternatives := schema.get("anyOf") or schema.get("oneOf"):
                rest = {name: value for name, value in schema.items() if name not in ("anyOf", "oneOf")}
                schema = {**rest, **alternatives[0]}
            elif "allOf" in schema:
                rest = {name: value for name, value in schema.items() if name != "allOf"}
                for one in schema["allOf"]:
                    rest = {**rest, **one}
                schema = rest
            else:
                break
        return schema

    def _list(self, schema: Schema, where: str, depth: int) -> list[Any]:
        least = schema.get("minItems", 1)
        most = max(least, min(schema.get("maxItems", 3), 3))
        if "items" not in schema or not most:
            return []
        size = max(least, 1 + _number(self._seed, f"{where}#", most))
        items = [self.value(schema["items"], f"{where}/{index}", depth + 1) for index in range(size)]
        if not schema.get("uniqueItems"):
            return items
        unique = list({json.dumps(item, sort_keys=True): item for item in items}.values())
        return unique if len(unique) >= least else items

    def _amount(self, schema: Schema, where: str, *, whole: bool) -> int | float:
        low = schema.get("minimum", schema.get("exclusiveMinimum", 0))
        high = schema.get("maximum", schema.get("exclusiveMaximum", low + 10))
        step = schema.get("multipleOf", 1 if whole or high - low >= 2 else (high - low) / 4)
        first = -(-low // step) + ("exclusiveMinimum" in schema and low % step == 0)
        last = high // step - ("exclusiveMaximum" in schema and high % step == 0)
        value = (first + _number(self._seed, where, max(1, int(last - first) + 1))) * step
        return int(value) if whole else value

    def _text(self, schema: Schema, where: str) -> str:
        name = where.rpartition("/")[2]
        least, most = schema.get("minLength", 0), schema.get("maxLength", 10_000)
        pattern = schema.get("pattern")
        if pattern is not None:
            pool = (*_SHAPED, *(word for group in _NAMED.values() for word in group), *_SENTENCES)
            fitting = [word for word in pool if re.search(pattern, word) and least <= len(word) <= most]
            if not fitting:
                raise ValueError(f"the sandbox has no word for {pattern!r} at {where}")
            return fitting[0]
        if "format" in schema and schema["format"] in _FORMATS:
            return _FORMATS[schema["format"]]
        named = _NAMED.get(name) or (_NAMED["providers"] if name == "provider" else _SENTENCES)
        text = self._fresh(named, where)
        while len(text) < least:
            text += _chosen(_SENTENCES, self._seed, f"{where}+{len(text)}")
        return text[:most]

    def _fresh(self, choices: Sequence[str], where: str) -> str:
        """One of *choices* that was not said yet, while there is one."""
        first = _number(self._seed, where, len(choices))
        ordered = (*choices[first:], *choices[:first])
        text = next((one for one in ordered if one not in self._said), ordered[0])
        self._said.add(text)
        return text
