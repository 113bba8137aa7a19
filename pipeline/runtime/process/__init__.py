"""The process around stages and sinks: Faust apps, signals, the watchdog, the probes."""
