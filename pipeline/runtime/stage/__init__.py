"""The durable stage, and the sink beside it: when what is done with the partitions that the group assigns."""
