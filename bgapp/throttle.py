"""Tries at passwords are slowed down: by address and by name, counted in the database so that all processes share it.

A try counts as failed before its password is looked at, and is taken back if it was right: so a hundred tries at
the same moment are a hundred failures, not a hundred looks at a count of zero. A few failures are free, then each
further one doubles the wait, up to a quarter of an hour; one is forgotten each quarter of an hour. Nothing is locked
for good, and whoever keeps a name waiting does not keep its owner out: where a name logged in lately, it is counted
apart from what others do to it.
"""

from __future__ import annotations

import hashlib
import ipaddress
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Row, Table, delete, or_, select, update
from sqlalchemy.dialects import postgresql, sqlite

from bgapp.accountmodels import ThrottleRow
from bgapp.accounts import name_key

THROTTLE: Table = ThrottleRow.__table__  # type: ignore[assignment] # declared as FromClause

FREE = 5  # failures at an address before it must wait
FREE_OF_NAME = 10  # more, so that one address alone hardly makes a name wait for its owner elsewhere
FIRST_WAIT = 1.0  # seconds
LONGEST_WAIT = 900.0
FORGET_ONE = timedelta(seconds=LONGEST_WAIT)
FORGOTTEN = timedelta(days=1)  # by then no failure counts any more
KNOWN_FOR = timedelta(days=60)  # how long a name that logged in at an address is known there

_ADDRESS, _KNOWN, _NAME = "address:", "known:", "name:"


def begin(connection: Connection, address: str | None, now: datetime, name: str | None = None) -> float:
    """Count a try from `address` at `name` as failed and return 0.0; or return the seconds to wait and count nothing.

    Without a name (a code, a registration) the address alone counts. Commit before the password is looked at.
    """
    # Rows are always locked in this order, so that two tries never wait for each other.
    place = _address_key(address)
    held = [_held(connection, place, now)]
    wait = _wait(held[0], now)
    if wait == 0.0 and name is not None:
        held.append(_find(connection, _known_key(name, place)) or _held(connection, _name_key(name), now))
        wait = _wait(held[1], now)
    if wait == 0.0:
        for row in held:
            _count(connection, row, now)
    return wait


def check(connection: Connection, address: str | None, now: datetime, name: str | None = None) -> float:
    """Return the seconds that a try would have to wait, counting nothing; reads alone."""
    place = _address_key(address)
    rows = [_find(connection, place, lock=False)]
    if name is not None:
        known = _find(connection, _known_key(name, place), lock=False)
        rows.append(known or _find(connection, _name_key(name), lock=False))
    return max(_wait(row, now) for row in rows if row is not None) if any(rows) else 0.0


def succeed(connection: Connection, address: str | None, now: datetime, name: str | None = None) -> None:
    """Take back a try that was right. The name's failures are forgotten; of the address's this one alone."""
    place = _address_key(address)
    row = _find(connection, place)
    if row is not None:
        left = max(0, row.failures - 1)
        blocked = row.blocked_until if left >= FREE else None
        _change(connection, place, failures=left, blocked_until=blocked)
    if name is not None:
        _held(connection, _known_key(name, place), now)
        _change(connection, _known_key(name, place), failures=0, since=now, blocked_until=None)
        forgive(connection, name)
    _prune(connection, now)


def forgive(connection: Connection, name: str) -> None:
    """Forget a name's failures, where an admin gave it a new password or it logged in."""
    connection.execute(delete(THROTTLE).where(THROTTLE.c.key == _name_key(name)))


# Keys ----------------------------------------------------------------------------------------------------------


def _address_key(address: str | None) -> str:
    """Return the key of an address; of IPv6 of its network of 64 bits, which one customer has whole."""
    try:
        ip = ipaddress.ip_address((address or "").partition("%")[0])
    except ValueError:  # a Unix socket, or a proxy that was told to pass on something else
        return _ADDRESS + _hash(address or "")
    if isinstance(ip, ipaddress.IPv6Address):
        if ip.ipv4_mapped is None:
            return f"{_ADDRESS}{ipaddress.ip_network((int(ip) >> 64 << 64, 64))}"
        ip = ip.ipv4_mapped
    return f"{_ADDRESS}{ip}"


def _name_key(name: str) -> str:
    # Hashed, since people type passwords into the wrong field, and for any length and any characters.
    return _NAME + _hash(name_key(name))


def _known_key(name: str, place: str) -> str:
    return _KNOWN + _hash(f"{place} {name_key(name)}")


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()


# Rows ----------------------------------------------------------------------------------------------------------


def _find(connection: Connection, key: str, *, lock: bool = True) -> Row[Any] | None:
    chosen = select(THROTTLE).where(THROTTLE.c.key == key)
    return connection.execute(chosen.with_for_update() if lock else chosen).one_or_none()


def _held(connection: Connection, key: str, now: datetime) -> Row[Any]:
    """Return the row of a key, made if need be and locked until the transaction ends."""
    dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
    adding = dialect.insert(THROTTLE).values(key=key, failures=0, since=now).on_conflict_do_nothing()
    while True:
        connection.execute(adding)
        row = _find(connection, key)
        if row is not None:  # else it was forgiven between the two statements
            return row


def _count(connection: Connection, row: Row[Any], now: datetime) -> None:
    forgotten = max(0, (now - row.since) // FORGET_ONE)
    left = max(0, row.failures - forgotten)
    failures = left + 1
    free = FREE_OF_NAME if row.key.startswith(_NAME) else FREE
    blocked = None
    if failures >= free:
        blocked = now + timedelta(seconds=min(LONGEST_WAIT, FIRST_WAIT * 2.0 ** min(failures - free, 30)))
    since = row.since + forgotten * FORGET_ONE if left else now
    _change(connection, row.key, failures=failures, since=since, blocked_until=blocked)


def _wait(row: Row[Any], now: datetime) -> float:
    if row.blocked_until is None:
        return 0.0
    wait: float = (row.blocked_until - now).total_seconds()
    # A longer one was written by a clock that has been set back since.
    return wait if 0.0 < wait <= LONGEST_WAIT else 0.0


def _change(connection: Connection, key: str, **values: Any) -> None:
    connection.execute(update(THROTTLE).where(THROTTLE.c.key == key).values(values))


def _prune(connection: Connection, now: datetime) -> None:
    known = THROTTLE.c.key.startswith(_KNOWN)
    old = or_(known & (THROTTLE.c.since < now - KNOWN_FOR), ~known & (THROTTLE.c.since < now - FORGOTTEN))
    connection.execute(delete(THROTTLE).where(old))
