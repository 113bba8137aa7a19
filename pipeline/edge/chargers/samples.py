"""Quirks of how values are sent: the registers of start and stop, and samples."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from random import Random

from pipeline.edge.chargers.choices import Touched, some
from pipeline.edge.chargers.tape import BEGIN, END, INTERVAL, PERIODIC, POWER, REGISTER, Call, Entry, Sample, Tape

STANDBY_W = 15

# --- registers of start and stop --------------------------------------------------------------------------------------


def set_register(call: Call, value: int | str | None) -> None:
    """The register of a start or stop, in the field that its protocol has for it."""
    call.register_wh = value
    for entry in call.entries:
        if value is None:
            entry.samples = [sample for sample in entry.samples if sample.measurand != REGISTER]
        for sample in entry.samples:
            if sample.measurand == REGISTER and value is not None:
                sample.value = value
    call.entries = [entry for entry in call.entries if entry.samples]


def start_register(tape: Tape, random: Random, value: int | None) -> Touched:
    touched = some(tape, random)
    for call in tape.of("start"):
        if call.session in touched:
            set_register(call, value)
    return touched


def stop_register(tape: Tape, random: Random, value: int | str | None) -> Touched:
    touched = some(tape, random)
    for call in tape.of("stop"):
        if call.session in touched:
            set_register(call, value)
    return touched


def stop_register_frozen(tape: Tape, random: Random) -> Touched:
    """The stop repeats the register of the start."""
    touched = some(tape, random)
    for call in tape.of("stop"):
        if call.session in touched and call.session is not None:
            set_register(call, tape.meters[call.connector_id].shown_wh(call.session.start_us))
    return touched


def stop_below_start(tape: Tape, random: Random) -> Touched:
    """Without any energy the register of the stop is 1 Wh below that of the start: jitter of the conversion."""
    touched = [session for session in tape.station.every_session if not session.energy_mwh]
    for call in tape.of("stop"):
        if call.session in touched and isinstance(call.register_wh, int):
            set_register(call, call.register_wh - 1)
    return touched


# --- samples ----------------------------------------------------------------------------------------------------------


def no_power(tape: Tape, random: Random) -> Touched:
    _drop(tape, POWER)
    return None


def _drop(tape: Tape, measurand: str) -> None:
    for call in tape.calls:
        for entry in call.entries:
            entry.samples = [sample for sample in entry.samples if sample.measurand != measurand]
        call.entries = [entry for entry in call.entries if entry.samples]


def none(tape: Tape, random: Random) -> Touched:
    """Start and stop only; states as in a sound station."""
    tape.calls = [call for call in tape.calls if call.kind != "sample"]
    tape.number()
    return None


def none_of_fallen(tape: Tape, random: Random) -> Touched:
    """No readings of the sessions in which a register fell."""
    fallen = [
        each
        for meter in tape.meters.values()
        for each in meter.sessions
        if meter.shown_wh(each.end_us) < meter.shown_wh(each.start_us)
    ]
    tape.calls = [call for call in tape.calls if call.kind != "sample" or call.session not in fallen]
    tape.number()
    return fallen


def power_only(tape: Tape, random: Random) -> Touched:
    """No register in any sample; 1.6 start and stop have theirs."""
    _drop(tape, REGISTER)
    return None


def intervals_only(tape: Tape, random: Random) -> Touched:
    """Energy of each interval instead of the register, the last one with the stop (1.6: in its transactionData)."""

    def passed_wh(call: Call, at_us: int) -> int:
        meter = tape.meters[call.connector_id]
        return meter.flowed(at_us) // 1000 // meter.step_wh * meter.step_wh

    since: dict[int, int] = {}
    for call in tape.of("start", "sample", "stop"):
        for entry in call.entries:
            entry.samples = [sample for sample in entry.samples if sample.measurand != REGISTER]
        call.entries = [entry for entry in call.entries if entry.samples]
        if call.session is not None and call.kind != "start":
            before_us = since.get(id(call.session), call.session.start_us)
            interval = Sample(INTERVAL, passed_wh(call, call.at_us) - passed_wh(call, before_us))
            call.entries.append(Entry(call.at_us, [interval]))
            since[id(call.session)] = call.at_us
    return None


def drops_to_zero(tape: Tape, random: Random) -> Touched:
    """A few readings of 0 amid a register that goes on."""
    touched = some(tape, random)
    for call, _, sample in tape.samples(REGISTER, "sample"):
        if call.session in touched and random.random() < 0.12:
            sample.value = 0
    return touched


def rolls_back(tape: Tape, random: Random) -> Touched:
    """A few readings are some Wh lower than the one before them."""
    touched = some(tape, random)
    before: dict[int, int] = {}
    for call, _, sample in tape.samples(REGISTER, "sample"):
        if isinstance(sample.value, int):
            known = before.get(id(call.session), sample.value)
            before[id(call.session)] = sample.value
            if call.session in touched and random.random() < 0.1:
                sample.value = max(known - random.randrange(1, 9), 0)
    return touched


def session_relative(tape: Tape, random: Random) -> Touched:
    """Samples count from the start of the session, start and stop are lifetime registers."""
    for call, _, sample in tape.samples(REGISTER, "sample"):
        if call.session is not None and isinstance(sample.value, int):
            began = tape.meters[call.connector_id].shown_wh(call.session.start_us)
            sample.value = max(sample.value - began, 0)
    return None


def standby_draw(tape: Tape, random: Random) -> Touched:
    """The station's own few watts while the car asks for nothing; they do not pass the meter."""
    for call, entry, sample in tape.samples(POWER):
        if call.session is not None and call.session.period_at(entry.at_us).activity != "charging":
            sample.value = STANDBY_W
    return None


