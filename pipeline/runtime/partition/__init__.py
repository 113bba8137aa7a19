"""One partition in memory: records applied, what a checkpoint writes, what a restore reads. No client, no clock."""
