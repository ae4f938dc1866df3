"""AtomicWriter: the life of one save."""

from __future__ import annotations

import errno

from durably import _commit
from durably._commit.pending import PendingFile
from durably._file.modes import parsed, with_action
from durably._file.options import resolve_local
from durably._file.paths import local
from durably._file.protocol import abandon, discard, finish, stage_stream, warn_dropped
from durably._file.stream import Life
from durably._system import fork
from durably._types import Options

TYPE_CHECKING = False
if TYPE_CHECKING:
    import io
    from types import TracebackType
    from typing import IO, Any, Literal, NoReturn, Unpack, overload

    from durably._file.modes import Mode, TextMode, UpdateMode, WriteMode
    from durably._file.paths import StrPath
    from durably._file.stream import Channel, F_co
    from durably._receipts import Receipt
    from durably._types import SaveOptions

_OPEN, _COMMITTED, _DISCARDED = "open", "committed", "discarded"
_DEFAULTS = Options()


class AtomicWriter(Life["F_co"]):
    """The life of one save: not a file, but what decides about one.

    ``with`` yields `file`, which is exactly what the builtin ``open`` gives for that mode. Leaving
    the block commits; any exception discards. Closing the file, or a wrapper around it, ends the
    writing and decides nothing: what a wrapper (`gzip`, `io.TextIOWrapper`) still holds must be
    closed into the file before the block ends. Without a block, call `commit` or `discard`.

    A writer that is dropped undecided discards with a ResourceWarning. It is entered once, cannot
    be copied or pickled, and belongs to one thread at a time. After a fork the child's file is
    closed unflushed, and the child cannot commit.

    The arguments and errors are those of `durably.open`.
    """

    __slots__ = (
        "_channel",
        "_entered",
        "_file",
        "_generation",
        "_routine",
        "_save",
        "_state",
        "receipt",
    )

    receipt: Receipt | None
    """What was done; None before the commit."""
    _channel: Channel
    _file: Any

    if TYPE_CHECKING:

        @overload
        def __init__(
            self: AtomicWriter[io.TextIOWrapper],
            path: StrPath,
            mode: TextMode = "w",
            *,
            encoding: str | None = "utf-8",
            errors: str | None = None,
            newline: str | None = None,
            buffering: int = -1,
            **options: Unpack[SaveOptions],
        ) -> None: ...
        @overload
        def __init__(
            self: AtomicWriter[io.FileIO],
            path: StrPath,
            mode: WriteMode | UpdateMode,
            *,
            buffering: Literal[0],
            **options: Unpack[SaveOptions],
        ) -> None: ...
        @overload
        def __init__(
            self: AtomicWriter[io.BufferedWriter],
            path: StrPath,
            mode: WriteMode,
            *,
            buffering: Literal[-1, 1] = -1,
            **options: Unpack[SaveOptions],
        ) -> None: ...
        @overload
        def __init__(
            self: AtomicWriter[io.BufferedRandom],
            path: StrPath,
            mode: UpdateMode,
            *,
            buffering: Literal[-1, 1] = -1,
            **options: Unpack[SaveOptions],
        ) -> None: ...
        @overload
        def __init__(
            self: AtomicWriter[IO[Any]],
            path: StrPath,
            mode: str,
            *,
            encoding: str | None = "utf-8",
            errors: str | None = None,
            newline: str | None = None,
            buffering: int = -1,
            **options: Unpack[SaveOptions],
        ) -> None: ...

    def __init__(
        self,
        path: StrPath,
        mode: str = "w",
        *,
        encoding: str | None = "utf-8",
        errors: str | None = None,
        newline: str | None = None,
        buffering: int = -1,
        **options: Unpack[SaveOptions],
    ) -> None:
        self._state = _DISCARDED
        self.receipt = None
        self._entered = False
        how = parsed(mode, buffering, encoding, errors, newline)
        target, chosen = local(path), with_action(options, how)
        self._save = save = PendingFile(target, resolve_local(chosen) if chosen else _DEFAULTS, held=True)
        self._routine = _commit.routine()
        self._generation = fork.generation
        try:
            self._stage(how)
        except BaseException as error:
            abandon(self._routine, save, error)
            raise
        self._state = _OPEN
        fork.watch(self._channel, self._routine, save)

    def _stage(self, how: Mode) -> None:
        self._routine.locate(self._save)
        self._channel, self._file = stage_stream(self._routine, self._save, how)

    @property
    def file(self) -> F_co:
        """The file to write to. Its ``name`` is the target."""
        file: F_co = self._file
        return file

    def __enter__(self) -> F_co:
        if self._entered or self._state is not _OPEN:
            raise ValueError("an AtomicWriter is entered once, before it is decided")
        self._entered = True
        return self.file

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if error is not None:
            self._give_up(error)
        elif self._state is not _DISCARDED:
            self.commit()

    def commit(self) -> Receipt:
        """Put the file in the target's place. Returns the receipt; called again, the same receipt.

        Raises ValueError after a discard or where the file's buffer was detached, RuntimeError in a
        forked child, and otherwise:

        - any builtin OSError (EIO, ENOSPC, EBUSY, ...): the target was not changed, and nothing is
          left beside it, or the leftover is named in ``error.leftovers``;
        - FileExistsError under ``overwrite=False``, when another has created the target meanwhile, and
          `UnsupportedError` where the file system has no way to create without replacing: the same;
        - `NotDurableError`: the new file is in place, and a power cut may take it back;
        - `OutcomeUnknownError`: the target holds the whole old or the whole new file;
        - `TornError` under ``allow_in_place=True``: the staged copy holds the new content.

        An exception from outside (KeyboardInterrupt) leaves the whole old or the whole new file;
        after it, ``receipt`` is None.
        """
        if self._state is _COMMITTED:
            return self._receipt()
        if self._state is _DISCARDED:
            raise ValueError(f"the save of {self._save.path!r} is over: discarded, or ended by an error")
        if self._generation != fork.generation:
            self._state = _DISCARDED
            raise RuntimeError(
                f"a forked child cannot commit its parent's save of {self._save.path!r}; "
                "nothing was changed, and the parent can still commit"
            )
        try:
            self._file.close()
            self._channel.check()
            self._save.steps.append("write")
            size = self._routine.calls.fstat(self._save.fd).st_size
            self.receipt = finish(self._routine, self._save, size)
        except BaseException as error:
            self.receipt = getattr(error, "receipt", None)
            self._decide(_DISCARDED if self.receipt is None else _COMMITTED)
            abandon(self._routine, self._save, error)
            raise
        self._decide(_COMMITTED)
        return self.receipt

    def discard(self) -> None:
        """Throw the new file away; the target was not and will not be changed.

        Idempotent, and nothing after a commit, so it fits a ``finally``. What was buffered is not
        written. Raises OSError if the temporary cannot be removed; it is named in
        ``error.leftovers``.
        """
        if self._state is _OPEN:
            error = OSError(errno.EIO, "the temporary could not be removed")
            self._give_up(error)
            if hasattr(error, "leftovers"):
                raise error

    def _give_up(self, error: BaseException) -> None:
        if self._state is not _OPEN:
            return
        self._decide(_DISCARDED)
        if self._generation == fork.generation:
            discard(self._routine, self._save, error)

    def _decide(self, state: str) -> None:
        self._state = state
        # Not by closing the file: that would flush what is buffered into a descriptor that is dead,
        # or by then somebody else's.
        self._channel.detach()
        fork.forget(self._save)

    def _receipt(self) -> Receipt:
        assert self.receipt is not None
        return self.receipt

    def __del__(self) -> None:
        if getattr(self, "_state", _DISCARDED) is not _OPEN:
            return
        if self._generation != fork.generation:
            return
        dropped = RuntimeError()
        self._give_up(dropped)
        said = f"unfinished save of {self._save.path!r} was discarded: use it in a with block, or call "
        warn_dropped(f"{said}commit() or discard()", dropped, self)

    def __reduce__(self) -> NoReturn:
        raise TypeError("an AtomicWriter cannot be copied or pickled: it decides about one file")

    def __repr__(self) -> str:
        return f"<AtomicWriter {self._save.path!r} {self._state}>"
