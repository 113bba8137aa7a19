"""Sites where the price may not change in a session: other tariffs are no price there (ops/spec/pricing.md 5.3)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pipeline.agents.records import SESSIONS
from pipeline.cli import run
from pipeline.cli.reference import rating as rating_of
from pipeline.domain.rating import Rating
from pipeline.errors import InvalidMessage
from pipeline.settings import Settings
from pipeline.wire.sessions import decode_session
from pipeline.wire.sites import decode_sites
from pipeline.wire.tariffs import decode_tariffs
from tests.receipts import KEYRING, SITES, TARIFF, receipts, story

LOCKED: dict[str, Any] = TARIFF | {"x_price_mode": "LOCKED"}
BY_TIME: dict[str, Any] = LOCKED | {"elements": [{"price_components": [{"type": "TIME", "price": 6, "vat": 19}]}]}
IDLE: dict[str, Any] = LOCKED | {
    "elements": [{"price_components": [{"type": "ENERGY", "price": 0.5}, {"type": "PARKING_TIME", "price": 6}]}]
}


def sites(*, lock: bool) -> list[dict[str, Any]]:
    return [site | {"lock_required": lock} for site in SITES]


def rated(tariff: dict[str, Any], *, lock: bool = True) -> Rating:
    places, tariffs = json.dumps(sites(lock=lock)).encode(), json.dumps(tariff).encode()
    return Rating(KEYRING, decode_sites(places, "sites"), decode_tariffs(tariffs, "tariffs"))


@pytest.mark.parametrize("tariff", [TARIFF, BY_TIME], ids=["follows", "by time"])
def test_a_bill_that_the_site_may_not_make_is_held(tariff: dict[str, Any]) -> None:
    outputs = list(story(rated=rated(tariff)))
    sessions = [decode_session(each.value or b"") for each in outputs if each.topic == SESSIONS]
    assert {(each.bill_state, each.held_reason) for each in sessions} == {("HELD", "LOCK_REQUIRED")}
    assert sessions[0].energy_wh == 7200
    assert receipts(iter(outputs)) == {}
    assert receipts(story(rated=rated(tariff, lock=False))), "elsewhere it is a price like any other"


@pytest.mark.parametrize("tariff", [LOCKED, IDLE], ids=["by energy", "with an idle fee"])
def test_a_locked_price_is_billed(tariff: dict[str, Any]) -> None:
    assert "1:BILL" in receipts(story(rated=rated(tariff)))


def test_files_that_contradict_each_other_are_refused(tmp_path: Path) -> None:
    settings = Settings(sites_file=tmp_path / "sites.json", tariffs_file=tmp_path / "tariffs.json")
    (tmp_path / "sites.json").write_text(json.dumps(sites(lock=True)))
    (tmp_path / "tariffs.json").write_text(json.dumps(LOCKED))
    rating_of(settings, KEYRING)
    (tmp_path / "tariffs.json").write_text(json.dumps(BY_TIME))
    with pytest.raises(InvalidMessage, match=r"'SITE-1': tariff 'NIGHT' prices charging by TIME in elements\[0\]"):
        rating_of(settings, KEYRING)


def test_what_if_counts_what_the_site_may_not_make(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "sites.json").write_text(json.dumps(sites(lock=True)))
    (tmp_path / "tariffs.json").write_text(json.dumps(TARIFF))
    (tmp_path / "r.jsonl").write_bytes(receipts(story(rated=rated(LOCKED)))["1:BILL"])
    names = ["--sites", str(tmp_path / "sites.json"), "--tariffs", str(tmp_path / "tariffs.json")]
    assert run(["what-if", str(tmp_path / "r.jsonl"), *names, "--json"]) == 0
    (site,) = json.loads(capsys.readouterr().out)
    assert (site["not_priced"], site["compared"]) == ({"LOCK_REQUIRED": 1}, 0)
