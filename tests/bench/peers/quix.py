"""Quix Streams: state in RocksDB with changelog, at least once. Arguments: KAFKA TOPIC GROUP FOLDER."""

from __future__ import annotations

import sys

from logic import Teller, step
from quixstreams import Application

kafka, topic, group, folder = sys.argv[1:5]
app = Application(
    kafka, consumer_group=group, auto_offset_reset="earliest", state_dir=folder, use_changelog_topics=True,
    loglevel="WARNING",
)  # fmt: skip
source = app.topic(topic, key_deserializer="str", value_deserializer="json")
out = app.topic("bench-out", key_serializer="str", value_serializer="json")
tell = Teller()


def assemble(event, state):
    found, ended = step(state.get("session"), event)
    state.set("session", found)
    return ended


def counted(event):
    tell.one()
    return "station_id" in event


rows = app.dataframe(source)
rows = rows.filter(counted).apply(assemble, stateful=True)
rows = rows.filter(lambda ended: ended is not None).to_topic(out)

if __name__ == "__main__":
    app.run()
