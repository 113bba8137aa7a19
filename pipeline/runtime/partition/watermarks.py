"""The watermarks of reference data at the recent records of a partition and at the next one."""

from __future__ import annotations

from collections import deque

from pipeline.runtime.logic import Watermark


class Watermarks:
    def __init__(self) -> None:
        self.now: Watermark = ()
        self._grown: deque[tuple[int, Watermark]] = deque()
        """Each new watermark with the offset of the tick that named it."""

    def grow(self, offset: int, grown: Watermark) -> None:
        """Records after the tick at `offset` have the watermark `grown`."""
        if not self._grown:
            self._grown.append((-1, self.now))
        self._grown.append((offset, grown))
        self.now = grown

    def at(self, offset: int) -> Watermark:
        """The watermark at the record at `offset`."""
        return next((watermark for at, watermark in reversed(self._grown) if at < offset), self.now)

    def before(self, offset: int) -> Watermark:
        """As `at`, for the record from which a restore applies again; forgets earlier watermarks."""
        grown = self._grown
        while len(grown) > 1 and grown[1][0] < offset:
            grown.popleft()
        return grown[0][1] if grown else self.now
