"""The bill of a session whose facts are complete: one fold over them."""

from __future__ import annotations

from decimal import Decimal

from pipeline.domain.pricing.bill import Bill
from pipeline.domain.pricing.facts import Facts
from pipeline.domain.pricing.fold import Fold
from pipeline.domain.pricing.signals import Signals
from pipeline.domain.pricing.tariff import Tariff


def price(
    facts: Facts,
    tariff: Tariff,
    zone: str | None,
    signals: Signals | None = None,
    final: bool = True,
    *,
    tax_rate: Decimal | None = None,
) -> Bill:
    """The bill of a session; raises CannotPrice if no price can exist (time zone missing).

    `tax_rate` is the site's, in percent, for tariffs that add tax without naming a rate (D21).
    """
    readings = facts.readings
    if facts.reservation_expired:
        fold = Fold.open(
            tariff,
            zone,
            signals,
            facts.end_us,
            None,
            reserved_from_us=facts.reserved_from_us,
            reservation_expired=True,
            tax_rate=tax_rate,
        )
        return fold.bill(facts.end_us, final=final)
    first = readings[0].register_mwh if readings else None
    fold = Fold.open(
        tariff,
        zone,
        signals,
        facts.start_us,
        first,
        reserved_from_us=facts.reserved_from_us,
        tax_rate=tax_rate,
        quote=facts.quote,
    )
    changes, powers = iter(facts.activity), iter(facts.powers_between)
    change, power = next(changes, None), next(powers, None)
    read = fold.reading
    for at_us, register_mwh, power_w in readings:
        while change is not None and change.from_us <= at_us:
            fold.activity(change.from_us, change.activity)
            change = next(changes, None)
        while power is not None and power[0] < at_us:
            fold.power(*power)
            power = next(powers, None)
        read(at_us, register_mwh, power_w)
    while power is not None:
        fold.power(*power)
        power = next(powers, None)
    while change is not None:
        fold.activity(change.from_us, change.activity)
        change = next(changes, None)
    return fold.bill(facts.end_us, final=final)
