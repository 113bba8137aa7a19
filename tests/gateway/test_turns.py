"""What a guess may cost: budgets that fill again, turns by address, the same work for known and unknown stations."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from pathlib import Path

import pytest

from pipeline.gateway import passwords, turns
from pipeline.gateway.passwords import HASHING, Passwords, line
from pipeline.gateway.turns import Budget, TooMany, Turns, network

RIGHT, WRONG = b"canary-0123456789", b"canary-9999999999"


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("passwords") / "passwords"
    made.write_text("\n".join(line(f"SIM-{number}", RIGHT) for number in range(4)) + "\n")
    return made


def test_a_budget_is_per_key_and_comes_back_with_time() -> None:
    budget = Budget(burst=2, every_s=0.05)
    for _ in range(2):
        assert not budget.is_spent("a")
        budget.spend("a")
    assert budget.is_spent("a")
    assert not budget.is_spent("b")
    time.sleep(0.06)
    assert not budget.is_spent("a")


def test_what_is_remembered_of_strangers_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns, "MOST_KEYS", 10)
    budget = Budget(burst=1, every_s=1000)
    for key in range(20):
        budget.spend(key)
    assert [key for key in range(20) if budget.is_spent(key)] == list(range(10, 20))


def test_an_address_with_many_waiting_delays_another_by_one_turn() -> None:
    order: list[str] = []

    async def work(queue: Turns, address: str) -> None:
        async with queue.turn(address):
            order.append(address)
            await asyncio.sleep(0)

    async def all_at_once() -> None:
        queue = Turns(at_once=1, most=100)
        async with asyncio.TaskGroup() as group:
            for address in ["flood"] * 50 + ["charger"]:
                group.create_task(work(queue, address))

    asyncio.run(all_at_once())
    assert len(order) == 51
    assert order.index("charger") <= 2


def test_the_queue_is_bounded_and_who_goes_away_leaves_it() -> None:
    async def check() -> None:
        queue = Turns(at_once=1, most=1)

        async def wait() -> None:
            async with queue.turn("a"):
                pass

        async with queue.turn("a"):
            waiting = asyncio.create_task(wait())
            await asyncio.sleep(0)
            with pytest.raises(TooMany):
                await wait()
            waiting.cancel()
            await asyncio.gather(waiting, return_exceptions=True)
            second = asyncio.create_task(wait())
            await asyncio.sleep(0)
        await second
        await wait()

    asyncio.run(check())


def test_a_wrong_password_costs_the_same_whether_the_station_is_known_or_not(file: Path) -> None:
    async def fastest(passwords: Passwords, identity: str) -> float:
        took = []
        for number in range(4):
            began = time.process_time()  # also of the hashing threads; a busy machine does not change it
            assert not await passwords.verify(identity, WRONG, str(number))
            took.append(time.process_time() - began)
        return min(took)

    async def both() -> tuple[float, float]:
        passwords = Passwords(file)
        assert not await passwords.verify("UNKNOWN", RIGHT), "the right password of somebody else"
        return await fastest(passwords, "SIM-1"), await fastest(passwords, "UNKNOWN")

    known, unknown = asyncio.run(both())
    assert 0.5 < known / unknown < 2


@pytest.mark.parametrize("identity", ["SIM-1", "UNKNOWN"])
def test_failures_of_an_identity_are_bounded_and_keep_nobody_else_out(file: Path, identity: str) -> None:
    async def check() -> int:
        passwords, wrong = Passwords(file), 0
        assert await passwords.verify("SIM-2", RIGHT, "192.0.2.1")
        with suppress(TooMany):
            for _ in range(20):
                assert not await passwords.verify(identity, WRONG, "192.0.2.1")
                wrong += 1
        assert await passwords.verify("SIM-1", RIGHT, "192.0.2.2"), "from another address"
        assert await passwords.verify("SIM-2", RIGHT, "192.0.2.1"), "remembered"
        assert await passwords.verify("SIM-3", RIGHT, "192.0.2.1"), "another identity"
        return wrong

    assert asyncio.run(check()) == 5


def test_a_proxy_with_fifty_wrong_chargers_has_failures_left_for_the_others() -> None:
    """However long they go on: what they may use up in a second comes back in a second."""
    assert 50 / passwords.FAILURES_AS_IDENTITY[1] <= 1 / passwords.FAILURES_AT_ADDRESS[1]


def test_a_flood_from_one_address_is_hashed_a_few_times_and_another_address_waits_for_one_hash(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(passwords, "FAILURES_AT_ADDRESS", (30, 1.0))

    async def check() -> tuple[list[object], int]:
        found = Passwords(file)
        flood = [asyncio.create_task(found.verify(f"GUESS-{number}", WRONG, "192.0.2.1")) for number in range(300)]
        await asyncio.sleep(0.01)
        assert await found.verify("SIM-1", RIGHT, "192.0.2.2")
        before = sum(guess.done() for guess in flood)
        return await asyncio.gather(*flood, return_exceptions=True), before

    results, before = asyncio.run(check())
    assert before <= 3 * HASHING, "those in hand, and one turn"
    assert results.count(False) <= 30 + HASHING + 15  # some budget comes back while it lasts
    assert all(isinstance(each, TooMany) for each in results if each is not False)


def test_an_address_is_what_one_attacker_has() -> None:
    assert network("192.0.2.7") == network("::ffff:192.0.2.7") == "192.0.2.7"
    assert network("2001:db8:0:1::1") == network("2001:db8:0:1:ffff::2") != network("2001:db8:0:2::1")
    assert network("nothing") == "nothing"
