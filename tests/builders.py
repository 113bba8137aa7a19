"""A station to tell things to, in words of the field: times in seconds since a fixed morning, energy in Wh."""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from dataclasses import dataclass, field

from pipeline.agents.records import FORMS
from pipeline.domain.events import (
    MeterRead,
    SessionEnded,
    SessionStarted,
    StationSeen,
    StatusReported,
)
from pipeline.domain.limits import Limits
from pipeline.domain.metering.measured import Measured
from pipeline.domain.outputs import Alert, Quarantined, StrippedSession
from pipeline.domain.pseudonyms import KEY_BYTES, PURPOSES, Keyring
from pipeline.domain.publishing import Publishing
from pipeline.domain.publishing.published import Revision
from pipeline.domain.rating import Rating
from pipeline.domain.session.advance import advance
from pipeline.domain.session.ticks import tick
from pipeline.domain.sites.site import Connector, Site
from pipeline.domain.sites.site import Station as SiteStation
from pipeline.domain.station import SECOND, Session, Station, Step
from pipeline.domain.station_codec import decode_archived
from pipeline.runtime.offline import MemoryArchive
from tests.invariants import LISTENER

T0 = 1_772_436_000  # 2026-03-02T07:20:00Z
KEYS = Keyring({purpose: {"*": secrets.token_bytes(KEY_BYTES)} for purpose in PURPOSES})


def us(seconds: float) -> int:
    return int((T0 + seconds) * SECOND)


@dataclass(slots=True)
class Bench:
    """One station under test; keeps what was published of it: refusals, alerts, revisions."""

    rating_w: int | None = 22_000
    station: Station = field(default_factory=lambda: Station("CP-1", archive=MemoryArchive()))
    refused: list[str] = field(default_factory=list)
    alerts: list[tuple[str, bool]] = field(default_factory=list)
    courses: list[tuple[str, int]] = field(default_factory=list)
    """Identity and event time of each."""
    records: list[StrippedSession] = field(default_factory=list)
    rating: Rating = field(init=False)
    publishing: Publishing = field(init=False)

    def __post_init__(self) -> None:
        sites = []
        if self.rating_w is not None:
            connectors = tuple(
                Connector(connector_id=number, power_type="AC", max_power_w=self.rating_w) for number in (1, 2)
            )
            sites.append(
                Site(
                    site_id="S", name="S", time_zone="Europe/Berlin", country="DE", tariff_ids=(),
                    stations=(SiteStation(station_id="CP-1", connectors=connectors),),
                )
            )  # fmt: skip
        self.rating = Rating(KEYS, sites)
        self.publishing = Publishing(self.rating, FORMS)

    # --- what the station says ---------------------------------------------------------------------------------------

    def start(self, at: float, register: int | None, tx: str | None = "t1", connector: int = 1, **more: object) -> None:
        self._tell(
            SessionStarted(
                station_id="CP-1", event_time_us=us(at), received_time_us=us(float(str(more.pop("received", at)))),
                connector_id=connector, transaction_id=tx, register_wh=register, token=str(more.pop("token", "a")),
                **more,  # type: ignore[arg-type]  # only known fields are passed
            )
        )  # fmt: skip

    def read(self, at: float, register: int | None, tx: str | None = "t1", connector: int = 1, **more: object) -> None:
        self._tell(
            MeterRead(
                station_id="CP-1", event_time_us=us(at), received_time_us=us(float(str(more.pop("received", at)))),
                connector_id=connector, transaction_id=tx, register_wh=register,
                **more,  # type: ignore[arg-type]  # only known fields are passed
            )
        )  # fmt: skip

    def reads(self, rows: Iterable[tuple[float, int]], tx: str = "t1", **more: object) -> None:
        for at, register in rows:
            self.read(at, register, tx, **more)  # type: ignore[arg-type]  # only known fields are passed

    def stop(self, at: float, register: int | None, tx: str | None = "t1", **more: object) -> None:
        self._tell(
            SessionEnded(
                station_id="CP-1", event_time_us=us(at), received_time_us=us(float(str(more.pop("received", at)))),
                transaction_id=tx, register_wh=register,
                **more,  # type: ignore[arg-type]  # only known fields are passed
            )
        )  # fmt: skip

    def status(
        self, at: float, status: str, connector: int = 1, error: str = "NoError", received: float | None = None
    ) -> None:
        self._tell(
            StatusReported(
                station_id="CP-1", event_time_us=us(at), received_time_us=us(at if received is None else received),
                connector_id=connector,
                status=status, error_code=error,
            )
        )  # fmt: skip

    def boot(self, at: float) -> None:
        self._tell(StationSeen(station_id="CP-1", event_time_us=us(at), received_time_us=us(at), what="boot"))

    def tick(self, at: float) -> None:
        """Time passes up to `at`; the station is visited whenever it wants to be."""
        for _ in range(1000):
            if self.station.wake_us > us(at):
                return
            self._take(tick(self.station, us(at), self.rating.terms.limits))
        raise AssertionError("the station never rests")

    def _tell(self, event: object) -> None:
        told = advance(self.station, event)  # type: ignore[arg-type]  # each caller makes a ChargeEvent
        if isinstance(told, Step):
            self._take(told)

    def _take(self, step: Step) -> None:
        for each in self.publishing.publish(self.station, step):
            match each:
                case Revision(record):
                    LISTENER.of(self).session(record)
                    self.records += [record] if record.status != "void" else []
                case Alert(rule=rule, state=state):
                    self.alerts.append((rule, state == "raised"))
                    self.courses.append((each.alert_id, each.at_us))
                case Quarantined(reason):
                    self.refused.append(reason)

    # --- what is known of it -----------------------------------------------------------------------------------------

    def session(self, tx: str = "t1") -> Session:
        kept = self.station.sessions.get(tx)
        return kept if kept is not None else decode_archived(self.station.archive.get(tx.encode()) or b"")

    def rated(self, tx: str = "t1") -> tuple[StrippedSession, Measured]:
        """The session as it stands now."""
        record, rated = self.publishing.draft(self.station, self.session(tx))
        LISTENER.of(self).session(record)
        return record, rated.measured

    def result(self, tx: str = "t1") -> StrippedSession:
        return self.rated(tx)[0]

    def limits(self) -> Limits:
        return self.rating.terms.limits("CP-1", 1)


def charging(
    first: float, last: float, register: int, every: float = 60, power_w: int = 11_000
) -> list[tuple[float, int]]:
    """Readings of steady charging: from `first` to `last` second, register at the first one."""
    count = int((last - first) / every) + 1
    return [(first + n * every, register + round(n * every * power_w / 3600)) for n in range(count)]
