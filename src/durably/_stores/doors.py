"""Every door of durably, for what lies at a store. The local doors come here when they meet one."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from typing import TYPE_CHECKING, Any, cast

from durably._batch import outcomes
from durably._file.modes import parsed, with_action
from durably._file.protocol import warn_dropped
from durably._receipts import Guarantees
from durably._stores.protocol import StoreSave, fail
from durably._stores.spool import pour
from durably._stores.target import located
from durably._stores.writer import StoreWriter
from durably._system import fork
from durably._types import resolve

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from types import TracebackType

    from durably._file.writer import AtomicWriter
    from durably._receipts import Receipt
    from durably._types import SaveOptions


def write_bytes(
    named: Any,
    view: bytes | memoryview,
    options: SaveOptions,
    local: Callable[..., Receipt],
) -> Receipt:
    """`durably.write_bytes`. ``local``: that door, for what turns out to be a local file."""
    left: Any = dict(options)
    target = located(named, left)
    if isinstance(target, str):
        return local(target, view, **left)
    save = StoreSave(target, resolve(left))
    save.begin()
    try:
        save.write(memoryview(view))
    except BaseException as error:  # noqa: BLE001 # raised again
        save.give_up(error)
        fail(error, save.path)
    return save.finish()


def open_writer(
    named: Any,
    how: tuple[str, str | None, str | None, str | None, int],
    options: SaveOptions,
    local: Callable[..., AtomicWriter[Any]],
) -> AtomicWriter[Any]:
    """`durably.open`. ``how``: mode, encoding, errors, newline, buffering."""
    mode, encoding, errors, newline, buffering = how
    checked = parsed(mode, buffering, encoding, errors, newline)
    left: Any = dict(with_action(options, checked))
    target = located(named, left)
    if isinstance(target, str):
        text = {"encoding": encoding, "errors": errors, "newline": newline}
        return local(target, mode, buffering=buffering, **text, **left)
    return StoreWriter(target, checked, left)


def staged(named: Any, options: SaveOptions, local: Callable[..., Any]) -> Any:
    """What `durably.staged_path` does in its place."""
    left: Any = dict(options)
    target = located(named, left)
    if isinstance(target, str):
        return local(target, **left)
    return StagedObject(StoreSave(target, resolve(left)))


class StagedObject:
    """A local file in a private directory, that is sent to the store at the end of the block."""

    def __init__(self, save: StoreSave) -> None:
        self._save = save
        self._directory = ""
        self._generation = fork.generation
        self.receipt: Receipt | None = None

    def __enter__(self) -> Path:
        from pathlib import Path

        self._generation = fork.generation
        self._directory = os.path.abspath(tempfile.mkdtemp(prefix="durably-"))  # it is, since Python 3.12
        return Path(self._path())

    def _path(self) -> str:
        name = os.path.basename(self._save.store.path)
        return os.path.join(self._directory, name if name not in ("", ".", "..") else "object")

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._generation != fork.generation:
            if error is None:
                raise RuntimeError(f"a forked child cannot commit its parent's save of {self._save.path!r}")
            return
        if error is not None:
            self._drop(error)
            return
        try:
            self.receipt = self._sent()
        except BaseException as failure:
            self._drop(failure)
            raise
        left = self._directory
        failed = self._remove()
        if failed is not None:
            self.receipt.skipped["remove"] = f"{left} is left over: {failed.strerror}"

    def _sent(self) -> Receipt:
        path = self._path()
        if not os.path.isfile(path):
            message = "nothing was written to the staged path; the store was not changed"
            raise FileNotFoundError(errno.ENOENT, message, self._save.path)
        beside = sorted(set(os.listdir(self._directory)) - {os.path.basename(path)})
        if beside:
            message = f"other files were left beside it ({', '.join(beside)}); the store was not changed"
            raise OSError(errno.ENOTEMPTY, message, self._save.path)
        with open(path, "rb", buffering=0) as file:
            pour(file, self._save)
        return self._save.finish()

    def _drop(self, error: BaseException) -> None:
        """Remove the directory, because of an error. If it stays, that is said in ``error.leftovers``."""
        left = self._directory
        failed = self._remove()
        if failed is not None:
            outcomes.leave(error, left, failed)

    def _remove(self) -> OSError | None:
        """Remove the directory. What went wrong."""
        directory, self._directory = self._directory, ""
        try:
            shutil.rmtree(directory)
        except FileNotFoundError:
            return None  # somebody else has
        except OSError as error:
            return error
        return None

    def __del__(self) -> None:
        if self._directory and self._generation == fork.generation:
            dropped = RuntimeError()
            self._drop(dropped)
            said = f"unfinished save of {self._save.path!r} was discarded: use it in a with block"
            warn_dropped(said, dropped, self)


def probe(named: Any, options: dict[str, Any], local: Callable[[str], Guarantees]) -> Guarantees:
    """`durably.probe`. Nothing is asked of the store, beyond what its client asks when it connects."""
    target = located(named, options)
    if isinstance(target, str):
        return local(target)
    store, protocol = target.routine, target.fs.protocol
    kind = cast("str", protocol if isinstance(protocol, str) else protocol[0])
    readers, crash, durable = store.promises
    supports = frozenset({"no-replace"} if store.creates_only else ())
    return Guarantees(target.url, kind, (), store.name, readers, crash, durable, supports)
