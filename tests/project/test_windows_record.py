"""platforms/windows: the dossier's tables are what the suite has shown, read from pytest's own report."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from pathlib import Path
from typing import Any

import pytest

from capabilities import needs_posix

ROOT = Path(__file__).resolve().parents[2]
PLACE = ROOT / "platforms" / "windows" / "prove"
NAME = "prove_windows"  # the rig of Linux is `prove` as well

REPORT = """<?xml version="1.0" encoding="utf-8"?>
<testsuites><testsuite name="pytest">
<testcase classname="tests.test_one" name="test_a"/>
<testcase classname="tests.test_one" name="test_b[x.y]"><failure message="no">...</failure></testcase>
<testcase classname="tests.test_one" name="test_c"><error message="no">...</error></testcase>
<testcase classname="tests.test_one" name="test_d">
<skipped type="pytest.skip" message="no POSIX rename">tests/test_one.py:3: no POSIX rename</skipped>
</testcase>
<testcase classname="" name="tests.test_two">
<skipped message="collection skipped">('tests/test_two.py', 9, 'Skipped: needs a POSIX system')</skipped>
</testcase>
<testcase classname="tests.test_one" name="test_e"><properties>
 <property name="lost" value="0"/><property name="whole" value="12"/></properties></testcase>
</testsuite></testsuites>
"""


def _part(name: str) -> Any:
    if NAME not in sys.modules:
        found = importlib.util.spec_from_file_location(
            NAME, PLACE / "__init__.py", submodule_search_locations=[str(PLACE)]
        )
        assert found is not None
        assert found.loader is not None
        module = importlib.util.module_from_spec(found)
        sys.modules[NAME] = module
        found.loader.exec_module(module)
    return importlib.import_module(f"{NAME}.{name}")


page, records, report = _part("page"), _part("records"), _part("report")


@pytest.fixture
def found(tmp_path: Path) -> dict[str, Any]:
    path = tmp_path / "report.xml"
    path.write_text(REPORT, encoding="utf-8")
    read: dict[str, Any] = report.read(path)
    return read


def test_what_pytest_has_reported(found: dict[str, Any]) -> None:
    assert {name: found[name] for name in ("passed", "failed", "skipped")} == {
        "passed": 2,
        "failed": 2,
        "skipped": 2,
    }
    assert found["skips"] == {"no POSIX rename": {"test_one": 1}, "needs a POSIX system": {"test_two": 1}}
    assert found["figures"] == {"test_e": {"lost": 0, "whole": 12}}


def test_the_dossier_is_what_was_recorded() -> None:
    assert page.main(check=True) == 0, "cd platforms/windows; python -m prove page"


def test_a_record_changes_the_dossier(
    found: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    dossier = tmp_path / "README.md"
    dossier.write_text(f"before\n{page.START}\n{page.END}\nafter\n", encoding="utf-8")
    monkeypatch.setattr(page, "DOSSIER", dossier)
    monkeypatch.setattr(records, "FILE", tmp_path / "suite.json")
    assert page.main(check=False) == 0
    assert "Not recorded yet." in dossier.read_text(encoding="utf-8")
    about = {"python": "3.12.10", "wine": "wine-8.0"}
    for version in ("3.12", "3.11"):
        records.write(version, about, {"C:": found, "L:": found})
    assert list(records.read()) == ["3.11", "3.12"]
    assert page.main(check=True) == 1
    assert "python -m prove page" in capsys.readouterr().err
    assert page.main(check=False) == 0
    assert page.main(check=True) == 0
    written = dossier.read_text(encoding="utf-8")
    assert written.startswith("before\n")
    assert written.endswith("\nafter\n")
    assert "| 3.11 | 3.12.10 | wine-8.0 | C: | 2 | 2 | 2 |" in written
    assert "| no POSIX rename | 2 | 2 | `test_one` |" in written


@needs_posix  # under Wine it would judge the run before
def test_no_version_is_recorded_with_a_failure() -> None:
    failed = {
        (version, drive): found["failed"]
        for version, run in records.read().items()
        for drive, found in run["drives"].items()
    }
    assert not any(failed.values()), failed


def test_no_save_is_recorded_as_lost() -> None:
    figures = [
        figure
        for run in records.read().values()
        for found in run["drives"].values()
        for figure in found["figures"].values()
    ]
    for figure in figures:
        assert figure["lost"] == figure["torn"] == 0
