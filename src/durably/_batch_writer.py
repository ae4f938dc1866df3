"""The life of one file of a batch that is written piece by piece."""

from __future__ import annotations

import errno
import warnings

from durably import _forks
from durably._modes import with_action
from durably._options import resolve
from durably._paths import local
from durably._save import Save
from durably._saving import stage_stream

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType
    from typing import IO, Any, Generic, NoReturn, TypeVar

    from durably._group import Group
    from durably._modes import Mode
    from durably._options import SaveOptions
    from durably._paths import StrPath
    from durably._places import Place
    from durably._stream import Channel

    F_co = TypeVar("F_co", bound=IO[Any], covariant=True)

    class _Life(Generic[F_co]):
        """The writer of one kind of file."""
else:
    # typing is not imported at run time.
    class _Life:
        __slots__ = ()

        def __class_getitem__(cls, item: object) -> type:
            return cls


class BatchWriter(_Life["F_co"]):
    """One file of a `durably.Batch`, from `durably.Batch.open`.

    ``with`` yields `file`, as `AtomicWriter` does. Leaving the block adds it to the batch; an
    exception in the block throws this file away, goes on, and leaves the batch as it was. Without a
    block, call `add` or `discard`. It belongs to one thread at a time.
    """

    __slots__ = ("_channel", "_file", "_group", "_generation", "_is_open", "_place", "_save")

    _channel: Channel
    _file: Any

    def __init__(self, group: Group, path: StrPath, how: Mode, options: SaveOptions) -> None:
        self._is_open = False
        self._group = group
        self._generation = _forks.generation
        self._place: Place | None = None
        self._save = save = Save(local(path), resolve(with_action(options, how)))
        try:
            self._place = group.enter(save)
            self._channel, self._file = stage_stream(group.routine, save, how)
        except BaseException as error:
            group.drop(self._place, save, error)
            raise
        self._is_open = True
        group.writing[id(save)] = self._channel, self._place, save
        _forks.watch(self._channel, group.routine, save)

    @property
    def path(self) -> str:
        """The target as the caller named it."""
        return self._save.path

    @property
    def file(self) -> F_co:
        """The file to write to. Its ``name`` is the target."""
        file: F_co = self._file
        return file

    def __enter__(self) -> F_co:
        if not self._is_open:
            raise ValueError("a BatchWriter is entered before it is decided")
        return self.file

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if error is not None:
            self._give_up(error)
        elif self._is_open:
            self.add()

    def add(self) -> None:
        """Add the file to the batch, which saves it at its end.

        Raises ValueError where it was decided already, RuntimeError in a forked child, and OSError
        where what was written could not be staged, which under ``on_error="continue"`` is told by
        the batch instead.
        """
        if not self._is_open:
            raise ValueError(f"the file for {self.path!r} was added or thrown away already")
        if self._generation != _forks.generation:
            raise RuntimeError(f"a forked child cannot add to its parent's batch: {self.path!r}")
        group, save = self._group, self._save
        assert self._place is not None
        group.check_open(save)
        try:
            self._file.close()
            self._channel.check()
            save.steps.append("write")
            size = group.routine.calls.fstat(save.fd).st_size
            self._decide()
            group.add(self._place, save, size)
        except BaseException as error:
            if self._is_open:
                self._decide()
            group.drop(self._place, save, error)
            if not (isinstance(error, OSError) and group.goes_on):
                raise

    def discard(self) -> None:
        """Throw the file away; it is no part of the batch any more. Nothing where it was decided already."""
        if self._is_open:
            error = OSError(errno.EIO, "the temporary could not be removed", self.path)
            self._give_up(error)
            if hasattr(error, "leftovers"):
                raise error

    def _give_up(self, error: BaseException) -> None:
        if not self._is_open:
            return
        self._decide()
        if self._generation == _forks.generation:
            assert self._place is not None
            self._group.throw_away(self._place, self._save, error)

    def _decide(self) -> None:
        self._is_open = False
        # Not by closing the file: see AtomicWriter.
        self._channel.detach()
        _forks.forget(self._save)
        self._group.writing.pop(id(self._save), None)

    def __del__(self) -> None:
        if getattr(self, "_is_open", False) and self._generation == _forks.generation:
            self._give_up(RuntimeError())
            warnings.warn(
                f"unfinished file of a batch, {self.path!r}, was thrown away: use it in a with block, or "
                "call add() or discard()",
                ResourceWarning,
                stacklevel=2,
                source=self,
            )

    def __reduce__(self) -> NoReturn:
        raise TypeError("a BatchWriter cannot be copied or pickled: it decides about one file")
