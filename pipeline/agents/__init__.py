"""Thin Faust agents and the logic that they carry: when things happen."""
