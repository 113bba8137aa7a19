"""What events and passing time do to a station: the only place where an event is put to a session.

The rule of this folder: collect, do not judge. Events are put where they belong, in order of event time, whatever the
order of arrival; what the evidence amounts to (energy, quality) is decided in metering/, from the whole set, when a
session is shown, closed or revised. So the order of arrival cannot change a result. Only ticks close sessions by rule
(ticks.py). The life of a session is drawn in
ops/spec/sessions.md, section 2; problem numbers are those of the table in ops/field-problems.md.
"""
