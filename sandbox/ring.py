"""A bounded journal that numbers what it takes."""

from collections.abc import Iterator
from typing import Generic, TypeVar

T = TypeVar("T")


class Ring(Generic[T]):
    """Keeps the newest `capacity` items. Numbers start at 1, grow by one and are never given twice, not even
    after `clear`, so a reader that remembers a number misses nothing and sees nothing again.
    """

    def __init__(self, capacity: int) -> None:
        if capacity < 1:
            raise ValueError("a ring keeps at least one item")
        self._slots: list[T | None] = [None] * min(capacity, 1024)
        self._capacity = capacity
        self._first = 1
        self.next_number = 1

    @property
    def oldest(self) -> int:
        """The number of the oldest item still kept (equal to `next_number` when empty)."""
        return self._first

    def append(self, item: T) -> int:
        """Keep an item, forgetting the oldest when full; its number."""
        number = self.next_number
        if number - self._first >= len(self._slots):
            if len(self._slots) < self._capacity:
                self._grow()
            else:
                self._first += 1
        self._slots[number % len(self._slots)] = item
        self.next_number = number + 1
        return number

    def after(self, number: int) -> Iterator[T]:
        """Items with a greater number, oldest first."""
        for index in range(max(number + 1, self._first), self.next_number):
            item = self._slots[index % len(self._slots)]
            if item is not None:
                yield item

    def newest_first(self) -> Iterator[T]:
        """All that is kept, newest first."""
        for index in range(self.next_number - 1, self._first - 1, -1):
            item = self._slots[index % len(self._slots)]
            if item is not None:
                yield item

    def clear(self) -> None:
        """Forget the items, not the numbering."""
        self._slots = [None] * min(self._capacity, 1024)
        self._first = self.next_number

    def _grow(self) -> None:
        kept = list(self.after(self._first - 1))
        self._slots = [None] * min(self._capacity, 2 * len(self._slots))
        for index, item in enumerate(kept, self._first):
            self._slots[index % len(self._slots)] = item
