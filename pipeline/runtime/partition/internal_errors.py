"""How an exception of ours is reported: by types and places. Its text may hold what a station sent: it stays out."""

from __future__ import annotations

import logging
import traceback

from pipeline.runtime.partition.checks import TooLarge

log = logging.getLogger(__name__)


def place(error: BaseException) -> str:
    """Type and innermost place in our code: `OverflowError at pipeline/domain/station_codec.py:42`; or the bound."""
    if isinstance(error, TooLarge):
        return f"too large: {error}"
    found, frame = "", error.__traceback__
    while frame is not None:
        module = str(frame.tb_frame.f_globals.get("__name__", ""))
        if module.startswith("pipeline."):
            found = f" at {module.replace('.', '/')}.py:{frame.tb_lineno}"
        frame = frame.tb_next
    return type(error).__name__ + found


def log_error(error: BaseException, where: str) -> None:
    """Logs one error with its traceback; such a line fails a test (tests/conftest.py). TooLarge is no error of ours."""
    if isinstance(error, TooLarge):
        return
    frames = "\n".join(
        f"  {frame.filename}:{frame.lineno} {frame.name}" for frame in traceback.extract_tb(error.__traceback__)
    )
    log.error("%s: %s\n%s", where, place(error), frames)
