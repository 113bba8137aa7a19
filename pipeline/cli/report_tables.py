"""The report for people: rows become tables. Pure, except `show`.

The rule of the file: what is shown here is a choice of columns in readable units; the exact figures are in --json and
--csv.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from pipeline.cli.output import shown

Rows = Sequence[Mapping[str, Any]]
Shown = list[dict[str, str]]


def _totals(rows: Rows) -> Shown:
    return [
        {
            "sessions": f"{row['sessions']:,}",
            "still open": str(row["open"]),
            "kWh": _kwh(row["energy_wh"]),
            "kWh estimated": _kwh(row["estimated_wh"]),
            "energy unknown": str(row["energy_unknown"]),
            "bills held": str(row["held"]),
        }
        for row in rows
    ]


def _revenue(rows: Rows) -> Shown:
    return [
        {
            "currency": row["currency"],
            "bills": f"{row['bills']:,}",
            "excl. VAT": _text(row["excl_vat"]),
            "incl. VAT": _text(row["incl_vat"]),
            "payable incl. VAT": _text(row["payable_incl_vat"]),
        }
        for row in rows
    ]


def _revenue_by_window(rows: Rows) -> Shown:
    return [
        {
            "window": row["window"],
            "for": row["dimension"],
            "quantity": f"{row['quantity']} {row['unit']}".strip(),
            "excl. VAT": f"{_text(row['excl_vat'])} {row['currency']}",
            "incl. VAT": f"{_text(row['incl_vat'])} {row['currency']}",
        }
        for row in rows
    ]


def _station_demand(rows: Rows) -> Shown:
    hours: dict[int, list[Mapping[str, Any]]] = {}
    for row in rows:
        hours.setdefault(row["hour"], []).append(row)
    return [
        {
            "hour": f"{hour:02d}:00",
            "kWh": _kwh(sum(row["energy_wh"] for row in stations)),
            "occupied hours": f"{sum(row['occupied_minutes'] for row in stations) / 60:,.1f}",
            "stations": str(len(stations)),
            "busiest": max(stations, key=lambda row: row["energy_wh"])["station_id"],
        }
        for hour, stations in sorted(hours.items())
    ]


def _longest_sessions(rows: Rows) -> Shown:
    return [
        {
            "station": f"{row['station_id']}/{row['connector_id']}",
            "from": (row["started_at"] or "")[:16],
            "to": (row["ended_at"] or "")[:16],
            "hours": f"{row['duration_s'] / 3600:.1f}",
            "idle": f"{row['idle_s'] / 3600:.1f}",
            "kWh": _kwh(row["energy_wh"]),
            "flags": ", ".join(row["flags"]),
        }
        for row in rows
    ]


def _anomalies(rows: Rows) -> Shown:
    return [{name: str(value) for name, value in row.items()} for row in rows]


TABLES: Mapping[str, tuple[str, Callable[[Rows], Shown]]] = {
    "totals": ("Totals", _totals),
    "revenue": ("Revenue, final bills", _revenue),
    "revenue_by_window": ("Revenue by tariff window", _revenue_by_window),
    "station_demand": ("Station demand by hour of the day", _station_demand),
    "longest_sessions": ("Longest sessions (UTC)", _longest_sessions),
    "anomalies": ("Anomalies", _anomalies),
}
"""Section: its title and its columns for people."""
_TO_THE_LEFT = frozenset({"currency", "window", "for", "busiest", "station", "from", "to", "flags", "rule", "severity"})


def show(sections: Mapping[str, Rows], zone: str) -> None:
    """The sections as tables on stdout; where that is no terminal, 120 characters wide."""
    console = Console(width=None if sys.stdout.isatty() else 120)
    for name, rows in sections.items():
        title, columns = TABLES[name]
        console.print(_table(f"{title}, {zone}" if name == "station_demand" else title, columns(rows)))


def _table(title: str, rows: Shown) -> Table | str:
    if not rows:
        return f"{title}: none"
    table = Table(title=title, title_justify="left")
    for column in rows[0]:
        table.add_column(column, justify="left" if column in _TO_THE_LEFT else "right")
    for row in rows:
        table.add_row(*map(shown, row.values()))
    return table


def _kwh(energy_wh: int | None) -> str:
    return "" if energy_wh is None else f"{energy_wh / 1000:,.3f}"


def _text(value: Any) -> str:
    return "" if value is None else str(value)
