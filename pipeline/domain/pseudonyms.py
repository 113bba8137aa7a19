"""Keyed one-way names for everything that identifies a driver or links records; one key per purpose.

Keys are random, at least 256 bits, and never derived from each other: a derivable key could not be destroyed
(ops/spec/privacy.md, section 3). There is no default key. Nothing in this file does I/O: the keyring arrives as bytes.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Final, Literal, get_args

import msgspec

from pipeline.errors import WrongUsage

Purpose = Literal["session", "assembly", "billing", "analytics", "control"]
PURPOSES: Final[tuple[Purpose, ...]] = get_args(Purpose)

NEEDED: Final[tuple[Purpose, ...]] = PURPOSES[:-1]
"""Keyrings from before there was `control`, which signs ticks and decisions and makes no name, are good."""

KEY_BYTES: Final = 32
ANY_EPOCH: Final = "*"
"""The key of every epoch that has none of its own."""

EMAID: Final = "eMAID"
"""The one OCPP 2.0.1 token type with optional separators."""

_EPOCH = re.compile(r"\d{4}-(0[1-9]|1[0-2])")
_SEPARATORS = str.maketrans("", "", " :-.")
_HEX = re.compile(r"(?:[0-9A-F]{2}){4,}")
_EMAID = re.compile(r"[A-Z]{2}[0-9A-Z]{3}[0-9A-Z]{9}[0-9A-Z]?")


CACHED_CALLS: Final = 4096
"""So many keys of OCPP calls are kept: the answer, which comes soon after its call, has the same."""
_ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
_PAIRS = [high + low for high in _ALPHABET for low in _ALPHABET]
_SHIFTS = range(120, -1, -10)


class _File(msgspec.Struct, forbid_unknown_fields=True):
    version: Literal[1]
    keys: dict[str, str | dict[str, str]]


class Keyring:
    """The keys of one operator (tenant), and the names made with them. Holds secrets: has no useful repr."""

    def __init__(self, keys: Mapping[str, Mapping[str, bytes]], cached_transactions: int = 1 << 17) -> None:
        """`keys`: purpose -> epoch ("YYYY-MM" or "*") -> at least 32 random bytes. Raises WrongUsage naming all faults.

        `cached_transactions`: so many open transactions get their key in 0.1 us, others take 3 us (250 bytes each).
        """
        faults = [f"keys.{purpose}: missing" for purpose in NEEDED if purpose not in keys]
        for purpose, epochs in keys.items():
            if purpose not in PURPOSES:
                faults.append(f"keys: unknown purpose; known are {', '.join(PURPOSES)}")
                continue
            if ANY_EPOCH not in epochs:
                faults.append(f'keys.{purpose}: the key "{ANY_EPOCH}", for epochs without one of their own, is missing')
            for epoch, key in epochs.items():
                if epoch != ANY_EPOCH and not _EPOCH.fullmatch(epoch):
                    faults.append(f'keys.{purpose}: an epoch is "{ANY_EPOCH}" or a month like "2026-11"')
                elif len(key) < KEY_BYTES:
                    faults.append(f"keys.{purpose}.{epoch}: {len(key)} bytes, at least {KEY_BYTES} are needed")
        if faults:
            raise WrongUsage("keyring: " + "; ".join(faults))
        self._keys = {purpose: {epoch: _Hmac(key) for epoch, key in epochs.items()} for purpose, epochs in keys.items()}
        self.control_key = keys.get("control", {}).get(ANY_EPOCH)
        """Signs what moves time or money, see wire/control.py; None in older keyrings."""
        self._session_key = self._keys["session"][ANY_EPOCH]
        short_key = keys["assembly"][ANY_EPOCH][: hashlib.blake2b.MAX_KEY_SIZE]
        self._keyed = hashlib.blake2b(digest_size=8, key=short_key)
        self.transaction_key = lru_cache(cached_transactions)(self._transaction_key)
        self.call_key = lru_cache(CACHED_CALLS)(self._call_key)

    @classmethod
    def decode(cls, data: bytes, source: str = "keyring") -> Keyring:
        """From `{"version": 1, "keys": {"session": "<base64>" | {"*": "<base64>", "2026-11": ...}, ...}}`.

        Raises WrongUsage that names `source` and the field, never a part of a key.
        """
        keys = _keys(data, source)
        try:
            return cls(keys)
        except WrongUsage as error:
            raise WrongUsage(f"{source}: {error}") from error

    def fingerprint(self) -> str:
        """16 hex characters by which copies are compared; tells nothing of the keys."""
        found = hashlib.sha256()
        for purpose, epochs in sorted(self._keys.items()):
            for epoch, key in sorted(epochs.items()):
                found.update(key.name(_joined("fingerprint", purpose, epoch)).encode())
        return found.hexdigest()[:16]

    def pseudonym(self, purpose: Purpose, token_type: str, token: str, epoch: str | None = None) -> str:
        """26 base32 characters (130 bits) for a driver's token; same token, purpose and epoch: same pseudonym.

        `epoch` is the month "YYYY-MM" in which the session started; None, or a month without a key: the "*" key.
        """
        return self._key(purpose, epoch).name(_joined(token_type, canonical_token(token, token_type)))

    def pseudonyms(self, token_type: str, token: str, epoch: str) -> tuple[str, str, str]:
        """For the purposes assembly, billing and analytics; only the last has the epoch."""
        name = _joined(token_type, canonical_token(token, token_type))
        keys = (self._key("assembly"), self._key("billing"), self._key("analytics", epoch))
        return keys[0].name(name), keys[1].name(name), keys[2].name(name)

    def _key(self, purpose: Purpose, epoch: str | None = None) -> _Hmac:
        keys = self._keys[purpose]
        return keys[ANY_EPOCH] if epoch is None else keys.get(epoch, keys[ANY_EPOCH])

    def session_id(self, station_id: str, connector_id: int | None, transaction: str | None, start_us: int) -> str:
        """26 base32 characters: the identity of a session, from its station, connector, transaction and start as sent.

        `transaction` is a transaction key or None, `connector_id` None if unknown. The same in every replay.
        """
        parts = ("session", station_id, _text(connector_id), _text(transaction), str(start_us))
        return self._session_key.name(_joined(*parts))

    def keyed_id(self, *parts: str) -> str:
        """26 base32 characters for anything else that needs a repeatable identity, e.g. an alert."""
        return self._session_key.name(_joined("id", *parts))

    def _call_key(self, station_id: str, direction: str, message_id: str) -> str:
        """16 hex characters for an OCPP call; `direction` is the one of the CALL, so its answer has the same key."""
        return self._short(f"call {direction} {len(station_id)} {station_id}{message_id}")

    def _transaction_key(self, station_id: str, transaction_id: str) -> str:
        """16 hex characters for a transaction id as sent (a linking identifier): state and topics hold only this."""
        return self._short(f"transaction {len(station_id)} {station_id}{transaction_id}")

    def _short(self, text: str) -> str:
        """Keyed BLAKE2b (RFC 7693): half the time of HMAC-SHA-256, for the two names that are made per message."""
        keyed = self._keyed.copy()
        keyed.update(text.encode())
        return keyed.hexdigest()


def control_key(data: bytes, source: str) -> bytes | None:
    """The key of purpose `control` of a keyring, which may hold no other. Raises WrongUsage."""
    key = _keys(data, source).get("control", {}).get(ANY_EPOCH)
    if key is not None and len(key) < KEY_BYTES:
        raise WrongUsage(f"{source}: keys.control: {len(key)} bytes, at least {KEY_BYTES} are needed")
    return key


def _keys(data: bytes, source: str) -> dict[str, dict[str, bytes]]:
    try:
        file = msgspec.json.decode(data, type=_File)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise WrongUsage(
            f'{source}: not a keyring; expected {{"version": 1, "keys": {{"session": "<base64>", ...}}}} '
            f"with the purposes {', '.join(PURPOSES)}; make one with `chargeline keys create FILE`"
        ) from error
    keys: dict[str, dict[str, bytes]] = {}
    for purpose, value in file.keys.items():
        epochs = {ANY_EPOCH: value} if isinstance(value, str) else value
        try:
            keys[purpose] = {epoch: base64.b64decode(text, validate=True) for epoch, text in epochs.items()}
        except ValueError as error:
            name = purpose if purpose in PURPOSES else "(unknown purpose)"
            raise WrongUsage(f"{source}: keys.{name}: not base64") from error
    return keys


def canonical_token(token: str, token_type: str = "") -> str:
    """One spelling per token: upper case, `VID:` prefix removed, separators removed from hex values and eMAIDs.

    Other tokens keep their separators: `1.23` and `12.3` may be two customers. Bytes keep their order: readers that
    reverse a UID cannot be told from others, and merging both orders would merge customers with numeric tokens.
    """
    text = token.strip().upper().removeprefix("VID:")
    bare = text.translate(_SEPARATORS)
    if _HEX.fullmatch(bare) or token_type == EMAID or _EMAID.fullmatch(bare):
        return bare
    return text


def _text(value: object) -> str:
    """None becomes the empty part, which no number and no key is."""
    return "" if value is None else str(value)


def _joined(*parts: str) -> bytes:
    """Each part behind its length, so that no two lists of parts give the same bytes."""
    encoded = [part.encode() for part in parts]
    return b"".join([len(part).to_bytes(4, "big") + part for part in encoded])


class _Hmac:
    """HMAC-SHA-256 (RFC 2104), its key hashed in already: of four names a session each takes 2 us less than before."""

    __slots__ = ("_inner", "_outer")

    def __init__(self, key: bytes) -> None:
        block = (key if len(key) <= 64 else hashlib.sha256(key).digest()).ljust(64, b"\0")
        self._inner = hashlib.sha256(bytes(each ^ 0x36 for each in block))
        self._outer = hashlib.sha256(bytes(each ^ 0x5C for each in block))

    def name(self, text: bytes) -> str:
        """The first 130 bits in base32, as base64.b32encode writes them, which takes five times as long."""
        inner, outer = self._inner.copy(), self._outer.copy()
        inner.update(text)
        outer.update(inner.digest())
        bits = int.from_bytes(outer.digest()[:17], "big") >> 6
        return "".join([_PAIRS[bits >> shift & 1023] for shift in _SHIFTS])
