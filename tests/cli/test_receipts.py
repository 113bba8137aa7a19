"""`chargeline receipts` on a real broker, and `verify` and `price` on the files that it wrote."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient

from pipeline.agents.records import RECEIPTS
from pipeline.cli import run
from pipeline.cli.declared import declared_topics
from pipeline.cli.topics import create_topics
from tests.agents.test_quotes import LOCKED, quote, told
from tests.receipts import receipts, story

SESSION = "JSTB26ISESP2X4BOFEO6EZ6ZUC"
QUOTED = "QUOTEDQUOTEDQUOTEDQUOTEDQU"
ATTACKED = "ATTACKEDATTACKEDATTACKEDAT"
DAY = "2025-06-16"


@pytest.fixture
def written(kafka: str, monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """The receipts of the story stand in the topic, once more than needed, beside what a dead worker left behind."""
    create_topics(AdminClient({"bootstrap.servers": kafka}), declared_topics())
    monkeypatch.setenv("CHARGELINE_KAFKA", kafka)
    found = receipts(story())
    producer = Producer({"bootstrap.servers": kafka, "transactional.id": "of-receipts"})
    producer.init_transactions(20)
    for value, commit in ((b"{}", False), (None, True)):
        producer.begin_transaction()
        for key, content in found.items():
            producer.produce(RECEIPTS, value or content, f"{SESSION}:{key}".encode())
        producer.flush(20)
        (producer.commit_transaction if commit else producer.abort_transaction)(20)
    return found


def test_every_receipt_becomes_a_file_that_verify_accepts(
    written: dict[str, bytes], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "archive"
    assert run(["receipts", "export", "--out", str(out), "--session", SESSION, "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["written"], report["conflicts"]) == (3, [])
    names = {"1:BILL": "1.1.bill", "1:CREDIT": "1.1.credit", "2:BILL": "1.2.bill"}
    for key, name in names.items():
        file = out / DAY / f"{SESSION}.{name}.json"
        assert file.read_bytes() == written[key] + b"\n"
        assert run(["verify", str(file)]) == 0, key
    assert len(list(out.rglob("*"))) == 4, "nothing half-written is left"
    assert run(["receipts", "export", "--out", str(out), "--session", SESSION, "--json"]) == 0
    again = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert again["written"] == 0
    assert again["kept"] >= 3


def test_a_file_with_another_content_is_left_alone_and_told(
    written: dict[str, bytes], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / DAY / f"{SESSION}.1.2.bill.json"
    file.parent.mkdir()
    file.write_bytes(b"{}")
    assert run(["receipts", "export", "--out", str(tmp_path), "--session", SESSION]) == 1
    assert str(file) in capsys.readouterr().err
    assert file.read_bytes() == b"{}"


def test_only_what_was_asked_for_is_exported(written: dict[str, bytes], tmp_path: Path) -> None:
    assert run(["receipts", "export", "--out", str(tmp_path / "a"), "--session", "nobody"]) == 0
    later = ["--since", "2025-06-16T20:20:00.000001Z", "--session", SESSION]
    assert run(["receipts", "export", "--out", str(tmp_path / "b"), *later]) == 0
    assert list(tmp_path.iterdir()) == []
    since = ["--since", "2025-06-16T20:20:00", "--session", SESSION]
    assert run(["receipts", "export", "--out", str(tmp_path / "c"), *since]) == 0
    assert len(list((tmp_path / "c" / DAY).iterdir())) == 3
    assert run(["receipts", "export", "--since", "yesterday"]) == 2


def test_a_forged_receipt_names_no_file_and_stops_nothing(
    written: dict[str, bytes], kafka: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    producer = Producer({"bootstrap.servers": kafka})
    value = written["1:BILL"].replace(SESSION.encode(), ATTACKED.encode())
    producer.produce(RECEIPTS, value, f"{ATTACKED}:1:BILL")
    for number, name in enumerate((b"../../../forged", b"x/../../forged", b"FORGED.7", b"a" * 26)):
        forged = value.replace(ATTACKED.encode(), name)
        for partition in range(8):  # whatever is read behind them is exported all the same
            producer.produce(RECEIPTS, forged, f"{ATTACKED}:{number}:FORGED".encode(), partition)
    producer.flush(20)
    out = tmp_path / "a" / "b"
    assert run(["receipts", "export", "--out", str(out), "--session", ATTACKED]) == 1
    said = capsys.readouterr().err
    assert "32 records are no receipts and were left out" in said
    assert "partition" in said
    assert "forged" not in said
    found = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert found == [out / DAY / f"{ATTACKED}.1.1.bill.json"]
    assert run(["receipts", "show", ATTACKED]) == 1
    shown = capsys.readouterr()
    assert f"BILL {ATTACKED}" in shown.out
    assert "32 records are no receipts" in shown.err


def test_show_explains_and_prints_what_the_topic_holds(
    written: dict[str, bytes], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["receipts", "show", SESSION]) == 0
    text = capsys.readouterr().out
    assert text.index("revision 1") < text.index("CREDIT") < text.index("revision 2")
    assert "to pay -3.31, with tax -3.94 EUR" in text
    assert "energy      meterStop - baseline" in text
    assert "9 used, 0 repeated, 0 left out" in text
    assert "ALTERED" not in text
    assert run(["receipts", "show", SESSION, "--json"]) == 0
    assert set(capsys.readouterr().out.splitlines()) == {value.decode() for value in written.values()}
    assert run(["receipts", "show", "nobody"]) == 1


def test_show_names_the_quote_and_whose_prices_hold(kafka: str, capsys: pytest.CaptureFixture[str]) -> None:
    create_topics(AdminClient({"bootstrap.servers": kafka}), declared_topics())
    producer = Producer({"bootstrap.servers": kafka})
    (value,) = receipts(iter(told(LOCKED, quote(180)))).values()
    producer.produce(RECEIPTS, value.replace(SESSION.encode(), QUOTED.encode()), f"{QUOTED}:1:BILL".encode())
    producer.flush(20)
    assert run(["receipts", "show", QUOTED, "--kafka", kafka]) == 0
    text = capsys.readouterr().out
    assert "quote OFFER-4711 shown 2025-06-16T19:37:00Z, prices of 2025-06-16T19:37:00Z" in text


def test_verify_says_what_is_wrong_with_a_receipt(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = receipts(story())
    bill, credit = tmp_path / f"{SESSION}.1.1.bill.json", tmp_path / f"{SESSION}.1.1.credit.json"
    credit.write_bytes(found["1:CREDIT"])
    assert run(["verify", str(credit)]) == 3
    assert "put its file beside this one" in capsys.readouterr().out
    bill.write_bytes(found["1:BILL"])
    assert run(["verify", str(credit)]) == 0
    bill.write_bytes(found["1:BILL"].replace(b'"payable_incl_vat":"3.94"', b'"payable_incl_vat":"3.49"'))
    capsys.readouterr()
    assert run(["verify", str(bill), "--json"]) == 1
    verdict = json.loads(capsys.readouterr().out)
    assert {finding["code"] for finding in verdict["findings"]} == {"HASH", "PAYABLE_INCL"}
    assert run(["verify", str(credit)]) == 2, "an altered bill proves nothing"
    assert run(["verify", str(bill), "--time-zone", "Europe/Berlin"]) == 2
    bill.write_bytes(found["1:BILL"][:-40])
    assert run(["verify", str(bill)]) == 2


def test_price_repeats_a_receipt_and_prices_it_under_another_tariff(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "bill.json"
    file.write_bytes(receipts(story())["2:BILL"])
    receipt = json.loads(file.read_bytes())
    assert run(["price", str(file)]) == 0
    bill = json.loads(capsys.readouterr().out)
    assert bill["payable"] == {"excl_vat": receipt["payable_excl_vat"], "incl_vat": receipt["payable_incl_vat"]}
    other = tmp_path / "other.json"
    tariff = {"id": "X", "currency": "EUR", "elements": [{"price_components": [{"type": "ENERGY", "price": 1}]}]}
    other.write_text(json.dumps(tariff))
    assert run(["price", str(file), "--tariff", str(other)]) == 0
    assert json.loads(capsys.readouterr().out)["total"]["excl_vat"] == "7.2000"
    file.write_bytes(receipts(story())["1:CREDIT"])
    assert run(["price", str(file)]) == 1
