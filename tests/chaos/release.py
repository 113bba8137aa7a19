"""An earlier release: workers run it until they are replaced, and its own offline result says what it would have told.

A release may judge evidence in another way than this one; what a fleet in the middle of an upgrade tells of such a
station is neither result. So the stations whose outputs the two releases agree about are compared byte for byte, and
the others by what no upgrade may do: lose a session, or tell something twice.
"""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import confluent_kafka as ck

from pipeline.settings import PREFIX, Settings
from tests.chaos.offline import Told
from tests.chaos.verdict import counters
from tests.chaos.workers import REPOSITORY
from tests.cost.compare import unpack

UPGRADED_FROM = "26ac6fe"
"""The last commit before the faults of this package were tried."""
_OFFLINE = """
import pickle, sys
from dataclasses import fields
from pathlib import Path
from pipeline.cli.options import settings
from tests.chaos import offline

class Message:
    def __init__(self, *parts):
        self.partition, self.offset, self.key, self.value, self.timestamp = (lambda part=part: part for part in parts)

folder = Path(sys.argv[1])
messages = [Message(*parts) for parts in pickle.loads((folder / "log.pickle").read_bytes())]
offline.records = lambda *_, **__: messages
told = offline.told_offline(settings(), {message.partition(): 0 for message in messages})
result = {each.name: getattr(told, each.name) for each in fields(told)}
(folder / "told.pickle").write_bytes(pickle.dumps(result))
"""


class Release:
    """`revision` below `tree`."""

    def __init__(self, revision: str, tree: Path) -> None:
        unpack(REPOSITORY, revision, tree, "tests")
        self.tree = tree

    def offline(self, settings: Settings, messages: Iterable[ck.Message]) -> Told:
        """As told_offline, by that release's own code."""
        log = [(each.partition(), each.offset(), each.key(), each.value(), each.timestamp()) for each in messages]
        (self.tree / "log.pickle").write_bytes(pickle.dumps(log))
        environment = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)} | {  # noqa: TID251 - handed on
            f"{PREFIX}KAFKA": settings.kafka,
            f"{PREFIX}KEYS_FILE": str(settings.keys_file),
            f"{PREFIX}SITES_FILE": str(settings.sites_file),
            f"{PREFIX}TARIFFS_FILE": str(settings.tariffs_file),
        }
        command = [sys.executable, "-c", _OFFLINE, str(self.tree)]
        subprocess.run(command, cwd=self.tree, env=environment, check=True)  # noqa: S603 - our own code
        return Told(**pickle.loads((self.tree / "told.pickle").read_bytes()))  # noqa: S301 - written above


def judged_anew(former: Told, latter: Told) -> frozenset[bytes]:
    """Stations of which two releases tell different things, or count them in another way."""
    views = (former.by_station(), latter.by_station()), (counters(former.states), counters(latter.states))
    return frozenset(
        station
        for one, other in views
        for station in one.keys() | other.keys()
        if one.get(station) != other.get(station)
    )
