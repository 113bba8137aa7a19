"""The state of a station: its sessions with all their evidence, its connectors, its counters.

The rule of this file: values only, nothing is decided here. Times are integer microseconds UTC, energy integer Wh.
State is mutable and slotted, because the hot path changes it with every meter event. The file is longer than 300 lines
because CODEC_VERSION stands beside all that it versions: one look tells whether a change alters the durable layout.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from pipeline.domain.events import BillDecided, BillDecision, PriceQuote, SessionEnded
from pipeline.domain.outputs import ConnectorState, Quarantined
from pipeline.domain.receipts import Billed

if TYPE_CHECKING:
    Numbers = array[int]
else:
    Numbers = array  # msgspec evaluates annotations, and arrays cannot be subscripted at run time

SECOND = 1_000_000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
DAY = 24 * HOUR
QUARTER = 15 * MINUTE
NEVER = 1 << 62

STRIDE = 6
"""A reading is six integers in `Session.readings`: time us as sent, energy Wh, power W, state of charge, what kind of
energy it is, time us at which it was received (0 = not known); -1 = not given."""
TIME, ENERGY, POWER, SOC, KIND, RECEIVED = range(STRIDE)
ABSENT = -1
REGISTER, INTERVAL, BEGIN, PHASES, NAMED = 0, 1, 2, 8, 64
"""Kinds of energy: the connector's register; energy since the reading before; the register as it was at the begin of
the transaction, whenever it is told; from PHASES on the sum of some phases alone, whose bits (1, 2, 4) are added.
NAMED is added in `Connector.loose` to what named a transaction whose start on this connector was not known yet."""
UNKNOWN_CONNECTOR = -1
"""Of a session until an event names its connector (OCPP 2.0.1 sends the EVSE once)."""

REORDER_WINDOW = HOUR
"""So long after its end a session keeps all its readings: any order of arrival gives the same session."""
LATENESS_HORIZON = 7 * DAY
"""So long a closed session can be corrected by a revision; what comes later is TOO_LATE."""
SETTLE = 10 * MINUTE
"""Grace before a rule closes a session, because the stop may be delayed by the network."""
SHORTEST_GAP = 2 * MINUTE
"""Readings that are at most so far apart leave no gap."""
SILENCE = DAY
CLOCK_TOLERANCE = 5 * MINUTE
EARLIEST = 1_483_228_800 * SECOND
"""2017-01-01: no station that we serve is older, so an earlier time is a clock that was never set."""
UPDATE_EVERY = MINUTE
UNANSWERED = 30 * MINUTE

SITES, TARIFFS, SIGNALS, DECISION = 1, 2, 4, 8
"""What a held bill can wait for: reference data, in the order of a ReferenceWatermark, or somebody's decision."""


CODEC_VERSION = 6
"""Of the layout of `Station` and all that it holds, as it is stored in the changelog of station-state.

2 added what held bills wait for, 3 what a bill claims, 4 quotes, 5 receive times and kinds of readings, 6 what keeps
long sessions small and the generation; what older versions wrote is read with defaults (station_codec.py).
"""


