"""``durably copy --batch``: what is on the disk afterwards, what is said, and the exit code."""

from __future__ import annotations

import errno
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from capabilities import SHARED_MEMORY, needs_posix, needs_root, needs_shared_memory, needs_unprivileged_user
from disk import as_nobody, mode, names
from durably import testing
from durably._cli import copy_tree, copying, exit_codes
from durably._cli import main as command_line
from durably._system import temp_names

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = needs_posix

FILES = {"a": b"alpha", "b/c": b"", "b/d/e": os.urandom(1 << 16), "b/d/f": b"phi"}


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A directory with a tree, which the command runs in."""
    monkeypatch.chdir(tmp_path)
    for name, data in FILES.items():
        (tmp_path / "src" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "src" / name).write_bytes(data)
    (tmp_path / "src" / "empty").mkdir()
    yield tmp_path
    assert not [name for _, _, found in os.walk(tmp_path) for name in found if temp_names.parse(name)]


def copied(directory: Path) -> dict[str, bytes]:
    return {
        os.path.relpath(os.path.join(where, name), directory): (directory / where / name).read_bytes()
        for where, _, found in os.walk(directory)
        for name in found
    }


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, Any, str]:
    code = command_line.run(["copy", "--batch", "--json", *arguments])
    out, err = capsys.readouterr()
    return code, json.loads(out) if out else None, err


def test_a_tree_is_copied(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "src" / "a").chmod(0o750)
    (here / "dst").mkdir()
    (here / "dst" / "stays").write_bytes(b"")
    (here / "dst" / "b").mkdir()
    (here / "dst" / "b" / "c").write_bytes(b"old")
    (here / "dst" / "b" / "c").chmod(0o604)
    code, told, err = run(capsys, "src", "dst")
    assert (code, err) == (exit_codes.DONE, "")
    assert copied(here / "dst") == {**FILES, "stays": b""}
    assert told["saved"] == len(FILES)
    assert told["size"] == sum(map(len, FILES.values()))
    assert mode(here / "dst" / "a") == 0o750
    assert mode(here / "dst" / "b" / "c") == 0o604
    assert "empty" not in names(here / "dst")


def test_they_are_flushed_together(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    calls = testing.RecordingSyscalls()
    with testing.use(calls):
        assert run(capsys, "src", "dst")[0] == exit_codes.DONE
    first = min(at for at, name in enumerate(calls.names) if name == "replace")
    flushes = [at for at, name in enumerate(calls.names) if name in ("fsync", "syncfs")]
    assert flushes
    assert any(at < first for at in flushes)
    assert not any(name == "write" for name in calls.names[first:])


@pytest.mark.parametrize(("on_error", "kept"), [("abort", {}), ("continue", {"b/c", "b/d/e", "b/d/f"})])
def test_a_file_that_cannot_be_saved(
    on_error: str, kept: set[str], here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (here / "dst" / "a").mkdir(parents=True)
    code, told, err = run(capsys, "src", "dst", "--on-error", on_error)
    assert code == exit_codes.NOT_DONE
    assert set(copied(here / "dst")) == set(kept)
    assert told["error"]["errno"] == errno.EISDIR
    assert told["error"]["path"] == os.path.join("dst", "a")
    assert "dst/a" in err
    if kept:
        assert told["error"]["saved"] == 3
        assert list(told["error"]["failed"]) == [os.path.join("dst", "a")]


@needs_unprivileged_user
def test_a_file_that_cannot_be_read(here: Path) -> None:
    (here / "src" / "a").chmod(0)
    (here / "dst").mkdir()
    (here / "dst").chmod(0o777)

    def copy() -> None:
        assert command_line.run(["copy", "--batch", "src", "dst"]) == exit_codes.NOT_DONE
        assert names(here / "dst") == []
        assert (
            command_line.run(["copy", "--batch", "src", "dst", "--on-error", "continue"])
            == exit_codes.NOT_DONE
        )

    here.chmod(0o755)
    as_nobody(here / "dst", copy)
    assert copied(here / "dst") == {name: data for name, data in FILES.items() if name != "a"}


def test_a_file_that_cannot_be_read_is_told_beside_one_that_cannot_be_saved(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    listed = copy_tree._files

    def vanishing(source: str) -> list[tuple[str, int]]:
        found = list(listed(source))
        (here / "src" / "b" / "c").unlink()
        return found

    monkeypatch.setattr(copy_tree, "_files", vanishing)
    (here / "dst" / "a").mkdir(parents=True)
    code, told, err = run(capsys, "src", "dst", "--on-error", "continue")
    assert code == exit_codes.NOT_DONE
    assert set(told["error"]["failed"]) == {os.path.join("dst", "a"), os.path.join("dst", "b", "c")}
    assert told["error"]["saved"] == 2
    assert "Is a directory; 2 of 4 files could not be saved to the end, 2 were; --json tells of each" in err
    assert f"{os.path.join('src', 'b', 'c')}: No such file or directory; the target was not changed" in err
    assert set(copied(here / "dst")) == {"b/d/e", "b/d/f"}


@pytest.mark.parametrize(("on_error", "kept"), [("abort", []), ("continue", ["b/c", "b/d/e", "b/d/f"])])
def test_a_file_that_goes_after_it_was_listed(
    on_error: str,
    kept: list[str],
    here: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    listed = copy_tree._files

    def vanishing(source: str) -> list[tuple[str, int]]:
        found = list(listed(source))
        (here / "src" / "a").unlink()
        return found

    monkeypatch.setattr(copy_tree, "_files", vanishing)
    code, told, err = run(capsys, "src", "dst", "--on-error", on_error)
    assert code == exit_codes.NOT_DONE
    assert "No such file" in err
    if kept:
        assert list(told["failed"]) == [os.path.join("dst", "a")]
        assert sorted(copied(here / "dst")) == kept
    else:
        assert not (here / "dst").exists()


@needs_shared_memory
@needs_root
@pytest.mark.parametrize("quiet", [False, True])
def test_what_is_not_kept_is_told(here: Path, capsys: pytest.CaptureFixture[str], *, quiet: bool) -> None:
    class Owned(testing.Syscalls):
        def __init__(self) -> None:
            super().__init__()
            self.fchown = self._fchown

        @staticmethod
        def _fchown(*_: object) -> None:
            raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    with tempfile.TemporaryDirectory(dir=SHARED_MEMORY) as made:
        target = Path(made)
        (target / "a").touch()
        os.chown(target / "a", 12345, 12345)
        with testing.use(Owned()):
            assert command_line.run(["copy", "--batch", *["--quiet"] * quiet, "src", made]) == exit_codes.DONE
        assert copied(target) == FILES
    told = capsys.readouterr().err
    assert ("'durable' was asked for and is not kept" in told) is not quiet
    assert ("metadata of old files could not all be kept: group, owner" in told) is not quiet


def test_what_is_kept_needs_no_word(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command_line.run(["copy", "--batch", "--durability", "none", "src", "dst"]) == exit_codes.DONE
    assert capsys.readouterr().err == ""
    assert copied(here / "dst") == FILES


def test_a_file_that_shares_its_blocks_is_not_copied_again(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def shared(reader: Any, file: Any) -> bool:
        """As a file system does that can."""
        file.write(reader.read())
        return True

    monkeypatch.setattr(copy_tree, "cloned", shared)
    assert command_line.run(["copy", "--batch", "--quiet", "src", "dst"]) == exit_codes.DONE
    assert copied(here / "dst") == FILES


@pytest.mark.parametrize("what", ["link", "link to a directory", "fifo"])
def test_what_is_no_file_is_refused_before_anything_is_written(
    what: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    odd = here / "src" / "z"
    if what == "fifo":
        os.mkfifo(odd)
    else:
        odd.symlink_to("a" if what == "link" else "b")
    code, told, _ = run(capsys, "src", "dst", "--on-error", "continue")
    assert code == exit_codes.NOT_DONE
    assert told["error"]["path"] == os.path.join("src", "z")
    assert not (here / "dst").exists()


@pytest.mark.parametrize(
    ("source", "target"), [("src", "src"), ("src", "src/b"), ("src/b", "src"), ("src", ".")]
)
def test_trees_that_lie_in_each_other(
    source: str, target: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = copied(here)
    assert run(capsys, source, target)[0] == exit_codes.NOT_DONE
    assert copied(here) == before


@pytest.mark.parametrize("source", ["none", "src/a"])
def test_a_source_that_is_no_directory(source: str, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, source, "dst")[0] == exit_codes.NOT_DONE
    assert not (here / "dst").exists()


def test_in_place_is_no_batch(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command_line.run(["copy", "--batch", "--allow-in-place", "src", "dst"]) == 2
    assert "cannot go together" in capsys.readouterr().err


def test_a_flush_of_a_directory_that_fails(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    class Lame(testing.Syscalls):
        def __init__(self) -> None:
            super().__init__()
            self.fsync = self._fsync

        @staticmethod
        def _fsync(fd: int) -> None:
            if os.path.isdir(f"/dev/fd/{fd}"):
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            os.fsync(fd)

    (here / "dst").mkdir()
    with testing.use(Lame()):
        code, told, _ = run(capsys, "src", "dst", "--on-error", "continue")
    assert code == exit_codes.NOT_DURABLE
    assert copied(here / "dst") == FILES
    assert len(told["error"]["failed"]) == len(FILES)


def test_long_copies_show_their_progress_on_a_terminal(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert sys.platform != "win32"
    import pty  # there is none on Windows

    monkeypatch.setattr(copying, "_LONG", 0.0)
    monkeypatch.setattr("durably._cli.copy_tree.cloned", lambda reader, file: False)
    monkeypatch.setenv("TERM", "xterm")
    terminal, end = pty.openpty()
    with os.fdopen(end, "w") as stderr:
        monkeypatch.setattr(sys, "stderr", stderr)
        assert command_line.run(["copy", "--batch", "src", "dst", "--quiet"]) == 0
        stderr.write("end")
        stderr.flush()
        shown_there = b""
        while not shown_there.endswith(b"end"):
            shown_there += os.read(terminal, 1 << 16)
    os.close(terminal)
    assert b"src" in shown_there
    assert copied(here / "dst") == FILES
