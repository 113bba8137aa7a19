"""What `sites publish`, `tariffs publish` and `prices publish` share."""

from __future__ import annotations

from pipeline.cli.options import print_json, settings
from pipeline.cli.output import echo
from pipeline.edge.publisher import Agree, Document, always, publish
from pipeline.kafka_config import client_config, producer_config
from pipeline.topics import Topic


def publish_all(
    topic: Topic, documents: list[Document], kafka: str | None, as_json: bool, agree: Agree = always
) -> None:
    """Publishes and reports the result."""
    found = settings(kafka=kafka)
    result = publish(topic.name, documents, client_config(found), producer_config(found), agree)
    if as_json:
        print_json({"topic": topic.name, "published": result.new, "already_there": result.known})
    else:
        echo(f"{topic.name}: {result.new} published, {result.known} already there")
