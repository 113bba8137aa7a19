"""The durable keyed stage on Faust; alone knows offsets, checkpoints and the changelog. Its contract: logic.py."""
