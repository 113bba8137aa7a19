"""How much one station may make a worker remember or compute: each bound with the reason for its height.

No honest station meets one. What lies beyond is refused with a reason (a dead letter, so nothing is lost), held, or
judged as less than complete; never a reason to stop. Times are microseconds, counts are per station unless said.
"""

from __future__ import annotations

from pipeline.domain.station import DAY, HOUR

AHEAD_US = DAY
"""Further ahead of the broker's clock no live event can be, whatever the time zone of its producer: CLOCK_WRONG."""
LATEST_US = 4_102_444_800_000_000
"""2100-01-01 UTC: no receive time lies after it, nor an event time that no receive time can correct: CLOCK_WRONG."""
LONGEST_SESSION_US = 31 * DAY
"""A car at an airport for a month charges honestly; a clock that was never set gives years. IMPOSSIBLE_DURATION: the
bill is held, and there are no slots."""
MOST_CONNECTORS = 256
"""The largest stations have some dozens. TOO_MANY_CONNECTORS."""
MOST_SESSIONS = 1000
"""Sessions and further names of them, open or ended within the hour: a start every four seconds. TOO_MANY_SESSIONS."""
MOST_HELD = 2000
"""Held bills of one week, then each is forgotten: one every five minutes, all week. TOO_MANY_SESSIONS."""
MOST_ORPHANS = 256
"""Stops without a usable id within the hour in which they wait for their session. TOO_MANY_STOPS."""
MOST_STATES = 4000
"""Changes of state of a session or statuses of a connector: one in eleven minutes for a month. The oldest half goes,
and how the session spent that time is ACTIVITY_UNCLEAR."""
MOST_SEQ_GAPS = 1000
"""Separate holes in the sequence numbers of a session; the oldest are forgotten, SEQ_GAP stays."""
MOST_LEDGER = 512
"""Resets and gaps in the ledger of a connector that a late session may still claim; older gaps are only added up."""
MOST_LOOSE = 4000
"""Readings of a connector without transaction id; the older half is thinned to one a minute, as a session's are."""

WHOLE = 4000
"""So many readings of a session are kept as they are, whatever their age ..."""
WHOLE_US = HOUR
"""... and those of its last hour: as long as readings may come in any order, and longer than any register's beat that
is told by readings a minute apart."""
MOST_READINGS = 20_000
"""Beyond these a session's older readings are thinned even if what is published changes by it: EVIDENCE_THINNED."""
