"""What a database failure means to the rest of the suite: the one place that reads driver errors."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from sqlalchemy import exc

from shared.errors import Invalid, Overtaken, ReachError, Throttled, Unavailable

REPEATS = {
    "40001": 5,  # serialization failure: someone else won
    "40P01": 5,  # deadlock: the server chose us
    "lane": 5,  # not the server's: two claimers met in one lane, see DueQueue.claim
    "recipient": 5,  # not the server's: two ways led to one person at the same moment
    "53300": 2,  # too many connections
    "55P03": 2,  # lock not to be had in time
    "57014": 1,  # statement time-out
}
"""SQLSTATE (or a name of ours) → how often the whole transaction may be repeated."""

_SQLITE_BUSY = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}
_SQLITE_PRIMARY = 0xFF  # extended result codes carry the primary one in their low byte


class Raced(Overtaken):
    """The transaction lost a race and was rolled back; repeating it whole is safe."""

    def __init__(self, state: str, message: str) -> None:
        super().__init__("TRANSACTION_CONFLICT", message, state=state)
        self.state = state


@contextmanager
def translated(place: str) -> Iterator[None]:
    """Turn driver errors of the block into the words of `shared.errors`; *place* names the server.

    Constraint violations and errors in our own SQL pass unchanged: they are not the database's fault.
    """
    try:
        yield
    except exc.TimeoutError as error:
        raise Throttled("OVERLOADED", f"{place}: no free connection in time") from error
    except exc.DBAPIError as error:
        if meaning := _meaning(error, place):
            raise meaning from error
        raise
    except exc.StatementError as error:
        if isinstance(error.orig, ReachError):  # a value our own types refused
            raise error.orig from error
        raise
    except (psycopg.OperationalError, ConnectionError) as error:
        raise Unavailable("DEPENDENCY_DOWN", f"{place}: {first_line(error)}") from error


def commit_unclear(error: exc.DBAPIError) -> bool:
    """Whether a failed COMMIT may nevertheless have happened."""
    if isinstance(error.orig, sqlite3.Error):
        return _sqlite_code(error.orig) == sqlite3.SQLITE_IOERR
    return error.connection_invalidated or _lost(error.orig)


def first_line(error: BaseException | None) -> str:
    """The first line of a driver's message: the later ones repeat it or give advice."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _meaning(error: exc.DBAPIError, place: str) -> ReachError | None:
    cause = error.orig
    if isinstance(cause, sqlite3.Error):
        return _sqlite_meaning(cause, place)
    state = getattr(cause, "sqlstate", None) or ""
    if isinstance(cause, psycopg.DataError) and "NUL" in str(cause):
        return Invalid("FIELD_INVALID", "text contains a NUL character")
    if state in REPEATS:
        return Raced(state, f"{place}: {first_line(cause)}")
    if error.connection_invalidated or _lost(cause):
        return Unavailable("DEPENDENCY_DOWN", f"{place}: {first_line(cause)}")
    if state.startswith("53"):  # out of disk, memory or slots
        return Throttled("OVERLOADED", f"{place}: {first_line(cause)}")
    if state == "25006":  # a standby, or a server told to be read-only
        return Unavailable("DEPENDENCY_DOWN", f"{place}: {first_line(cause)}")
    return None


def _lost(cause: BaseException | None) -> bool:
    # libpq's own failures carry no SQLSTATE; 08 is a connection, 57P a server that is going or coming.
    state = getattr(cause, "sqlstate", None)
    return isinstance(cause, psycopg.OperationalError) and (
        state is None or state.startswith(("08", "57P", "28"))
    )


def _sqlite_code(cause: sqlite3.Error) -> int:
    return getattr(cause, "sqlite_errorcode", 0) & _SQLITE_PRIMARY


def _sqlite_meaning(cause: sqlite3.Error, place: str) -> ReachError | None:
    code, text = _sqlite_code(cause), f"{place}: {first_line(cause)}"
    if code in _SQLITE_BUSY or code == sqlite3.SQLITE_FULL:
        return Throttled("OVERLOADED", text)
    if code in {
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_CORRUPT,
        sqlite3.SQLITE_NOTADB,
        sqlite3.SQLITE_PERM,
    }:
        return Unavailable("DEPENDENCY_DOWN", text)
    return None
