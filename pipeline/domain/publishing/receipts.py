"""Receipts and credits of a rated session: which of its facts they hold. What they are is in domain/receipts.py."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

import msgspec
from msgspec import UNSET, UnsetType

from pipeline.domain.events import BillDecided
from pipeline.domain.metering.account import Account as Evidence
from pipeline.domain.metering.account import LeftOut as Unused
from pipeline.domain.metering.measured import Measured
from pipeline.domain.outputs import StrippedSession
from pipeline.domain.pricing.bill import Bill
from pipeline.domain.pricing.signals import PriceSlot, Signals
from pipeline.domain.pricing.tariff import Tariff
from pipeline.domain.pricing.units import negated
from pipeline.domain.publishing.published import Forms
from pipeline.domain.receipts import (
    FORMAT,
    Account,
    Billed,
    Credit,
    Decided,
    Hypothesis,
    LeftOut,
    Origin,
    Receipt,
    Value,
    taken_back,
)
from pipeline.domain.station import ABSENT


def receipt_of(
    record: StrippedSession,
    revision: int,
    measured: Measured,
    bill: Bill,
    customer: str | None,
    forms: Forms,
) -> Receipt:
    """The receipt of a final bill, without its hash."""
    tariff = bill.basis.tariff
    start_us = measured.times[0] if bill.locked_at_us is None else bill.locked_at_us
    signals = [
        forms.price_slot(slot) for slot in _price_slots_used(tariff, bill.basis.signals, start_us, measured.until_us)
    ]
    return Receipt(
        format=FORMAT,
        software=forms.software,
        kind="BILL",
        session_id=record.session_id,
        generation=record.generation,
        revision=revision,
        customer=customer,
        station_id=record.station_id,
        connector_id=record.connector_id,
        site_id=record.site_id,
        started_at_us=record.started_at_us,
        ended_at_us=measured.until_us,
        energy_wh=record.energy_wh,
        evidence=record.evidence,
        quality=record.quality,
        billable=record.billable,
        times_us=measured.times,
        registers_wh=measured.registers,
        activity=measured.activity,
        powers_w=_stated(measured.powers),
        powers_between=measured.powers_between or UNSET,
        time_zone=bill.time_zone,
        tax_rate=bill.basis.tax_rate,
        tariff_hash=bill.tariff_hash,
        tariff=_encoded(tariff),
        signals=signals,
        currency=bill.currency,
        price_mode=bill.price_mode,
        rounding_policy=bill.rounding_policy,
        total_excl_vat=bill.total_excl,
        total_incl_vat=bill.total_incl,
        payable_excl_vat=bill.payable_excl,
        payable_incl_vat=bill.payable_incl,
        tax=bill.tax,
        notes=bill.notes,
        lines=bill.lines,
        quote=bill.quote,
        locked_at_us=bill.locked_at_us,
        reserved_from_us=UNSET if measured.reserved_from_us is None else measured.reserved_from_us,
        account=account_of(measured.account),
    )


def _price_slots_used(tariff: Tariff, signals: Signals, start_us: int, end_us: int) -> list[PriceSlot]:
    names = _series(tariff)
    if not names:
        return []
    last_us = start_us if tariff.price_mode == "LOCKED" else end_us
    return [slot for name in names for slot in signals.during(name, start_us, last_us)]


@lru_cache(maxsize=1024)
def _series(tariff: Tariff) -> tuple[str, ...]:
    return tariff.series


@lru_cache(maxsize=1024)
def _encoded(tariff: Tariff) -> msgspec.Raw:
    return msgspec.Raw(tariff.document.encode())


def account_of(account: Evidence) -> Account:
    """As it is published: without identifiers, and as bounded as the account itself."""
    return Account(
        used=account.used,
        repeated=account.repeated,
        left_out=_left_out(account.left_out) if account.left_out else (),
        facts=tuple([Origin(fact=fact, source=source) for fact, source in sorted(account.facts.items())]),
        hypotheses=_hypotheses(account.hypotheses) if account.hypotheses else (),
        decision=UNSET if account.decided is None else _decided(account.decided, account.outcome),
    )


def _left_out(left_out: Mapping[str, Unused]) -> tuple[LeftOut, ...]:
    return tuple(
        LeftOut(
            reason=reason,
            count=each.count,
            first=tuple(Value(at, f"{value} {unit}") for at, value, unit in each.first),
            from_us=each.from_us,
            to_us=each.to_us,
        )
        for reason, each in sorted(left_out.items())
    )


def _hypotheses(hypotheses: Mapping[str, int]) -> tuple[Hypothesis, ...]:
    return tuple(Hypothesis(name=name, energy_wh=energy) for name, energy in sorted(hypotheses.items()))


def _decided(event: BillDecided, outcome: str) -> Decided:
    return Decided(
        decision=event.decision,
        at_us=event.event_time_us,
        outcome=outcome,
        hypothesis=event.hypothesis or None,
        start_register_wh=event.start_register_wh,
        stop_register_wh=event.stop_register_wh,
        energy_wh=event.energy_wh,
        started_at_us=event.started_at_us,
        ended_at_us=event.ended_at_us,
        reserved_from_us=event.reserved_from_us,
        without_reservation=event.without_reservation,
        by=event.by or None,
        why=event.why or None,
    )


def _stated(powers: list[int]) -> list[int | None] | UnsetType:
    """Most sessions state either all or nothing."""
    absent = powers.count(ABSENT)
    if absent == len(powers):
        return UNSET
    stated: list[int | None] = [*powers]
    for place in (0, -1):  # nearly always these two: start and stop
        if stated[place] == ABSENT:
            stated[place] = None
            absent -= 1
    place = 0
    for _ in range(absent):
        place = powers.index(ABSENT, place + 1)
        stated[place] = None
    return stated


def credit_of(
    former: Billed, record: StrippedSession, revision: int, reason: str, customer: str | None, software: str
) -> Credit:
    """Takes `former` back, because `record` has become `revision`; without its hash.

    `customer`: whose the session is, for bills of older records that do not say to whom they were addressed.
    """
    return Credit(
        format=FORMAT,
        software=software,
        kind="CREDIT",
        session_id=record.session_id,
        generation=former.generation,
        revision=former.revision,
        bill_hash=former.hash.hex(),
        corrected_by=revision,
        reason=reason,
        customer=customer if former.customer == "" else former.customer,
        station_id=record.station_id,
        connector_id=record.connector_id,
        ended_at_us=former.ended_at_us,
        currency=former.currency,
        total_excl_vat=negated(former.total_excl),
        total_incl_vat=negated(former.total_incl),
        payable_excl_vat=negated(former.payable_excl),
        payable_incl_vat=negated(former.payable_incl),
        tax=taken_back(former.tax),
    )
