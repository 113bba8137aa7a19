"""The bench measures what it says: shares of a run, the limit's loop on a real topic, a whole job, what is written."""

from __future__ import annotations

import json
import os
import xml.etree.ElementTree as ET
from pathlib import Path

import orjson
import pytest

from pipeline.edge.uniform import Pace, bench_events
from pipeline.embedded.kafka import EmbeddedKafka
from tests.bench import limit, pricing, report
from tests.bench.latency import Seen, _result, share
from tests.bench.measure import Ended, Figure, Sample, cpu_seconds, figure, rss_bytes
from tests.bench.platform import SOURCE, Platform

pytestmark = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="the bench needs Linux's /proc")


def test_a_figure_leaves_out_the_beginning_and_the_end() -> None:
    samples = [
        Sample(0.0, 0, 0.0, 0.0),
        Sample(5.0, 100, 4.0, 1.0),  # slow start: does not count
        Sample(6.0, 250, 5.0, 2.0),
        Sample(8.0, 950, 6.5, 2.7),
        Sample(20.0, 1000, 9.0, 9.0),  # dry end: does not count
    ]
    found = figure(samples, 1000)
    assert (found.events, found.seconds) == (700, 2.0)
    assert found.events_per_s == 350
    assert found.cpu_us_per_event == pytest.approx(1.5 / 700 * 1e6)
    assert found.broker_us_per_event == pytest.approx(0.7 / 700 * 1e6)


def test_a_run_that_was_over_between_two_looks_is_no_figure() -> None:
    with pytest.raises(Ended, match="too few records"):
        figure([Sample(0.0, 0, 0.0, 0.0), Sample(1.0, 1000, 1.0, 1.0)], 1000)


def test_cpu_time_and_memory_of_a_process_are_read() -> None:
    before = cpu_seconds(os.getpid())
    while cpu_seconds(os.getpid()) < before + 0.05:
        sum(range(10_000))
    assert rss_bytes(os.getpid()) > 10_000_000


def test_the_limit_reads_the_whole_topic_and_knows_each_station_last(tmp_path: Path) -> None:
    pace = Pace(readings=8, interval_s=10, pause_s=60, spread=True, closing_h=0)
    records = list(bench_events(40, 2, pace))
    ticks = sum(key is None for key, _ in records)
    with EmbeddedKafka(tmp_path / "kafka", 0) as kafka:  # its own: the bench makes and empties the pipeline's topics
        platform = Platform(kafka.bootstrap, tmp_path)
        assert sum(platform.fill(40, 2, pace).values()) == len(records) - ticks + ticks * platform.partitions
        total = sum(platform.fill(30, 2, pace, limit=400).values())  # a second topic replaces the first
        expected = {key.decode(): orjson.loads(value) for key, value in list(bench_events(30, 2, pace))[:400] if key}
        counts: list[int] = []

        def told(done: int) -> bool:
            counts.append(done)
            return done < total

        found = limit.loop(limit.batches(kafka.bootstrap, SOURCE), told)
    assert found == {name: (event["event_time_us"], event["register_wh"]) for name, event in expected.items()}
    assert counts[-1] == total


def _figure(rate: float, cpu_us: float) -> Figure:
    return Figure(events_per_s=rate, cpu_us_per_event=cpu_us, broker_us_per_event=1.0, seconds=2.0, events=1000)


def test_medians_ratios_and_reasons_are_written(tmp_path: Path) -> None:
    runs = {
        "limit": [_figure(200.0, 2), _figure(100.0, 2), _figure(250.0, 2)],
        "pipeline_1": [_figure(80.0, 5), _figure(90.0, 4), _figure(10.0, 9)],
        "pipeline_2": [_figure(120.0, 5.5)],
        "faust": [_figure(4.0, 200)],
    }
    results = report.summary(runs, {"quix": "cannot be installed <here>"})
    report.write(results, tmp_path)
    written = json.loads((tmp_path / "bench.json").read_text("utf-8"))
    assert written["limit_events_per_s"] == 200
    assert written["pipeline_1_events_per_s"] == 80
    assert written["pipeline_1_to_limit"] == 0.4
    assert written["pipeline_1_to_faust"] == 20
    assert written["pipeline_1_to_limit_by_cpu"] == 0.4
    assert written["pipeline_2_to_pipeline_1_by_cpu"] == 1.1
    assert written["pipeline_1_broker_share_of_cpu"] == 0.167
    assert written["quix_events_per_s"] is None
    assert written["missing"] == {"quix": "cannot be installed <here>"}
    drawn = ET.parse(tmp_path / "bench.svg").getroot()  # noqa: S314 - our own file
    widths = [float(bar.get("width", 0)) for bar in drawn.iter("{http://www.w3.org/2000/svg}rect")][1:]
    assert widths == [420.0, 168.0, 252.0, 8.4]  # limit, one worker, two, Faust: to scale
    assert "cannot be installed <here>" in report.table(results)


@pytest.mark.parametrize("case", [pricing.typical(), pricing.spot_12h()], ids=["typical", "spot_12h"])
def test_what_is_priced_is_the_session_that_the_figure_names(case: pricing.Case) -> None:
    bill = case.bill()
    lines = [line for line in bill.lines if line.kind != "ROUNDING"]
    assert (bill.state, len(lines)) == ("FINAL", case.lines)
    assert len({line.unit_price for line in lines if line.dimension == "ENERGY"}) == (2 if case.lines == 5 else 48)
    assert pricing.measure(case, 0.1) > 100


def test_latency_is_of_stations_that_were_appended_and_seen() -> None:
    seen = Seen(
        appended={"a": 10.0, "b": 20.0, "c": 30.0},
        alerts={"a": 10.5, "b": 20.1, "warm-up": 1.0},
        rows={"a": 12.0, "b": 21.0, "c": 33.0},
    )
    found = _result(seen, 1000.0)
    assert (found.samples, found.missing_alerts, found.missing_rows) == (3, 1, 0)
    assert found.alert_p99_s == 0.5
    assert found.row_p99_s == 3.0
    assert share([float(n) for n in range(1, 101)], 0.99) == 99.0
