"""Volumes of somebody else's CDR: negative ones, those against the timestamps, those that are not stated; credits."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.domain.checking.unstated import require_volumes
from pipeline.domain.checking.verify import Basis, Verdict, verify
from pipeline.domain.pricing.tariff import CannotPrice
from pipeline.wire.cdr import decode_cdr

COMPONENTS: dict[str, dict[str, Any]] = {
    "ENERGY": {"type": "ENERGY", "price": 0.5, "step_size": 1},
    "TIME": {"type": "TIME", "price": 6, "step_size": 1},
    "PARKING_TIME": {"type": "PARKING_TIME", "price": 3, "step_size": 1},
    "FLAT": {"type": "FLAT", "price": 1},
}
Volumes = dict[str, float]


def cdr(*periods: tuple[str, Volumes], prices: str, **fields: Any) -> dict[str, Any]:
    """Two hours from 08:00; each period at its HH:MM."""
    element = {"price_components": [COMPONENTS[name] for name in prices.split()], **fields.pop("element", {})}
    return {
        "start_date_time": "2026-03-02T08:00:00Z",
        "end_date_time": "2026-03-02T10:00:00Z",
        "currency": "EUR",
        "tariffs": [{"id": "T", "currency": "EUR", "elements": [element]}],
        "charging_periods": [
            {
                "start_date_time": f"2026-03-02T{at}:00Z",
                "dimensions": [{"type": name, "volume": volume} for name, volume in volumes.items()],
            }
            for at, volumes in periods
        ],
        **{name: {"excl_vat": value} if name.endswith("_cost") else value for name, value in fields.items()},
    }


def check(document: dict[str, Any]) -> Verdict:
    return verify(decode_cdr(json.dumps(document).encode(), "cdr.json"), Basis())


def codes(verdict: Verdict, kind: str) -> list[str]:
    return [finding.code for finding in verdict.findings if finding.kind == kind]


@pytest.mark.parametrize("name", ["ENERGY", "TIME", "PARKING_TIME", "ENERGY_IMPORT", "ENERGY_EXPORT"])
@pytest.mark.parametrize("place", [0, 1])
def test_a_negative_volume_is_a_contradiction_also_where_the_sum_fits(name: str, place: int) -> None:
    volumes: list[Volumes] = [{name: 2}, {name: 2}]
    volumes[place] = {name: -1}
    document = cdr(("08:00", volumes[0]), ("09:00", volumes[1]), prices="FLAT", total_cost=1)
    verdict = check(document)
    assert verdict.verdict == "MISMATCH"
    found = [(each.code, each.where) for each in verdict.findings]
    assert ("NEGATIVE_VOLUME", f"charging_periods[{place}]") in found
    assert "TIME_UNKNOWN" not in [code for code, _ in found]


def test_power_and_current_may_be_negative() -> None:
    """The vehicle feeds the grid."""
    volumes = {"ENERGY": 10.0, "TIME": 2, "MIN_POWER": -5, "MAX_CURRENT": -3}
    assert check(cdr(("08:00", volumes), prices="FLAT", total_cost=1)).verdict == "OK"


@pytest.mark.parametrize("name", ["total_energy", "total_time", "total_parking_time"])
def test_a_negative_total_is_a_contradiction(name: str) -> None:
    verdict = check(cdr(("08:00", {"ENERGY": 10, "TIME": 2}), prices="FLAT", total_cost=1, **{name: -1}))
    assert (verdict.verdict, codes(verdict, "CONTRADICTION")[0]) == ("MISMATCH", "NEGATIVE_VOLUME")


@pytest.mark.parametrize(
    ("first", "second", "is_wrong"),
    [
        ({"TIME": 1}, {"TIME": 1}, False),
        ({"TIME": 0.2}, {"TIME": 1.8}, True),
        ({"TIME": 1.5}, {"TIME": 0.5}, True),
        ({"PARKING_TIME": 1.5}, {"TIME": 0.5}, True),
        ({"TIME": 0.6, "PARKING_TIME": 0.6}, {"TIME": 0.8}, True),
        ({"TIME": 0.6, "PARKING_TIME": 0.4}, {"TIME": 1}, False),
        ({"TIME": 0.6, "PARKING_TIME": 0.2}, {"TIME": 1}, True),
        ({"TIME": 1.04}, {"TIME": 0.96}, False),
        ({"RESERVATION_TIME": 1.2}, {"TIME": 1}, True),
    ],
)
def test_the_times_of_a_period_fit_its_own_timestamps(first: Volumes, second: Volumes, is_wrong: bool) -> None:
    """Up to three minutes more or less: bounds come from readings and messages."""
    verdict = check(cdr(("08:00", first), ("09:00", second), prices="FLAT", total_cost=1))
    assert ("PERIOD_TIME_DIFFERS" in codes(verdict, "CONTRADICTION")) is is_wrong
    assert (verdict.verdict == "MISMATCH") is is_wrong


def test_times_are_taken_as_exactly_as_they_were_written() -> None:
    """40 minutes are 0.67 h or 0.7 h; a session of two hours does not last 2.5."""
    periods = [("08:00", {"TIME": 0.7}), ("08:40", {"TIME": 1.3})]
    assert check(cdr(*periods, prices="FLAT", total_cost=1, total_time=2)).verdict == "OK"
    wrong = check(cdr(("08:00", {"ENERGY": 1}), prices="FLAT", total_cost=1, total_time=2.5))
    assert codes(wrong, "CONTRADICTION") == ["TIME_DOES_NOT_ADD_UP"]


UNSTATED: list[tuple[str, dict[str, Any], str]] = [
    ("no ENERGY at all", cdr(("08:00", {"TIME": 2}), prices="ENERGY", total_cost=5, total_energy=10), "ENERGY_UNKNOWN"),
    ("no ENERGY, no total", cdr(("08:00", {"TIME": 2}), prices="ENERGY", total_cost=5), "ENERGY_UNKNOWN"),
    ("no ENERGY and a cost of 0", cdr(("08:00", {"TIME": 2}), prices="ENERGY", total_cost=0), "ENERGY_UNKNOWN"),
    ("some ENERGY", cdr(("08:00", {"ENERGY": 4, "TIME": 1}), ("09:00", {"TIME": 1}), prices="ENERGY", total_cost=2,
                        total_energy=10), "ENERGY_UNKNOWN"),
    ("no dimensions", cdr(("08:00", {}), prices="ENERGY", total_cost=5, total_energy=10), "ENERGY_UNKNOWN"),
    ("a tier by energy", cdr(("08:00", {"TIME": 2}), prices="TIME", element={"restrictions": {"max_kwh": 5}},
                             total_cost=12, total_time_cost=12), "ENERGY_UNKNOWN"),
    ("only its total is stated", cdr(("08:00", {"TIME": 2}), prices="TIME", total_cost=12, total_energy=10),
     "ENERGY_UNKNOWN"),
    ("its cost is not stated", cdr(("08:00", {"TIME": 2}), prices="ENERGY FLAT", total_cost=6, total_fixed_cost=1,
                                   total_energy=10), "ENERGY_UNKNOWN"),
    ("no TIME", cdr(("08:00", {"ENERGY": 10}), prices="TIME", total_cost=12, total_energy=10, total_time=2),
     "TIME_UNKNOWN"),
    ("TIME beside some PARKING_TIME", cdr(("08:00", {"ENERGY": 10, "PARKING_TIME": 1}), prices="TIME",
                                          total_cost=6, total_parking_time=1), "TIME_UNKNOWN"),
    ("no PARKING_TIME", cdr(("08:00", {"ENERGY": 10}), prices="ENERGY PARKING_TIME", total_cost=5),
     "PARKING_TIME_UNKNOWN"),
    ("TIME of a part", cdr(("08:00", {"ENERGY": 10, "TIME": 1}), prices="ENERGY PARKING_TIME", total_cost=5),
     "PARKING_TIME_UNKNOWN"),
    ("more parking time in sum", cdr(("08:00", {"ENERGY": 10, "PARKING_TIME": 0.5}), ("09:00", {"ENERGY": 1}),
                                     prices="PARKING_TIME", total_cost=3, total_parking_time=1),
     "PARKING_TIME_UNKNOWN"),
    ("parking beside TIME in sum", cdr(("08:00", {"ENERGY": 10, "TIME": 1}), prices="ENERGY", total_cost=5,
                                       total_time=2, total_parking_time=1), "PARKING_TIME_UNKNOWN"),
    ("an idle fee", cdr(("08:00", {"ENERGY": 10}), prices="ENERGY", element={"restrictions": {"x_min_idle": 600}},
                        total_cost=0, total_parking_time=0.5), "TIME_UNKNOWN"),
    ("parking time in sum only", cdr(("08:00", {"ENERGY": 10}), prices="ENERGY", total_cost=5, total_parking_time=0.5),
     "PARKING_TIME_UNKNOWN"),
]  # fmt: skip


@pytest.mark.parametrize(("document", "code"), [case[1:] for case in UNSTATED], ids=[case[0] for case in UNSTATED])
def test_a_volume_that_is_not_stated_is_unknown(document: dict[str, Any], code: str) -> None:
    verdict = check(document)
    assert verdict.verdict == "NOT_VERIFIABLE"
    assert codes(verdict, "MISSING")[0] == code
    assert codes(verdict, "CONTRADICTION") == codes(verdict, "DISAGREEMENT") == []


KNOWN: list[tuple[str, dict[str, Any]]] = [
    ("all time is named", cdr(("08:00", {"ENERGY": 10, "TIME": 1}), prices="ENERGY PARKING_TIME", total_cost=5,
                              total_time=1)),
    ("a total of 0", cdr(("08:00", {"TIME": 2}), prices="ENERGY TIME", total_cost=12, total_energy=0)),
    ("the total is that of the others", cdr(("08:00", {"ENERGY": 10, "TIME": 1}), ("09:00", {"TIME": 1}),
                                            prices="ENERGY", total_cost=5, total_energy=10)),
    ("parking only", cdr(("08:00", {"ENERGY": 10, "TIME": 1}), ("09:00", {"PARKING_TIME": 1}), prices="ENERGY",
                         total_cost=5)),
    ("nothing depends on it", cdr(("08:00", {"TIME": 2}), prices="TIME FLAT", total_cost=13)),
    ("TIME is stated and PARKING_TIME has no price", cdr(("08:00", {"ENERGY": 10, "TIME": 1}), prices="ENERGY TIME",
                                                         total_cost=11)),
    ("no parking time in sum", cdr(("08:00", {"ENERGY": 10}), prices="ENERGY TIME", total_cost=17,
                                   total_parking_time=0)),
    ("the rest of the parking time", cdr(("08:00", {"PARKING_TIME": 1}), ("09:00", {"ENERGY": 10}),
                                         prices="ENERGY TIME PARKING_TIME", total_cost=14, total_parking_time=1)),
    ("a last period without length", cdr(("08:00", {"ENERGY": 10, "TIME": 2}), ("10:00", {}), prices="ENERGY TIME",
                                         total_cost=17)),
]  # fmt: skip


@pytest.mark.parametrize("document", [case[1] for case in KNOWN], ids=[case[0] for case in KNOWN])
def test_what_follows_from_the_rest_is_known(document: dict[str, Any]) -> None:
    verdict = check(document)
    assert (verdict.verdict, verdict.findings) == ("OK", ())


def test_what_does_not_depend_on_the_unknown_volume_is_still_checked() -> None:
    document = cdr(("08:00", {"TIME": 2}), prices="ENERGY FLAT", total_cost=9, total_fixed_cost=4, total_energy=10)
    verdict = check(document)
    assert (verdict.verdict, codes(verdict, "DISAGREEMENT")) == ("MISMATCH", ["FIXED_COST"])
    assert verdict.bill is None, "without the energy there is no bill"


def test_the_unknown_volume_is_unknown_in_every_time_zone() -> None:
    night = {"restrictions": {"start_time": "22:00", "end_time": "06:00"}}
    verdict = check(cdr(("08:00", {"TIME": 2}), prices="ENERGY", element=night, total_cost=99))
    assert (verdict.verdict, set(codes(verdict, "MISSING"))) == (
        "NOT_VERIFIABLE", {"TIME_ZONE_MISSING", "ENERGY_UNKNOWN"},
    )  # fmt: skip


@given(st.floats(0, 100), st.floats(0, 50), st.booleans())
def test_no_claim_about_unknown_energy_is_right_or_wrong(energy: float, cost: float, with_cost: bool) -> None:
    more = {"total_energy_cost": round(cost, 2)} if with_cost else {}
    total = max(0.1, round(energy, 3))
    document = cdr(("08:00", {"TIME": 2}), prices="ENERGY", total_cost=round(cost, 2), total_energy=total, **more)
    assert check(document).verdict == "NOT_VERIFIABLE"


@pytest.mark.parametrize(
    ("document", "code"),
    [
        (cdr(("08:00", {"TIME": 2}), prices="ENERGY", total_energy=10), "ENERGY_UNKNOWN"),
        (cdr(("08:00", {"ENERGY": 2}), prices="TIME"), "TIME_UNKNOWN"),
        (cdr(("08:00", {}), prices="TIME", total_energy=9), "TIME_UNKNOWN"),
        (cdr(("08:00", {"TIME": 2}), prices="TIME", total_energy=9), None),
        (cdr(("08:00", {"ENERGY": -2}), prices="ENERGY"), "NEGATIVE_VOLUME"),
        (cdr(("08:00", {"ENERGY": 2}), prices="ENERGY"), None),
    ],
)
def test_no_price_is_made_of_an_unknown_or_negative_volume(document: dict[str, Any], code: str | None) -> None:
    found = decode_cdr(json.dumps(document).encode(), "cdr.json")
    if code is None:
        require_volumes(found, found.tariffs)
        return
    with pytest.raises(CannotPrice) as refused:
        require_volumes(found, found.tariffs)
    assert refused.value.code == code


CREDITED: dict[str, dict[str, Any]] = {
    "as OCPI has it": {"total_cost": -18},
    "parts negated, too": {"total_cost": -18, "total_energy_cost": -5, "total_time_cost": -12, "total_fixed_cost": -1},
    "one part, negated": {"total_cost": -18, "total_energy_cost": -5},
    "volumes negated, too": {"total_cost": -18, "total_energy": -10, "total_time": -2},
    "without the CDR that it takes back": {"total_cost": -18, "credit_reference_id": None},
}


def credit(**fields: Any) -> dict[str, Any]:
    document = cdr(
        ("08:00", {"ENERGY": 10, "TIME": 2}), prices="ENERGY TIME FLAT", total_cost=18, total_energy=10, total_time=2,
        total_energy_cost=5, total_time_cost=12, total_fixed_cost=1,
    )  # fmt: skip
    more = {name: {"excl_vat": value} if name.endswith("_cost") else value for name, value in fields.items()}
    if set(more) - {"total_cost", "credit_reference_id"} and "total_energy_cost" in more:
        document = {name: value for name, value in document.items() if not name.endswith("_cost")}
    return document | {"credit": True, "credit_reference_id": "CDR-1"} | more


@pytest.mark.parametrize("name", CREDITED)
def test_a_credit_is_checked_as_the_bill_that_it_takes_back(name: str) -> None:
    verdict = check(credit(**CREDITED[name]))
    assert (verdict.verdict, verdict.findings) == ("OK", ())
    assert verdict.notes[0].startswith("CREDIT: ")
    assert any(note.startswith("CREDIT_PARTS_NEGATED") for note in verdict.notes) is (
        "parts" in name or "part," in name
    )
    assert any(note.startswith("CREDIT_VOLUMES") for note in verdict.notes) is ("volumes" in name)
    assert any(note.startswith("CREDIT_WITHOUT") for note in verdict.notes) is ("without" in name)


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"total_cost": -17}, "COSTS_DO_NOT_ADD_UP"),
        ({"total_cost": -17, "total_energy_cost": -5}, "TOTAL_EXCL"),
        ({"total_cost": -18, "total_energy_cost": -4}, "ENERGY_COST"),
        ({"total_cost": -18, "total_energy": -9, "total_time": -2}, "VOLUMES_DO_NOT_ADD_UP"),
        ({"total_cost": -18, "total_energy": -10}, "NEGATIVE_VOLUME"),
        ({"total_cost": 18}, "CREDIT_NOT_NEGATED"),
        ({"total_cost": -18, "credit": False}, "CREDIT_NOT_MARKED"),
    ],
)
def test_a_wrong_credit_is_a_mismatch(fields: dict[str, Any], code: str) -> None:
    verdict = check(credit(**fields))
    assert verdict.verdict == "MISMATCH"
    assert code in [finding.code for finding in verdict.findings]


def test_the_credit_of_a_negative_bill_is_positive() -> None:
    document = cdr(("08:00", {"ENERGY": 10}), prices="ENERGY", total_cost=5, total_energy_cost=-5, credit=True,
                   credit_reference_id="CDR-1")  # fmt: skip
    document["tariffs"][0]["elements"][0]["price_components"] = [COMPONENTS["ENERGY"] | {"price": -0.5}]
    verdict = check(document)
    assert (verdict.verdict, verdict.findings) == ("OK", ())
    assert verdict.bill is not None
    assert Decimal(verdict.bill.total_excl or "") == -5


def test_the_tax_of_a_credit_is_turned_with_its_amounts() -> None:
    document = credit(total_cost=-18)
    document["tariffs"][0]["elements"][0]["price_components"] = [
        COMPONENTS[name] | {"vat": 20} for name in ("ENERGY", "TIME", "FLAT")
    ]
    document["total_cost"] = {"before_taxes": -18, "taxes": [{"name": "VAT", "amount": -3.6}]}
    assert check(document).verdict == "OK"
    document["total_cost"] = {"excl_vat": -18, "incl_vat": -17}
    assert "TAX_NEGATIVE" in codes(check(document), "CONTRADICTION")


@given(
    st.lists(st.tuples(st.integers(1, 3600), st.integers(0, 40_000), st.floats(0, 1)), min_size=1, max_size=6),
    st.sampled_from([2, 4]),
)
def test_a_record_whose_volumes_follow_from_its_timestamps_is_never_accused(
    parts: list[tuple[int, int, float]], places: int
) -> None:
    """Each period states ENERGY, and its seconds as TIME and PARKING_TIME, in hours of two or four decimals."""
    begin = datetime(2026, 3, 2, 8, tzinfo=UTC)
    periods, at, lasted, idle = [], begin, 0, 0
    for seconds, wh, share in parts:
        parking = int(seconds * share)
        named = {"ENERGY": wh / 1000, "TIME": (seconds - parking) / 3600, "PARKING_TIME": parking / 3600}
        dimensions = [{"type": name, "volume": round(volume, places)} for name, volume in named.items()]
        periods.append({"start_date_time": f"{at:%Y-%m-%dT%H:%M:%SZ}", "dimensions": dimensions})
        at, lasted, idle = at + timedelta(seconds=seconds), lasted + seconds, idle + parking
    document = cdr(("08:00", {}), prices="FLAT", total_cost=1) | {
        "charging_periods": periods,
        "end_date_time": f"{at:%Y-%m-%dT%H:%M:%SZ}",
        "total_time": round(lasted / 3600, places),
        "total_parking_time": round(idle / 3600, places),
    }
    verdict = check(document)
    assert codes(verdict, "MISSING") == []
    assert "PERIOD_TIME_DIFFERS" not in codes(verdict, "CONTRADICTION")
    assert "NEGATIVE_VOLUME" not in codes(verdict, "CONTRADICTION")
    if places == 4:
        assert (verdict.verdict, verdict.findings) == ("OK", ())
