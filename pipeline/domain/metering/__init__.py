"""What the evidence of a session amounts to: energy, times, quality; and where the energy of a connector went. Pure."""
