"""`chargeline dead-letters`: list records that could not be used, show one, send them back after the cause is gone.

The rule of the file: only `show` prints content, because it may hold drivers' identifiers.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from datetime import UTC, datetime
from operator import itemgetter

import click

from pipeline.cli.options import json_option, kafka_option, print_json, settings
from pipeline.cli.output import echo, echo_line, plain
from pipeline.cli.progress import progress
from pipeline.edge.dead_letters import Letter, Replay, find, read, send_back
from pipeline.errors import Unavailable
from pipeline.kafka_config import client_config, producer_config
from pipeline.settings import Settings

reason_option = click.option("--reason", metavar="CODE", help="Only those with this reason, e.g. WRONG_PARTITION.")
BYTES_A_LINE = 16
LINE = (
    "{partition}/{offset}  {sent_at}  {reason}: {detail} "
    "({source_topic}/{source_partition}/{source_offset}, {bytes:,} bytes)"
)


@click.group()
def command() -> None:
    """List, show and replay records that could not be used."""


@command.command("list")
@kafka_option
@reason_option
@click.option("--limit", type=click.IntRange(1), default=50, show_default=True, help="The newest so many.")
@json_option
def list_(kafka: str | None, reason: str | None, limit: int, as_json: bool) -> None:
    """Dead letters, the newest first: place, reason, what to do, where the record was read, size; never its content.

    With --json a line each; the keys are stable.
    """
    letters = map(_facts, _read(settings(kafka=kafka), reason))  # without content, of which there may be gigabytes
    newest = heapq.nlargest(limit, letters, key=itemgetter("sent_at", "partition", "offset"))
    for letter in newest:
        if as_json:
            print_json(letter)
        else:
            echo_line(LINE.format_map(letter))
    if not newest:
        echo("no dead letters" + (f" with reason {reason}" if reason else ""), err=True)


@command.command()
@click.argument("partition", type=click.IntRange(0))
@click.argument("offset", type=click.IntRange(0))
@kafka_option
@click.option("--hex", "as_hex", is_flag=True, help="As a hex dump instead of the bytes themselves.")
def show(partition: int, offset: int, kafka: str | None, as_hex: bool) -> None:
    """Write the original bytes of one dead letter to stdout, unchanged; the reason goes to stderr.

    CAUTION: they are what the station sent and may hold identifiers of drivers (tokens, vehicle ids, transaction ids).
    Do not paste them into tickets or logs. PARTITION and OFFSET are those of `chargeline dead-letters list`.
    """
    letter = find(client_config(settings(kafka=kafka)), partition, offset)
    echo(plain(_cause(letter)), err=True)
    if as_hex:
        for line in _hex_dump(letter.value):
            echo(line)
    else:
        out = click.get_binary_stream("stdout")
        out.write(letter.value)
        out.flush()


@command.command()
@kafka_option
@reason_option
@click.option("--partition", type=click.IntRange(0), help="Only the one at this place; with --offset.")
@click.option("--offset", type=click.IntRange(0), help="Only the one at this place; with --partition.")
@click.option("--dry-run", is_flag=True, help="Say what would be sent; send nothing.")
@json_option
def replay(
    kafka: str | None, reason: str | None, partition: int | None, offset: int | None, dry_run: bool, as_json: bool
) -> None:
    """Send the original bytes back to the topic that they came from, under the original key.

    Correct the cause first: what still cannot be used becomes a dead letter again. Each record is sent once, however
    many dead letters hold it. Repeating the command is harmless: an event that was used already is only counted.
    """
    if (partition is None) != (offset is None):
        raise click.UsageError("--partition and --offset belong together")
    chosen = settings(kafka=kafka)
    if partition is None or offset is None:
        letters = _read(chosen, reason)
    else:
        one = find(client_config(chosen), partition, offset)
        letters = iter([one] if reason in (None, one.cause.reason) else [])
    done = send_back(producer_config(chosen), letters, dry_run=dry_run)
    _print_report(done, dry_run, as_json)


def _read(chosen: Settings, reason: str | None) -> Iterator[Letter]:
    with progress("reading dead letters", unit="records") as shown:
        for letter in read(client_config(chosen), shown.advance):
            if reason in (None, letter.cause.reason):
                yield letter


def _facts(letter: Letter) -> dict[str, str | int]:
    """A dead letter without its content."""
    cause = letter.cause
    return {
        "partition": letter.partition,
        "offset": letter.offset,
        "sent_at": _iso(letter.sent_at_ms),
        "reason": cause.reason,
        "detail": cause.detail,
        "source_topic": cause.topic,
        "source_partition": cause.partition,
        "source_offset": cause.offset,
        "bytes": len(letter.value),
    }


def _cause(letter: Letter) -> str:
    cause = letter.cause
    return (
        f"{cause.reason}: {cause.detail} (read at {cause.topic} partition {cause.partition} offset {cause.offset}, "
        f"{len(letter.value)} bytes)"
    )


def _print_report(done: Replay, dry_run: bool, as_json: bool) -> None:
    sent = sum(done.sent.values())
    if as_json:
        counts = {"acknowledged": done.report.acknowledged, "repeated": done.repeated, "foreign": done.foreign}
        print_json({"dry_run": dry_run, "records": sent, "by_reason": dict(sorted(done.sent.items()))} | counts)
    else:
        what = "would be sent" if dry_run else f"sent, {done.report.acknowledged:,} acknowledged by Kafka"
        reasons = "".join(f"\n  {count:,} {reason}" for reason, count in sorted(done.sent.items()))
        echo(f"{sent:,} records {what}{reasons}")
    if done.repeated:
        echo(f"{done.repeated:,} further dead letters hold the same records", err=True)
    if done.foreign:
        echo(f"{done.foreign:,} were left: they name no topic that this pipeline reads", err=True)
    if done.report.failed:
        raise Unavailable(f"{done.report.failed:,} records were refused; first: {done.report.first_error}")


def _hex_dump(value: bytes) -> Iterator[str]:
    """Offset, bytes, and what of them is printable ASCII."""
    for start in range(0, len(value), BYTES_A_LINE):
        part = value[start : start + BYTES_A_LINE]
        text = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in part)
        yield f"{start:08x}  {part.hex(' '):<{3 * BYTES_A_LINE}} {text}"


def _iso(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
