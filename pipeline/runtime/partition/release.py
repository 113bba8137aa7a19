"""Releases a key that was set aside: reads its kept records and applies them in pieces, between the batches.

The key stays set aside until the last piece, so a record that arrives meanwhile is kept after the others. One
transaction holds the outputs of a piece, the state after it and the removal of its kept records. The mark names the
release in progress, so a restore continues it.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterator
from typing import TYPE_CHECKING, Generic

from msgspec import structs

from pipeline import topics
from pipeline.runtime.logic import NEVER, Logic, State, reference_of
from pipeline.runtime.partition.entries import CLEAN
from pipeline.runtime.partition.internal_errors import log_error, place
from pipeline.runtime.partition.ports import Headers, Produce, Recall, TransactionLost
from pipeline.wire.quarantine import SEPARATOR, Kept, Mark, Releasing, kept_key

if TYPE_CHECKING:
    from pipeline.runtime.partition.partition import Partition
    from pipeline.runtime.partition.quarantine import SetAside
    from pipeline.runtime.partition.undo import Undo

log = logging.getLogger(__name__)

PIECE = 1000
"""Records per piece. All other keys of the worker wait while one is applied."""
QUARANTINE = topics.QUARANTINE.name


class Release(Generic[State]):
    """The release of one key; `go_on` does the next step."""

    def __init__(
        self, aside: SetAside[State], mark: Mark, order: Releasing, partition: Partition[State], logic: Logic[State],
        undo: Undo[State],
    ) -> None:  # fmt: skip
        """`mark` and `order` belong to `aside`."""
        self._aside = aside
        self._mark = mark
        self._order = order
        self._partition = partition
        self._reference = reference_of(logic)
        self._undo = undo
        self._late = {kept_key(aside.entry.key, each): each for each in aside.recent}
        """Records kept since the last commit, which consumers may not see yet."""
        self._pending: deque[Kept] = deque()
        self._piece: list[Kept] = []
        self._steps: Iterator[None] | None = None

    def keep(self, record: Kept) -> None:
        """Adds a record that arrived during the release."""
        self._late[kept_key(self._aside.entry.key, record)] = record

    def go_on(self, recall: Recall, produce: Produce) -> None:
        """Does the next step. Raises TransactionLost."""
        if self._steps is None:
            self._steps = self._run(recall, produce)
        next(self._steps, None)

    def _run(self, recall: Recall, produce: Produce) -> Iterator[None]:
        entry = self._aside.entry
        found: dict[bytes, Kept] = {}
        for chunk in recall.kept(self._partition.number, self._partition.source):
            for name, record in chunk:
                if name.partition(SEPARATOR)[0] != entry.key:
                    continue
                if record is None:
                    found.pop(name, None)
                else:
                    found[name] = record
            yield
        self._pending.extend(each for name, each in found.items() if name not in self._late)
        alone = self._alone()
        while alone is not None:
            self._pending.extend(self._late.values())
            self._late.clear()
            self._take_piece()
            self._apply(alone, produce)
            again = alone.quarantine.set_aside.get(entry.key)
            if again is not None:
                self._end_again(again, produce)
                return
            if not self._pending:
                self._end(produce)
                return
            yield

    def _alone(self) -> Partition[State] | None:
        """A partition with the key alone; None if its state cannot be read."""
        entry, partition = self._aside.entry, self._partition
        if self._order.way == "afresh":
            entry.record = None
        try:
            alone = self._undo.alone(entry, self._mark.watermark, self._piece)
        except TransactionLost:
            raise
        except Exception as error:
            log_error(error, partition.place(self._order.offset))
            self._give_up()
            return None
        finally:
            self._reference.see(partition.watermarks.now)
        entry.through = 0  # the state contains none of the kept records
        return alone

    def _take_piece(self) -> None:
        """The next records with rising offsets: in a topic that was recreated they start again."""
        self._piece.clear()
        pending, last = self._pending, -1
        while pending and len(self._piece) < PIECE and pending[0].offset() > last:
            self._piece.append(pending.popleft())
            last = self._piece[-1].offset()

    def _apply(self, alone: Partition[State], produce: Produce) -> None:
        """Applies the piece. Then the key is set aside in `alone`, or its state contains the piece and is due."""
        entry, ours, published = self._aside.entry, self._partition, self._mark.published

        def publish_new(
            topic: str, value: bytes | None, key: bytes | None, partition: int = -1, headers: Headers = ()
        ) -> None:
            if topic != QUARANTINE or value is None or SEPARATOR not in (key or b""):  # else it is kept already
                produce(topic, value, key, partition, headers)

        self._reference.see(alone.watermarks.now)
        try:
            entry.since = self._piece[0].offset() if self._piece else ours.position
            alone.apply([each for each in self._piece if each.offset() < published], alone.discard)
            alone.apply([each for each in self._piece if each.offset() >= published], publish_new)
            if not self._pending and entry.key not in alone.quarantine.set_aside:  # what became visible since the last
                now = Kept(entry.key, None, ours.position, self._order.at_ms)
                alone.show(ours.watermarks.now, ours.position, now, publish_new)
        finally:
            self._reference.see(ours.watermarks.now)
        if self._pending and entry.key not in alone.quarantine.set_aside:
            self._write(alone, publish_new)
        again = alone.quarantine.set_aside.get(entry.key)
        through = NEVER if again is None else again.mark.through if again.mark is not None else 0
        for each in self._piece:
            if each.offset() < through:
                produce(QUARANTINE, None, kept_key(entry.key, each), ours.number)

    def _write(self, alone: Partition[State], produce: Produce) -> None:
        """Writes the state after a piece that is not the last one."""
        entry, unwritten = self._aside.entry, self._partition.unwritten
        following = self._pending[0]
        try:
            unwritten.write(unwritten.records(entry, following.offset(), alone.max_state_bytes))
        except Exception as error:
            log_error(error, self._partition.place(following.offset()))
            alone.quarantine.put(entry, following, place(error), produce, sound=True, keep=False)
            return
        unwritten.forget(entry)
        self._order = structs.replace(self._order, way="")  # it has a state again
        self._mark = structs.replace(
            self._mark, through=following.offset(), watermark=alone.watermarks.now, releasing=self._order
        )
        self._partition.quarantine.note(self._aside, self._mark)

    # --- how it ends -------------------------------------------------------------------------------------------------

    def _give_up(self) -> None:
        """Ends the release; all records stay kept."""
        log.error("%s: partition %d: a station could not be released", self._partition.source, self._partition.number)
        self._aside.release = None
        self._partition.quarantine.note(self._aside, structs.replace(self._mark, releasing=None))

    def _end_again(self, again: SetAside[State], produce: Produce) -> None:
        """Ends the release: a record of the last piece set the key aside again."""
        if again.mark is None:  # by a record with published outputs
            self._give_up()
            return
        again.recent, again.kept_until = self._aside.recent, self._aside.kept_until
        self._partition.quarantine.set_aside[self._aside.entry.key] = again

    def _end(self, produce: Produce) -> None:
        """Ends the release: the key takes part again."""
        entry, partition, mark, order = self._aside.entry, self._partition, self._mark, self._order
        quarantine = partition.quarantine
        del quarantine.set_aside[entry.key]
        quarantine.note(self._aside, None)
        produce(QUARANTINE, None, entry.key, partition.number)
        entry.since = CLEAN
        partition.unwritten.write_soon(entry, partition.position)
        partition.entries[entry.key] = entry
        partition.ticks.reschedule(entry, entry.state)
        quarantine.released(entry, mark, order, produce)
