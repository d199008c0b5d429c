"""Values: what is made once and never changed, which the type checker sees to."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeVar, dataclass_transform

T = TypeVar("T")


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def value_class(cls: type[T]) -> type[T]:
    """Make *cls* a dataclass that is compared and hashed by its fields.

    An assignment to a field is refused by the type checker and not at run time, where ``frozen`` would make every
    new object three times as dear, and one event needs dozens.
    """
    return dataclass(slots=True, unsafe_hash=True)(cls)
