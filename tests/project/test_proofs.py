"""docs/proofs: the pages and the picture are what the rig has recorded, and nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from prove import pages, picture, records

if TYPE_CHECKING:
    from pathlib import Path


def test_the_pages_are_what_was_recorded() -> None:
    for name, text in pages.rendered().items():
        written = (pages.PLACE / name).read_text(encoding="utf-8")
        assert written == text, f"{name} is out of date: cd platforms/linux; python -m prove pages"


def test_no_page_stands_beside_those_that_are_written() -> None:
    written = {path.name for path in pages.PLACE.iterdir()}
    of_the_stores = "stores.json"  # what tests/benchmarks/store_figures.py makes docs/stores.md of
    assert written <= {*pages.rendered(), picture.PICTURE.name, of_the_stores}


def test_the_picture_is_of_what_was_recorded() -> None:
    record = records.read("peers")
    if not record["rows"]:
        pytest.skip("no other library was recorded")
    assert picture.digest(record) in picture.PICTURE.read_text(encoding="utf-8"), "python -m prove.picture"


def test_no_record_has_a_violation_of_the_product() -> None:
    for name in ("sampled", "exhaustive", "again", "inject", "faults"):
        assert [row for row in records.read(name)["rows"] if row["violations"]] == []


def test_a_page_changes_with_its_record(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(records, "FOLDER", tmp_path)
    before = pages.rendered()
    assert "Not recorded yet." in before["faults.md"]
    row = {"file_system": "xfs", "workloads": 3, "writes": 45678, "reported": 7, "violations": 0}
    records.write("faults", [row])
    after = pages.rendered()
    assert "45678" in after["faults.md"]
    assert "45678" in after["README.md"]
    assert after["peers.md"] == before["peers.md"]


def test_a_record_keeps_the_rows_of_other_file_systems(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(records, "FOLDER", tmp_path)
    records.write("some", [{"file_system": "xfs", "points": 1}, {"file_system": "btrfs", "points": 2}])
    records.write("some", [{"file_system": "ext4", "points": 3}, {"file_system": "xfs", "points": 4}])
    rows = records.read("some")["rows"]
    assert [(row["file_system"], row["points"]) for row in rows] == [("ext4", 3), ("xfs", 4), ("btrfs", 2)]


def test_pages_can_be_checked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(pages, "PLACE", tmp_path)
    assert pages.main(check=True) == 1
    assert pages.main(check=False) == 0
    assert pages.main(check=True) == 0
