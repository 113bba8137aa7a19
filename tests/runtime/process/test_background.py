"""The first failure beside a stage or sink ends its worker, and stays the one that is told."""

from __future__ import annotations

import asyncio

from pipeline.runtime.process.background import Background


async def _raises(error: Exception) -> None:
    raise error


def test_a_task_that_fails_is_told_and_later_failures_are_not() -> None:
    async def run() -> None:
        background, first = Background(), ValueError("first")
        background.spawn(_raises(first))
        await asyncio.wait([background.failure], timeout=5)
        background.fail(ValueError("second"))
        assert background.failure.exception() is first

    asyncio.run(run())


def test_a_cancelled_task_is_no_failure() -> None:
    async def run() -> None:
        background, began, ended = Background(), asyncio.Event(), asyncio.Event()

        async def endless() -> None:
            began.set()
            try:
                await asyncio.sleep(60)
            finally:
                ended.set()

        background.spawn(endless())
        await began.wait()
        background.cancel()
        await asyncio.wait_for(ended.wait(), 5)
        await asyncio.sleep(0)
        assert not background.failure.done()

    asyncio.run(run())
