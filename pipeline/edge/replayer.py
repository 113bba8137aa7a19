"""Recorded logs as a stream of `meter-events` records, the same bytes each time; offline commands read it, too.

Lines keep the order of their file; several files are merged by receive time. A record without a clock of its own gets
`replay-<hash of the contents>`, and for each clock whose ticks are not in the log the replayer writes them: every
minute of receive time, then hourly for 25 h, so that silent sessions are closed. Every line of every file is checked
before anything is sent. A line that is not a record is left out and named; the lines around it are sent.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import sys
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from heapq import merge
from itertools import count
from operator import itemgetter
from pathlib import Path
from typing import IO, Literal, NamedTuple, cast

import msgspec
import orjson

from pipeline.domain.events import LIVE, ClockTicked
from pipeline.domain.frames import OcppFrame
from pipeline.errors import InvalidMessage, WrongUsage
from pipeline.topics import LARGEST_RECORD
from pipeline.wire.meter_events import check
from pipeline.wire.timestamps import micros

Format = Literal["ocpp16", "events"]
Record = tuple[int, bytes | None, bytes]
"""When the central system received it (us UTC), key (None: a clock tick, for every partition), value."""

MINUTE_US = 60_000_000
HOUR_US = 60 * MINUTE_US
FINAL_TICKS_US = 25 * HOUR_US
UNREADABLE_KEY = b"unreadable"
"""Key of a bad line that names no station, sent on request only."""
_LONGEST_LINE = LARGEST_RECORD + 1_000
MOST_NAMED = 100
"""At most so many bad lines are named; all are counted."""

BadLines = Literal["leave out", "send", "refuse"]
"""What to do with lines that are not records. `send`: send them, so that the stream makes dead letters of them."""


class Line(NamedTuple):
    """One line: when it was received (us UTC), key, clock, whether it is a clock tick, the bytes as recorded."""

    time_us: int
    key: bytes | None
    clock: str
    tick: bool
    value: bytes


@dataclass(frozen=True, slots=True)
class Source:
    """One input by the name that errors use; can be read more than once."""

    name: str
    open: Callable[[], IO[bytes]]


@dataclass(slots=True)
class Log:
    """Checked input files; `records` reads them as one log. Made by `open_log`."""

    sources: Sequence[Source]
    format: Format
    bad_lines: BadLines
    clock: str = ""
    """The clock of records that name none."""
    lines: int = 0
    """Lines that are not blank, bad ones included."""
    bad: int = 0
    left_out: int = 0
    """Bad lines that are not sent; with `send` those that do not fit a record."""
    named: list[str] = field(default_factory=list)
    """`file:line: reason` of the first MOST_NAMED bad lines."""
    seen: set[str] = field(default_factory=set)
    ticked: set[str] = field(default_factory=set)
    """Clocks of the events, and clocks whose ticks are in the log."""
    _known_bad: set[tuple[str, int]] = field(default_factory=set)

    def records(self, *, final_ticks: bool = True) -> Iterator[Record]:
        """The log with the ticks that it lacks. `final_ticks`: ticks go on for 25 h after the last line."""
        by_receive_time = merge(*(self._in_order(source) for source in self.sources), key=itemgetter(0))
        return _with_ticks(by_receive_time, sorted(self.seen - self.ticked), final_ticks)

    def check(self, source: Source, number: int, value: bytes) -> None:
        """Counts one line. Raises WrongUsage for a bad line that is to be refused."""
        self.lines += 1
        try:
            line = _parse(value, self.format)
        except InvalidMessage as error:
            self._name(source, number, str(error))
            self.left_out += self._leaves_out(value)
            self._known_bad.add((source.name, number))
            return
        (self.ticked if line.tick else self.seen).add(line.clock)
        try:
            value.decode()
        except UnicodeDecodeError as error:  # perhaps in a field that is not used: the stream decides
            self._name(source, number, f"not UTF-8 at byte {error.start}; kept, and used as far as it can be read")

    def _name(self, source: Source, number: int, reason: str) -> None:
        if self.bad_lines == "refuse":
            advice = "Nothing was done; correct the line, check --format, or leave --strict out"
            raise WrongUsage(f"BAD_LINE: {source.name}:{number}: {reason}. {advice}")
        self.bad += 1
        if len(self.named) < MOST_NAMED:
            self.named.append(f"{source.name}:{number}: {reason}")

    def _leaves_out(self, bad: bytes) -> bool:
        return self.bad_lines == "leave out" or len(bad) > LARGEST_RECORD

    def _in_order(self, source: Source) -> Iterator[Record]:
        """The records of a file in its order, even if their times go back."""
        now_us = 0
        for number, value in _numbered_lines(source):
            try:
                time_us, key, clock, _, value = _parse(value, self.format)
            except InvalidMessage as error:
                if (source.name, number) not in self._known_bad:  # it was good when the file was checked
                    raise InvalidMessage("BAD_LINE", f"{source.name}:{number}: {error}; did the file change?") from None
                if self._leaves_out(value):
                    continue
                time_us, key = now_us, _key_of_bad(value)
            else:
                if clock == LIVE:
                    value = _with_clock(value, self.clock)
            now_us = max(now_us, time_us)
            yield now_us, key, value


def open_log(
    files: Sequence[Path],
    format: Format,
    *,
    clock: str | None = None,
    bad_lines: BadLines = "leave out",
    on_progress: Callable[[int], None] = lambda lines: None,
) -> Log:
    """Reads and checks every line of `files` (`.ndjson`, `.ndjson.gz`, `-` is stdin) before anything is sent.

    `clock` names the clock of records that have none. The returned log counts and names the lines that are not records
    of `format`. Raises WrongUsage for a file that cannot be read and, if bad lines are to be refused, for the first of
    them.
    """
    log = Log(_sources(files), format, bad_lines)
    digest = hashlib.sha256()
    for source in log.sources:
        for number, value in _numbered_lines(source):
            digest.update(value + b"\n")
            log.check(source, number, value)
            if log.lines % 1_000 == 0:
                on_progress(1_000)
    log.clock = clock or f"replay-{digest.hexdigest()[:12]}"
    log.seen = {log.clock if name == LIVE else name for name in log.seen}
    log.ticked = {log.clock if name == LIVE else name for name in log.ticked}
    return log


def log_records(
    files: Sequence[Path], format: Format, *, bad_lines: BadLines = "leave out"
) -> Iterator[tuple[bytes | None, bytes]]:
    """(key, value) of the log as `replay` sends it; a record without a key is a clock tick for every station."""
    return ((key, value) for _, key, value in open_log(files, format, bad_lines=bad_lines).records())


def _with_ticks(records: Iterable[Record], clocks: Sequence[str], final_ticks: bool) -> Iterator[Record]:
    """A tick of each clock at every full minute, before the records of that minute and later.

    In a gap of more than 26 hours ticks are hourly, of more than 10 days daily: nothing but silence happens there.
    """
    now_us = tick_us = 0
    for record in records:
        now_us = record[0]
        tick_us = tick_us or (now_us and now_us // MINUTE_US * MINUTE_US + MINUTE_US)
        while tick_us <= now_us and tick_us:
            yield from _ticks(tick_us, clocks)
            hole_us = now_us - tick_us
            tick_us += MINUTE_US if hole_us <= 26 * HOUR_US else HOUR_US if hole_us <= 240 * HOUR_US else 24 * HOUR_US
        yield record
    if tick_us and final_ticks:
        for at_us in range(tick_us, now_us + FINAL_TICKS_US + HOUR_US, HOUR_US):
            yield from _ticks(at_us, clocks)


def _ticks(time_us: int, clocks: Sequence[str]) -> Iterator[Record]:
    for clock in clocks:
        yield time_us, None, msgspec.json.encode(ClockTicked(time_us=time_us, clock=clock))


def _parse(value: bytes, format: Format) -> Line:
    """Raises InvalidMessage, whose text names fields, never values."""
    if len(value) > LARGEST_RECORD:
        raise InvalidMessage("TOO_LONG", f"longer than the {LARGEST_RECORD:,} bytes of a record")
    record = check(value)
    if isinstance(record, OcppFrame):
        if format != "ocpp16":
            raise InvalidMessage("OTHER_FORMAT", "an OCPP frame, not a canonical event")
        try:
            time_us, _ = micros(record.received_at)
        except ValueError:
            raise InvalidMessage("BAD_TIMESTAMP", "OCPP envelope: received_at is not ISO 8601") from None
        return Line(time_us, record.station_id.encode(), record.clock, False, value)
    if format != "events":
        raise InvalidMessage("OTHER_FORMAT", "a canonical event, not an OCPP frame")
    if isinstance(record, ClockTicked):
        return Line(record.time_us, None, record.clock, True, value)
    time_us = record.received_time_us or record.event_time_us
    return Line(time_us, record.station_id.encode(), record.clock, False, value)


class _Named(msgspec.Struct):
    station_id: str


def _key_of_bad(value: bytes) -> bytes:
    try:
        return msgspec.json.decode(value, type=_Named).station_id.encode() or UNREADABLE_KEY
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return UNREADABLE_KEY


def _with_clock(value: bytes, clock: str) -> bytes:
    """The same record on `clock`; its other bytes stay as they were recorded unless it names a clock."""
    if b'"clock"' not in value:
        return value[:-1] + b',"clock":' + orjson.dumps(clock) + b"}"
    return orjson.dumps(orjson.loads(value) | {"clock": clock})


def _sources(files: Sequence[Path]) -> list[Source]:
    made = []
    for file in files:
        if str(file) == "-":
            content = sys.stdin.buffer.read()  # kept in memory: it may hold identifiers, and is read twice
            made.append(Source("stdin", partial(io.BytesIO, content)))
        elif file.suffix == ".gz":
            made.append(Source(str(file), partial(_unzipped, file)))
        else:
            made.append(Source(str(file), partial(_plain, file)))
    return made


def _plain(file: Path) -> IO[bytes]:
    return file.open("rb")


def _unzipped(file: Path) -> IO[bytes]:
    return cast(IO[bytes], gzip.open(file))


def _numbered_lines(source: Source) -> Iterator[tuple[int, bytes]]:
    """Lines that are not blank, without their ends, counted from 1. A line longer than any record is cut.

    A file without line ends therefore does not fill the memory.
    """
    try:
        with source.open() as lines:
            for number in count(1):
                line = rest = lines.readline(_LONGEST_LINE)
                if not line:
                    return
                while len(rest) == _LONGEST_LINE and not rest.endswith(b"\n"):
                    rest = lines.readline(_LONGEST_LINE)
                value = line if rest is not line else line.strip()
                if value:
                    yield number, value
    except (OSError, EOFError, zlib.error) as error:
        raise WrongUsage(f"{source.name}: cannot be read: {error}") from error
