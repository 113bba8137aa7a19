"""What schemas/topics/*.yaml declares: for whoever creates topics, or grants access to them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import yaml

from pipeline.cli.options import schemas
from pipeline.errors import WrongUsage


@dataclass(frozen=True, slots=True, kw_only=True)
class Declared:
    """One file of schemas/topics: what an operator needs to create the topic and to grant access to it."""

    name: str
    description: str
    key: str
    partitions: int
    replication_factor: int
    config: dict[str, str]
    writers: tuple[str, ...]
    readers: tuple[str, ...]
    identifiers: bool


def declared_topics(folder: Path | None = None) -> list[Declared]:
    """Every topic of `folder` (default: schemas/topics), by name. Raises WrongUsage naming the file and the field."""
    return [_read(file) for file in sorted((folder or schemas("topics")).glob("*.yaml"))]


def _read(file: Path) -> Declared:
    try:
        found = yaml.safe_load(file.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise WrongUsage(f"{file}: not readable YAML: {error}") from error
    if not isinstance(found, dict):
        raise WrongUsage(f"{file}: expected the fields of a topic")
    try:
        topic = Declared(
            name=str(found["name"]),
            description=str(found["description"]),
            key=str(found["key"]),
            partitions=int(found["partitions"]),
            replication_factor=int(found["replication_factor"]),
            config={str(name): str(value) for name, value in found["config"].items()},
            writers=tuple(found["writers"]),
            readers=tuple(found["readers"]),
            identifiers=bool(found["identifiers"]),
        )
    except KeyError as error:
        raise WrongUsage(f"{file}: field {error.args[0]} is missing") from error
    except (AttributeError, TypeError, ValueError) as error:
        raise WrongUsage(f"{file}: {error}") from error
    if topic.name != file.stem:
        raise WrongUsage(f"{file}: declares the topic {topic.name}; the file has to carry its name")
    return topic
