"""docs/figures: pages and pictures are what was recorded; and the suite that records runs."""

from __future__ import annotations

import json
import re
import statistics
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

import commits
import comparison
import counts
import drawn
import page
import places
import plots
import promised
import reasons
import record
import saves
import support
from capabilities import needs_file_system, needs_gcc, needs_strace
from findings import Finding, Found, Point, Target
from prove import records
from rounds import Rounds
from suite import GROUPS, HALVES

ROOT = Path(__file__).resolve().parents[2]
RUN = ROOT / "tests" / "benchmarks" / "run.py"
_SVG = "{http://www.w3.org/2000/svg}"


def _finding(contender: str, median: float, target: Target | None = None, base: str = saves.BARE) -> Finding:
    return Finding(
        "4 KiB replaced, tmpfs, none", contender, base, median, median, median, median, 1, 3, target
    )


def _recorded(figures: Path, *, quick: bool = False) -> None:
    about = record.machine() | {"quick": quick, "seconds": 90}
    findings = [
        _finding(saves.WRITE_BYTES, 2.5, Target(1.65)),
        _finding(saves.WRITE_BYTES, 1.2, Target(1.35), saves.SAME),
        _finding(saves.STRAIGHT, 1.7),
        _finding(saves.SAME, 1.3),
        _finding("something else", 3, Target(2)),
    ]
    record.write(figures, "memory", about, Found(findings, left_out=["safer: not installed"]))
    point = Point("sizes", "the machine's ext4", "durably.open, durable", 4096, 0.1, 0.05, 0.2, 3)
    record.write(figures, "sizes", about, Found(points=[point]))


def test_pages_and_pictures_are_what_was_recorded() -> None:
    assert drawn.outdated(record.FIGURES) == [], "run python tests/benchmarks/run.py --draw"


def test_nothing_stands_beside_them() -> None:
    texts = {path.name for path in drawn.texts(record.FIGURES) if path.parent == record.FIGURES}
    pictures = {f"{name}.svg" for name in plots.shown(record.FIGURES)}
    assert {path.name for path in record.FIGURES.iterdir()} - {"data"} <= texts | pictures
    data = record.FIGURES / "data"
    kept = {path.stem for path in data.iterdir()} if data.exists() else set()
    assert kept <= set(GROUPS)


def test_nothing_quick_was_recorded_and_nothing_tells_whose_machine_it_was() -> None:
    for name in GROUPS:
        kept = record.read(record.FIGURES, name)
        if kept is None:
            continue
        assert not kept.about["quick"], f"{name} is of a quick run, whose numbers mean nothing"
        text = (record.FIGURES / "data" / f"{name}.json").read_text(encoding="utf-8")
        assert not re.search(r"(?<![\w.])/(?:\w+/)+\w+", text), f"{name} names a path"


def test_a_page_follows_its_data(tmp_path: Path) -> None:
    assert "Nothing was recorded yet." in page.index(tmp_path, [])
    _recorded(tmp_path)
    text = page.index(tmp_path, list(plots.shown(tmp_path)))
    assert "1 of 3 stated figures are met." in text
    line = "4 KiB replaced, tmpfs, none: durably.write_bytes beside bare five calls, in C"
    assert f"| **not met** | {line} | ≤ 1.65 x | 2.50 (2.50-2.50; 2.50) |" in text
    assert (
        "in Python with nothing decided between them, already take 1.70 x the bare ones, and in C 1.30 x"
        in text
    )
    assert "something else beside bare five calls, in C (3 x, stated ≤ 2 x): not explained yet." in text
    assert "- safer: not installed" in text
    assert "![" + page.ALT["small"] in text
    assert "it took 3 minutes" in text
    assert "numbers mean nothing" not in text
    _recorded(tmp_path, quick=True)
    assert "numbers mean nothing" in page.index(tmp_path, [])


def test_what_was_recorded_is_read_back(tmp_path: Path) -> None:
    _recorded(tmp_path)
    kept = record.read(tmp_path, "memory")
    assert kept is not None
    assert kept.found.findings[0].verdict == "not met"
    assert kept.found.findings[1].verdict == "met"
    assert kept.found.findings[2].verdict == ""
    path = record.write(tmp_path, "again", kept.about, kept.found)
    first, second = (tmp_path / "data" / "memory.json", path)
    assert first.read_text(encoding="utf-8") == second.read_text(encoding="utf-8")
    assert json.loads(path.read_text(encoding="utf-8"))["about"]["processors"]


def test_a_picture_is_out_of_date_with_other_data_or_none(tmp_path: Path) -> None:
    _recorded(tmp_path)
    rows = plots.shown(tmp_path)
    assert set(rows) == {"small", "sizes"}
    assert plots.outdated(tmp_path) == ["small.svg", "sizes.svg"]
    for name, own in rows.items():
        (tmp_path / f"{name}.svg").write_text(f"<svg>{plots.digest(own)}</svg>", encoding="utf-8")
    assert plots.outdated(tmp_path) == []
    (tmp_path / "data" / "sizes.json").unlink()
    assert plots.outdated(tmp_path) == ["sizes.svg"]
    found = [_finding(saves.SAME, 1.4)]
    record.write(tmp_path, "memory", record.machine() | {"quick": False, "seconds": 1}, Found(found))
    assert plots.outdated(tmp_path) == ["small.svg", "sizes.svg"]


