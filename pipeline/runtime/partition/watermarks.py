"""How much of the reference data the records of a partition could see, the last ones and the next one."""

from __future__ import annotations

from collections import deque

from pipeline.runtime.logic import Watermark


class Watermarks:
    def __init__(self) -> None:
        self.now: Watermark = ()
        self._grown: deque[tuple[int, Watermark]] = deque()
        """What became visible, with the offset of the tick that said so."""

    def grow(self, offset: int, grown: Watermark) -> None:
        """From the tick at `offset` on."""
        if not self._grown:
            self._grown.append((-1, self.now))
        self._grown.append((offset, grown))
        self.now = grown

    def at(self, offset: int) -> Watermark:
        """What the record at `offset` could see."""
        return next((watermark for at, watermark in reversed(self._grown) if at < offset), self.now)

    def before(self, offset: int) -> Watermark:
        """The same of the record from which a restore applies again; what was visible before it is forgotten."""
        grown = self._grown
        while len(grown) > 1 and grown[1][0] < offset:
            grown.popleft()
        return grown[0][1] if grown else self.now