def in_kwh(tape: Tape, random: Random) -> Touched:
    """Energy samples in kWh with three decimals."""
    for measurand in (REGISTER, INTERVAL):
        for _, _, sample in tape.samples(measurand):
            _to_kwh(sample, 3)
    return None


def _to_kwh(sample: Sample, decimals: int) -> None:
    if isinstance(sample.value, int):
        sample.value = (Decimal(sample.value) / 1000).quantize(Decimal(1).scaleb(-decimals))
        sample.unit = "kWh"


def phase_l1_only(tape: Tape, random: Random) -> Touched:
    """A single-phase station names the phase of its only register."""
    for _, _, sample in tape.samples(REGISTER):
        sample.phase = "L1"
    return None


def three_phases(tape: Tape, random: Random, with_total: bool) -> Touched:
    """L1, L2 and L3 that add up to the total, which is sent or not."""
    for call in tape.calls:
        for entry in call.entries:
            entry.samples = [part for sample in entry.samples for part in _parts(sample, with_total)]
    return None


def _parts(sample: Sample, with_total: bool) -> list[Sample]:
    if sample.measurand != REGISTER or isinstance(sample.value, str) or sample.phase:
        return [sample]
    thirds = (
        [sample.value // 3] * 2 if isinstance(sample.value, int) else [(sample.value / 3).quantize(sample.value)] * 2
    )
    phases = [
        replace(sample, phase=phase, value=value)
        for phase, value in zip(("L1", "L2", "L3"), (*thirds, sample.value - sum(thirds)), strict=True)
    ]
    return [sample, *phases] if with_total else phases


def neutral_and_lines(tape: Tape, random: Random) -> Touched:
    """Registers of N and line to line beside what counts."""
    for call in tape.calls:
        for entry in call.entries:
            for sample in [each for each in entry.samples if each.measurand == REGISTER and each.phase in ("", "L1")]:
                entry.samples += [replace(sample, phase="N", value=7), replace(sample, phase="L1-L2", value=123_456)]
    return None


def inlet_beside_outlet(tape: Tape, random: Random) -> Touched:
    """A register at the inlet, which also counts what the station itself takes, beside that at the outlet."""
    for call in tape.calls:
        for entry in call.entries:
            inlet = [
                replace(sample, location="Inlet", value=sample.value + sample.value / 40 + 100)
                if isinstance(sample.value, Decimal)
                else replace(sample, location="Inlet", value=sample.value + sample.value // 40 + 100_000)
                for sample in entry.samples
                if sample.measurand == REGISTER and not isinstance(sample.value, str)
            ]
            entry.samples = [*inlet, *(_at_outlet(sample) for sample in entry.samples)]
    return None


def _at_outlet(sample: Sample) -> Sample:
    return replace(sample, location=sample.location or "Outlet") if sample.measurand == REGISTER else sample


def frozen_begin(tape: Tape, random: Random, first: bool) -> Touched:
    """The register of the start, as Transaction.Begin, in each frame beside the periodic one."""
    for call in tape.of("sample"):
        for entry in call.entries:
            like = next((sample for sample in entry.samples if sample.measurand == REGISTER), None)
            if like is not None and call.session is not None:
                value = tape.meters[call.connector_id].shown_wh(call.session.start_us)
                begin = replace(like, context=BEGIN, phase="", location="", unit="Wh", value=value)
                entry.samples = [begin, *entry.samples] if first else [*entry.samples, begin]
    return None


def context(tape: Tape, random: Random, word: str) -> Touched:
    for call in tape.of("sample"):
        for entry in call.entries:
            for sample in entry.samples:
                sample.context = word if sample.context == PERIODIC else sample.context
    return None


def many_measurands(tape: Tape, random: Random) -> Touched:
    """Other measurands of a station, each value in its own entry; two sensors of temperature."""
    for call in tape.of("sample"):
        at_us = call.at_us
        others = [
            Sample("Temperature", 31, "Celcius"), Sample("Temperature", 44, "Celcius"), Sample("Frequency", 50, "Hz"),
            Sample("Voltage", 231, "V", phase="L1-N"), Sample("Voltage", 230, "V", phase="L2-N"),
            Sample("Current.Import", 16, "A", phase="L1"), Sample("Energy.Reactive.Import.Register", 77, "varh"),
        ]  # fmt: skip
        call.entries = [*(Entry(at_us, [sample]) for sample in others[:4]), *call.entries]
        call.entries += [Entry(at_us, [sample]) for sample in others[4:]]
    return None


def overlapping_batches(tape: Tape, random: Random) -> Touched:
    """Each frame brings the two readings before it once more."""
    said: dict[int, list[list[Entry]]] = {}
    for call in tape.of("sample"):
        before = said.setdefault(id(call.session), [])
        own = call.entries
        again = [Entry(entry.at_us, [replace(each) for each in entry.samples]) for old in before[-2:] for entry in old]
        call.entries = [*again, *own]
        before.append(own)
    return None


def rounded_repeats(tape: Tape, random: Random) -> Touched:
    """The stop's transactionData repeats all registers of the session, in kWh with two decimals."""
    said: dict[int, list[Entry]] = {}
    for call, entry, sample in tape.samples(REGISTER, "sample"):
        if isinstance(sample.value, int) and call.session is not None:
            again = replace(sample)
            _to_kwh(again, 2)
            said.setdefault(id(call.session), []).append(Entry(entry.at_us, [again]))
    for stop in tape.of("stop"):
        stop.entries = [*said.get(id(stop.session), []), *stop.entries]
    return None


def end_sample_after_stop(tape: Tape, random: Random) -> Touched:
    """Another reading of the end, stamped a millisecond or two after the stop."""
    for stop in tape.of("stop"):
        if isinstance(stop.register_wh, int):
            end = Sample(REGISTER, stop.register_wh, context=END)
            stop.entries.append(Entry(stop.at_us + random.choice((1000, 2000)), [end]))
    return None
