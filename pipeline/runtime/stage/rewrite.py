"""Lets a command write in place of a stage: outputs and state records in one transaction, with unchanged offsets.

The rule of the file: only while no worker is a member of the group. The offsets are committed again unchanged, so the
broker refuses the whole transaction if a worker joins meanwhile.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import confluent_kafka as ck
from confluent_kafka.admin import AdminClient

from pipeline.errors import Unavailable, WrongUsage
from pipeline.metrics import Meters
from pipeline.runtime.kafka.config import StageConfig
from pipeline.runtime.kafka.history import KafkaHistory
from pipeline.runtime.kafka.retry import CALL_S, Waits
from pipeline.runtime.kafka.transaction import KafkaTransaction
from pipeline.runtime.logic import Output
from pipeline.runtime.partition.ports import Committed, Position, TransactionLost


class Rewrite:
    """Writes for the stage of `config`, whose worker name no worker uses."""

    def __init__(self, config: StageConfig) -> None:
        self._config = config
        self._waits = Waits(config.name, Meters())
        self._consumer = ck.Consumer(dict(config.client) | {"group.id": config.group, "enable.auto.commit": False})

    def close(self) -> None:
        self._consumer.close()

    def is_running(self) -> bool:
        """Whether the group has a member. Raises Unavailable."""
        admin = AdminClient(dict(self._config.client))
        try:
            found = admin.describe_consumer_groups([self._config.group])[self._config.group].result(CALL_S)
        except (ck.KafkaException, TimeoutError) as error:
            raise Unavailable(f"group {self._config.group}: the broker does not answer: {error}") from error
        return bool(found.members)

    def committed(self, numbers: Iterable[int]) -> Mapping[int, Committed]:
        history = self._history()
        try:
            return history.committed(list(numbers))
        finally:
            history.close()

    def records(self, number: int) -> dict[bytes, bytes]:
        """The changelog of a partition as a restore reads it."""
        history = self._history()
        found: dict[bytes, bytes] = {}
        try:
            for chunk in history.read(history.ends([number])):
                for _, key, value in chunk:
                    if value is None:
                        found.pop(key, None)
                    else:
                        found[key] = value
        finally:
            history.close()
        return found

    def publish(
        self,
        committed: Mapping[int, Committed],
        outputs: Mapping[int, list[Output]],
        states: Mapping[int, dict[bytes, bytes | None]],
    ) -> None:
        """Writes everything or nothing, by source partition. Raises WrongUsage if a worker runs or left work undone."""
        for number, place in committed.items():
            if place.oldest is not None and place.offset is not None and place.oldest < place.offset:
                raise WrongUsage(
                    f"partition {number}: not all state is written, because the last worker was killed; "
                    "start one, wait until it is ready, stop it with SIGTERM and repeat the command"
                )
        if self.is_running():
            raise WrongUsage(f"group {self._config.group} has members: stop its workers with SIGTERM first")
        transaction = KafkaTransaction(self._config, self._consumer.consumer_group_metadata, self._waits)
        try:
            transaction.connect()
            transaction.begin()
            for number, records in outputs.items():
                for output in records:
                    transaction.produce(output.topic, output.value, output.key, number, output.headers)
            for number, changed in states.items():
                for key, value in changed.items():
                    transaction.produce(self._config.changelog, value, key, number)
            transaction.flush()
            transaction.send_offsets(
                [
                    Position(number, place.offset, place.offset, place.watermark)
                    for number, place in committed.items()
                    if place.offset is not None
                ]
            )
            transaction.commit()
        except TransactionLost as lost:
            raise Unavailable(f"nothing was written, the broker refused the transaction: {lost}; repeat it") from lost

    def _history(self) -> KafkaHistory:
        return KafkaHistory(self._config, self._waits, lambda: False)
