"""Batch, staged_directory and Transaction on Windows itself. Real calls only."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

import durably
from capabilities import needs_windows, posix_rename
from disk import NEW, OLD, names
from durably import BatchError, UnsupportedError, testing
from durably._commit.windows.handles import PATIENCE
from durably._system.syscalls import Syscalls
from durably._transaction.paths import parts_below
from windows_child import child

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytestmark = needs_windows

KILLED = f"""
import os, sys
import durably
from durably import testing

class Killing(testing.RecordingSyscalls):
    def _before(self, *_):
        if len(self.record) == int(sys.argv[3]):
            os.kill(os.getpid(), 9)

def batch(root):
    with durably.Batch() as batch:
        for name in "ab":
            batch.write_bytes(os.path.join(root, name), {NEW!r})

def transaction(root):
    with durably.Transaction(root) as txn:
        for name in "ab":
            txn.write_bytes(name, {NEW!r})

def directory(root):
    with durably.staged_directory(os.path.join(root, "tree")) as tree:
        for name in "ab":
            with open(os.path.join(tree, name), "wb") as file:
                file.write({NEW!r})

with testing.use(Killing()):
    globals()[sys.argv[1]](sys.argv[2])
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "a").write_bytes(OLD)
    (tmp_path / "b").write_bytes(OLD)
    return tmp_path


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv(PATIENCE, "0.05")
    with testing.use(Syscalls()):
        yield


def batch(root: Path) -> None:
    with durably.Batch() as batch:
        for name in "ab":
            batch.write_bytes(root / name, NEW)


def transaction(root: Path) -> None:
    with durably.Transaction(root) as txn:
        for name in "ab":
            txn.write_bytes(name, NEW)


def directory(root: Path) -> None:
    with durably.staged_directory(root / "tree") as tree:
        for name in "ab":
            (tree / name).write_bytes(NEW)


def contents(root: Path) -> list[bytes]:
    return [(root / name).read_bytes() for name in "ab"]


def calls_of(save: Callable[[Path], None], root: Path) -> int:
    table = testing.RecordingSyscalls()
    with testing.use(table):
        save(root)
    return len(table.record)


# Batch.


def test_a_batch(root: Path) -> None:
    with durably.Batch() as batch:
        for name in "abc":
            batch.write_bytes(root / name, NEW)
        assert contents(root) == [OLD, OLD]
    assert batch.receipt is not None
    assert [receipt.replaced for receipt in batch.receipt.saved] == [True, True, False]
    assert contents(root) == [NEW, NEW]
    assert names(root) == ["a", "b", "c"]


def test_a_batch_whose_body_fails(root: Path) -> None:
    with pytest.raises(KeyError), durably.Batch() as batch:
        batch.write_bytes(root / "a", NEW)
        raise KeyError
    assert contents(root) == [OLD, OLD]
    assert names(root) == ["a", "b"]


@pytest.mark.usefixtures("short")
def test_a_batch_with_a_file_that_somebody_holds(root: Path) -> None:
    with (root / "b").open("rb"):
        with pytest.raises(BatchError) as caught:
            batch(root)
    assert caught.value.filename == str(root / "b")
    assert contents(root) == [NEW, OLD]
    assert names(root) == ["a", "b"]


# Directories.


def test_a_new_directory(root: Path) -> None:
    directory(root)
    assert contents(root / "tree") == [NEW, NEW]
    assert names(root) == ["a", "b", "tree"]


def test_an_old_directory_is_not_replaced(root: Path) -> None:
    (root / "tree").mkdir()
    (root / "tree" / "a").write_bytes(OLD)
    with pytest.raises(UnsupportedError, match="no call that exchanges two directories"):
        directory(root)
    assert names(root / "tree") == ["a"]
    assert names(root) == ["a", "b", "tree"]


def test_versions_behind_a_link(root: Path) -> None:
    """Put in place by one rename of a link, or refused before anything is written."""
    path = root / "tree"

    def save(data: bytes) -> None:
        with durably.staged_directory(path, fallback="symlink") as tree:
            (tree / "page").write_bytes(data)

    if posix_rename():
        with pytest.raises(UnsupportedError):
            save(NEW)
        assert names(root) == ["a", "b"]
        return
    for data in (OLD, NEW):
        save(data)
        assert (path / "page").read_bytes() == data
    assert len(names(root)) == 4  # the link, and the version that it leads to


def test_a_directory_whose_body_fails(root: Path) -> None:
    with pytest.raises(KeyError), durably.staged_directory(root / "tree") as tree:
        (tree / "a").write_bytes(NEW)
        (tree / "below").mkdir()
        (tree / "below" / "read-only").write_bytes(NEW)
        (tree / "below" / "read-only").chmod(0o400)
        raise KeyError
    assert names(root) == ["a", "b"]


