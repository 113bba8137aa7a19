"""Which errors of a broker pass by themselves."""

from __future__ import annotations

import confluent_kafka as ck

TRY_AGAIN = frozenset(
    {
        ck.KafkaError._STATE,  # assigned a moment ago, its fetcher does not run yet
        ck.KafkaError._TIMED_OUT,
        ck.KafkaError._TRANSPORT,
        ck.KafkaError._ALL_BROKERS_DOWN,
        ck.KafkaError._DESTROY_BROKER,
        ck.KafkaError.NOT_LEADER_FOR_PARTITION,  # it moves to another broker
        ck.KafkaError.LEADER_NOT_AVAILABLE,
        ck.KafkaError.REPLICA_NOT_AVAILABLE,
        ck.KafkaError.OFFSET_NOT_AVAILABLE,
        ck.KafkaError.FENCED_LEADER_EPOCH,
        ck.KafkaError.UNKNOWN_LEADER_EPOCH,
        ck.KafkaError.KAFKA_STORAGE_ERROR,
        ck.KafkaError.REQUEST_TIMED_OUT,
        ck.KafkaError.NETWORK_EXCEPTION,
        ck.KafkaError.UNSTABLE_OFFSET_COMMIT,
        ck.KafkaError.NOT_COORDINATOR,
        ck.KafkaError.COORDINATOR_NOT_AVAILABLE,
        ck.KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
    }
)
"""Failures of a seek or a look-up that the next poll may heal."""
