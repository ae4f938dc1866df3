"""A block around a private directory that others write into: entered once, decided once, or warned about."""

from __future__ import annotations

from durably._file.protocol import warn_dropped
from durably._system import fork

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType
    from typing import NoReturn

    from durably._commit.pending import PendingFile
    from durably._receipts import Receipt


class StagedBlock:
    """The life of such a block. What lies in the directory, and how it is saved, is the subclass's."""

    __slots__ = ("_entered", "_generation", "_is_open", "_save", "receipt")

    _save: PendingFile

    def __init__(self) -> None:
        self._entered: bool = False
        self._is_open: bool = False
        self._generation: int = fork.generation
        self.receipt: Receipt | None = None

    def __enter__(self) -> Path:
        from pathlib import Path  # costs as much as the rest of the package, and few functions need it

        self._enter_once()
        self._is_open = True
        try:
            return Path(self._create())
        except BaseException as error:
            self._decide()
            self._abandon(error)
            raise

    def _enter_once(self) -> None:
        if self._entered:
            raise ValueError(f"a {type(self).__name__} is entered once")
        self._entered = True
        self._generation = fork.generation

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
            self._decide()
            self._discard(error)
            return
        try:
            self._decide()
            self.receipt = self._finish()
        except BaseException as failure:
            self.receipt = getattr(failure, "receipt", None)
            self._abandon(failure)
            raise

    def _decide(self) -> None:
        self._is_open = False
        fork.forget(self._save)

    def _create(self) -> str:
        """Make the place and watch it for forks. Its path."""
        raise NotImplementedError

    def _finish(self) -> Receipt:
        """Save what was written there."""
        raise NotImplementedError

    def _discard(self, error: BaseException) -> None:
        """Throw it away, because of an error that is raised already."""
        raise NotImplementedError

    def _abandon(self, error: BaseException) -> None:
        """Throw away what is left of a save that failed with the error."""
        raise NotImplementedError

    def __del__(self) -> None:
        if not getattr(self, "_is_open", False) or self._generation != fork.generation:
            return
        self._decide()
        dropped = RuntimeError()
        self._discard(dropped)
        said = f"unfinished save of {self._save.path!r} was discarded: use it in a with block"
        warn_dropped(said, dropped, self)

    def __reduce__(self) -> NoReturn:
        raise TypeError(f"a {type(self).__name__} cannot be copied or pickled: it decides about one save")
