"""The life of one file of a batch that is written piece by piece."""

from __future__ import annotations

from durably._commit.pending import PendingFile
from durably._file.modes import with_action
from durably._file.part_writer import PartWriter
from durably._file.paths import local
from durably._file.protocol import stage_stream
from durably._types import resolve

TYPE_CHECKING = False
if TYPE_CHECKING:
    from durably._batch.directories import TargetDirectory
    from durably._batch.group_commit import Group
    from durably._file.modes import Mode
    from durably._file.paths import StrPath
    from durably._file.stream import F_co  # noqa: F401 # named in a string
    from durably._types import SaveOptions


class BatchWriter(PartWriter["F_co"]):
    """One file of a `durably.Batch`, from `durably.Batch.open`.

    ``with`` yields `file`, as `AtomicWriter` does. Leaving the block adds it to the batch; an
    exception in the block throws this file away, goes on, and leaves the batch as it was. Without a
    block, call `add` or `discard`. It belongs to one thread at a time.
    """

    __slots__ = ("_group", "_place")

    _group: Group
    _place: TargetDirectory | None
    _whole: str = "batch"

    def __init__(self, group: Group, path: StrPath, how: Mode, options: SaveOptions) -> None:
        save = PendingFile(local(path), resolve(with_action(options, how)))
        super().__init__(save)
        self._group = group
        self._place = None
        try:
            self._place = group.enter(save)
            channel, file = stage_stream(group.routine, save, how)
        except BaseException as error:
            group.drop(self._place, save, error)
            raise
        self._begin(group.routine, channel, file)
        group.writing[id(save)] = channel, self._place, save

    def _check(self) -> None:
        self._group.check_open(self._save)

    def _take(self) -> None:
        group, save = self._group, self._save
        assert self._place is not None
        size = group.routine.calls.fstat(save.fd).st_size
        self._decide()
        group.add(self._place, save, size)

    def _drop(self, error: BaseException) -> bool:
        self._group.drop(self._place, self._save, error)
        return not (isinstance(error, OSError) and self._group.continue_on_error)

    def _throw_away(self, error: BaseException) -> None:
        assert self._place is not None
        self._group.throw_away(self._place, self._save, error)

    def _decide(self) -> None:
        super()._decide()
        self._group.writing.pop(id(self._save), None)
