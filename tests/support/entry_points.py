"""Every public way to save one file, in one list, and what holds of a directory after a save."""

from __future__ import annotations

import errno
import os
import pickle
import re
import shutil
import signal
import sys
import tempfile
import traceback
import warnings
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn, TypeVar

import durably
from capabilities import shared_memory
from durably import NotDurableError, Receipt
from durably._system import temp_names
from durably._system.syscalls import Syscalls

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

T = TypeVar("T")

OLD = b"old\n" * 700
NEW = b"new content\n" * 900
LEVELS = ("durable", "consistent", "none")
FALLBACK = "/var/tmp"
_PIECES = 8


class EntryPoint(NamedTuple):
    """One way to save."""

    name: str
    save: Callable[..., Receipt]
    """``save(path, data, **options)``."""
    states: tuple[str, ...] = ("new", "replaced")
    """What it can meet: no file, an old one."""
    streams: bool = False
    """Whether the temporary has no name while it is written, where the file system can do that."""
    goes_on: bool = False
    """Whether the data are appended to the old content."""
    together: bool = False
    """Whether it can save several files, so that an error need not name this one, nor have a receipt."""

    def content(self, old: bytes | None, data: bytes = NEW) -> bytes:
        """What the target holds after a save over ``old``."""
        return (old or b"") + data if self.goes_on else data


def _text(path: Path, data: bytes, **options: Any) -> Receipt:
    return durably.write_text(path, data.decode(), newline="", **options)


def _recipe(path: Path, data: bytes, **options: Any) -> Receipt:
    return durably.atomic_write(path, data.decode(), **options)


def _created(path: Path, data: bytes, **options: Any) -> Receipt:
    return durably.write_bytes(path, data, overwrite=False, **options)


def _opened(mode: str, *, pieces: int = 1, **how: Any) -> Callable[..., Receipt]:
    def save(path: Path, data: bytes, **options: Any) -> Receipt:
        writer = durably.open(path, mode, **how, **options)
        with writer as file:
            _fill(file, mode, data, pieces)
        assert writer.receipt is not None
        return writer.receipt

    return save


def _by_hand(path: Path, data: bytes, **options: Any) -> Receipt:
    writer = durably.open(path, "wb", **options)
    try:
        writer.file.write(data)
        return writer.commit()
    finally:
        writer.discard()


def _fill(file: Any, mode: str, data: bytes, pieces: int) -> None:
    step = len(data) // pieces + 1
    for at in range(0, len(data), step):
        piece = data[at : at + step]
        file.write(piece if "b" in mode else piece.decode())
        if pieces > 1:
            file.flush()
    if "r" in mode:
        file.truncate()
    if "+" in mode:
        file.seek(0)
        assert len(file.read()) >= len(data)


def _staged(path: Path, data: bytes, **options: Any) -> Receipt:
    staged = durably.staged_path(path, **options)
    with staged as temporary:
        temporary.write_bytes(data)
    assert staged.receipt is not None
    return staged.receipt


def _staged_by_rename(path: Path, data: bytes, **options: Any) -> Receipt:
    """The saver is one that replaces the file itself."""
    staged = durably.staged_path(path, **options)
    with staged as temporary:
        part = temporary.with_name("part")
        part.write_bytes(data)
        part.replace(temporary)
    assert staged.receipt is not None
    return staged.receipt


def _staged_new(path: Path, data: bytes, **options: Any) -> Receipt:
    return _staged(path, data, overwrite=False, **options)


def _alone(batch: durably.Batch, save: Callable[[durably.Batch], object], path: Path) -> Receipt:
    """What became of the only file of a batch. Raises its own error."""
    try:
        with batch:
            save(batch)
    except durably.BatchError as error:
        assert error.receipt is not None
        assert error.receipt is batch.receipt
        own = error.receipt.failed[str(path)]
        assert (error.path, error.errno) == (str(path), own.errno)
        raise own from error
    assert batch.receipt is not None
    (receipt,) = batch.receipt.saved
    return receipt


def _batched(path: Path, data: bytes, **options: Any) -> Receipt:
    return _alone(durably.Batch(**options), lambda batch: batch.write_bytes(path, data), path)


def _batch_opened(path: Path, data: bytes, **options: Any) -> Receipt:
    def save(batch: durably.Batch) -> None:
        with batch.open(path, "wb") as file:
            file.write(data)

    return _alone(durably.Batch(**options), save, path)


def _batch_created(path: Path, data: bytes, **options: Any) -> Receipt:
    return _batched(path, data, overwrite=False, **options)


def _in_transaction(save: Callable[[durably.Transaction, Path, bytes], object]) -> Callable[..., Receipt]:
    """A transaction of one file, which is a plain save; its receipt as one of a file."""

    def saved(path: Path, data: bytes, **options: Any) -> Receipt:
        replaced = path.exists()
        transaction = durably.Transaction(path.parent, **options)
        with transaction as txn:
            save(txn, path, data)
        told = transaction.receipt
        assert told is not None
        assert (told.written, told.removed) == ((path.name,), ())
        return Receipt(
            str(path), len(data), replaced, False, told.durability, told.steps, told.skipped, told.lost
        )

    return saved


