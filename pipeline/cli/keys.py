"""`chargeline keys`: the keyring, from which every pseudonym and session id is made. Nothing here prints a key."""

from __future__ import annotations

import base64
import json
import os
import secrets
from pathlib import Path

import click

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

    Who loses the keyring can no longer tell that two sessions are of the same driver, and a replay makes other session
    ids; who publishes it lets everybody guess drivers from pseudonyms. Keep it in your secret store and point
    CHARGELINE_KEYS_FILE at it.
    """
    write_keyring(file)
    echo(f"keyring written to {file}; set CHARGELINE_KEYS_FILE={file}", err=True)


@command.command()
@click.argument("file", type=click.Path(path_type=Path))
def fingerprint(file: Path) -> None:
    """Print 16 characters that are the same for every copy of the keyring in FILE, and tell nothing of its keys.

    Note them down with the copies. A worker that is started with another keyring makes other ids of the same sessions.
    """
    echo(Keyring.decode(read(file, "keyring"), str(file)).fingerprint())


def write_keyring(file: Path) -> None:
    """One random key per purpose, mode 0600. Raises WrongUsage if `file` exists or cannot be written."""
    keys = {purpose: base64.b64encode(secrets.token_bytes(KEY_BYTES)).decode() for purpose in PURPOSES}
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise WrongUsage(f"{file} exists: a keyring is never replaced; move it away or choose another name") from None
    except OSError as error:
        raise WrongUsage(f"{file} cannot be written: {error.strerror}") from error
    with os.fdopen(descriptor, "w", encoding="utf-8") as out:
        out.write(json.dumps({"version": 1, "keys": keys}, indent=2) + "\n")
