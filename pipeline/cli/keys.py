"""`chargeline keys`: the keyring, from which every pseudonym and session id is made. Nothing here prints a key."""

from __future__ import annotations

import base64
import json
import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import click
import msgspec

from pipeline.cli.output import echo
from pipeline.cli.reference import read
from pipeline.domain.pseudonyms import KEY_BYTES, PURPOSES, Keyring
from pipeline.errors import WrongUsage


@click.group()
def command() -> None:
    """Make the keyring from which pseudonyms are made."""


@command.command()
@click.argument("file", type=click.Path(path_type=Path))
def create(file: Path) -> None:
    """Write a new keyring to FILE, readable by you alone; an existing file is never replaced.

    Without the keyring nobody can see any more that two sessions are of the same driver, and a replay makes other
    session ids. If it becomes public, everybody can guess drivers from pseudonyms. Keep it in your secret store and
    point CHARGELINE_KEYS_FILE at it.
    """
    write_keyring(file)
    echo(f"keyring written to {file}; set CHARGELINE_KEYS_FILE={file}", err=True)


@command.command()
@click.argument("file", type=click.Path(path_type=Path))
def fingerprint(file: Path) -> None:
    """Print 16 characters that are the same for every copy of the keyring in FILE and reveal nothing about its keys.

    Write them down with the copies. A worker with another keyring makes other ids for the same sessions.
    """
    echo(Keyring.decode(read(file, "keyring"), str(file)).fingerprint())


@command.command()
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.argument("new", type=click.Path(path_type=Path))
def complete(file: Path, new: Path) -> None:
    """Write the keys of FILE to NEW, with a key for each purpose that FILE lacks; FILE stays as it is.

    Older keyrings have no key of purpose `control`, which signs clock ticks and decisions about bills. Give NEW to the
    workers and to the commands `simulate`, `replay` and `bills` at once, when no older worker runs any more: from the
    first signed tick on, a partition believes no unsigned one. A file that holds `control` alone is enough for the
    commands, which then cannot make a pseudonym.
    """
    known = msgspec.json.decode(keyring_bytes(file))["keys"]
    write_keyring(new, known)
    added = ", ".join(purpose for purpose in PURPOSES if purpose not in known) or "nothing"
    echo(f"keyring written to {new}, {added} added; set CHARGELINE_KEYS_FILE={new}", err=True)


def keyring_bytes(file: Path) -> bytes:
    """Of a good keyring. Raises WrongUsage."""
    found = read(file, "keyring")
    Keyring.decode(found, str(file))
    return found


def write_keyring(file: Path, known: Mapping[str, object] = MappingProxyType({})) -> None:
    """`known`, and one random key per other purpose, mode 0600. Raises WrongUsage if `file` exists or cannot be
    written."""
    made = {purpose: base64.b64encode(secrets.token_bytes(KEY_BYTES)).decode() for purpose in PURPOSES}
    keys = made | dict(known)
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise WrongUsage(f"{file} exists: a keyring is never replaced; move it away or choose another name") from None
    except OSError as error:
        raise WrongUsage(f"{file} cannot be written: {error.strerror}") from error
    with os.fdopen(descriptor, "w", encoding="utf-8") as out:
        out.write(json.dumps({"version": 1, "keys": keys}, indent=2) + "\n")
