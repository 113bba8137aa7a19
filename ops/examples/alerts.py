import json
import sys
from pathlib import Path

from confluent_kafka import Consumer, KafkaException

kafka = sys.argv[1] if len(sys.argv) > 1 else "127.0.0.1:9092"
config = {
    "bootstrap.servers": kafka,
    "group.id": "alerts-mine",  # the role `alerts` of a secured broker may use any name that begins so
    "isolation.level": "read_committed",  # otherwise alerts of aborted transactions come, too
    "auto.offset.reset": "earliest",
}
if len(sys.argv) > 2:  # the client file of a secured broker: name=value lines
    config |= (line.split("=", 1) for line in Path(sys.argv[2]).read_text().splitlines())
consumer = Consumer(config)
consumer.subscribe(["anomalies"])
try:
    while True:
        message = consumer.poll(1.0)
        if message is None:
            continue
        if message.error():
            raise KafkaException(message.error())
        alert = json.loads(message.value())  # schemas/messages/anomalies.v1.schema.json
        place = f"{alert['station_id']}/{alert['connector_id']}"
        print(alert["state"], alert["severity"], alert["rule"], place, alert["alert_id"], flush=True)
finally:
    consumer.close()