class Session(msgspec.Struct, array_like=True, gc=False):
    """All evidence of one transaction on one connector. `started_at_us` None: its start was not seen (yet)."""

    connector_id: int
    transaction: str
    """Keyed hash of the transaction id; empty while the central system has not answered the start."""
    started_at_us: int | None = None
    start_register_wh: int | None = None
    token: str | None = None
    billing_token: str | None = None
    analytics_token: str | None = None
    start_received_us: int = 0
    ended_at_us: int | None = None
    stop_register_wh: int | None = None
    stop_reason: str | None = None
    stop_token: str | None = None
    stop_received_us: int = 0
    last_at_us: int = 0
    """Event time of the newest reading (of the start, as long as there is none)."""
    last_register_wh: int = ABSENT
    state: str | None = None
    readings_v4: Numbers = msgspec.field(default_factory=lambda: array("q"))
    """Readings as codec versions up to 4 kept them, without kind and receive time; empty, see station_codec.py."""
    states: list[tuple[int, str]] = []
    """(time us, charging state) at each change, in order of time."""
    codes: list[str] = []
    """Quality codes that only the arrival could tell; the others follow from the evidence."""
    closed_by: str = ""
    """Empty: open. STOP, or the code of the rule that closed it."""
    superseded_at_us: int | None = None
    """A later session began on the connector at this time as sent ..."""
    superseded_register_wh: int | None = None
    """... with the register here."""
    call: str | None = None
    aliases: list[str] = []
    seq_first: int = ABSENT
    seq_next: int = ABSENT
    """Lowest and one past the highest sequence number of the messages seen; ABSENT: the station sends none."""
    seq_missing_v5: list[int] = []
    """`seq_gaps` as codec versions up to 5 kept them, number by number; empty."""
    update_due_us: int = 0
    revision: int = 0
    content_hash: str = ""
    session_id: str = ""
    provisional: bool = False
    """Shown under an id that was made without a start."""
    dirty: bool = False
    """Evidence came after the last revision; the next tick decides whether a billed fact changed."""
    dirty_reason: str = ""
    booked: tuple[int, int, bool, int] | None = None
    """What this session put into the ledger of its connector: from, to, attributed (else quarantined), estimated Wh."""
    raised: dict[str, int] = {}
    """Alerts that stand: rule and event time of its cause."""
    thinned: bool = False
    """Came back from the archive: readings inside are no longer complete."""
    fold: Any = None
    """The running bill, a cache that is rebuilt from the readings; never stored."""
    reference: tuple[int, int] | None = None
    """How much of the topics of sites and tariffs was known when its tariff was found: what comes later is not its."""
    billed_signals: int | None = None
    """How much of the price signals was known to its first final bill; corrections are priced with the same."""
    billed: Billed | None = None
    """The bill that stands; a corrected one takes it back. From here on last, because older records end before it."""
    clock_us: int = 0
    """What is added to the time of its start, because the station's clock was wrong (clock.py); 0: it was right."""
    start_sent_us: int = 0
    """Start and stop as the station sent them: identities are made from what was sent."""
    stop_sent_us: int = 0
    slow: bool = False
    """Its next reading is not a plain one: the session ended, its clock is suspect, or it shares its id."""

    decision: BillDecision | Literal[""] = ""
    """What somebody decided about its held bill."""
    quote: PriceQuote | None = None
    """The price that the driver was shown before the start, if its producer told."""

    readings: Numbers = msgspec.field(default_factory=lambda: array("q"))
    """In order of the time as sent; STRIDE says what a reading is."""
    suspect: bool = False
    """A message of it was received before it happened, or more than CLOCK_TOLERANCE later: see clock.py."""
    shared: bool = False
    """Another connector's session has its transaction id, too (problem 6a): connector, tag and register decide."""
    reservation: bool = False
    """Its start named a reservation; when that began is not known."""
    stamps: list[tuple[int, int]] = []
    """(time us as sent, received) of its states, where they came while the clock was suspect."""
    repeated: int = 0
    """Values that were told again; for the account of its evidence (metering/account.py) ..."""
    left_out: dict[str, list[int]] = {}
    """... and those that were not used when they came: reason -> count, first and last time us."""
    previous_wh: int | None = None
    """Where the register stood before it, as far as that was known when it ended: later its connector has moved on."""
    unkept: int = 0
    """Values that were used and that the archive does not keep (`thinned`)."""
    decided: BillDecided | None = None
    """The latest decision about its bill; `decision` says whether it is in force ..."""
    settled: list[str] | None = None
    """... and these doubts were known to it: a new one holds the bill again. None: not judged under it yet."""
    unbilled_wh: int = 0
    """Of what it has in the ledger, so much a decision did not bill: quarantined."""
    seq_gaps: list[tuple[int, int]] = []
    """(first, one past the last) of numbers between `seq_first` and `seq_next` that were not seen (yet), in order."""
    sealed: list[tuple[int, bytes]] = []
    """(rows, packed) of the oldest of `readings`, block by block: as these they are stored, see packing.py."""
    folded_us: int = 0
    """Up to this time, as sent, readings of a long session were thinned: what comes later of that time is not used."""
    thin_at: int = 0
    """How many readings it must have before it is tried again to thin them."""
    generation: int = 1
    """Under which it is published; `chargeline rebuild` begins a higher one."""

    def ended(self) -> bool:
        return self.closed_by != ""

    def close(self, why: str) -> None:
        """`why` as in `closed_by`."""
        self.closed_by = why
        self.slow = True

    def started_as_sent_us(self) -> int | None:
        return None if self.started_at_us is None else self.start_sent_us

    def ended_as_sent_us(self) -> int | None:
        return self.stop_sent_us if self.closed_by == "STOP" else self.ended_at_us

    def leave_out(self, reason: str, at_us: int, count: int = 1) -> None:
        """Counts evidence that is not used, for the account."""
        known = self.left_out.get(reason)
        if known is None:
            self.left_out[reason] = [count, at_us, at_us]
        else:
            self.left_out[reason] = [known[0] + count, min(known[1], at_us), max(known[2], at_us)]


