"""`chargeline worker`: the stages of the pipeline, until SIGTERM."""

from __future__ import annotations

import asyncio
import logging
from functools import cache
from pathlib import Path

import click

from pipeline.app import STAGES, Secrets, run
from pipeline.cli.options import clickhouse_option, kafka_option, settings
from pipeline.cli.reference import keyring, rating, sites_option, tariffs_option


@click.command()
@click.option("--stage", "stages", multiple=True, type=click.Choice(list(STAGES)), help="Which ones [default: all].")
@click.option("--slot", help="Stable name of this worker among its peers [CHARGELINE_SLOT, default 0].")
@kafka_option
@clickhouse_option
@sites_option
@tariffs_option
def command(
    stages: tuple[str, ...],
    slot: str | None,
    kafka: str | None,
    clickhouse_url: str | None,
    sites: Path | None,
    tariffs: Path | None,
) -> None:
    """The stages of the pipeline.

    assemble: assembles, rates and strips sessions. occupy: publishes the availability of each site as a price signal.
    store: puts sessions and anomalies into ClickHouse.

    Runs until SIGTERM or Ctrl-C, then makes a last checkpoint and exits with 0. Any number of workers share the work;
    each needs its own slot name and keeps it over restarts. CHARGELINE_KEYS_FILE must name a keyring: without one
    the worker cannot make pseudonyms and refuses to start. Only `store` needs no keyring, and should not get one.
    """
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    found = settings(slot=slot, kafka=kafka, clickhouse_url=clickhouse_url, sites_file=sites, tariffs_file=tariffs)
    keys = cache(lambda: keyring(found))
    asyncio.run(run(found, stages or tuple(STAGES), Secrets(lambda: rating(found, keys()), keys)))
