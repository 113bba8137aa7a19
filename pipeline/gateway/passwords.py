"""Who may connect: one line per station, `identity:scrypt$n$r$p$salt$hash`; no password is ever kept or shown.

The rule of the file: a wrong password and an unknown station get the same answer at the same cost. Hashing is bounded
to two threads that give way to the event loop, so neither a flood of guesses nor the reconnect of a whole fleet stops
it; after too many failures nothing is hashed at all. A password that was right once is remembered as a keyed hash of
this process: the second connection costs microseconds instead of 50 ms, and no flood keeps it out.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import logging
import os
import re
import secrets
import sys
import threading
from base64 import b64decode, b64encode
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pipeline.errors import WrongUsage
from pipeline.gateway.turns import Budget, TooMany, Turns

IDENTITY: Final = re.compile(r"[A-Za-z0-9*\-_=+|@.]{1,48}")
"""OCPP 2.0.1 identifierString, without the colon that Basic authentication cannot carry."""
SHORTEST: Final = 16
"""Bytes of a password; OCPP security profiles 1 and 2."""
LONGEST: Final = 256
COST, BLOCK, PARALLEL = 2**14, 8, 1
"""scrypt with 16 MiB: passwords of stations are made by machines, so no more is needed."""
SALT_BYTES: Final = 16
HASHING: Final = 2
FAILURES_AS_IDENTITY = (5, 10.0)
FAILURES_AT_ADDRESS = (100, 0.2)
"""So many failures at once, and one more every so many seconds. A proxy is one address: fifty chargers behind it with
wrong passwords, which retry for ever, must not use up what the others need."""
WAITING: Final = 1000
"""How many may wait for a hash; at 50 ms each, more would not get their turn within OPEN_LIMIT_S."""
_MOST_MEMORY: Final = 256 * 1024 * 1024
_LINE = re.compile(r"scrypt\$(\d{1,7})\$(\d{1,2})\$(\d{1,2})\$([A-Za-z0-9+/=]{16,88})\$([A-Za-z0-9+/=]{24,88})")

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, repr=False)
class Hashed:
    """What is known about a password."""

    cost: int
    block: int
    parallel: int
    salt: bytes
    digest: bytes

    def matches(self, password: bytes) -> bool:
        return hmac.compare_digest(_scrypt(password, self.salt, self.cost, self.block, self.parallel), self.digest)

    def __str__(self) -> str:
        salt, digest = b64encode(self.salt).decode(), b64encode(self.digest).decode()
        return f"scrypt${self.cost}${self.block}${self.parallel}${salt}${digest}"


def line(identity: str, password: bytes) -> str:
    """The line of a station in the passwords file. Raises WrongUsage."""
    if not IDENTITY.fullmatch(identity):
        raise WrongUsage("IDENTITY: 1 to 48 of the characters A-Z a-z 0-9 * - _ = + | @ .")
    if not SHORTEST <= len(password) <= LONGEST:
        raise WrongUsage(f"the password must have {SHORTEST} to {LONGEST} bytes (OCPP security profiles 1 and 2)")
    salt = secrets.token_bytes(SALT_BYTES)
    return f"{identity}:{Hashed(COST, BLOCK, PARALLEL, salt, _scrypt(password, salt, COST, BLOCK, PARALLEL))}"


def _scrypt(password: bytes, salt: bytes, cost: int, block: int, parallel: int) -> bytes:
    return hashlib.scrypt(password, salt=salt, n=cost, r=block, p=parallel, maxmem=_MOST_MEMORY, dklen=32)


class Passwords:
    """The passwords file; read again when it changes, so that a new station needs no restart."""

    def __init__(self, file: Path) -> None:
        """Raises WrongUsage that names the file and line, never its content."""
        self._file = file
        self._state = _stamp(file)
        self._stations = _read(file)
        self._right: dict[str, bytes] = {}
        self._key = secrets.token_bytes(32)
        self._turns = Turns(HASHING, WAITING)
        self._threads = ThreadPoolExecutor(HASHING, "hashing", initializer=_give_way)
        self._wrong_at = Budget(*FAILURES_AT_ADDRESS)
        self._wrong_as = Budget(*FAILURES_AS_IDENTITY)

    def secret(self, identity: str) -> bytes:
        """Known to nobody else, the same in every process that has this file; changes with the password."""
        return self._stations[identity].digest if identity in self._stations else b""

    async def verify(self, identity: str, password: bytes, address: str = "") -> bool:
        """Is this the station's password? Raises TooMany if it was not checked: too many failures, or too many wait."""
        self._refresh()
        if not SHORTEST <= len(password) <= LONGEST:
            return False
        known = self._stations.get(identity)
        hashed = known or self._somebody(identity)
        seen = hmac.digest(self._key, hashed.digest + password, hashlib.sha256)
        if hmac.compare_digest(self._right.get(identity, b""), seen):
            return True
        self._check_budgets(identity, address)
        async with self._turns.turn(address):
            self._check_budgets(identity, address)  # spent by those before us, while we waited
            matches = await asyncio.get_running_loop().run_in_executor(self._threads, hashed.matches, password)
            if matches and known is not None:
                self._right[identity] = seen
                return True
            self._wrong_at.spend(address)
            self._wrong_as.spend((identity, address))
            return False

    def _check_budgets(self, identity: str, address: str) -> None:
        if self._wrong_at.is_spent(address) or self._wrong_as.is_spent((identity, address)):
            raise TooMany

    def _somebody(self, identity: str) -> Hashed:
        """The identity whose hash stands in for that of an unknown one: always the same, as for a known identity."""
        number = int.from_bytes(hmac.digest(self._key, identity.encode(), hashlib.sha256))
        return list(self._stations.values())[number % len(self._stations)]

    def _refresh(self) -> None:
        try:
            if (state := _stamp(self._file)) != self._state:
                self._state = state
                self._stations = _read(self._file)
                _log.info("the passwords file was read again: %d stations", len(self._stations))
        except WrongUsage as error:
            _log.error("the passwords of before stay in force: %s", error)