def _transaction_opened(txn: durably.Transaction, path: Path, data: bytes) -> None:
    with txn.open(path, "wb") as file:
        file.write(data)


def _transaction_staged(txn: durably.Transaction, path: Path, data: bytes) -> None:
    with txn.staged_path(path) as temporary:
        temporary.write_bytes(data)


ENTRY_POINTS = (
    EntryPoint("write_bytes", durably.write_bytes),
    EntryPoint("write_text", _text),
    EntryPoint("atomic_write", _recipe),
    EntryPoint("write_bytes create", _created, ("new",)),
    EntryPoint("open w", _opened("w"), streams=True),
    EntryPoint("open wb", _opened("wb"), streams=True),
    EntryPoint("open wb unbuffered", _opened("wb", buffering=0), streams=True),
    EntryPoint("open w+", _opened("w+"), streams=True),
    EntryPoint("open w+b", _opened("w+b"), streams=True),
    EntryPoint("open x", _opened("x"), ("new",), streams=True),
    EntryPoint("open x+b unbuffered", _opened("x+b", buffering=0), ("new",), streams=True),
    EntryPoint("open a", _opened("a"), streams=True, goes_on=True),
    EntryPoint("open a+b", _opened("a+b"), streams=True, goes_on=True),
    EntryPoint("open r+", _opened("r+"), ("replaced",), streams=True),
    EntryPoint("open r+b unbuffered", _opened("r+b", buffering=0), ("replaced",), streams=True),
    EntryPoint("open w in pieces", _opened("w", pieces=_PIECES, buffering=1), streams=True),
    EntryPoint("open wb in pieces", _opened("wb", pieces=_PIECES, buffering=64), streams=True),
    EntryPoint("commit by hand", _by_hand, streams=True),
    EntryPoint("staged_path", _staged),
    EntryPoint("staged_path by rename", _staged_by_rename),
    EntryPoint("staged_path create", _staged_new, ("new",)),
)
BATCHED = (
    EntryPoint("batch", _batched),
    EntryPoint("batch open", _batch_opened),
    EntryPoint("batch create", _batch_created, ("new",)),
)
TRANSACTED = (
    EntryPoint("transaction", _in_transaction(durably.Transaction.write_bytes), together=True),
    EntryPoint("transaction open", _in_transaction(_transaction_opened), together=True),
    EntryPoint("transaction staged", _in_transaction(_transaction_staged), together=True),
)
"""Of one file each; of several: transactions.py. Of whole directories: trees.py."""
BY_NAME = {entry_point.name: entry_point for entry_point in ENTRY_POINTS}
MAIN = tuple(BY_NAME[name] for name in ("write_bytes", "open wb", "staged_path"))
CREATORS = tuple(BY_NAME[name] for name in ("write_bytes create", "open x", "staged_path create"))
CASES = [(entry_point, state) for entry_point in ENTRY_POINTS for state in entry_point.states]
TRANSACTED_CASES = [(entry_point, state) for entry_point in TRANSACTED for state in entry_point.states]
MAIN_CASES = [(entry_point, state) for entry_point in MAIN for state in entry_point.states]
RENAMED = MAIN_CASES + [(entry_point, "new") for entry_point in CREATORS]
"""The cases in which the target gets its file in different ways."""


class NamedOnly(Syscalls):
    """A file system without O_TMPFILE."""

    def __init__(self) -> None:
        super().__init__()
        self.open = self._open

    @staticmethod
    def _open(path: Any, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        if flags & os.O_TMPFILE == os.O_TMPFILE:
            raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))
        return os.open(path, flags, mode, dir_fd=dir_fd)


class NoRename(Syscalls):
    """A target that is a mount point."""

    def __init__(self) -> None:
        super().__init__()
        self.replace = self._replace

    @staticmethod
    def _replace(*_: object, **__: object) -> None:
        raise OSError(errno.EBUSY, os.strerror(errno.EBUSY))


class Way(NamedTuple):
    """A routine, and what the system beneath it is like."""

    name: str
    system: str
    base: Callable[[], Syscalls] = Syscalls


LINUX = Way("linux", "linux")
NAMED = Way("named", "linux", NamedOnly)
POSIX = Way("posix", "freebsd")
WAYS = (LINUX, NAMED, POSIX)


def shown(value: Any) -> str | None:
    """How a parameter of a test is shown."""
    return value.name.replace(" ", "-") if isinstance(value, EntryPoint | Way) else None


def plainly(value: object) -> str:
    """The same for any value, and in every process: without the address that a repr may hold."""
    return re.sub(r" at 0x[0-9a-f]+", "", repr(value))


