"""What several commands share: settings from the environment, the options that win over them, and where schemas/ is.

The environment is read here and nowhere else.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import click

from pipeline.cli.output import echo
from pipeline.errors import WrongUsage
from pipeline.settings import Settings

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")
kafka_option = click.option(
    "--kafka", metavar="HOST:PORT", help="Bootstrap servers [CHARGELINE_KAFKA, default 127.0.0.1:9092]."
)
clickhouse_option = click.option(
    "--clickhouse-url", metavar="URL", help="ClickHouse [CHARGELINE_CLICKHOUSE_URL, default http://127.0.0.1:8123]."
)


def settings(**overrides: object) -> Settings:
    """Settings of this call: the environment, and over it the options that are not None. Raises WrongUsage."""
    return Settings.from_env(os.environ, **overrides)  # noqa: TID251 - the one place that reads it


def schemas(kind: str) -> Path:
    """The folder schemas/`kind`: inside an installed wheel, or beside this package in a checkout. Raises WrongUsage."""
    package = Path(__file__).parents[1]
    for folder in (package / "schemas" / kind, package.parent / "schemas" / kind):
        if folder.is_dir():
            return folder
    raise WrongUsage(f"{folder} not found: this is neither a checkout nor an installed wheel; `make install`")


def print_json(value: object) -> None:
    """One line, so that several results can be read line by line."""
    echo(json.dumps(value, ensure_ascii=False))
