"""Topic patterns as AMQP means them: words between dots, ``*`` for one word, ``#`` for none or more."""

from __future__ import annotations

from functools import lru_cache


@lru_cache(maxsize=4096)
def matches(pattern: str, key: str) -> bool:
    """Whether a message with routing key *key* goes where *pattern* is bound."""
    words = _words(key)
    # reachable[i]: the pattern so far can have used up exactly the first i words
    reachable = [True] + [False] * len(words)
    for part in _words(pattern):
        if part == "#":
            start = reachable.index(True) if True in reachable else len(reachable)
            reachable = [i >= start for i in range(len(reachable))]
        else:
            reachable = [False] + [reachable[i] and part in ("*", word) for i, word in enumerate(words)]
    return reachable[-1]


def _words(text: str) -> list[str]:
    return text.split(".") if text else []
