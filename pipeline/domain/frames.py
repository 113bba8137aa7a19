"""OCPP-J frames as they are recorded: `[type, id, ...]` in an envelope. What they mean takes wire/ocpp.py."""

from __future__ import annotations

from typing import Literal

import msgspec

from pipeline.domain.events import LIVE, Clock, StationId, Text


class Call(msgspec.Struct, array_like=True, tag=2, gc=False):
    """`[2, id, action, payload]`. Payloads stay bytes: they are decoded straight into the few fields that we use."""

    message_id: Text
    action: Text
    payload: msgspec.Raw = msgspec.Raw(b"{}")


class CallResult(msgspec.Struct, array_like=True, tag=3, gc=False):
    """`[3, id, payload]`."""

    message_id: Text
    payload: msgspec.Raw = msgspec.Raw(b"{}")


class CallError(msgspec.Struct, array_like=True, tag=4, gc=False):
    """`[4, id, code, description, details]`; only the id is read, the rest may hold anything."""

    message_id: Text


class CallResultError(msgspec.Struct, array_like=True, tag=5, gc=False):
    """`[5, id, code, description, details]` of OCPP 2.1: whoever called could not read the answer."""

    message_id: Text


class Send(msgspec.Struct, array_like=True, tag=6, gc=False):
    """`[6, id, action, payload]` of OCPP 2.1: a call that nobody answers."""

    message_id: Text
    action: Text
    payload: msgspec.Raw = msgspec.Raw(b"{}")


class OcppFrame(msgspec.Struct, kw_only=True, omit_defaults=True, gc=False):
    """An OCPP-J frame in its envelope, or a link marker. Meaning needs the station's open calls: see wire/ocpp.py."""

    station_id: StationId
    received_at: Text
    """ISO 8601; without a zone: UTC."""
    direction: Literal["", "cp->csms", "csms->cp"] = ""
    """Absent for a link marker only."""
    frame: Call | CallResult | CallError | CallResultError | Send | None = None
    link: Literal["up", "down"] | None = None
    clock: Clock = LIVE
    protocol: Text = ""
    """`ocpp1.6`, `ocpp2.0.1` or `ocpp2.1`; absent: told from the messages themselves."""
