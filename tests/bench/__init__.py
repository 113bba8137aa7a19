"""`make bench`: throughput, latency and memory of the pipeline, next to the bare loop and its peers, in one run."""