@contextmanager
def folder(*, open_to_all: bool = False) -> Iterator[Path]:
    """A fresh directory, in memory where that can be, as most tests here save thousands of files.

    ``open_to_all``: every user may write in it.
    """
    base = None if shared_memory() else "/dev/shm"
    path = Path(tempfile.mkdtemp(prefix="durably-test-", dir=base))
    if open_to_all:
        path.chmod(0o777)
    try:
        yield path
    finally:
        shutil.rmtree(path)


def prepare(path: Path, state: str) -> bytes | None:
    """An empty directory but for an old file, if there is to be one. Returns its content."""
    for entry in os.scandir(path.parent):
        if entry.is_dir(follow_symlinks=False):
            shutil.rmtree(entry)
        else:
            os.unlink(entry)
    if state == "new":
        return None
    path.write_bytes(OLD)
    return OLD


def read(path: Path) -> bytes | None:
    """The content; None if there is no file."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None


def beside(path: Path) -> set[str]:
    """What lies in the directory beside the target."""
    return set(os.listdir(path.parent)) - {path.name}


def descriptors() -> set[int]:
    """The open descriptors of this process."""
    found = set(map(int, os.listdir("/dev/fd")))
    return {fd for fd in found if _is_open(fd)}  # one was of the look itself


def _is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True


def named_leftovers(error: BaseException | None, receipt: Receipt | None) -> set[str]:
    """The names that an error or a receipt gives of what could not be removed."""
    if isinstance(error, NotDurableError):
        receipt = error.receipt
    paths = list(getattr(error, "leftovers", ()))
    if receipt is not None:
        end = " is left over: "
        paths += [why.partition(end)[0] for why in receipt.skipped.values() if end in why]
        # A transaction names several at once.
        several = end.removeprefix(" is ")
        for why in receipt.skipped.values():
            paths += why.removeprefix(several).split(", ") if why.startswith(several) else []
    return {os.path.basename(path) for path in paths}


def attempt(
    save: Callable[..., Receipt], *arguments: Any, **options: Any
) -> tuple[Receipt | None, Exception | None]:
    """The receipt, or the error that came instead."""
    try:
        return save(*arguments, **options), None
    except Exception as error:  # noqa: BLE001 # what it must be is what the tests say
        return None, error


def in_child(body: Callable[[], T], *, user: int | None = None) -> T:
    """What ``body`` returns in a forked child, as a user who owns nothing if one is named.

    An exception in the child fails here, with the child's traceback.
    """
    return _finish(*_start(body, user))  # type: ignore[no-any-return] # what the body returned


def _start(body: Callable[[], object], user: int | None) -> tuple[int, int]:
    reader, writer = os.pipe()
    sys.stdout.flush()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # the test runner's threads hold no lock of ours
        child = os.fork()
    if child == 0:
        os.close(reader)
        _answer(body, user, writer)
    os.close(writer)
    return child, reader


def _finish(child: int, reader: int) -> Any:
    try:
        with open(reader, "rb") as file:
            answer = file.read()
    except BaseException:
        os.killpg(child, signal.SIGKILL)  # the test takes too long
        raise
    finally:
        _, status = os.waitpid(child, 0)
    assert status == 0, f"the child ended with status {status:#x}"
    failure, value = pickle.loads(answer)
    assert failure is None, failure
    return value


def _answer(body: Callable[[], object], user: int | None, writer: int) -> NoReturn:
    sys.settrace(None)  # a child is not counted by coverage, whose lock no signal must strike
    try:
        os.setpgid(0, 0)
        if user is not None:
            os.setgroups([])
            os.setresgid(user, user, user)
            os.setresuid(user, user, user)
        answer = pickle.dumps((None, body()))
    except BaseException:  # noqa: BLE001 # nothing may leave the child
        answer = pickle.dumps((traceback.format_exc(), None))
    try:
        with open(writer, "wb") as file:
            file.write(answer)
    finally:
        os._exit(0)


def whole(staged: str) -> bytes:
    """The content of a staged copy, or of the only file in a private directory."""
    if os.path.isdir(staged):
        (staged,) = (entry.path for entry in os.scandir(staged))
    with open(staged, "rb") as file:
        return file.read()


def in_fallback_dir() -> set[str]:
    """The temporaries of this process that lie in the spare directory."""
    made = ((entry, temp_names.parse(entry)) for entry in os.listdir(FALLBACK))
    return {entry for entry, made_by in made if made_by is not None and made_by[1].process == os.getpid()}


def is_temporary(entry: str) -> bool:
    """Whether a name is exactly of the pattern that `durably.sweep` looks at."""
    return temp_names.parse(entry) is not None


def at_once(bodies: list[Callable[[], T]]) -> list[T]:
    """What the bodies return, each in a forked child of its own, all started at one moment."""
    gate, go = os.pipe()

    def waiting(body: Callable[[], T]) -> T:
        os.close(go)
        os.read(gate, 1)
        return body()

    started = [_start(lambda body=body: waiting(body), None) for body in bodies]  # type: ignore[misc] # one each
    os.close(go)
    os.close(gate)
    return [_finish(child, reader) for child, reader in started]
