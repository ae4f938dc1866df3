"""The power-cut rig under platforms/linux/prove: what it is made of, and one small run on real disks."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import tomllib
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import durably
from capabilities import file_system, loop, needs, needs_linux
from prove.powercut.history import ABSENT, Found, History, digest_of, digest_of_all
from prove.powercut.log import FLUSH, HEADER, MARK, WRITE, ZERO, Log, LogWriter
from prove.powercut.states import CHUNK, PAGE, SECTOR, Cut, Plan, exhaustive, rebuilt, sampled
from prove.powercut.survey import Surveyor

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from prove.powercut.states import State

FOLDER = Path(__file__).resolve().parents[2] / "platforms" / "linux"
DISKS = 4 * CHUNK


def fuse() -> str:
    if loop():
        return loop()
    try:
        os.close(os.open("/dev/fuse", os.O_RDWR))
    except OSError as error:
        return f"cannot open /dev/fuse: {error.strerror}"
    return ""


needs_rig = needs(fuse, lambda: file_system("ext4"), lambda: file_system("overlay"))


@pytest.fixture
def logged(tmp_path: Path) -> Callable[..., Log]:
    """Makes a log of (kind, offset, length, data) and of marks as (MARK, JSON)."""

    def make(*records: tuple[object, ...]) -> Log:
        path = tmp_path / "log"
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | getattr(os, "O_BINARY", 0))
        writer = LogWriter(fd)
        writer.note(HEADER, {"workload": "none"})
        for kind, *rest in records:
            if kind == MARK:
                writer.note(MARK, rest[0])  # type: ignore[arg-type]
            else:
                writer.append(kind, *rest)  # type: ignore[arg-type]
        try:
            return Log(fd)
        finally:
            os.close(fd)

    return make


def content(state: State, size: int = DISKS) -> bytes:
    whole = bytearray(size)
    for offset, buffers in state.image.runs():
        data = b"".join(buffers)
        whole[offset : offset + len(data)] = data
    return bytes(whole)


def states(log: Log, point: int, plan: Plan | None = None, seeds: int = 60) -> Iterator[bytes]:
    for seed in range(seeds):
        yield from (content(state) for state in rebuilt(log, [Cut(point, seed)], plan or Plan()))


# The log.


def test_a_log_gives_back_what_was_put_in(logged: Callable[..., Log]) -> None:
    log = logged((WRITE, 5, 0, b"data"), (ZERO, 7, 9), (FLUSH,), (MARK, {"event": "begin"}))
    assert log.header == {"workload": "none"}
    assert [entry.kind for entry in log.entries] == [HEADER, WRITE, ZERO, FLUSH, MARK]
    assert bytes(log.data(log.entries[1])) == b"data"
    assert log.entries[1].offset == 5
    assert log.entries[2][1:3] == (7, 9)
    assert log.marks() == [(4, {"event": "begin"})]


@pytest.mark.parametrize("cut", [1, 3, 12])
def test_a_log_that_breaks_off_is_refused(cut: int, logged: Callable[..., Log], tmp_path: Path) -> None:
    whole = bytes(logged((WRITE, 0, 0, b"data")).view)
    path = tmp_path / "short"
    path.write_bytes(whole[:-cut])
    with path.open("rb") as file, pytest.raises(ValueError, match="breaks off"):
        Log(file.fileno())


def test_another_file_is_no_log(tmp_path: Path) -> None:
    path = tmp_path / "other"
    path.write_bytes(b"something else altogether")
    with path.open("rb") as file, pytest.raises(ValueError, match="no record"):
        Log(file.fileno())


# The states.


def test_what_was_flushed_is_in_every_state(logged: Callable[..., Log]) -> None:
    log = logged((WRITE, 0, 0, b"a" * PAGE), (FLUSH,), (WRITE, PAGE, 0, b"b" * PAGE))
    found = set(states(log, len(log.entries)))
    first, second = b"a" * PAGE, b"b" * PAGE
    rest = bytes(DISKS - 2 * PAGE)
    assert found == {first + second + rest, first + bytes(PAGE) + rest}


def test_any_part_of_what_was_not_flushed_may_be_missing(logged: Callable[..., Log]) -> None:
    log = logged((WRITE, CHUNK - PAGE, 0, b"a" * PAGE + b"b" * PAGE), (WRITE, 0, 0, b"c" * PAGE))
    found = {bytes([one[0], one[CHUNK - 1], one[CHUNK]]) for one in states(log, 3, seeds=300)}
    assert found == {bytes([c, a, b]) for c in b"c\0" for a in b"a\0" for b in b"b\0"}


def test_nothing_of_what_comes_after_the_cut_is_there(logged: Callable[..., Log]) -> None:
    log = logged((WRITE, 0, 0, b"a"), (FLUSH,), (WRITE, 0, 0, b"b"), (FLUSH,))
    assert {one[:1] for one in states(log, 3)} == {b"a"}
    assert {one[:1] for one in states(log, 4)} == {b"a", b"b"}
    assert {one[:1] for one in states(log, 5)} == {b"b"}


def test_a_disk_that_lies_may_have_lost_what_it_was_told_to_flush(logged: Callable[..., Log]) -> None:
    log = logged((WRITE, 0, 0, b"a"), (FLUSH,))
    assert {one[:1] for one in states(log, 3)} == {b"a"}
    assert {one[:1] for one in states(log, 3, Plan(lie=True))} == {b"a", b"\0"}


def test_a_page_is_torn_only_where_the_disk_writes_sectors(logged: Callable[..., Log]) -> None:
    log = logged((WRITE, 0, 0, b"a" * PAGE))
    assert {one[:PAGE].count(b"a") for one in states(log, 2)} == {0, PAGE}
    torn = {one[:PAGE].count(b"a") for one in states(log, 2, Plan(SECTOR))}
    assert len(torn) > 2
    assert all(count % SECTOR == 0 for count in torn)


def test_a_discard_is_whole_or_not_there(logged: Callable[..., Log]) -> None:
    size = 2 * CHUNK + PAGE
    log = logged((WRITE, 0, 0, b"a" * size), (FLUSH,), (ZERO, PAGE, 2 * CHUNK))
    gone = b"a" * PAGE + bytes(2 * CHUNK) + bytes(DISKS - PAGE - 2 * CHUNK)
    assert set(states(log, 4)) == {b"a" * size + bytes(DISKS - size), gone}


def test_a_cut_is_the_same_state_alone_and_among_others(logged: Callable[..., Log]) -> None:
    records = [(WRITE, number * PAGE % DISKS, 0, bytes([number]) * PAGE) for number in range(1, 40)]
    log = logged((MARK, {"event": "begin"}), *records[:20], (FLUSH,), *records[20:])
    history = History(log.marks())
    cuts = sampled(log, history, 50, seed=7)
    assert cuts == sampled(log, history, 50, seed=7)
    together = [(state.cut, state.key, content(state)) for state in rebuilt(log, cuts, Plan())]
    for cut, key, image in together:
        (alone,) = rebuilt(log, [cut], Plan())
        assert (alone.key, content(alone)) == (key, image)


def test_every_position_after_the_beginning_is_tried(logged: Callable[..., Log]) -> None:
    log = logged((WRITE, 0, 0, b"a"), (MARK, {"event": "begin"}), (WRITE, 0, 0, b"b"), (FLUSH,))
    cuts = exhaustive(log, History(log.marks()), seed=0)
    assert {cut.point for cut in cuts} == {3, 4, 5}
    assert len(cuts) == len(set(cuts)) == 12


# What may be found.


def found(digest: str | None = None, word: str = "3 bytes", *, remaining: tuple[str, ...] = ()) -> Found:
    files = {} if digest is None else {"f": (digest, word)}
    return Found(None, files, 0, list(remaining))


def start(number: int, digest: str, *, durable: bool = True) -> dict[str, object]:
    return {"event": "start", "id": str(number), "path": "f", "digest": digest, "durable": durable}


def done(number: int, *, durable: bool = True) -> dict[str, object]:
    return {"event": "done", "id": str(number), "durable": durable}


def kinds(history: History, what: Found, position: int) -> list[str]:
    return [violation.kind for violation in history.judge(what, position)]


def history_of(*marks: dict[str, object]) -> History:
    return History(list(enumerate(marks)))


@pytest.mark.parametrize(
    ("position", "permitted"),
    [(0, {None}), (1, {None, "one"}), (2, {"one"}), (3, {"one", "two"}), (4, {"two"})],
)
def test_what_may_be_there_at_each_moment(position: int, permitted: set[str | None]) -> None:
    history = history_of(start(1, "one"), done(1), start(2, "two"), done(2))
    for digest in (None, "one", "two", "other"):
        assert (kinds(history, found(digest), position) == []) == (digest in permitted)


def test_what_is_wrong_has_a_name() -> None:
    history = history_of(start(1, "one"), done(1), start(2, "two"), done(2))
    assert kinds(history, found("mix"), 4) == ["torn"]
    assert kinds(history, found("one"), 4) == ["stale"]
    assert kinds(history, found(None), 4) == ["lost"]
    assert kinds(history, found("EIO", "unreadable"), 4) == ["read"]
    assert kinds(history, found("two", remaining=("x.tmp",)), 4) == ["litter"]
    assert kinds(history, Found(("mount", "why"), {}, 0, []), 4) == ["mount"]


def test_a_save_that_promised_nothing_may_be_lost_but_not_torn() -> None:
    first, second = start(1, "one", durable=False), start(2, "two", durable=False)
    history = history_of(first, done(1), second, done(2))
    for digest in (None, "one", "two"):
        assert kinds(history, found(digest), 4) == []
    assert kinds(history, found("mix"), 4) == ["torn"]


def test_of_saves_at_the_same_time_either_may_stay() -> None:
    history = history_of(start(1, "one"), start(2, "two"), done(2), done(1))
    assert kinds(history, found("one"), 4) == kinds(history, found("two"), 4) == []
    assert kinds(history, found(None), 4) == ["lost"]


def test_a_save_that_failed_is_never_there() -> None:
    history = history_of(start(1, "one"), done(1), start(2, "two"), {"event": "failed", "id": "2"})
    assert kinds(history, found("one"), 4) == []
    assert kinds(history, found("two"), 4) == ["failed"]


def test_what_was_removed_may_come_back_until_it_is_saved_anew() -> None:
    gone = start(2, ABSENT, durable=False)
    history = history_of(start(1, "one"), done(1), gone, done(2, durable=False), start(3, "new"), done(3))
    for digest in (None, "one", "new"):
        assert kinds(history, found(digest), 5) == []
    assert kinds(history, found(None), 6) == ["lost"]
    assert kinds(history, found("one"), 6) == ["stale"]


def test_a_digest_tells_contents_apart() -> None:
    assert digest_of(b"one") != digest_of(b"two")
    assert digest_of(b"one") == digest_of(memoryview(b"one"))


def test_what_is_saved_together_is_all_there_or_none_of_it() -> None:
    one, two = ({"a": digest_of(data), "b": digest_of(data)} for data in (b"1", b"2"))
    mixed = digest_of_all({"a": one["a"], "b": two["b"]})
    marks: list[dict[str, object]] = [
        {
            "event": event,
            "id": str(number),
            "path": "a+b",
            "members": ["a", "b"],
            "durable": True,
            "digest": digest_of_all(files),
        }
        for number, files in enumerate((one, two))
        for event in ("start", "done")
    ]
    history = history_of(*marks)
    for digests, wrong in ((one, ["stale"]), (two, []), ({"a": ABSENT, "b": ABSENT}, ["lost"])):
        digest = digest_of_all(digests)
        files = {} if digest == ABSENT else {"a+b": (digest, "")}
        assert kinds(history, Found(None, files, 0, []), 4) == wrong
    assert kinds(history, Found(None, {"a+b": (mixed, "")}, 0, []), 4) == ["torn"]


def test_several_files_are_told_apart_by_name_and_content() -> None:
    assert digest_of_all({"a": "1", "b": "2"}) != digest_of_all({"a": "2", "b": "1"})
    assert digest_of_all({}) != ABSENT
    assert digest_of_all({"a": ABSENT}) == ABSENT


def test_what_was_marked_before_a_second_beginning_is_no_acknowledgement() -> None:
    begin: dict[str, object] = {"event": "begin"}
    history = history_of(begin, start(1, "one"), done(1), begin, start(2, "two"), done(2))
    assert (history.begin, history.acknowledged) == (3, [6])


@needs_linux
def test_a_survey_reads_files_trees_and_groups_and_finds_the_rest(tmp_path: Path) -> None:
    marks: list[dict[str, object]] = [
        {"event": "start", "id": "1", "path": "tree", "digest": "", "durable": True},
        {"event": "start", "id": "2", "path": "sub/file", "digest": "", "durable": True},
        {"event": "start", "id": "3", "path": "a+b", "members": ["a", "b"], "digest": "", "durable": True},
    ]
    (tmp_path / "tree" / "deep").mkdir(parents=True)
    (tmp_path / "tree" / "deep" / "one").write_bytes(b"1")
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "file").write_bytes(b"2")
    (tmp_path / "a").write_bytes(b"3")
    (tmp_path / "stranger").write_bytes(b"")
    recovered: list[str] = []
    found = Surveyor(history_of(*marks), recovered.append).survey(str(tmp_path))
    assert {name: digest for name, (digest, _) in found.files.items()} == {
        "tree": digest_of_all({"deep/one": digest_of(b"1")}),
        "sub/file": digest_of(b"2"),
        "a+b": digest_of_all({"a": digest_of(b"3"), "b": ABSENT}),
    }
    assert (found.leftovers, found.remaining) == (1, ["stranger"])
    assert recovered == [str(tmp_path)]


@needs_linux
def test_a_link_to_a_tree_beside_it_is_that_tree(tmp_path: Path) -> None:
    names = ("link", "dangling", "elsewhere", "tree/inner")
    marks = [{"event": "start", "id": name, "path": name, "digest": "", "durable": True} for name in names]
    (tmp_path / "version").mkdir()
    (tmp_path / "version" / "one").write_bytes(b"1")
    (tmp_path / "old version").mkdir()
    (tmp_path / "link").symlink_to("version")
    (tmp_path / "dangling").symlink_to("gone")
    (tmp_path / "elsewhere").symlink_to("/")
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / "inner").symlink_to("version")
    found = Surveyor(history_of(*marks), None).survey(str(tmp_path))
    assert found.files["link"][0] == digest_of_all({"one": digest_of(b"1")})
    assert found.files["dangling"] == found.files["tree/inner"] == ("", "a link that leads nowhere")
    assert found.files["elsewhere"][1] == "unreadable"
    assert found.remaining == ["old version"]


# The whole.


def rig(*arguments: str, place: Path, **variables: str) -> subprocess.Popen[str]:
    """Start the rig; its scratch directories lie in ``place``."""
    paths = os.pathsep.join([str(FOLDER), str(Path(durably.__file__).parents[1])])
    return subprocess.Popen(
        [sys.executable, "-m", "prove", *arguments],
        env=os.environ | {"PYTHONPATH": paths, "TMPDIR": str(place)} | variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@needs_rig
def test_nothing_of_the_product_is_lost_and_what_is_wrong_is_found(tmp_path: Path) -> None:
    common = (
        "run",
        "--file-system",
        "ext4",
        "--points",
        "40",
        "--rounds",
        "12",
        "--keep",
        str(tmp_path / "l"),
    )
    product = rig(*common, "--workload", "one-shot", place=tmp_path)
    said, _ = product.communicate()
    assert product.returncode == 0, said
    assert "40 points, 0 with a violation" in said
    wrong = rig(*common, "--workload", "without-directory", place=tmp_path)
    said, _ = wrong.communicate()
    assert wrong.returncode == 1, said
    line = next(line for line in said.splitlines() if "replay" in line)
    again = rig(*line.split()[3:], place=tmp_path)
    said, _ = again.communicate()
    assert again.returncode == 1, said
    assert any(f"\n{kind}: " in said for kind in ("stale", "lost", "litter"))
    assert [path.name for path in tmp_path.iterdir()] == ["l"]


@needs_rig
def test_a_recovery_can_be_cut_off_too(tmp_path: Path) -> None:
    common = ("--file-system", "ext4", "--workload")
    product = rig("again", *common, "sweep", "--states", "1", "--points", "12", place=tmp_path)
    said, _ = product.communicate()
    assert product.returncode == 0, said
    assert "12 cuts of a recovery: 0 violations" in said
    wrong = rig("controls", *common, "recover-in-place", place=tmp_path)
    said, _ = wrong.communicate()
    assert wrong.returncode == 0, said
    assert "shown" in said


@needs_rig
def test_a_disk_that_fails_a_write_robs_the_careless_only(tmp_path: Path) -> None:
    chosen = ("--workload", "append", "--workload", "sweep", "--writes", "2", "--file-system", "ext4")
    process = rig("faults", *chosen, place=tmp_path)
    said, _ = process.communicate()
    assert process.returncode == 0, said
    assert "4 writes that the disk fails: 0 violations" in said
    assert "controls: all shown" in said


def _children(process: int) -> list[int]:
    return [int(one) for one in Path(f"/proc/{process}/task/{process}/children").read_text().split()]


def _loops(name: str) -> list[str]:
    files: list[str] = []
    for path in Path("/sys/block").glob("loop*/loop/backing_file"):
        try:
            files.append(path.read_text())
        except OSError:
            continue  # it went while we looked
    return [file for file in files if name in file]


def _wait(condition: Callable[[], object], what: str) -> None:
    for _ in range(2000):
        if condition():
            return
        time.sleep(0.01)
    pytest.fail(f"waited too long for {what}")


def _alive(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@needs_rig
@pytest.mark.parametrize("victim", ["main", "recorder", "disk", "writer"])
def test_killing_any_part_leaves_no_mount_and_no_loop_device(victim: str, tmp_path: Path) -> None:
    arguments = ("run", "--file-system", "ext4", "--workload", "one-shot", "--rounds", "100000")
    with rig(*arguments, place=tmp_path) as main:
        _wait(lambda: _children(main.pid), "the recorder")
        (recorder,) = _children(main.pid)
        _wait(lambda: _loops("/powercut-"), "a loop device")
        (scratch,) = (path.name for path in tmp_path.iterdir())
        _wait(lambda: len(_children(recorder)) == 2 and _loops(scratch), "the writer")
        time.sleep(0.5)
        _wait(lambda: len(_children(recorder)) == 2, "the writer, after mkfs")
        disk, writer = _children(recorder)
        parts = {"main": main.pid, "recorder": recorder, "disk": disk, "writer": writer}
        os.kill(parts[victim], 9)
        main.wait(60)
        _wait(lambda: not any(map(_alive, parts.values())), "the other processes")
        _wait(lambda: not _loops(scratch), "the loop device to go")
        assert main.returncode != 0
    assert scratch not in Path("/proc/self/mounts").read_text()


@needs_rig
def test_a_machine_that_cannot_says_so(tmp_path: Path) -> None:
    tools = {"PATH": str(tmp_path)}
    code = "import prove.powercut.file_systems as f; f._PATH = ''; from prove.powercut.cli import main; "
    paths = os.pathsep.join([str(FOLDER), str(Path(durably.__file__).parents[1])])
    for required, status in (("0", 77), ("1", 1)):
        done = subprocess.run(
            [sys.executable, "-c", f"{code} raise SystemExit(main(['ci']))"],
            env=os.environ | tools | {"PYTHONPATH": paths, "POWERCUT_REQUIRE": required},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == status, done.stdout + done.stderr
        assert "SKIPPED ext4: mkfs.ext4 is not installed: apt-get install e2fsprogs" in done.stdout
        assert "SKIPPED: strace is not installed: apt-get install strace" in done.stdout


def test_every_workload_has_a_control(tmp_path: Path) -> None:
    process = rig("list", place=tmp_path)
    said, _ = process.communicate()
    if process.returncode == 77:
        pytest.skip(said.strip())
    names = [line.split()[0] for line in said.splitlines()]
    controls = [line.rpartition("Control: ")[2] for line in said.splitlines() if "Control: " in line]
    assert controls
    assert set(controls) <= set(names)
    assert json.dumps(sorted(set(names))) == json.dumps(sorted(names)), "a name is given twice"


@needs_linux
def test_a_proof_takes_the_place_of_the_one_before_and_of_no_other(tmp_path: Path) -> None:
    from prove.powercut import proof

    path = tmp_path / "platform.toml"
    path.write_text("# kept\n[steps]\nnone = []\n", encoding="utf-8")
    one = {"promise": "crash", "file_system": "ext4", "rig": "powercut", "points": 5, "violations": 0}
    one |= {"kernel": "6.1", "date": date(2026, 1, 2)}
    other = one | {"file_system": "xfs"}
    proof.write([one, other], path)
    proof.write([one | {"points": 9}], path)
    written = tomllib.loads(path.read_text(encoding="utf-8"))
    assert written == {"steps": {"none": []}, "proof": [one | {"points": 9}, other]}
    assert path.read_text(encoding="utf-8").startswith("# kept\n")
    before = path.read_bytes()
    with pytest.raises(ValueError, match="crash on ext4"):
        proof.write([one | {"violations": 1}], path)
    assert path.read_bytes() == before


@needs_rig
def test_a_run_in_which_nothing_is_saved_shows_nothing(tmp_path: Path) -> None:
    few = ("--workload", "sweep", "--rounds", "2", "--points", "4", "--file-system", "ext4")
    process = rig("run", *few, place=tmp_path)
    said, _ = process.communicate()
    assert process.returncode == 1, said
    assert "sweep has saved nothing in 2 rounds" in said
