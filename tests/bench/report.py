"""What a bench leaves behind: a table, bench.json, bench.svg. What was not measured is null, with its reason."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from statistics import median

from tests.bench.measure import Figure

NAMES: Mapping[str, str] = {
    "limit": "bare consume, decode, update (the limit)",
    "pipeline_1": "Chargeline, whole job, 1 worker",
    "pipeline_2": "Chargeline, whole job, 2 workers",
    "bytewax": "Bytewax, stateful map, not durable",
    "quix": "Quix Streams, state and changelog",
    "faust": "stock Faust, agent, no durable state",
    "faust_table": "stock Faust with Table",
}
OURS = ("pipeline_1", "pipeline_2")
Results = dict[str, object]


def summary(runs: Mapping[str, Sequence[Figure]], missing: Mapping[str, str]) -> Results:
    """Medians of the runs of each contender, and ratios of them to the limit and to pipeline_1."""
    found: Results = {}
    for name in NAMES:
        figures = runs.get(name, ())
        found[f"{name}_events_per_s"] = _median([each.events_per_s for each in figures])
        found[f"{name}_cpu_us_per_event"] = _median([each.cpu_us_per_event for each in figures])
        found[f"{name}_broker_us_per_event"] = _median([each.broker_us_per_event for each in figures])
        if figures:
            shares = [f.broker_us_per_event / max(1e-9, f.broker_us_per_event + f.cpu_us_per_event) for f in figures]
            found[f"{name}_broker_share_of_cpu"] = _median(shares)
    base = found["pipeline_1_events_per_s"]
    for name in NAMES:
        rate = found[f"{name}_events_per_s"]
        if name != "pipeline_1" and isinstance(base, float) and isinstance(rate, float):
            found[f"pipeline_1_to_{name}"] = round(base / rate, 3)
    ours, limit = found["pipeline_1_cpu_us_per_event"], found["limit_cpu_us_per_event"]
    if isinstance(ours, float) and isinstance(limit, float):
        found["pipeline_1_to_limit_by_cpu"] = round(limit / ours, 3)
    two = found["pipeline_2_cpu_us_per_event"]
    if isinstance(ours, float) and isinstance(two, float):
        found["pipeline_2_to_pipeline_1_by_cpu"] = round(two / ours, 3)
    found["runs"] = {
        name: [{"events_per_s": round(f.events_per_s), "cpu_us": round(f.cpu_us_per_event, 2),
                "broker_us": round(f.broker_us_per_event, 2), "seconds": round(f.seconds, 2)} for f in figures]
        for name, figures in runs.items()
    }  # fmt: skip
    found["missing"] = dict(missing)
    return found


def _median(values: Sequence[float]) -> float | None:
    return round(float(median(values)), 3) if values else None


def table(results: Mapping[str, object]) -> str:
    lines = [f"{'':44} {'events/s':>10} {'of limit':>9} {'CPU us':>8} {'broker us':>10}"]
    limit = results["limit_events_per_s"]
    for name, title in NAMES.items():
        rate = results[f"{name}_events_per_s"]
        if not isinstance(rate, float):
            reasons = results["missing"]
            assert isinstance(reasons, Mapping)
            lines.append(f"{title:44} {'-':>10}  {reasons.get(name, 'not measured')}")
            continue
        share = f"{rate / limit:.3f}" if isinstance(limit, float) else "-"
        cpu, broker = results[f"{name}_cpu_us_per_event"], results[f"{name}_broker_us_per_event"]
        lines.append(f"{title:44} {rate:>10,.0f} {share:>9} {cpu:>8} {broker:>10}")
    rest = {
        key: value
        for key, value in results.items()
        if isinstance(value, int | float | str) and not any(key.startswith(f"{name}_") for name in NAMES if name in key)
    }
    ratios = {key: value for key, value in results.items() if "_to_" in key}
    width = max((len(key) for key in rest | ratios), default=0)
    lines += ["", *(f"{key:{width}}  {value}" for key, value in (ratios | rest).items())]
    missing = results["missing"]
    assert isinstance(missing, Mapping)
    return "\n".join([*lines, *(f"not measured: {name}: {reason}" for name, reason in missing.items())])


def write(results: Mapping[str, object], folder: Path) -> None:
    """bench.json and bench.svg in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "bench.json").write_text(json.dumps(results, indent=2) + "\n", "utf-8")
    (folder / "bench.svg").write_text(plot(results), "utf-8")


def plot(results: Mapping[str, object]) -> str:
    """Events per second as horizontal bars, on a linear scale, as a document of its own."""
    bars = [(title, name, results.get(f"{name}_events_per_s")) for name, title in NAMES.items()]
    known = [rate for _, _, rate in bars if isinstance(rate, float)]
    longest = max(known, default=1.0)
    left, full, high = 290, 420, 30
    rows = []
    for number, (title, name, rate) in enumerate(bars):
        y = 44 + number * high
        rows.append(f'<text x="{left - 10}" y="{y + 15}" text-anchor="end">{escape(title)}</text>')
        if not isinstance(rate, float):
            rows.append(f'<text x="{left + 6}" y="{y + 15}" class="note">not measured</text>')
            continue
        width = max(1.0, full * rate / longest)
        kind = "ours" if name in OURS else "other"
        rows.append(f'<rect x="{left}" y="{y}" width="{width:.1f}" height="{high - 10}" class="{kind}"/>')
        rows.append(f'<text x="{left + width + 6:.1f}" y="{y + 15}" class="note">{rate:,.0f}</text>')
    tall = 44 + len(bars) * high + 14
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 800 {tall}" width="800" height="{tall}" role="img">\n'
        "<title>Events per second, one run on one machine</title>\n"
        "<style>text{font:13px sans-serif;fill:#222}.note{fill:#555}.head{font-weight:bold}"
        ".ours{fill:#1769aa}.other{fill:#b0b8bf}</style>\n"
        f'<rect width="800" height="{tall}" fill="#fff"/>\n'
        f'<text x="16" y="24" class="head">Events per second, one run on one machine (median)</text>\n'
        + "\n".join(rows)
        + "\n</svg>\n"
    )
