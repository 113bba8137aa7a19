"""Stock Faust: an agent over a JSON topic, state in a dictionary. Arguments: KAFKA TOPIC GROUP FOLDER."""

from __future__ import annotations

import sys

import faust
from logic import Teller, step

kafka, topic, group, folder = sys.argv[1:5]
app = faust.App(
    group, broker=f"kafka://{kafka}", consumer_auto_offset_reset="earliest", store="memory://",
    datadir=folder, web_enabled=False, topic_disable_leader=True, topic_partitions=8,
)  # fmt: skip
source = app.topic(topic, key_type=bytes, value_serializer="json", key_serializer="raw")
out = app.topic("bench-out", value_serializer="json")
stations: dict = {}
tell = Teller()


@app.agent(source)
async def assemble(events):
    async for key, event in events.items():
        if key is not None:
            stations[key], ended = step(stations.get(key), event)
            if ended is not None:
                await out.send(key=key, value=ended)
        tell.one()


if __name__ == "__main__":
    sys.argv = [sys.argv[0], "worker", "--loglevel", "warn", "--without-web"]
    app.main()