@pytest.mark.usefixtures("short")
def test_a_directory_in_which_somebody_holds_a_file(root: Path) -> None:
    with pytest.raises(KeyError) as caught, durably.staged_directory(root / "tree") as tree:
        file = (tree / "a").open("wb")
        raise KeyError
    file.close()
    (left,) = caught.value.leftovers  # type: ignore[attr-defined] # documented
    assert names(root) == sorted([os.path.basename(left), "a", "b"])


# Transactions.


def test_a_transaction(root: Path) -> None:
    with durably.Transaction(root) as txn:
        txn.write_bytes("a", NEW)
        txn.write_text("c", "new\n")
        txn.remove("b")
        assert contents(root) == [OLD, OLD]
    assert (root / "a").read_bytes() == NEW
    assert names(root) == ["a", "c"]
    assert durably.recover(root).outcome == "nothing"


def test_a_transaction_whose_body_fails(root: Path) -> None:
    with pytest.raises(KeyError), durably.Transaction(root) as txn:
        txn.write_bytes("a", NEW)
        raise KeyError
    assert contents(root) == [OLD, OLD]
    assert names(root) == ["a", "b"]


@pytest.mark.usefixtures("short")
def test_a_transaction_with_a_file_that_somebody_holds(root: Path) -> None:
    """What was done is undone. The second name of the file that is held cannot be removed, and is named."""
    with (root / "b").open("rb"), pytest.raises(PermissionError) as caught:
        transaction(root)
    assert contents(root) == [OLD, OLD]
    (left,) = caught.value.leftovers  # type: ignore[attr-defined] # documented
    assert names(root) == sorted([os.path.basename(left), "a", "b"])
    assert durably.recover(root).outcome == "nothing"


@pytest.mark.parametrize(
    "path",
    ["/elsewhere/a", r"\elsewhere\a", r"Z:\elsewhere\a", "Z:a", r"\\host\share\a", r"..\a", r"sub\..\a"],
)
def test_a_path_outside_of_a_transaction_is_refused(path: str, root: Path) -> None:
    """A path that begins with a separator is not absolute to Python 3.13, and has no drive."""
    with durably.Transaction(root) as txn:
        for act in (lambda: txn.write_bytes(path, NEW), lambda: txn.remove(path), lambda: txn.exists(path)):
            with pytest.raises(ValueError, match="root"):
                act()
    assert names(root) == ["a", "b"]


@pytest.mark.parametrize(
    "path", [r"\server\share\root\x", r"C:\server\share\root\x", r"\\server\other\root\x"]
)
def test_a_path_on_another_drive_is_not_below_a_share(path: str) -> None:
    with pytest.raises(ValueError, match="root"):
        parts_below(r"\\server\share\root", path)
    assert parts_below(r"\\server\share\root", r"//SERVER/Share\root/sub\x") == ("sub", "x")


# Ends.


def test_a_process_ends_at_each_call_of_a_transaction(root: Path) -> None:
    number = calls_of(transaction, root)

    def killed(at: int) -> bytes:
        place = root / str(at)
        place.mkdir()
        for name in "ab":
            (place / name).write_bytes(OLD)
        status = child(KILLED, "transaction", place, at)
        durably.recover(place)
        durably.sweep(place, older_than=0)
        one, two = contents(place)
        assert one == two, at
        assert names(place) == ["a", "b"], at
        assert status == 9 or one == NEW, at  # it may wait for others once less often
        return one

    with ThreadPoolExecutor(4) as pool:
        ends = list(pool.map(killed, range(1, number + 1, 2)))
    first = ends.index(NEW)
    assert ends == [OLD] * first + [NEW] * (len(ends) - first)


@pytest.mark.parametrize("save", [batch, directory])
def test_a_process_ends_at_each_call(save: Callable[[Path], None], root: Path) -> None:
    number = calls_of(save, root)

    def killed(at: int) -> None:
        place = root / str(at)
        place.mkdir()
        for name in "ab":
            (place / name).write_bytes(OLD)
        assert child(KILLED, save.__name__, place, at) in (0, 9)  # 0: it waited for others once less often
        swept = durably.sweep(place, older_than=0)
        assert all(entry.removed for entry in swept), swept
        assert set(contents(place)) <= {OLD, NEW}
        if (place / "tree").exists():
            assert contents(place / "tree") == [NEW, NEW]
        assert set(names(place)) <= {"a", "b", "tree"}, swept

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(killed, range(1, number + 1, 2)))
