"""An exception of ours as it is told: types and places. Its text may hold what a station sent, so it is never told."""

from __future__ import annotations

import logging
import traceback

from pipeline.runtime.partition.checks import TooLarge

log = logging.getLogger(__name__)


def place(error: BaseException) -> str:
    """Type and innermost place in our code: `OverflowError at pipeline/domain/station_codec.py:42`; or the bound."""
    if isinstance(error, TooLarge):
        return f"too large: {error}"
    found, step = "", error.__traceback__
    while step is not None:
        module = str(step.tb_frame.f_globals.get("__name__", ""))
        if module.startswith("pipeline."):
            found = f" at {module.replace('.', '/')}.py:{step.tb_lineno}"
        step = step.tb_next
    return type(error).__name__ + found


def tell(error: BaseException, where: str) -> None:
    """One error and its traceback into the log; the tests fail by it (tests/conftest.py). TooLarge is none of ours."""
    if isinstance(error, TooLarge):
        return
    steps = "\n".join(
        f"  {step.filename}:{step.lineno} {step.name}" for step in traceback.extract_tb(error.__traceback__)
    )
    log.error("%s: %s\n%s", where, place(error), steps)
