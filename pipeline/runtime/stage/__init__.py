"""The durable stage and the sink: both process the partitions that the consumer group assigns."""
