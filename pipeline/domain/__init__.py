"""What is true: pure functions on values. No clock, environment, randomness, logging or I/O."""
