"""The opening handshake: the station's identity from the path, Basic authentication, the version of OCPP.

The reasons of refusals are our own words: they repeat nothing that a client sent.
"""

from __future__ import annotations

import binascii
from base64 import b64decode
from collections.abc import Sequence
from typing import Literal
from urllib.parse import unquote

from websockets.datastructures import Headers

from pipeline.gateway.frames import PROTOCOLS, Protocol
from pipeline.gateway.passwords import IDENTITY, Passwords

Refusal = Literal["path", "authentication", "failures", "protocol", "full"]


def identity(path: str) -> str | None:
    """Of `/<identity>`; None: no path of a charger."""
    segment = unquote(path.partition("?")[0].removeprefix("/"))
    return segment if IDENTITY.fullmatch(segment) else None


def chosen(offered: Sequence[str]) -> Protocol | None:
    """The first version that the charger offers and we speak."""
    known: dict[str, Protocol] = {protocol: protocol for protocol in PROTOCOLS}
    return next((known[each] for each in offered if each in known), None)


async def is_authentic(station: str, headers: Headers, passwords: Passwords, address: str) -> bool:
    """OCPP security profiles 1 and 2: the user is the identity of the path; the password may be any bytes.

    Raises TooMany if the password was not checked.
    """
    sent = headers.get_all("Authorization")
    if len(sent) != 1:
        return False
    scheme, _, encoded = sent[0].strip().partition(" ")
    if scheme.lower() != "basic":
        return False
    try:
        user, colon, password = b64decode(encoded.strip(), validate=True).partition(b":")
    except (binascii.Error, ValueError):
        return False
    return bool(colon) and user == station.encode() and await passwords.verify(station, password, address)
