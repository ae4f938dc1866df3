"""Locks of this process on one directory: a batch's shelter steps aside for a transaction, and comes back."""

from __future__ import annotations

import errno
import os
import threading
from typing import TYPE_CHECKING

import pytest

import durably
from capabilities import needs_posix
from durably import _commit
from durably._commit.posix import locks
from durably._commit.posix.flags import LOCK, LOCK_AND_WAIT
from durably._system.syscalls import Syscalls
from durably.testing import use

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = needs_posix


def is_locked(directory: Path) -> bool:
    """Whether a sweep from elsewhere would find the directory locked."""
    fd = os.open(directory, os.O_RDONLY)
    try:
        Syscalls().flock(fd, LOCK)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False


def in_time(work: Callable[[], object]) -> None:
    """Do something that may wait for ever if it is broken."""
    failures: list[BaseException] = []

    def run() -> None:
        try:
            work()
        except BaseException as error:  # noqa: BLE001 # it is raised in the test's own thread
            failures.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(10)
    assert not thread.is_alive(), "it waits for itself"
    if failures:
        raise failures[0]


def save_both(root: Path, *names: str) -> None:
    with durably.Transaction(root) as transaction:
        for name in names:
            transaction.write_text(name, name)


def test_a_transaction_in_a_batch_on_the_same_directory(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)

    def work() -> None:
        with durably.Batch() as batch:
            batch.write_text(tmp_path / "batch", "batch")
            assert is_locked(tmp_path)
            save_both(tmp_path, "one", "two")
            assert is_locked(tmp_path)
            assert not (tmp_path / "batch").exists()

    in_time(work)
    assert sorted(os.listdir(tmp_path)) == ["batch", "one", "two"]
    assert not is_locked(tmp_path)


def test_transactions_of_other_threads_that_a_batch_waits_for(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)

    def work() -> None:
        with durably.Batch() as batch:
            batch.write_text(tmp_path / "batch", "batch")
            threads = [
                threading.Thread(target=save_both, args=(tmp_path, f"{number}-a", f"{number}-b"))
                for number in range(8)
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            assert is_locked(tmp_path)

    in_time(work)
    assert len(os.listdir(tmp_path)) == 17


def test_the_directory_is_locked_while_the_transaction_has_it(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    seen: list[bool] = []
    calls = Syscalls()
    replace, unlink = calls.replace, calls.unlink

    def look_and_replace(*arguments: object, **more: object) -> None:
        seen.append(is_locked(tmp_path))
        replace(*arguments, **more)

    def look_and_unlink(*arguments: object, **more: object) -> None:
        seen.append(is_locked(tmp_path))
        unlink(*arguments, **more)

    calls.replace, calls.unlink = look_and_replace, look_and_unlink

    def work() -> None:
        with use(calls), durably.Batch() as batch:
            batch.write_text(tmp_path / "batch", "batch")
            save_both(tmp_path, "one", "two")

    in_time(work)
    assert len(seen) > 2
    assert all(seen)


def test_a_batch_that_ends_meanwhile_takes_its_shelter_along(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    batch = durably.Batch()
    batch.__enter__()
    batch.write_text(tmp_path / "batch", "batch")
    calls = Syscalls()
    replace = calls.replace

    def end_the_batch(*arguments: object, **more: object) -> None:
        if batch.receipt is None:
            batch.__exit__(None, None, None)
        replace(*arguments, **more)

    calls.replace = end_the_batch

    def work() -> None:
        with use(calls):
            save_both(tmp_path, "one", "two")

    in_time(work)
    assert sorted(os.listdir(tmp_path)) == ["batch", "one", "two"]
    assert not is_locked(tmp_path)


def test_liveness_stay_aside_for_the_transaction_that_waits(tmp_path: Path) -> None:
    calls, directory = Syscalls(), os.open(tmp_path, os.O_RDONLY)
    shared = locks.lock_shared(calls, directory)
    assert shared is not None
    first, second = os.open(tmp_path, os.O_RDONLY), os.open(tmp_path, os.O_RDONLY)
    locks.lock_exclusive(calls, first)
    waiting = threading.Thread(target=locks.lock_exclusive, args=(calls, second), daemon=True)
    waiting.start()
    while second not in locks._ours().aside:  # that it waits is not seen from outside
        pass
    locks.unlock_exclusive(calls, first)
    waiting.join(10)
    assert not waiting.is_alive()
    locks.unlock_exclusive(calls, second)
    assert is_locked(tmp_path)
    locks.unlock_shared(calls, shared)
    os.close(directory)
    assert not is_locked(tmp_path)


def test_a_shelter_that_cannot_come_back_keeps_nothing_open(tmp_path: Path) -> None:
    calls, directory = Syscalls(), os.open(tmp_path, os.O_RDONLY)
    shared = locks.lock_shared(calls, directory)
    assert shared is not None
    lock = os.open(tmp_path, os.O_RDONLY)
    locks.lock_exclusive(calls, lock)
    flock = calls.flock

    def refuse(fd: int, operation: int) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    calls.flock = refuse
    with pytest.raises(OSError, match="locks"):
        locks.unlock_exclusive(calls, lock)
    calls.flock = flock
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(lock)
    locks.unlock_shared(calls, shared)
    os.close(directory)


def test_a_child_leaves_the_liveness_of_its_parent_alone(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    inner = tmp_path / "inner"
    inner.mkdir(mode=0o755)
    with durably.Batch() as batch:
        batch.write_text(tmp_path / "batch", "batch")
        child = os.fork()
        if child == 0:
            status = 1
            try:
                with durably.Batch() as own:
                    own.write_text(inner / "own", "own")
                    save_both(inner, "one", "two")
                    locked = is_locked(inner)
                status = 0 if locked else 2
            finally:
                os._exit(status)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert is_locked(tmp_path)
    assert sorted(os.listdir(inner)) == ["one", "own", "two"]


def test_no_shelter_where_another_has_the_directory_alone(tmp_path: Path) -> None:
    routine = _commit.routine()
    other, directory = os.open(tmp_path, os.O_RDONLY), os.open(tmp_path, os.O_RDONLY)
    routine.calls.flock(other, LOCK_AND_WAIT)
    assert routine.lock_shared(directory) is None
    os.close(other)
    os.close(directory)
