"""`advance` against an oracle that knows what really happened, while the network holds back, repeats and reorders.

The oracle is a list of cars: where they charged, from when to when, by how much the register moved. Whatever reaches
the station, in whatever order inside the reorder window, must amount to just that.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, precondition, rule

from pipeline.domain.metering.conservation import difference
from pipeline.domain.outputs import StrippedSession
from tests.builders import Bench, us

OLDEST_S = 50 * 60
"""So long the network holds a message back at most; the reorder window is an hour."""
RATING_W = 22_000


@dataclass
class Car:
    """What really happened; `stop_s` None: it still charges. Times in seconds, registers in Wh."""

    transaction: str
    connector: int
    start_s: int
    start_wh: int
    register_wh: int
    read_s: int
    stop_s: int | None = None
    start_held: bool = False


@dataclass
class Message:
    """`send` puts it to the station as received at the second given."""

    happened_s: int
    send: Callable[[float], None]


class Field(RuleBasedStateMachine):
    sent = Bundle("sent")

    @initialize()
    def a_station(self) -> None:
        self.bench = Bench(rating_w=RATING_W)
        self.now = 0
        self.cars: list[Car] = []
        self.held: list[Message] = []
        self.repeats = 0
        self.registers = {1: 100_000, 2: 7_000_000}

    # --- what happens ------------------------------------------------------------------------------------------------

    def _free(self) -> list[int]:
        busy = {car.connector for car in self.cars if car.stop_s is None}
        return [number for number in (1, 2) if number not in busy]

    @precondition(lambda self: self._free())
    @rule(target=sent, held=st.booleans())
    def a_car_comes(self, held: bool) -> Message:
        self._pass(30, power_w=0)
        connector = self._free()[0]
        register = self.registers[connector]
        car = Car(f"t{len(self.cars)}", connector, self.now, register, register, self.now, start_held=held)
        self.cars.append(car)
        at = self.now
        return self._say(
            held,
            lambda received: self.bench.start(at, register, car.transaction, connector, received=received),
        )

    @precondition(lambda self: self._charging())
    @rule(target=sent, power_w=st.just(0) | st.integers(60, RATING_W), held=st.booleans())
    def a_minute_of_charging(self, power_w: int, held: bool) -> Message:
        self._pass(60, power_w, read=False)
        message = None
        for car in self._charging():
            message = self._say(held, self._reading(car, power_w))
        assert message is not None
        return message

    @precondition(lambda self: self._charging())
    @rule(target=sent, held=st.booleans(), after_s=st.integers(1, 59))
    def a_car_leaves(self, held: bool, after_s: int) -> Message:
        self._pass(after_s, power_w=0)
        car = self._charging()[0]
        car.stop_s = self.now
        at, register = self.now, car.register_wh
        return self._say(
            held and not car.start_held,  # start and stop held back alike would be a clock that is behind
            lambda received: self.bench.stop(at, register, car.transaction, received=received),
        )

    # --- what the network does ---------------------------------------------------------------------------------------

    @precondition(lambda self: self.held)
    @rule(random=st.randoms(use_true_random=False))
    def the_network_delivers_what_it_held_in_any_order(self, random: object) -> None:
        random.shuffle(self.held)  # type: ignore[attr-defined]  # hypothesis' own Random
        for message in self.held:
            message.send(self.now)
        self.held = []

    @rule(message=sent)
    def a_message_is_repeated(self, message: Message) -> None:
        if message not in self.held and self.now - message.happened_s < OLDEST_S:
            message.send(self.now)
            self.repeats += 1

    @rule()
    def the_clock_ticks(self) -> None:
        self.bench.tick(self.now)

    # --- what must hold ----------------------------------------------------------------------------------------------

    @invariant()
    def every_event_is_accounted_for(self) -> None:
        station = self.bench.station
        known = station.used + station.duplicates + station.quarantined + station.outside + station.pending()
        assert station.received == known
        assert self.bench.refused == []
        assert station.duplicates == self.repeats

    @invariant()
    def energy_is_conserved(self) -> None:
        assert all(difference(connector) == 0 for connector in self.bench.station.connectors.values())

    @invariant()
    def nothing_that_was_told_is_impossible(self) -> None:
        for record in self.bench.records:
            assert record.energy_wh is not None
            assert 0 <= record.energy_wh <= 1.1 * RATING_W * record.duration_s / 3600 + 10

    def teardown(self) -> None:
        """Everything arrives at last: each car has its session, with its energy and times, and no code."""
        if not hasattr(self, "bench"):
            return
        while self._charging():
            self.a_car_leaves(False, 30)
        self.the_network_delivers_what_it_held_in_any_order(_InOrder())
        for hour in range(1, 4):
            self.bench.tick(self.now + 3600 * hour)
        self.energy_is_conserved()
        told = {record.session_id: record for record in self.bench.records}  # the latest of each
        found, true = self._as_told(told), [self._as_it_was(car) for car in self.cars]
        assert found == true, f"told {found}, true {true}"
        moved = sum(car.register_wh - car.start_wh for car in self.cars)
        assert sum(each.attributed_wh for each in self.bench.station.connectors.values()) == moved

    # --- helpers -----------------------------------------------------------------------------------------------------

    def _charging(self) -> list[Car]:
        return [car for car in self.cars if car.stop_s is None]

    def _pass(self, seconds: int, power_w: int, read: bool = True) -> None:
        self.now += seconds
        for car in self._charging():
            if power_w:
                car.register_wh += power_w * seconds // 3600
                self.registers[car.connector] = car.register_wh
            if read and self.now - car.read_s > 60:
                self._reading(car, power_w)(self.now)  # longer without one would be a gap
        if any(self.now - message.happened_s > OLDEST_S for message in self.held):
            self.the_network_delivers_what_it_held_in_any_order(_InOrder())

    def _reading(self, car: Car, power_w: int) -> Callable[[float], None]:
        at, register = self.now, car.register_wh
        car.read_s = at
        state = "charging" if power_w else "suspended_ev"
        return lambda received: self.bench.read(
            at, register, car.transaction, car.connector, received=received, power_w=power_w, state=state
        )

    def _say(self, held: bool, send: Callable[[float], None]) -> Message:
        message = Message(self.now, send)
        if held:
            self.held.append(message)
        else:
            send(self.now)
        return message

    def _as_told(self, told: dict[str, StrippedSession]) -> list[tuple[object, ...]]:
        by_start = sorted(told.values(), key=lambda record: (record.started_at_us or 0, record.connector_id))
        return [
            (each.connector_id, each.started_at_us, each.ended_at_us, each.energy_wh, *self._judged(each))
            for each in by_start
            if each.started_at_us is not None  # what was shown before its start came is void
        ]

    @staticmethod
    def _judged(told: StrippedSession) -> tuple[tuple[str, ...], str]:
        """Codes and evidence, but for what concerns activity: these cars report it a minute late."""
        if told.quality == ("ACTIVITY_UNCLEAR",) and told.evidence == "estimated":
            return (), "complete"
        return told.quality, told.evidence

    def _as_it_was(self, car: Car) -> tuple[object, ...]:
        assert car.stop_s is not None
        energy = car.register_wh - car.start_wh
        aborted = energy == 0 and car.stop_s - car.start_s < 120
        codes = ("ABORTED",) if aborted else ()
        return car.connector, us(car.start_s), us(car.stop_s), energy, codes, "complete"


class _InOrder:
    def shuffle(self, messages: list[Message]) -> None:
        messages.sort(key=lambda message: message.happened_s)


TestField = Field.TestCase
TestField.settings = settings(max_examples=60, stateful_step_count=40)
