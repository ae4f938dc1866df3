"""The campaign under platforms/linux/prove/inject: what strace makes fail, and how it is judged."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import durably
from capabilities import loop, needs, needs_linux, needs_strace, strace

if TYPE_CHECKING:
    from prove.inject.judge import Wrong

pytestmark = needs_linux

if sys.platform == "linux":
    from prove.inject import errors, shapes, tracer, ways
    from prove.inject.campaign import hit_of
    from prove.inject.judge import Fault, judge
    from prove.inject.outcome import Outcome, failed, succeeded
    from prove.inject.tracee import BEGIN, END, can_burn

FOLDER = Path(__file__).resolve().parents[2] / "platforms" / "linux"
LEFT = ".durably-f-1-2-3-4-0123456789abcdef.tmp"


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "place"


def judged(place: Path, said: Outcome | None, content: bytes | None, **more: object) -> list[str]:
    """What is wrong with a save over an old file, after this was said and found."""
    way = ways.WAYS[0]._replace(carries=False, **more)
    place.mkdir(exist_ok=True)
    target = place / "target"
    target.unlink(missing_ok=True)
    if content is not None:
        target.write_bytes(content)
    fault = Fault("fsync", 1, "" if said is None else "EIO")
    wrong: list[Wrong] = judge(way, "old", str(place), fault, said)
    return [one.kind for one in wrong]


def raised(error: OSError, place: Path) -> Outcome:
    error.filename = str(place / "target")
    return failed(error)


# What is judged.


def test_a_builtin_error_means_the_old_file(place: Path) -> None:
    said = raised(OSError(5, "EIO"), place)
    assert judged(place, said, ways.OLD) == []
    assert judged(place, said, ways.NEW) == ["changed"]
    assert judged(place, said, b"part") == ["torn"]
    assert judged(place, said, None) == ["torn"]


def test_success_means_the_new_file_and_no_flush_that_failed(place: Path) -> None:
    lower = succeeded(None)._replace(durability="consistent")
    assert judged(place, lower, ways.NEW) == []
    assert judged(place, lower, ways.OLD) == ["unsaved"]
    assert judged(place, succeeded(None), ways.NEW) == ["silent"]


def test_not_durable_means_the_new_file(place: Path) -> None:
    said = raised(durably.NotDurableError(5, "why", ""), place)
    assert judged(place, said, ways.NEW) == []
    assert judged(place, said, ways.OLD) == ["unsaved"]


def test_an_error_that_is_no_error_of_the_system_is_wrong(place: Path) -> None:
    assert judged(place, failed(RuntimeError("why")), ways.OLD) == ["kind"]
    assert judged(place, failed(OSError(5, "EIO", "/elsewhere")), ways.OLD) == ["kind"]


def test_a_leftover_must_be_named(place: Path) -> None:
    place.mkdir()
    (place / LEFT).write_bytes(b"")
    error = OSError(5, "EIO")
    assert judged(place, raised(error, place), ways.OLD) == ["litter"]
    error.leftovers = (str(place / LEFT),)  # type: ignore[attr-defined]
    assert judged(place, raised(error, place), ways.OLD) == []


def test_after_a_kill_either_file_and_only_what_sweep_removes(place: Path) -> None:
    place.mkdir()
    (place / LEFT).write_bytes(b"")
    assert judged(place, None, ways.OLD) == judged(place, None, ways.NEW) == []
    assert not (place / LEFT).exists()
    assert judged(place, None, b"part") == ["torn"]
    (place / "stranger").write_bytes(b"")
    assert judged(place, None, ways.NEW) == ["litter"]


def test_what_was_discarded_is_not_saved(place: Path) -> None:
    said = failed(ways.GivenUpError())
    assert judged(place, said, ways.OLD, discards=True) == []
    assert judged(place, said, ways.NEW, discards=True) == ["changed"]
    assert judged(place, succeeded(None), ways.OLD, discards=True) == ["kind"]


def test_metadata_are_kept_or_named_as_lost(place: Path) -> None:
    place.mkdir()
    (place / "target").write_bytes(ways.NEW)
    fault = Fault("fchmod", 1, "EIO")
    wrong = judge(ways.WAYS[0], "old", str(place), fault, succeeded(None))
    assert [one.kind for one in wrong] == ["metadata"]
    named = succeeded(None)._replace(lost=["mode"])
    assert judge(ways.WAYS[0], "old", str(place), fault, named) == []


# Directories, and the files of a transaction.


def laid(place: Path, name: str, said: Outcome | None, call: str = "fsync") -> list[str]:
    """What is wrong with a save over what is old, after this was said, and ``target`` was changed."""
    fault = Fault(call, 1, "" if said is None else "EIO")
    wrong: list[Wrong] = judge(named(name), "old", str(place), fault, said)
    return [one.kind for one in wrong]


def named(name: str) -> ways.Way:
    way: ways.Way = next(way for way in ways.WAYS if way.name == name)
    return way._replace(carries=False)


def test_a_directory_is_the_old_one_or_the_new_one_and_no_mix(place: Path) -> None:
    way = named("staged_directory")
    target = Path(ways.prepare(way, "old", str(place)))
    error = OSError(5, "EIO", str(target))
    assert laid(place, "staged_directory", failed(error)) == []
    assert laid(place, "staged_directory", succeeded(None), "openat") == ["unsaved"]
    (target / "a").write_bytes(ways.NEW)
    assert laid(place, "staged_directory", failed(error)) == ["torn"]
    assert laid(place, "staged_directory", None) == ["torn"]
    for old in ("part/b", "gone"):
        (target / old).unlink()
    shapes.fill(str(target), shapes.NEW_FILES)
    assert laid(place, "staged_directory", None) == []
    assert laid(place, "staged_directory", failed(error)) == ["changed"]


def test_a_version_belongs_to_the_link_that_leads_to_it(place: Path) -> None:
    way = named("staged_directory fallback")
    target = Path(ways.prepare(way, "old", str(place)))
    assert target.is_symlink()
    said = failed(OSError(5, "EIO", str(target)))
    assert laid(place, way.name, None) == laid(place, way.name, said) == []
    (place / os.readlink(target).replace("-v-", "-v-1")).mkdir()
    assert laid(place, way.name, said) == ["litter"]


def test_a_tree_that_was_to_be_kept_is_its_users_to_move(place: Path) -> None:
    way = named("staged_directory keep_old")
    target = ways.prepare(way, "old", str(place))
    assert way.save(target) is not None
    assert laid(place, way.name, succeeded(None), "openat") == []


def test_a_transaction_that_broke_off_is_judged_after_its_recovery(place: Path) -> None:
    way = named("Transaction")
    target = Path(ways.prepare(way, "old", str(place)))
    said = failed(durably.RecoveryNeededError(5, "EIO", str(target)))
    assert laid(place, way.name, said) == laid(place, way.name, None) == []
    assert way.save(str(target)) is not None
    receipt = succeeded(way.save(str(target)))
    assert laid(place, way.name, receipt, "openat") == []
    left = str(target / LEFT)
    told = receipt._replace(skipped={"fsync journal": "EIO"}, left=[left])
    Path(left).write_bytes(b"")
    assert laid(place, way.name, told) == []
    assert laid(place, way.name, told._replace(left=[])) == ["litter"]


def test_leftovers_are_told_in_two_ways() -> None:
    receipt = durably.Receipt(
        "a", 0, True, False, durably.Durability.DURABLE, (), {"x": "/b is left over: c"}, ()
    )
    assert succeeded(receipt).left == ["/b"]
    receipt.skipped["x"] = "left over: /b, /c"
    assert succeeded(receipt).left == ["/b", "/c"]


# What strace writes down.


def test_only_calls_between_the_marks_are_of_the_save() -> None:
    lines = [
        "7 fsync(1000000) = -1 EBADF (Bad file descriptor)\n",
        f"7 getpgid({BEGIN}) = -1 ESRCH (No such process)\n",
        "7 fsync(5)                  = 0\n",
        "7 fsync(6) = -1 EIO (Input/output error) (INJECTED)\n",
        f"7 getpgid({END}) = -1 ESRCH (No such process)\n",
        "7 fsync(7) = 0\n",
        "8 +++ exited with 0 +++\n",
    ]
    found = tracer.parsed(lines)
    assert {process: [hit.injected for hit in hits] for process, hits in found.items()} == {7: [False, True]}
    assert hit_of(found[7], Fault("fsync", 2, "EIO")) == lines[3].strip()
    assert hit_of(found[7], Fault("fsync", 1, "EIO")) == ""
    assert hit_of(found[7], Fault("fsync", 3, "EIO")) == ""


def test_a_kill_hits_the_last_call() -> None:
    lines = [f"7 getpgid({BEGIN}) = -1 ESRCH\n", "7 write(5, ...) = 5\n", "7 fsync(5 <unfinished ...>\n"]
    (hits,) = tracer.parsed(lines).values()
    assert hit_of(hits, Fault("fsync", 1, "")) == lines[2].strip()
    assert hit_of(hits, Fault("write", 1, "")) == ""


def test_every_call_that_can_fail_can_also_kill() -> None:
    for calls in errors.ERRORS.values():
        assert set(calls) <= set(errors.CALLS)
    assert {call for call in ("openat", "write", "fsync", "close", "linkat", "unlinkat") if can_burn(call)}


# The whole.


@needs_strace
@needs(strace, loop)
@pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0, reason="needs root")
def test_a_few_faults_find_nothing_in_the_product_and_all_that_is_wrong(tmp_path: Path) -> None:
    paths = os.pathsep.join([str(FOLDER), str(Path(durably.__file__).parents[1])])
    command = [sys.executable, "-m", "prove", "inject", "--file-system", "ext4", "--faults", "120"]
    done = subprocess.run(
        command,
        env=os.environ | {"PYTHONPATH": paths, "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode == 77:
        pytest.skip(done.stdout.strip())
    assert done.returncode == 0, done.stdout + done.stderr
    assert "controls: all shown" in done.stdout
    assert list(tmp_path.iterdir()) == []