def _give_way() -> None:
    """Gives connected chargers precedence: on Linux each thread has its own priority."""
    if sys.platform == "linux":
        thread = threading.get_native_id()
        os.setpriority(os.PRIO_PROCESS, thread, os.getpriority(os.PRIO_PROCESS, thread) + 5)


def _stamp(file: Path) -> tuple[int, int]:
    try:
        found = file.stat()
    except OSError as error:
        raise WrongUsage(f"{file}: cannot be read: {error.strerror}") from error
    return found.st_mtime_ns, found.st_size


def _read(file: Path) -> dict[str, Hashed]:
    try:
        lines = file.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise WrongUsage(f"{file}: cannot be read ({type(error).__name__})") from error
    stations: dict[str, Hashed] = {}
    for number, text in enumerate(lines, 1):
        if not text.strip() or text.startswith("#"):
            continue
        identity, _, rest = text.strip().partition(":")
        if not IDENTITY.fullmatch(identity) or (found := _LINE.fullmatch(rest)) is None:
            raise WrongUsage(f"{file}:{number}: not a line of `chargeline gateway passwd`")
        if identity in stations:
            raise WrongUsage(f"{file}:{number}: a station that has a line already")
        cost, block, parallel = map(int, found.group(1, 2, 3))
        try:
            stations[identity] = Hashed(cost, block, parallel, b64decode(found[4]), b64decode(found[5]))
        except ValueError:
            raise WrongUsage(f"{file}:{number}: not base64") from None
        if cost < 2 or cost & (cost - 1) or not 0 < 128 * cost * block * parallel < _MOST_MEMORY:
            raise WrongUsage(f"{file}:{number}: scrypt parameters that cannot be used")
    if not stations:
        raise WrongUsage(f"{file}: no station in it; add lines with `chargeline gateway passwd IDENTITY`")
    return stations
