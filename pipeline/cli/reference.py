"""Reference data and keys that several commands take: sites, tariffs, the keyring."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from pathlib import Path

import click

from pipeline.cli.output import echo
from pipeline.domain.pricing.tariff import CannotPrice, Tariff, require_lock
from pipeline.domain.pseudonyms import KEY_BYTES, NEEDED, Keyring, control_key
from pipeline.domain.rating import Rating
from pipeline.domain.sites.site import Site
from pipeline.errors import InvalidMessage, WrongUsage
from pipeline.settings import Settings
from pipeline.wire.control import Control
from pipeline.wire.sites import decode_sites
from pipeline.wire.tariffs import decode_tariffs

NOT_SIGNED = (
    "not signed: set CHARGELINE_KEYS_FILE to the workers' keyring (or a file with its key `control` alone), otherwise "
    "clock ticks and decisions become dead letters NOT_SIGNED where the workers sign theirs"
)
FILE = click.Path(dir_okay=False, path_type=Path)

sites_option = click.option("--sites", type=FILE, help="Sites document (JSON) [CHARGELINE_SITES_FILE].")
tariffs_option = click.option("--tariffs", type=FILE, help="OCPI tariffs (JSON) [CHARGELINE_TARIFFS_FILE].")


def read(path: Path, what: str) -> bytes:
    """Raises WrongUsage that names the file."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise WrongUsage(f"{path}: cannot read the {what}: {error.strerror}") from error


def keyring(settings: Settings) -> Keyring:
    """The keyring of a worker: without one it does not start. Raises WrongUsage."""
    if settings.keys_file is None:
        raise WrongUsage(
            "no keyring: make one with `chargeline keys create FILE` and name it in CHARGELINE_KEYS_FILE; "
            "pseudonyms without a key could be reversed"
        )
    return Keyring.decode(read(settings.keys_file, "keyring"), str(settings.keys_file))


def passing_keyring() -> Keyring:
    """Keys that nobody keeps, for offline commands: ids and pseudonyms differ at every call. Checks no signature."""
    return Keyring({purpose: {"*": secrets.token_bytes(KEY_BYTES)} for purpose in NEEDED})


def control(settings: Settings, topic: str) -> Control:
    """Signs ticks and decisions; says on stderr when it cannot. Raises WrongUsage for a keyring that is none."""
    file = settings.keys_file
    key = None if file is None else control_key(read(file, "keyring"), str(file))
    if key is None:
        echo(NOT_SIGNED, err=True)
    return Control(key, topic)


def rating(settings: Settings, keys: Keyring) -> Rating:
    """Reference data of the settings. Raises WrongUsage (file) or InvalidMessage (content), naming file and field."""
    sites_file, tariffs_file = settings.sites_file, settings.tariffs_file
    sites = decode_sites(read(sites_file, "sites"), str(sites_file)) if sites_file else []
    tariffs = decode_tariffs(read(tariffs_file, "tariffs"), str(tariffs_file)) if tariffs_file else []
    _check_locks(sites, tariffs, f"{sites_file} and {tariffs_file}")
    return Rating(keys, sites, tariffs)


def _check_locks(sites: Sequence[Site], tariffs: Sequence[Tariff], source: str) -> None:
    """Where both are at hand, names a tariff that must not be used at its site before it holds any bill."""
    for site in sites:
        for tariff in tariffs:
            if site.lock_required and tariff.id in site.tariff_ids:
                try:
                    require_lock(tariff)
                except CannotPrice as fault:
                    raise InvalidMessage(fault.code, f"{source}: site {site.site_id!r}: {fault.detail}") from fault
