"""What comes after the end of a transaction, copies of what decides once, and what its errors name."""

from __future__ import annotations

import copy
import errno
import os
import pickle
from typing import TYPE_CHECKING, Any

import pytest

import durably
import entry_points
from capabilities import needs_linux, needs_posix
from durably._system import temp_names
from durably.testing import RecordingSyscalls, use
from transactions import held, ours

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytestmark = [needs_posix, needs_linux]

OLD = {"a": b"old a", "b": b"old b", "sub/c": b"old c"}


@pytest.fixture
def root() -> Iterator[Path]:
    with entry_points.folder() as directory:
        path = directory / "root"
        path.mkdir(mode=0o755)
        (path / "sub").mkdir()
        for name, content in OLD.items():
            (path / name).write_bytes(content)
        yield path


# What comes too late.


@pytest.mark.parametrize("name", ["new", "b", "made/new"])
@pytest.mark.parametrize("end", ["add", "leave"])
def test_a_file_that_is_added_after_the_end_is_thrown_away(root: Path, name: str, end: str) -> None:
    txn = durably.Transaction(root).__enter__()
    txn.write_bytes("a", b"new a")
    writer = txn.open(name, "wb")
    writer.file.write(b"late")
    with pytest.raises(ValueError, match="still being written"):
        txn.__exit__(None, None, None)
    with pytest.raises(ValueError, match="comes too late"):
        writer.add() if end == "add" else writer.__exit__(None, None, None)
    assert held(root) == OLD
    assert ours(root) == []


@pytest.mark.parametrize("name", ["new", "b", "made/new"])
def test_a_staged_path_that_is_left_after_the_end_is_thrown_away(root: Path, name: str) -> None:
    txn = durably.Transaction(root).__enter__()
    staged = txn.staged_path(name)
    path = staged.__enter__()
    path.write_bytes(b"late")
    with pytest.raises(ValueError, match="still being written"):
        txn.__exit__(None, None, None)
    if path.exists():  # it does not where it lay in a new directory, which was thrown away
        with pytest.raises(ValueError, match="comes too late"):
            staged.__exit__(None, None, None)
    else:
        with pytest.raises(FileNotFoundError):
            staged.__exit__(None, None, None)
    assert held(root) == OLD
    assert ours(root) == []


def test_a_staged_path_is_not_entered_after_the_end(root: Path) -> None:
    with durably.Transaction(root) as txn:
        staged = txn.staged_path("a")
    with pytest.raises(ValueError, match="comes too late"), staged:
        pass
    assert held(root) == OLD
    assert ours(root) == []


# Copies, which would decide a second time.


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, pickle.dumps])
def test_what_is_staged_belongs_to_one_block(root: Path, copied: Callable[[Any], object]) -> None:
    with durably.Transaction(root) as txn, txn.staged_path("a") as path:
        path.write_bytes(b"new a")
        with pytest.raises(TypeError, match="cannot be copied or pickled"):
            copied(txn.staged_path("b"))
    for block in (durably.staged_path(root / "b"), durably.staged_directory(root / "tree")):
        with block as path:
            with pytest.raises(TypeError, match="cannot be copied or pickled"):
                copied(block)
            assert path.parent.exists()
            if path.name == "tree":
                (path / "d").write_bytes(b"new d")
            else:
                path.write_bytes(b"new b")
    assert held(root) == {**OLD, "a": b"new a", "b": b"new b", "tree/d": b"new d"}


# What is named.


