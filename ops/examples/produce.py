import json
import sys
import time
from pathlib import Path

from confluent_kafka import Producer

kafka = sys.argv[1] if len(sys.argv) > 1 else "127.0.0.1:9092"
config = {
    "bootstrap.servers": kafka,
    "enable.idempotence": True,
    "partitioner": "murmur2_random",  # as Kafka's Java clients: a station's state lives in its partition
}
if len(sys.argv) > 2:  # the client file of a secured broker: name=value lines
    config |= (line.split("=", 1) for line in Path(sys.argv[2]).read_text().splitlines())
producer = Producer(config)
station, began_us = "DEPOT-01", (int(time.time()) - 1800) * 1_000_000
failures = []


def answered(error, message):
    if error:
        failures.append(str(error))


def send(kind, after_s, **fields):
    """Times are microseconds UTC, registers lifetime Wh. Sending an event again is harmless."""
    event = {
        "type": kind,
        "station_id": station,
        "connector_id": 1,
        "transaction_id": f"{station}-{began_us}",
        "event_time_us": began_us + after_s * 1_000_000,
        **fields,
    }
    producer.produce("meter-events", json.dumps(event), station, on_delivery=answered)


send("session_started", 0, register_wh=34_984_000, token="04A1B2C3", token_type="ISO14443")
for minute in range(1, 30):
    send("meter_read", minute * 60, register_wh=34_984_000 + minute * 300, power_w=18_000)
send("session_ended", 1800, register_wh=34_993_000, reason="EVDisconnected")
producer.flush()
if failures:
    sys.exit(f"{len(failures)} events not delivered: {failures[0]}")
print("sent a session of 9.000 kWh")
