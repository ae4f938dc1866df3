"""The protocol of every save to a store: begin, write, finish; or leave no trace."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from durably._errors import OutcomeUnknownError, UnsupportedError
from durably._receipts import Receipt
from durably._system.promises import level_kept

if TYPE_CHECKING:
    from typing import NoReturn

    from durably._stores.store import Store
    from durably._stores.target import Target
    from durably._types import Options

# The clients raise these from a message alone.
_NUMBERS: tuple[tuple[type[OSError], int], ...] = (
    (FileExistsError, errno.EEXIST),
    (FileNotFoundError, errno.ENOENT),
    (PermissionError, errno.EACCES),
    (TimeoutError, errno.ETIMEDOUT),
)
_METADATA = "what the old object had beside its content is not asked for, and not carried over"


class StoreSave:
    """One save in flight."""

    def __init__(self, target: Target, options: Options) -> None:
        self.path = target.url
        self.options = options
        self.size = 0
        self.replaced: bool | None = None if options.overwrite else False
        self.store: Store = target.routine(target.fs, target.path, fresh=not options.overwrite)
        _check(self)

    def begin(self) -> None:
        """Start the upload, or make the temporary."""
        store = self.store
        try:
            if self.options.make_parents and store.has_directories:
                store.fs.makedirs(store.fs._parent(store.path), exist_ok=True)  # noqa: SLF001 # fsspec's own
            store.begin()
        except BaseException as error:  # noqa: BLE001 # raised again
            self.give_up(error)
            fail(error, self.path)

    def write(self, data: memoryview) -> None:
        """Send, or buffer, a piece. After an error: `give_up`."""
        self.store.write(data)
        self.size += len(data)

    def finish(self) -> Receipt:
        """Put the object in place. After an error nothing is left to do."""
        store = self.store
        store.steps.append("write")
        try:
            store.commit()
        except BaseException as error:  # noqa: BLE001 # raised again, unless the object is in place
            self._look(error)
            store.skipped["answer"] = f"lost ({error}); the store was asked, and holds the new object"
        return self._receipt()

    def _look(self, error: BaseException) -> None:
        """See whether the object is in place although the commit failed. Raises what is true if not."""
        asked = ""
        landed: bool | None = None
        if isinstance(error, Exception):
            try:
                landed = self.store.landed(error)
            except Exception as failure:  # noqa: BLE001 # each client has its own
                asked = f" It could not be asked: {failure!r}."
            if landed:
                return
        self.give_up(error)
        if landed is None and isinstance(error, Exception):
            message = (
                f"the store's answer was lost ({error!r}).{asked} "
                "The path holds the whole old or the whole new object: look, or save again"
            )
            unknown = OutcomeUnknownError(errno.EIO, message, self.path)
            _copy_leftovers(error, unknown)
            raise unknown from error
        fail(error, self.path)

    def give_up(self, error: BaseException) -> None:
        """Leave nothing at the store. Nothing is raised: what stays is named in ``error.leftovers``."""
        store = self.store
        try:
            store.discard()
        except Exception as failure:  # noqa: BLE001 # each client has its own
            if store.left:
                error.leftovers = store.left  # type: ignore[attr-defined] # documented
                error.add_note(f"durably: left over: {', '.join(store.left)}; not removed: {failure!r}")
            else:
                error.add_note(f"durably: giving up failed as well: {failure!r}")

    def _receipt(self) -> Receipt:
        store, level = self.store, self.options.durability
        kept, reason = level_kept(level, store.promises)
        if reason:
            store.skipped[str(level)] = reason
        if self.options.metadata != "fresh" and self.options.overwrite:
            store.skipped["metadata"] = _METADATA
        steps = tuple(store.steps)
        in_place, lost = False, ()
        return Receipt(self.path, self.size, self.replaced, in_place, kept, steps, store.skipped, lost)


def fail(error: BaseException, url: str) -> NoReturn:
    """Raise the error as an OSError that names the target: the clients have many kinds of their own."""
    if isinstance(error, OSError):
        if error.errno is None:
            error.strerror = str(error)
            error.errno = next((number for kind, number in _NUMBERS if isinstance(error, kind)), errno.EIO)
        error.filename = url  # a client names its own path, or a temporary
        if type(error).__module__ != "builtins":
            # A client's own class: as the builtin one of its number, such as FileExistsError.
            new = OSError(error.errno, str(error.strerror), url)
            _copy_leftovers(error, new)
            raise new from error
    elif isinstance(error, Exception):
        new = OSError(errno.EIO, f"{type(error).__name__}: {error}", url)
        _copy_leftovers(error, new)
        raise new from error
    raise error


def _copy_leftovers(old: BaseException, new: BaseException) -> None:
    for note in getattr(old, "__notes__", ()):
        new.add_note(note)
    if hasattr(old, "leftovers"):
        new.leftovers = old.leftovers  # type: ignore[attr-defined] # documented


def _check(save: StoreSave) -> None:
    options, store = save.options, save.store
    refused = {
        "overwrite=False": not options.overwrite and not store.creates_only,
        "metadata='strict'": options.metadata == "strict",
        f"symlinks={options.symlinks!r}": options.symlinks != "follow",
        "permissions": options.permissions is not None,
    }
    for name, is_refused in refused.items():
        if is_refused:
            message = f"{name} is not to be had from this store ({store.name}); nothing was written"
            raise UnsupportedError(errno.ENOTSUP, message, save.path)