def test_a_receipt_names_the_root_as_the_caller_did(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(root)
    with durably.Transaction("sub") as txn:
        monkeypatch.chdir("/")
        txn.write_bytes("c", b"new c")
        txn.write_bytes("x/d", b"new d")
    assert txn.receipt is not None
    assert txn.receipt.root == "sub"
    assert sorted(txn.receipt.written) == ["c", "x/d"]
    assert held(root) == {**OLD, "sub/c": b"new c", "sub/x/d": b"new d"}


def _both(txn: durably.Transaction) -> None:
    txn.write_bytes("a", b"new a")
    txn.write_bytes("sub/c", b"new c")


class Failing(RecordingSyscalls):
    """A table in which a call fails from when it is told to on: with this argument, if one is given."""

    def __init__(self, call: str, argument: str | None) -> None:
        super().__init__()
        self.call, self.argument = call, argument
        self.fails = False

    def _before(self, name: str, arguments: Any, keywords: Any, function: Any) -> None:
        if self.fails and name == self.call and (self.argument is None or self.argument in arguments):
            raise OSError(errno.EDQUOT, os.strerror(errno.EDQUOT), *arguments[:1])


@pytest.mark.parametrize(
    ("call", "argument", "act", "named"),
    [
        ("replace", "c", lambda txn: txn.write_bytes("sub/c", b"new c"), "sub/c"),
        ("replace", "c", _both, "sub/c"),
        ("replace", None, _both, ""),  # of the journal
        ("replace", "c", lambda txn: (txn.remove("a"), txn.remove("sub/c")), "sub/c"),
        ("unlink", "c", lambda txn: txn.remove("sub/c"), "sub/c"),
        ("link", "c", _both, "sub/c"),
        ("link", "c", lambda txn: txn.rename("sub/c", "moved"), "sub/c"),
        ("mkdir", None, lambda txn: txn.write_bytes("sub/x/y", b"new"), "sub/x/y"),
        ("fsync", None, _both, ""),
        ("dup", None, lambda txn: txn.write_bytes("a", b"new"), ""),
        ("open", "c", lambda txn: txn.read_bytes("sub/c"), "sub/c"),
    ],
)
def test_an_error_names_the_target_or_the_root(
    root: Path, call: str, argument: str | None, act: Callable[[durably.Transaction], object], named: str
) -> None:
    table = Failing(call, argument)
    with (
        use(table),
        pytest.raises(OSError, match=os.strerror(errno.EDQUOT)) as caught,
        durably.Transaction(root) as txn,
    ):
        table.fails = True
        act(txn)
    assert caught.value.filename in (os.path.join(root, *filter(None, [named])), named)
    assert caught.value.filename2 is None
    assert held(root) == OLD


def test_a_leftover_is_named_once(root: Path) -> None:
    class Stuck(Failing):
        """The replacement fails, and so does what would remove the temporaries; the journal can go."""

        def _before(self, name: str, arguments: Any, keywords: Any, function: Any) -> None:
            super()._before(name, arguments, keywords, function)
            if name in ("unlink", "rmdir") and temp_names.parse(arguments[0]):
                raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    table = Stuck("replace", "c")
    with (
        use(table),
        pytest.raises(OSError, match=os.strerror(errno.EDQUOT)) as caught,
        durably.Transaction(root) as txn,
    ):
        _both(txn)
        table.fails = True
    left: tuple[str, ...] = caught.value.leftovers  # type: ignore[attr-defined] # documented
    assert len(left) == len(set(left))
    assert set(left) == {os.path.join(root, each) for each in ours(root)}
    assert held(root) == OLD


# What an end does once more, and last.


class BreakingOff(RecordingSyscalls):
    """The N-th removal of a temporary is interrupted, before it is made."""

    def __init__(self, at: int) -> None:
        super().__init__()
        self.left = at

    def _before(self, name: str, arguments: Any, keywords: Any, function: Any) -> None:
        if name == "unlink" and temp_names.parse(arguments[0]):
            self.left -= 1
            if not self.left:
                raise KeyboardInterrupt


@pytest.mark.parametrize("at", [1, 2])
@pytest.mark.parametrize("fails", [False, True])
def test_an_interrupted_clearing_up_goes_on(root: Path, at: int, fails: bool) -> None:
    table = BreakingOff(at)
    with use(table), pytest.raises(KeyboardInterrupt), durably.Transaction(root) as txn:
        txn.write_bytes("a", b"new a")
        txn.write_bytes("b", b"new b")
        if fails:
            raise ZeroDivisionError
    assert table.left <= 0
    assert held(root) == (OLD if fails else {**OLD, "a": b"new a", "b": b"new b"})
    assert ours(root) == []


SINGLE: dict[str, Callable[[durably.Transaction], object]] = {
    "new": lambda txn: txn.write_bytes("new", b"new"),
    "replaced": lambda txn: txn.write_bytes("a", b"new"),
    "removed": lambda txn: txn.remove("a"),
    "expected": lambda txn: txn.write_bytes("a", b"new", expect=OLD["a"]),
}


@pytest.mark.parametrize("change", SINGLE)
def test_the_directory_of_a_single_change_is_flushed_after_it(root: Path, change: str) -> None:
    table = RecordingSyscalls()
    with use(table), durably.Transaction(root) as txn:
        SINGLE[change](txn)
    named = max(
        at for at, name in enumerate(table.names) if name in ("replace", "renameat2", "link", "unlink")
    )
    assert "fsync" in table.names[named:]