class Connector(msgspec.Struct, array_like=True, gc=False):
    """What is known of one connector between sessions. The ledger re-adds: see conservation.py."""

    connector_id: int
    register_wh: int | None = None
    """Where the last closed session left the register."""
    register_at_us: int = 0
    state: str | None = None
    states_v4: list[tuple[int, str]] = []
    """`reports` as codec versions up to 4 kept them, without receive times; empty."""
    status: str = ""
    error_code: str = "NoError"
    status_at_us: int = 0
    fault_since_us: int | None = None
    fault_raised_us: int | None = None
    highest_power_w: int = 0
    """Highest power offered or measured, the bound while the rating is unknown."""
    aborts: list[int] = []
    """Times of the latest zero-energy aborts."""
    opening_wh: int | None = None
    """The ledger, see conservation.py: the first register that was ever seen (None: none yet) ..."""
    closing_wh: int = 0
    """... and the last one, on a scale that resets do not lower ..."""
    offset_wh: int = 0
    """... by this much above what the meter shows."""
    attributed_wh: int = 0
    quarantined_wh: int = 0
    estimated_wh: int = 0
    gaps: list[tuple[int, int]] = []
    """Register movement of no session: (from, to) on that scale."""
    told: ConnectorState | Literal[""] = ""
    """What the site was told last of this connector, see occupancy.py ..."""
    told_us: int = 0
    """... and since when it is so; never falls."""
    resets: list[tuple[int, int]] = []
    """(time us, `offset_wh` until then) of each fall of the register inside the lateness horizon."""

    reports: list[tuple[int, str, int]] = []
    """(time us as sent, charging state or `available`, us received) of each status, kept as long as sessions."""
    loose: Numbers = msgspec.field(default_factory=lambda: array("q"))
    """Readings without a usable transaction id, laid out as in a session: of the one that was open at their time."""
    resolution_wh: int = 0
    """Step of the register (1, 10, 100, 1000 Wh), learned from closed sessions; 0: not known ..."""
    resolution_of: int = 0
    """... and from how many different values."""
    beat_us: int = 0
    """How often the register is refreshed while energy flows, learned likewise; 0: not known."""
    settled_wh: int = 0
    """Sum of older gaps that no session can claim any more."""


