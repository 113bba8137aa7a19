"""What a reservation costs: the time before the session, by elements of its own. It has no meter readings."""

from __future__ import annotations

from pipeline.domain.pricing.compiled_tariff import CompiledTariff
from pipeline.domain.pricing.ledger import BillLedger
from pipeline.domain.pricing.restrictions import Moment
from pipeline.domain.pricing.signals import Signals


def reserve(compiled: CompiledTariff, signals: Signals, from_us: int, to_us: int) -> BillLedger:
    """The reservation, by its own elements; its durations count from its own start (D13)."""
    ledger, us = BillLedger(), from_us
    lock_us = from_us if compiled.tariff.price_mode == "LOCKED" else None
    while True:
        until_us, offset_s, rules = compiled.at(us)
        if lock_us is not None:
            rules = compiled.at(lock_us).rules
        active = compiled.activate(rules, Moment(us, us - from_us, 0), signals, lock_us)
        if not ledger.flats:
            ledger.post_flat(active, offset_s, us, (us, us))
        until_us = min(until_us, active.until_us, to_us)
        if us >= to_us:
            return ledger
        ledger.post_time(active, offset_s, "charging", us, until_us, until_us - us, (from_us, to_us))
        us = until_us
