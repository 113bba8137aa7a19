"""What every peer does with an event of a station: the same keyed logic, as small as it can be.

State per station: the open session's transaction, first register and last sequence number. A repeat is dropped; the
end of a session emits its energy. `Teller` prints how many records are done, as tests/bench/measure.py reads them.
"""

from __future__ import annotations

import sys
import time
from typing import Any


def step(state: dict[str, Any] | None, event: dict[str, Any]) -> tuple[dict[str, Any] | None, dict[str, Any] | None]:
    """(new state, output)."""
    transaction, number, register = event["transaction_id"], event["seq_no"], event["register_wh"]
    if state is None or state["transaction"] != transaction:
        return {"transaction": transaction, "first": register, "last": register, "number": number}, None
    if number <= state["number"]:
        return state, None
    if event["type"] == "session_ended":
        energy_wh = register - state["first"]
        return None, {"station_id": event["station_id"], "transaction_id": transaction, "energy_wh": energy_wh}
    state["number"], state["last"] = number, register
    return state, None


class Teller:
    """Counts, and prints the count ten times a second at most; looks at the clock every 50 records only."""

    def __init__(self) -> None:
        self.done = 0
        self._told = 0.0

    def one(self) -> None:
        self.done += 1
        if self.done % 50 == 0:
            now = time.monotonic()
            if now - self._told > 0.1:
                self._told = now
                print(self.done, file=sys.__stdout__, flush=True)  # Faust turns sys.stdout into its log
