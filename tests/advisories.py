"""Known holes in what is pinned: `make advisories DB=FOLDER`, without network.

FOLDER holds exports of the OSV database as they are published, one zip of JSON files per ecosystem: `PyPI.zip` and
`Maven.zip` (there: `PyPI/all.zip`, `Maven/all.zip`). Exit code 0: no pin is affected; 1: some are, a line each; 3:
there is no database, so nothing is known.
"""

from __future__ import annotations

import json
import re
import sys
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from pipeline.embedded.jars import read_lock

REPOSITORY = Path(__file__).parents[1]
REQUIREMENTS = ("constraints.txt", "ops/container/requirements.txt")
NO_DATABASE = 3
_LONGEST = 16
_PIN = re.compile(r"^([A-Za-z0-9._-]+)==([^\s;\\]+)", re.MULTILINE)
_PRE = frozenset({"a", "alpha", "b", "beta", "c", "cr", "dev", "m", "milestone", "pre", "rc", "snapshot"})


class Pin(NamedTuple):
    """`name` as OSV writes it: PyPI's in lower case with dashes, Maven's as group:artifact."""

    ecosystem: str
    name: str
    version: str


def pins() -> set[Pin]:
    """Everything that an installation brings: Python packages and the broker's jars."""
    texts = [(REPOSITORY / name).read_text("utf-8") for name in REQUIREMENTS]
    python = {Pin("PyPI", _normal(name), version) for text in texts for name, version in _PIN.findall(text)}
    return python | {Pin("Maven", f"{jar.group}:{jar.artifact}", jar.version) for jar in read_lock()}


def affected(wanted: Iterable[Pin], database: Path) -> Iterator[str]:
    """A line per pin and advisory. Raises FileNotFoundError for an ecosystem that is not in the database."""
    by_name: dict[tuple[str, str], list[Pin]] = {}
    for pin in wanted:
        by_name.setdefault((pin.ecosystem, pin.name), []).append(pin)
    for ecosystem in sorted({pin.ecosystem for pin in wanted}):
        with zipfile.ZipFile(database / f"{ecosystem}.zip") as entries:
            for name in sorted(entries.namelist()):
                advisory = json.loads(entries.read(name))
                if "withdrawn" not in advisory:
                    yield from _matches(advisory, by_name)


def _matches(advisory: Mapping[str, Any], by_name: Mapping[tuple[str, str], list[Pin]]) -> Iterator[str]:
    for each in advisory.get("affected", ()):
        package = each.get("package", {})
        name = package.get("name", "")
        key = (package.get("ecosystem", ""), _normal(name) if package.get("ecosystem") == "PyPI" else name)
        for pin in by_name.get(key, ()):
            if pin.version in each.get("versions", ()) or any(
                _is_inside(pin.version, r) for r in each.get("ranges", ())
            ):
                yield f"{pin.name} {pin.version}: {advisory['id']} {advisory.get('summary', '')}".rstrip()


def _is_inside(version: str, stretch: Mapping[str, Any]) -> bool:
    """Events are in order: from `introduced` on it is affected, from `fixed` or beyond `last_affected` no more."""
    if stretch.get("type") == "GIT":
        return False
    inside, at = False, _order(version)
    for event in stretch.get("events", ()):
        for kind, bound in event.items():
            match kind:
                case "introduced" if bound == "0" or at >= _order(bound):
                    inside = True
                case "fixed" if at >= _order(bound):
                    inside = False
                case "last_affected" if at > _order(bound):
                    inside = False
    return inside


def _order(version: str) -> tuple[float, ...]:
    """Numbers by value, release candidates before their release, other words behind it; what is missing is 0."""
    parts = [float(each) if each.isdigit() else -1.0 if each in _PRE else 0.5 for each in _words(version)]
    return (*parts, *[0.0] * (_LONGEST - len(parts)))


def _words(version: str) -> list[str]:
    return re.findall(r"\d+|[a-z]+", version.lower())


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def main(arguments: list[str]) -> int:
    database = Path(arguments[0]) if arguments and arguments[0] else None
    wanted = pins()
    missing = [name for name in ("PyPI", "Maven") if database is None or not (database / f"{name}.zip").exists()]
    if database is None or missing:
        print(
            f"no advisory database: nothing is known about {len(wanted)} pinned packages and jars. Put OSV's exports "
            f"of {' and '.join(missing)} (all.zip each) as FOLDER/ECOSYSTEM.zip, then: make advisories DB=FOLDER",
            file=sys.stderr,
        )
        return NO_DATABASE
    found = sorted(set(affected(wanted, database)))
    print("\n".join(found) if found else f"none of {len(wanted)} pinned packages and jars is affected")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
