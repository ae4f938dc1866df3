"""The life of one file among others that is written piece by piece; the others decide about it in the end."""

from __future__ import annotations

import errno

from durably._file.protocol import warn_dropped
from durably._file.stream import Life
from durably._system import fork

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType
    from typing import Any, NoReturn

    from durably._commit.pending import PendingFile
    from durably._commit.strategy import Routine
    from durably._file.stream import Channel, F_co


class PartWriter(Life["F_co"]):
    """One file of a whole: of a `durably.Batch` or of a `durably.Transaction`."""

    __slots__ = ("_channel", "_file", "_generation", "_is_open", "_save")

    _channel: Channel
    _file: Any
    _whole: str = ""
    """What it is a part of, for messages."""

    def __init__(self, save: PendingFile) -> None:
        self._is_open = False
        self._generation: int = fork.generation
        self._save: PendingFile = save

    def _begin(self, routine: Routine, channel: Channel, file: Any) -> None:
        """It is staged, and open."""
        self._channel, self._file = channel, file
        self._is_open = True
        fork.watch(channel, routine, self._save)

    # What the whole does.

    def _check(self) -> None:
        """Raise where the whole takes nothing any more."""

    def _take(self) -> None:
        """Make the closed file part of the whole."""
        raise NotImplementedError

    def _drop(self, error: BaseException) -> bool:
        """Give up the file that ``error`` broke off. False: the whole tells of the error at its end."""
        raise NotImplementedError

    def _throw_away(self, error: BaseException) -> None:
        """Give up the file because the caller wants so."""
        raise NotImplementedError

    # What the caller does.

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
            raise ValueError(f"a {type(self).__name__} is entered before it is decided")
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
        """Make the file part of the batch or the transaction, which saves it at its end.

        Raises ValueError where it was decided already, or where the batch or the transaction is over;
        RuntimeError in a forked child; and OSError where what was written could not be staged, which a
        batch under ``on_error="continue"`` tells at its end instead: the file is no part of it then.
        """
        if not self._is_open:
            raise ValueError(f"the file for {self.path!r} was added or thrown away already")
        if self._generation != fork.generation:
            raise RuntimeError(f"a forked child cannot add to its parent's {self._whole}: {self.path!r}")
        self._check()
        try:
            self._file.close()
            self._channel.check()
            self._save.steps.append("write")
            self._take()
        except BaseException as error:
            if self._is_open:
                self._decide()
            if self._drop(error):
                raise

    def discard(self) -> None:
        """Throw the file away. Nothing where it was decided already.

        Raises OSError if the temporary cannot be removed; it is named in ``error.leftovers``.
        """
        error = OSError(errno.EIO, "the temporary could not be removed", self.path)
        self._give_up(error)
        if hasattr(error, "leftovers"):
            raise error

    def _give_up(self, error: BaseException) -> None:
        if self._is_open:
            self._decide()
            if self._generation == fork.generation:
                self._throw_away(error)

    def _decide(self) -> None:
        self._is_open = False
        # Not by closing the file: see AtomicWriter.
        self._channel.detach()
        fork.forget(self._save)

    def __del__(self) -> None:
        if getattr(self, "_is_open", False) and self._generation == fork.generation:
            dropped = RuntimeError()
            self._give_up(dropped)
            said = f"unfinished file of a {self._whole}, {self.path!r}, was thrown away: use it in a with "
            warn_dropped(f"{said}block, or call add() or discard()", dropped, self)

    def __reduce__(self) -> NoReturn:
        raise TypeError(f"a {type(self).__name__} cannot be copied or pickled: it decides about one file")
