"""`chargeline lint`: findings about tariffs: errors, warnings and information. Works offline."""

from __future__ import annotations

from pathlib import Path

import click

from pipeline.cli.options import json_option, print_json
from pipeline.cli.output import echo
from pipeline.cli.pricing_files import basis, zone_option
from pipeline.cli.reference import FILE, read
from pipeline.wire.tariff_lint import lint_tariffs


@click.command("lint")
@click.argument("files", metavar="TARIFF.json", nargs=-1, required=True, type=FILE)
@zone_option
@json_option
@click.pass_context
def command(context: click.Context, files: tuple[Path, ...], time_zone: str | None, as_json: bool) -> None:
    """Judge OCPI tariffs: one finding per line, with severity, code and the element concerned.

    Exit code 1 if any finding is an error: such a tariff cannot be priced as meant. --time-zone adds findings that
    depend on the zone, such as a window that begins in the hour which autumn repeats.
    """
    basis((), time_zone, None)
    has_error = False
    for file in files:
        for name, findings in lint_tariffs(read(file, "tariff"), str(file), time_zone):
            has_error = has_error or any(finding.severity == "error" for finding in findings)
            if as_json:
                print_json({"tariff": name, "findings": [finding._asdict() for finding in findings]})
                continue
            for severity, code, where, text in ((f.severity, f.code, f.where, f.text) for f in findings):
                echo(f"{name}: {severity} {code}: {where}{': ' if where else ''}{text}")
            if not findings:
                echo(f"{name}: no findings")
    context.exit(1 if has_error else 0)
