import json
import sys

from confluent_kafka import Consumer, KafkaException

kafka = sys.argv[1] if len(sys.argv) > 1 else "127.0.0.1:9092"
consumer = Consumer(
    {
        "bootstrap.servers": kafka,
        "group.id": "my-alerts",
        "isolation.level": "read_committed",  # otherwise alerts of aborted transactions come, too
        "auto.offset.reset": "earliest",
    }
)
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
