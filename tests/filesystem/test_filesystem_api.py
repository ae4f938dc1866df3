"""Every entry point of the file system: each call fails, and the process is killed at each."""

from __future__ import annotations

import errno
import itertools
import os
import signal
from typing import TYPE_CHECKING, Any

import pytest

pytest.importorskip("fsspec", reason="fsspec is not installed")

import durably
import entry_points
from capabilities import needs_linux
from durably.filesystem import DurableFileSystem
from durably.testing import RecordingSyscalls, Syscalls, every_failure, use
from entry_points import in_child
from transactions import held, ours, sweep_all

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytestmark = needs_linux

OLD, NEW = b"old\n" * 1000, b"new\n" * 1500
BEFORE = {"target": OLD, "source": NEW}


def _opened(mode: str, data: bytes | str, **how: Any) -> Callable[[Any, str, str], None]:
    def write(fs: Any, target: str, source: str) -> None:
        with fs.open(target, mode, **how) as file:
            file.write(data)

    return write


def _committed(fs: Any, target: str, source: str) -> None:
    file = fs.open(target, "wb", autocommit=False)
    try:
        file.write(NEW)
        file.close()
        file.commit()
    finally:
        file.discard()


def _compressed(fs: Any, target: str, source: str) -> None:
    import zlib

    with fs.open(target, "wb", compression="gzip") as file:
        file.write(zlib.compress(NEW))


# Each entry point with what it leaves: the files, or None for a content that is only to be whole.
ENTRY_POINTS: dict[str, tuple[Callable[[Any, str, str], None], dict[str, bytes] | None]] = {
    "open wb": (_opened("wb", NEW), {**BEFORE, "target": NEW}),
    "open w": (_opened("w", NEW.decode()), {**BEFORE, "target": NEW}),
    "open ab": (_opened("ab", NEW), {**BEFORE, "target": OLD + NEW}),
    "open r+b": (_opened("r+b", b"NEW"), {**BEFORE, "target": b"NEW" + OLD[3:]}),
    "open w+b": (_opened("w+b", NEW), {**BEFORE, "target": NEW}),
    "open gzip": (_compressed, None),
    "autocommit=False": (_committed, {**BEFORE, "target": NEW}),
    "pipe_file": (lambda fs, target, _: fs.pipe_file(target, NEW), {**BEFORE, "target": NEW}),
    "put_file": (lambda fs, target, source: fs.put_file(source, target), {**BEFORE, "target": NEW}),
    "cp_file": (lambda fs, target, source: fs.cp_file(source, target), {**BEFORE, "target": NEW}),
    "mv": (lambda fs, target, source: fs.mv(source, target), {"target": NEW}),
    "touch": (lambda fs, target, _: fs.touch(target), {**BEFORE, "target": b""}),
    "rm": (lambda fs, target, _: fs.rm(target), {"source": NEW}),
    "new, with its directory": (
        lambda fs, target, _: fs.pipe_file(f"{target}s/deep/x", NEW),
        {**BEFORE, "targets/deep/x": NEW},
    ),
}


@pytest.fixture
def root() -> Iterator[Path]:
    with entry_points.folder() as directory:
        yield directory / "root"


def lay(root: Path) -> None:
    with use(Syscalls()):
        if root.exists():
            DurableFileSystem(durability="none").rm(str(root), recursive=True)
        root.mkdir()
        for name, content in BEFORE.items():
            (root / name).write_bytes(content)


def run(entry_point: str, root: Path) -> None:
    ENTRY_POINTS[entry_point][0](DurableFileSystem(), str(root / "target"), str(root / "source"))


def is_new(entry_point: str, root: Path, told: object) -> bool:
    """Whether the entry point has done all that it does; it must have done that or nothing."""
    found, after = held(root), ENTRY_POINTS[entry_point][1]
    if after is None:
        import gzip
        import zlib

        if found != BEFORE:
            assert zlib.decompress(gzip.decompress(found.pop("target"))) == NEW, told
            assert found == {"source": NEW}, told
            return True
        return False
    assert found in (BEFORE, after), (told, sorted(found))
    return found == after


@pytest.mark.parametrize("entry_point", ENTRY_POINTS)
def test_whatever_call_fails(entry_point: str, root: Path) -> None:
    outcomes: set[bool] = set()
    for table in every_failure(dict.fromkeys(vars(Syscalls()), (errno.EIO,))):
        lay(root)
        before = entry_points.descriptors()
        error: Exception | None = None
        try:
            run(entry_point, root)
        except (OSError, ValueError) as raised:
            error = raised
            error.__traceback__ = None
        told = (table.failed, error)
        done = is_new(entry_point, root, told)
        assert done or error is not None, told
        if isinstance(error, durably.NotDurableError):
            assert done, told
        assert entry_points.descriptors() == before, told
        left = ours(root)
        named = {os.path.basename(name) for name in getattr(error, "leftovers", ())}
        assert error is None or {os.path.basename(name) for name in left} <= named or entry_point == "rm", (
            told
        )
        outcomes.add(done)
    assert outcomes == {False, True}


class Killing(RecordingSyscalls):
    """A table in which the process dies before its N-th call."""

    at = 0

    def _before(self, name: str, arguments: Any, keywords: Any, function: Any) -> None:
        if len(self.record) == self.at:
            os.kill(os.getpid(), signal.SIGKILL)


def _kill_everywhere(entry_point: str, root: Path) -> None:
    outcomes: set[bool] = set()
    for at in itertools.count(1):
        lay(root)
        child = os.fork()
        if child == 0:
            table = Killing()
            table.at = at
            status = 3
            try:
                with use(table):
                    run(entry_point, root)
                status = 0
            finally:
                os._exit(status)
        status = os.waitpid(child, 0)[1]
        assert status in (0, signal.SIGKILL)
        told = f"{entry_point}, killed before call {at}"
        outcomes.add(is_new(entry_point, root, told))
        sweep_all(root)
        assert not ours(root), told
        is_new(entry_point, root, told)
        if not status:
            break
    assert outcomes == {False, True}


@pytest.mark.parametrize("entry_point", ENTRY_POINTS)
def test_killed_at_each_call(entry_point: str, root: Path) -> None:
    in_child(lambda: _kill_everywhere(entry_point, root))