def test_pictures_are_drawn_with_matplotlib(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is in the group bench")
    _recorded(tmp_path)
    done = subprocess.run(
        [sys.executable, RUN, "--draw", "--into", tmp_path], check=False, capture_output=True
    )
    assert done.returncode == 0, done.stderr.decode()
    assert drawn.outdated(tmp_path) == []
    for name in ("small", "sizes"):
        picture = (tmp_path / f"{name}.svg").read_text(encoding="utf-8")
        assert ET.fromstring(picture).tag == f"{_SVG}svg"
        assert "prefers-color-scheme: dark" in picture
    checked = subprocess.run([sys.executable, RUN, "--check", "--into", tmp_path], check=False)
    assert checked.returncode == 0
    (tmp_path / "index.md").write_text("another", encoding="utf-8")
    checked = subprocess.run(
        [sys.executable, RUN, "--check", "--into", tmp_path], check=False, capture_output=True
    )
    assert checked.returncode == 1
    assert b"index.md is out of date" in checked.stderr


@pytest.mark.parametrize("system", support.SYSTEMS)
def test_a_diagram_has_the_steps_of_its_platform(system: str, monkeypatch: pytest.MonkeyPatch) -> None:
    steps = support.load(system)["steps"]
    described = ET.fromstring(commits.drawn(system)).findtext(f"{_SVG}desc")
    assert described is not None
    assert ", ".join(steps["durable"]) in described
    assert ", ".join(steps["stream"]["durable"]) in described
    platform = support.load(system)
    platform["steps"]["durable"] = ["create", "write", "rename"]
    monkeypatch.setattr(support, "load", lambda _: platform)
    assert ": create, write, rename" in commits.drawn(system)


@pytest.mark.parametrize("system", support.SYSTEMS)
def test_a_diagram_says_new_for_certain_only_where_it_is_promised(system: str) -> None:
    durable = [row for row in support.rows(system) if not row.options and row.promises[2] == "yes"]
    texts = [text.text for text in ET.fromstring(commits.drawn(system)).iter(f"{_SVG}text")]
    readers_and_cuts = [said for said in texts if said in ("old", "new", "old or new")]
    assert readers_and_cuts[:2] == ["old", "old"]
    assert readers_and_cuts[-2:] == (["new", "new"] if durable else ["new", "old or new"])


def test_the_picture_of_promises_has_every_answer() -> None:
    texts = [text.text or "" for text in ET.fromstring(promised.drawn()).iter(f"{_SVG}text")]
    words = [said for said in texts if said in ("proven", "yes", "unknown", "no")][:-4]  # but the legend's
    expected = [
        word
        for system in support.SYSTEMS
        for row in support.rows(system)
        for answers in support.answers(system, row).values()
        for word in answers
    ]
    assert words == expected


def test_proven_is_only_what_has_a_proof() -> None:
    for system in support.SYSTEMS:
        platform = support.load(system)
        for row in support.rows(system):
            found = support.answers(system, row)
            assert sorted(kind for kinds in found for kind in kinds) == sorted(row.kinds)
            for kinds, words in found.items():
                for kind in kinds:
                    for promise, word in zip(support.PROMISES, words, strict=True):
                        proof = support.proof_of(platform, promise, kind, row.options)
                        assert (word == "proven") == (proof is not None)


def test_the_readme_gets_the_comparison_between_its_marks(tmp_path: Path) -> None:
    readme = "before\n<!-- comparison -->\nold\n<!-- /comparison -->\nafter\n"
    new = comparison.with_table(readme, tmp_path)
    assert new.startswith("before\n<!-- comparison -->\n| saved with |")
    assert new.endswith("<!-- /comparison -->\nafter\n")
    assert "old\n" not in new
    assert comparison.with_table(new, tmp_path) == new
    assert comparison.with_table("no marks", tmp_path) == "no marks"


def test_the_comparison_counts_what_the_rig_recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    row = {"name": "durably", "version": "9", "points": 10, "torn": 0, "lost": 0, "litter": 4}
    other = row | {"name": "other", "torn": 2, "lost": 3, "litter": 0}
    rows = [one | {"file_system": kind} for one in (row, other) for kind in ("ext4", "xfs")]
    monkeypatch.setattr(records, "read", lambda _: {"rows": rows})
    text = comparison.snippet(tmp_path)
    assert "| **durably 9** | 0 | 0 | 8 |" in text
    assert "| other 9 | **4** | **6** | 0 |" in text
    assert "After how many of 20 power cuts (ext4, xfs)" in text
    taken = [
        Finding("", name, "", 1, 1, 1, 1, seconds, 1)
        for name, seconds in ((saves.WRITE_BYTES, 2.0), ("other 9", 5.0))
    ]
    for quick, cost in ((True, ""), (False, " 2.50 x |")):
        about = record.machine() | {"quick": quick, "seconds": 1}
        record.write(tmp_path, "disk", about, Found(taken))
        assert f"| other 9 | **4** | **6** | 0 |{cost}\n" in comparison.snippet(tmp_path)


def test_what_the_servers_counted_is_met_or_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = {
        "requests": {"s3": {"0 bytes": {"bare": 1, "durably": 1}, "many": {"bare": 2, "durably": 3}}},
        "faults": {"ftp": {"cuts": 9, "truncated": 0, "leaked": 1, "untrue": 0}},
    }
    monkeypatch.setattr(page, "STORES", tmp_path / "stores.json")
    assert "requests of a save" not in page.index(tmp_path, [])
    page.STORES.write_text(json.dumps(data), encoding="utf-8")
    text = page.index(tmp_path, [])
    assert "| **not met** | requests of a save, s3 | as many as the bare client | more for many |" in text
    assert "| **not met** | connections cut, ftp | 0 truncated, 0 leaked | 9, 0 truncated, 1 leaked |" in text


def test_a_ratio_is_taken_in_each_round() -> None:
    times = {"mine": iter([9.0, 2.0, 6.0, 4.0]), "base": iter([9.0, 1.0, 2.0, 1.0])}
    rounds = Rounds("some", {name: own.__next__ for name, own in times.items()}, 3)
    ratio = rounds.ratio("mine", "base", Target(3))
    assert (ratio.median, ratio.low, ratio.high, ratio.rounds) == (3, 2, 4, 3)
    assert ratio.fastest == 2
    assert ratio.seconds == statistics.median([2, 6, 4])
    assert ratio.verdict == "met"
    assert Rounds("some", {"one": lambda: 1.0}, 9, seconds=-1).times == {"one": [1.0]}


def test_targets() -> None:
    assert Target(5, at_least=True).is_met(5)
    assert not Target(5, at_least=True).is_met(4.9)
    assert not Target(5).is_met(5.1)
    assert _finding("a", 1, Target(5, at_least=True)).stated == "≥ 5 x"
    assert reasons.reason(_finding(saves.OPEN, 4, Target(2.5)), []) == "not explained yet."


@needs_strace
@needs_gcc
def test_the_c_program_makes_the_very_calls_of_a_save() -> None:
    made = {(count.contender, count.level): count.calls for count in counts.counts().counts}
    for level in ("none", "durable"):
        assert made["durably.write_bytes", level] == made["same, in C", level]


def test_a_reason_does_not_name_a_path() -> None:
    script = "import sys; sys.exit('no room in /some/where/image')"
    with pytest.raises(places.CannotError, match=r"no room in image$"):
        places.run("fresh", sys.executable, "-c", script, "/some/where/image")
    with pytest.raises(places.CannotError, match=r"ended with 3$"):
        places.run("fresh", sys.executable, "-c", "raise SystemExit(3)")


_BROKEN = """
import sys
sys.path.insert(0, sys.argv[1])
from pathlib import Path
import places
try:
    with places.fresh("ext4", Path(sys.argv[2])) as place:
        (place / "file").write_bytes(b"")
        opened = open(place / "file")
        raise KeyError(place)
except places.CannotError as error:
    print(error)
except KeyError:
    print("taken away" if not any(Path(sys.argv[2]).iterdir()) else "left")
"""


@needs_file_system("ext4")
def test_a_fresh_file_system_is_taken_away_whatever_happens(tmp_path: Path) -> None:
    command = [sys.executable, "-c", _BROKEN, str(RUN.parent), str(tmp_path)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    assert done.stdout == "taken away\n"


def test_every_group_is_in_one_half() -> None:
    assert sorted(name for half in HALVES.values() for name in half) == sorted(GROUPS)


def test_one_group_runs(tmp_path: Path) -> None:
    command = [
        sys.executable,
        str(RUN),
        "--quick",
        "--only",
        "short",
        "--record",
        "--into",
        str(tmp_path / "figures"),
    ]
    done = subprocess.run([*command, "--disk", str(tmp_path)], check=False, capture_output=True, text=True)
    assert "1 met" in done.stdout or "1 not met" in done.stdout, done.stderr
    kept = record.read(tmp_path / "figures", "short")
    assert kept is not None
    assert [finding.contender for finding in kept.found.findings] == ["durably.open"]
    assert (tmp_path / "figures" / "index.md").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["figures"], "everything else was taken away"


def test_an_unknown_group() -> None:
    done = subprocess.run([sys.executable, RUN, "--only", "nothing"], check=False, capture_output=True)
    assert done.returncode == 2
    assert b"no such group: nothing" in done.stderr


def test_a_quick_run_is_not_kept() -> None:
    done = subprocess.run([sys.executable, RUN, "--quick", "--record"], check=False, capture_output=True)
    assert done.returncode == 2
    assert b"mean nothing" in done.stderr
