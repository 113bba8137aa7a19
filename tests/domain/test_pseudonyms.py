"""Pseudonyms are keyed, per purpose and epoch, one-way, and the same for every spelling of one token."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import timeit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.domain.pseudonyms import KEY_BYTES, NEEDED, PURPOSES, Keyring, canonical_token
from pipeline.errors import WrongUsage


def a_keyring(seed: str = "a") -> Keyring:
    return Keyring({purpose: {"*": hashlib.sha256(f"{seed}{purpose}".encode()).digest()} for purpose in PURPOSES})


def a_file(**changed: object) -> bytes:
    keys: dict[str, object] = {purpose: base64.b64encode(purpose[:1].encode() * 32).decode() for purpose in PURPOSES}
    keys.update(changed)
    return json.dumps({"version": 1, "keys": {name: key for name, key in keys.items() if key is not None}}).encode()


def test_the_pseudonym_is_the_documented_one() -> None:
    """An auditor with the key can repeat it with three lines: HMAC over length-prefixed type and canonical token."""
    key = b"k" * 32
    keyring = Keyring({purpose: {"*": key} for purpose in PURPOSES})
    message = len("ISO14443").to_bytes(4, "big") + b"ISO14443" + len("04A1B2C3").to_bytes(4, "big") + b"04A1B2C3"
    expected = base64.b32encode(hmac.new(key, message, "sha256").digest()).decode()[:26]
    assert keyring.pseudonym("billing", "ISO14443", "04:a1:b2:c3") == expected


def test_purposes_epochs_keys_and_types_give_different_pseudonyms() -> None:
    keyring = Keyring.decode(
        a_file(analytics={"*": base64.b64encode(b"x" * 32).decode(), "2026-11": base64.b64encode(b"y" * 32).decode()})
    )
    names = [
        *(keyring.pseudonym(purpose, "", "TOKEN-1") for purpose in PURPOSES),
        keyring.pseudonym("analytics", "", "TOKEN-1", "2026-11"),
        keyring.pseudonym("analytics", "Central", "TOKEN-1"),
        keyring.pseudonym("analytics", "", "TOKEN-2"),
        a_keyring().pseudonym("analytics", "", "TOKEN-1"),
    ]
    assert len(set(names)) == len(names)
    assert all(len(name) == 26 and set(name) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567") for name in names)


def test_only_the_analytics_pseudonym_changes_with_the_epoch() -> None:
    """Billing and assembly must recognise a driver across months; analysts must not."""
    keyring = Keyring.decode(
        a_file(analytics={"*": base64.b64encode(b"x" * 32).decode(), "2026-11": base64.b64encode(b"y" * 32).decode()})
    )
    october, november = (keyring.pseudonyms("", "T", epoch) for epoch in ("2026-10", "2026-11"))
    assert november == (
        keyring.pseudonym("assembly", "", "T"),
        keyring.pseudonym("billing", "", "T"),
        keyring.pseudonym("analytics", "", "T", "2026-11"),
    )
    assert october[:2] == november[:2]
    assert october[2] != november[2]


def test_an_epoch_without_a_key_falls_back() -> None:
    keyring = a_keyring()
    assert keyring.pseudonym("analytics", "", "T", "2026-12") == keyring.pseudonym("analytics", "", "T")


@pytest.mark.parametrize(
    ("spelling", "other"),
    [
        ("04a1b2c3", "04:A1:B2:C3"),
        ("VID:0a1b2c3d4e5f", "0A-1B-2C-3D-4E-5F"),
        ("DE-8AA-C12345678-X", "de8aac12345678x"),
        (" Guest ", "GUEST"),
    ],
)
def test_spellings_of_one_token_agree(spelling: str, other: str) -> None:
    assert canonical_token(spelling) == canonical_token(other)


@pytest.mark.parametrize(("one", "other"), [("1.23", "12.3"), ("04A1B2C3", "C3B2A104"), ("A-1", "A1")])
def test_tokens_that_may_be_two_customers_stay_two(one: str, other: str) -> None:
    assert canonical_token(one) != canonical_token(other)


@given(st.text(), st.text())
def test_a_canonical_token_is_its_own_canonical_form_where_it_matters(token: str, token_type: str) -> None:
    """Any text is accepted, and upper or lower case makes no difference to hexadecimal tokens."""
    assert isinstance(canonical_token(token, token_type), str)
    digits = token.encode().hex()
    assert canonical_token(digits) == canonical_token(digits.upper())


@given(st.lists(st.text(max_size=4), max_size=3), st.lists(st.text(max_size=4), max_size=3))
def test_parts_cannot_run_together(left: list[str], right: list[str]) -> None:
    keyring = a_keyring()
    assert (keyring.keyed_id(*left) == keyring.keyed_id(*right)) == (left == right)


def test_session_ids_depend_on_every_part() -> None:
    keyring = a_keyring()
    ids = {
        keyring.session_id("S", 1, "t", 5),
        keyring.session_id("R", 1, "t", 5),
        keyring.session_id("S", 2, "t", 5),
        keyring.session_id("S", None, "t", 5),
        keyring.session_id("S", 1, "u", 5),
        keyring.session_id("S", 1, None, 5),
        keyring.session_id("S", 1, "t", 6),
        a_keyring("b").session_id("S", 1, "t", 5),
    }
    assert len(ids) == 8
    assert keyring.session_id("S", 1, "t", 5) in ids


def test_transaction_and_call_keys_are_keyed_and_per_station() -> None:
    keyring = a_keyring()
    keys = {
        keyring.transaction_key("S", "1"),
        keyring.transaction_key("R", "1"),
        keyring.transaction_key("S", "2"),
        a_keyring("b").transaction_key("S", "1"),
        keyring.call_key("S", "cp->csms", "1"),
        keyring.call_key("S", "csms->cp", "1"),
    }
    assert len(keys) == 6
    assert all(len(key) == 16 for key in keys)


def test_the_transaction_cache_is_bounded_and_saves_the_hash() -> None:
    keyring = Keyring({purpose: {"*": b"k" * 32} for purpose in PURPOSES}, cached_transactions=10)
    first = keyring.transaction_key("S", "0")
    for number in range(100):
        keyring.transaction_key("S", str(number))
    info = keyring.transaction_key.cache_info()
    assert (info.currsize, info.maxsize) == (10, 10)
    assert keyring.transaction_key("S", "0") == first
    hit = min(timeit.repeat(lambda: keyring.transaction_key("S", "0"), number=2000, repeat=5))
    miss = min(timeit.repeat(lambda: keyring.transaction_key.__wrapped__("S", "0"), number=2000, repeat=5))
    assert hit * 3 < miss


@pytest.mark.parametrize("purpose", NEEDED)
def test_a_missing_purpose_is_refused(purpose: str) -> None:
    with pytest.raises(WrongUsage, match=f"keys.{purpose}: missing"):
        Keyring.decode(a_file(**{purpose: None}))


def test_a_short_key_is_refused_without_showing_it() -> None:
    short = base64.b64encode(b"secret" * 5).decode()
    with pytest.raises(WrongUsage, match=r"keys\.billing\.\*: 30 bytes") as caught:
        Keyring.decode(a_file(billing=short), "my-keys.json")
    assert str(caught.value).startswith("my-keys.json")
    assert short not in str(caught.value)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"\xff",
        b"[" * 100_000,
        b'{"version": 2, "keys": {}}',
        b'{"version": 1, "keys": {"session": 5}}',
        b'{"version": 1, "keys": {}, "more": 1}',
        a_file(session="***"),
        a_file(session={"2026-11": base64.b64encode(b"x" * 32).decode()}),
        a_file(session={"*": base64.b64encode(b"x" * 32).decode(), "2026-13": base64.b64encode(b"x" * 32).decode()}),
        a_file(marketing=base64.b64encode(b"x" * 32).decode()),
    ],
)
def test_what_is_not_a_keyring_is_refused_in_one_sentence(data: bytes) -> None:
    with pytest.raises(WrongUsage, match="keyring"):
        Keyring.decode(data)


def test_a_keyring_does_not_show_its_keys() -> None:
    assert "k" * 8 not in repr(Keyring({purpose: {"*": b"k" * 32} for purpose in PURPOSES}))


@pytest.mark.parametrize("length", [KEY_BYTES, 64, 65, 200])
def test_names_are_made_with_the_standard_hmac(length: int) -> None:
    """RFC 2104: a key longer than a block of the hash is hashed first."""
    key = bytes(range(length))
    keyring = Keyring({purpose: {"*": key} for purpose in PURPOSES})
    message = b"".join(len(part).to_bytes(4, "big") + part for part in (b"id", b"OVERSTAY"))
    expected = base64.b32encode(hmac.digest(key, message, "sha256")).decode()[:26]
    assert keyring.keyed_id("OVERSTAY") == expected
