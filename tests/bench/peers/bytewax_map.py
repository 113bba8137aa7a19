"""Bytewax: Kafka source, stateful map, Kafka sink; one worker, no recovery store, so nothing is durable.

Arguments: KAFKA TOPIC GROUP FOLDER.
"""

from __future__ import annotations

import sys

import bytewax.operators as op
import orjson
from bytewax.connectors.kafka import KafkaSink, KafkaSinkMessage, KafkaSource
from bytewax.dataflow import Dataflow
from bytewax.run import cli_main
from logic import Teller, step

kafka, topic, group, folder = sys.argv[1:5]
tell = Teller()


def decoded(message):
    tell.one()
    if message.key is None:
        return None
    return message.key.decode(), orjson.loads(message.value)


def message(keyed):
    key, ended = keyed
    return KafkaSinkMessage(key.encode(), orjson.dumps(ended))


flow = Dataflow("bench")
source = op.input("in", flow, KafkaSource([kafka], [topic], tail=True, batch_size=10_000))
keyed = op.filter_map("decode", source, decoded)
ended = op.stateful_map("assemble", keyed, step)
ended = op.filter("ends", ended, lambda pair: pair[1] is not None)
op.output("out", op.map("encode", ended, message), KafkaSink([kafka], "bench-out"))

if __name__ == "__main__":
    cli_main(flow)
