"""`chargeline replay`: recorded logs into `meter-events`; the same files give the same records, ticks included."""

from __future__ import annotations

from pathlib import Path

import click

from pipeline.cli.log_files import print_bad_lines, strict_option
from pipeline.cli.options import json_option, kafka_option, settings
from pipeline.cli.progress import progress
from pipeline.cli.reference import control
from pipeline.cli.simulate import print_report
from pipeline.edge.producer import paced, produce, signed
from pipeline.edge.replayer import BadLines, Format, open_log
from pipeline.errors import WrongUsage
from pipeline.kafka_config import producer_config
from pipeline.topics import METER_EVENTS


@click.command()
@click.argument("files", nargs=-1, required=True, metavar="FILE...", type=click.Path(path_type=Path))
@click.option("--format", "log_format", type=click.Choice(["ocpp16", "events"]), required=True, help="What a line is.")
@kafka_option
@click.option("--speed", type=click.FloatRange(0), default=0.0, help="Times real time; 0 = as fast as possible.")
@click.option("--clock", help="Clock of the records that name none [default: made from the contents].")
@click.option("--skip-bad", is_flag=True, help="Send lines that are not records unchanged: they become dead letters.")
@strict_option
@click.option("--no-final-ticks", is_flag=True, help="Leave sessions open that are open at the end of the log.")
@json_option
def command(
    files: tuple[Path, ...],
    log_format: Format,
    kafka: str | None,
    speed: float,
    clock: str | None,
    skip_bad: bool,
    strict: bool,
    no_final_ticks: bool,
    as_json: bool,
) -> int:
    """Send recorded events (one JSON object a line; .ndjson, .ndjson.gz, or - for stdin) to Kafka.

    Several files are merged into one log by receive time. Every line is checked before the first is sent. Clock ticks
    of the log's own clock are added, also for 25 hours after its end. Sending the same files again changes nothing
    downstream. A line that is not a record is named on stderr and not sent; the others are, and the exit code is 1.
    """
    if skip_bad and strict:
        raise WrongUsage("--skip-bad sends bad lines and --strict stops at them: give one of the two")
    bad_lines: BadLines = "refuse" if strict else "send" if skip_bad else "leave out"
    with progress("checking", unit="lines") as shown:
        log = open_log(files, log_format, clock=clock, bad_lines=bad_lines, on_progress=shown.advance)
    exit_code = print_bad_lines(log)
    if log.left_out and log.left_out == log.lines:
        return exit_code
    chosen = settings(kafka=kafka)
    records = paced(signed(log.records(final_ticks=not no_final_ticks), control(chosen, METER_EVENTS.name)), speed)
    with progress("replaying", total=log.lines, unit="events") as shown:
        report = produce(records, METER_EVENTS.name, producer_config(chosen), shown.advance)
    print_report(report, log.clock, "acknowledged by Kafka", as_json)
    return exit_code
