"""Numbers of the domain as exact integers and their texts. The one rounding rule of the project is `rounded`.

Money is an integer of 1/10,000 currency units, energy integer mWh, time integer microseconds. No binary float, and no
Decimal except where a tariff states one (ops/spec/pricing.md D22).
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import lru_cache

MWH_PER_WH = 1000
MWH_PER_KWH = 1_000_000
US_PER_S = 1_000_000
US_PER_MINUTE = 60 * US_PER_S
US_PER_HOUR = 60 * US_PER_MINUTE
US_PER_DAY = 24 * US_PER_HOUR
NEVER_US = 1 << 62
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LOCAL_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 - base of local labels, whose offset is written beside them

MONEY_SCALE = 10_000
"""Amounts have 4 decimals until they are paid (ops/spec/pricing.md D23)."""
_DECIMALS = [f".{rest:04d}" for rest in range(MONEY_SCALE)]


def rounded(numerator: int, denominator: int) -> int:
    """numerator / denominator, half away from zero; the denominator is positive."""
    if numerator >= 0:
        return (2 * numerator + denominator) // (2 * denominator)
    return -((denominator - 2 * numerator) // (2 * denominator))


def money_text(amount: int) -> str:
    """1/10,000 units as text with 4 decimals: 38200 -> `3.8200`."""
    if amount < 0:
        return f"-{money_text(-amount)}"
    return f"{amount // MONEY_SCALE}{_DECIMALS[amount % MONEY_SCALE]}"


def amount_text(amount: int | None) -> str | None:
    """`money_text`; None: the amount is not known."""
    return None if amount is None else money_text(amount)


def negated(amount: str | None) -> str | None:
    """The amount taken back: `3.82` -> `-3.82`; zero has no sign, unknown stays unknown."""
    if amount is None or not amount.strip("0."):
        return amount
    return amount[1:] if amount.startswith("-") else f"-{amount}"


def payable(amount: int, minor_units: int) -> int:
    """The amount rounded to the currency's minor unit, still in 1/10,000."""
    unit: int = 10 ** (4 - minor_units)
    return rounded(amount, unit) * unit


def payable_text(amount: int, minor_units: int) -> str:
    """A payable amount with exactly the currency's decimals: `3.82`, `4` for JPY."""
    text = money_text(amount)
    return text[: len(text) - 4 + minor_units] if minor_units else text[:-5]


def kwh_text(mwh: int) -> str:
    """Energy with 6 decimals of a kWh: 10000000 -> `10.000000`."""
    if mwh >= 0:
        return f"{mwh // MWH_PER_KWH}.{mwh % MWH_PER_KWH:06d}"
    return f"-{-mwh // MWH_PER_KWH}.{-mwh % MWH_PER_KWH:06d}"


def seconds_text(us: int) -> str:
    """A duration in seconds, with decimals only where there are any: `1520`, `300.24`."""
    seconds, rest = divmod(abs(us), US_PER_S)
    sign = "-" if us < 0 else ""
    return f"{sign}{seconds}.{rest:06d}".rstrip("0") if rest else f"{sign}{seconds}"


def utc_text(us: int) -> str:
    """ISO 8601 in UTC with as many decimals as needed: `2025-10-26T01:00:00Z`."""
    return f"{_label(us)}Z"


def local_text(us: int, offset_s: int) -> str:
    """The local label with its offset: `2025-10-26T02:00:00+01:00`."""
    return _label(us + offset_s * US_PER_S) + _offset_text(offset_s)


@lru_cache(maxsize=64)  # the lines of a bill repeat their bounds
def _label(us: int) -> str:
    """The text of datetime.isoformat in a fifth of its time: the minute is cached, the rest is arithmetic."""
    minute, rest = divmod(us, US_PER_MINUTE)
    second, micros = divmod(rest, US_PER_S)
    label = f"{_minute_text(minute)}:{second:02d}"
    return f"{label}.{micros:06d}" if micros else label


@lru_cache(maxsize=4096)
def _minute_text(minute: int) -> str:
    return (_LOCAL_EPOCH + timedelta(minutes=minute)).isoformat(timespec="minutes")


@lru_cache(maxsize=256)
def _offset_text(offset_s: int) -> str:
    sign, minutes = ("-", -offset_s // 60) if offset_s < 0 else ("+", offset_s // 60)
    return f"{sign}{minutes // 60:02d}:{minutes % 60:02d}"


def us_of(moment: datetime) -> int:
    """Microseconds since 1970-01-01 UTC of an aware datetime."""
    return (moment - _EPOCH) // timedelta(microseconds=1)


# ISO 4217 (list one, 2024): active codes, and the minor units of those that do not have 2.
_CURRENCIES = """
    AED AFN ALL AMD ANG AOA ARS AUD AWG AZN BAM BBD BDT BGN BHD BIF BMD BND BOB BRL BSD BTN BWP BYN BZD CAD CDF CHF
    CLP CNY COP CRC CUP CVE CZK DJF DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GNF GTQ GYD HKD HNL HTG
    HUF IDR ILS INR IQD IRR ISK JMD JOD JPY KES KGS KHR KMF KPW KRW KWD KYD KZT LAK LBP LKR LRD LSL LYD MAD MDL MGA
    MKD MMK MNT MOP MRU MUR MVR MWK MXN MYR MZN NAD NGN NIO NOK NPR NZD OMR PAB PEN PGK PHP PKR PLN PYG QAR RON RSD
    RUB RWF SAR SBD SCR SDG SEK SGD SHP SLE SOS SRD SSP STN SVC SYP SZL THB TJS TMT TND TOP TRY TTD TWD TZS UAH UGX
    USD UYU UZS VED VES VND VUV WST XAF XCD XCG XOF XPF YER ZAR ZMW ZWG"""
CURRENCIES = frozenset(_CURRENCIES.split())
_MINOR_UNITS = dict.fromkeys(
    ("BIF", "CLP", "DJF", "GNF", "ISK", "JPY", "KMF", "KRW", "PYG", "RWF", "UGX", "VND", "VUV", "XAF", "XOF", "XPF"), 0
) | dict.fromkeys(("BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND"), 3)


def minor_units(currency: str) -> int:
    """Decimals of a known ISO 4217 currency."""
    return _MINOR_UNITS.get(currency, 2)