class Station(msgspec.Struct, array_like=True, gc=False):
    """Everything about one station. `clock` and `wake_us` are read by the runtime (runtime/logic.py)."""

    station_id: str
    clock: str = "live"
    wake_us: int = NEVER
    sessions: dict[str, Session] = {}
    """Open sessions and those inside the reorder window, by transaction key (or a key of their own without one)."""
    connectors: dict[int, Connector] = {}
    newest_us: int = 0
    seen_us: int = 0
    """When the station was last heard, by receive time where that is known."""
    forgotten_until_us: int = 0
    """Sessions that ended before this were forgotten: what belongs to them is TOO_LATE."""
    forget_at_us: int = NEVER
    received: int = 0
    used: int = 0
    duplicates: int = 0
    quarantined: int = 0
    outside: int = 0
    late_unused: int = 0
    boots: list[int] = []
    silent_since_us: int | None = None
    offsets_v4: list[int] = []
    """`lags` as codec versions up to 4 kept them; not read any more."""
    calls: Any = None
    """Unanswered OCPP calls; owned by wire/ocpp.py."""
    archive: Any = None
    """Closed sessions as bytes (runtime.logic.Archive), until the lateness horizon; never stored here."""
    told_site: str | None = None
    """The site that was told of the connectors, see occupancy.py."""
    quiet_since_us: int | None = None
    """`seen_us` when silence was last noticed; over as soon as it is exceeded."""

    held: dict[str, tuple[int, str]] = {}
    """Ended sessions whose bill is held: session id -> bits of SITES, TARIFFS, SIGNALS, DECISION, and the name in the
    archive (empty: not there yet)."""
    waits: int = 0
    """All these bits together; read by the runtime."""

    lags: list[tuple[int, int]] = []
    """(time us received, how much later than it happened by the station's clock) of its latest messages; clock.py."""
    orphans: list[SessionEnded] = []
    """Stops without a usable transaction id for which no start, or more than one, is known yet; identity.py."""

    def wait(self, session_id: str, bits: int, name: str = "") -> None:
        """The bill of this session waits for these; 0: for nothing (any more)."""
        known = self.held.pop(session_id, None)
        if bits:
            self.held[session_id] = (bits, name or (known[1] if known else ""))
            self.wake_us = 0  # so that the runtime looks at `waits`
        elif known is None:
            return
        self.waits = 0
        for each, _ in self.held.values():
            self.waits |= each

    def connector(self, connector_id: int) -> Connector:
        found = self.connectors.get(connector_id)
        if found is None:
            found = self.connectors[connector_id] = Connector(connector_id)
        return found

    def pending(self) -> int:
        """Events that wait for another one: starts for the answer of the central system, stops for their start."""
        return len(self.orphans) + len({id(each) for each in self.sessions.values() if each.call is not None})

    def each_session(self) -> Iterator[tuple[str, Session]]:
        """Each session once, whatever its aliases; under an alias only if another session took its own name."""
        sessions = list(self.sessions.items())
        if len(sessions) < 2:
            yield from sessions
            return
        named = {id(session) for key, session in sessions if key not in session.aliases}
        for key, session in sessions:
            if key not in session.aliases:
                yield key, session
            elif id(session) not in named:
                named.add(id(session))
                yield key, session


class Step:
    """What one event or tick caused: sessions to rate, to archive, alerts, and parts refused with reasons."""

    __slots__ = ("alerts", "archived", "forgotten", "merged", "quarantined", "rated", "voided")

    def __init__(self) -> None:
        self.rated: list[tuple[Session, str]] = []
        """Sessions to emit as a revision if a billed fact changed, with the reason."""
        self.voided: list[tuple[Session, str]] = []
        """Sessions that were shown under the provisional id given: it is to be voided."""
        self.merged: list[tuple[Session, Session]] = []
        """Sessions that were one charge: the second was published and is to be voided, its bill to be taken back."""
        self.alerts: list[tuple[str, Connector, Session | None, int, int | None]] = []
        """Rule, connector, session, event times of the cause and of its end (None: raised)."""
        self.archived: list[tuple[str, Session]] = []
        self.forgotten: list[str] = []
        self.quarantined: list[Quarantined] = []


Told = Step | Session | None
"""What an event has to tell: nothing; a session whose live view is due (the most frequent case); or a whole Step."""
