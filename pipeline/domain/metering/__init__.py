"""What the evidence of a session amounts to: energy, times, quality; and where the energy of a connector went. Pure.

How the parts work together is in ops/spec/sessions.md, sections 4 to 6.
"""
