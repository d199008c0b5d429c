"""A request that a method takes, made from its contract alone: what the rules ask for and nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from typing import Any

import protovalidate
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from shared.rpc.validation import path_of

TEXTS = (
    *(
        "x",
        "a1",
        "2030-01-02",
        "2030-01",
        "09:00",
        "https://shop.example/a",
        "Asia/Shanghai",
        "order.created",
    ),
    *("13800138000", "0" * 64, "a" * 32, "{}", "* * * * *", "wr0", "0123456789abcdef0123456789abcdef"),
)
NUMBERS = (1, 2, 10, 60, 100, 1000)
_validator = protovalidate.Validator()


def request_of(kind: type[Message], store_id: str) -> Message:
    """A valid request of *kind* that names *store_id* wherever it names a store.

    ``AssertionError`` where its rules ask for more than is known here.
    """
    made = kind()
    for _ in range(40):
        _name_stores(made, store_id)
        broken = _validator.collect_violations(made)
        if not broken:
            return made
        before = {path_of(one): one.proto.rule_id for one in broken}
        for one in broken:
            _mend(made, one)
        after = {path_of(one): one.proto.rule_id for one in _validator.collect_violations(made)}
        assert after != before, f"{kind.DESCRIPTOR.full_name}: {after}"
    raise AssertionError(f"{kind.DESCRIPTOR.full_name} cannot be made")


def _name_stores(message: Message, store_id: str) -> None:
    for field in message.DESCRIPTOR.fields:
        if field.name == "store_id" and not field.is_repeated:
            message.store_id = store_id
        elif field.message_type is not None and not field.is_repeated and message.HasField(field.name):
            _name_stores(getattr(message, field.name), store_id)


def _mend(root: Message, violation: Any) -> None:
    """Give the field that breaks a rule something that does not."""
    steps = list(violation.proto.field.elements) if violation.proto.field is not None else []
    if not steps:
        return _mend_whole(root)
    message: Any = root
    for step in steps[:-1]:
        message = getattr(message, step.field_name)
        if step.subscript is not None:
            message = message[step.subscript.value]
    name = steps[-1].field_name
    if name in message.DESCRIPTOR.oneofs_by_name:
        return _fill(message, message.DESCRIPTOR.oneofs_by_name[name].fields[0], root)
    return _fill(message, message.DESCRIPTOR.fields_by_name[name], root)


def _mend_whole(root: Message) -> None:
    """A rule about several fields: the first field that satisfies it is filled."""
    rule = len(_validator.collect_violations(root))
    for field in root.DESCRIPTOR.fields:
        tried = type(root)()
        tried.CopyFrom(root)
        _fill(tried, field, tried)
        if len(_validator.collect_violations(tried)) < rule or (
            not any(not path_of(one) for one in _validator.collect_violations(tried))
        ):
            root.CopyFrom(tried)
            return


def _fill(message: Any, field: FieldDescriptor, root: Message) -> None:
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        message_map = getattr(message, field.name)
        value = field.message_type.fields_by_name["value"]
        if value.message_type is not None:
            message_map["a"].SetInParent()
        else:
            message_map["a"] = next(_values(value))
        return
    if field.is_repeated:
        many = getattr(message, field.name)
        if field.message_type is not None:
            _complete(many.add())
            return
        del many[:]
        many.append(0 if field.enum_type is not None else next(_values(field)))
        _choose(lambda value: many.__setitem__(0, value), field, root)
        return
    if field.message_type is not None:
        _complete(getattr(message, field.name))
        return
    _choose(lambda value: setattr(message, field.name, value), field, root)


def _choose(put: Any, field: FieldDescriptor, root: Message) -> None:
    """The first value that leaves the fewest rules broken."""
    found = [
        (_broken_with(put, value, root), order, value)
        for order, value in zip(count(), _values(field), strict=False)
    ]
    put(min(found, key=lambda one: one[:2])[2])


def _broken_with(put: Any, value: Any, root: Message) -> int:
    put(value)
    return len(_validator.collect_violations(root))


def _complete(message: Any) -> None:
    """A message that was asked for is there; instants are some instant, durations some time."""
    message.SetInParent()
    name = message.DESCRIPTOR.full_name
    if name == "google.protobuf.Timestamp":
        message.seconds = 1_900_000_000
    elif name == "google.protobuf.Duration":
        message.seconds = 60
    elif name == "google.protobuf.Struct":
        message.update({"a": 1})


def _values(field: FieldDescriptor) -> Iterator[Any]:
    if field.enum_type is not None:
        yield from (value.number for value in field.enum_type.values if value.number)
    elif field.cpp_type == FieldDescriptor.CPPTYPE_STRING:
        yield from TEXTS if field.type == FieldDescriptor.TYPE_STRING else (text.encode() for text in TEXTS)
    elif field.cpp_type == FieldDescriptor.CPPTYPE_BOOL:
        yield True
    else:
        yield from NUMBERS
