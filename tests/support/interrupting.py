"""A table of calls that interrupts at a given one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from durably.testing import Call, RecordingSyscalls

if TYPE_CHECKING:
    from collections.abc import Callable

    from durably._system.syscalls import Syscalls


class Interrupting(RecordingSyscalls):
    """A table whose N-th call is interrupted: before it is made, or when it has been made."""

    def __init__(self, at: int, base: Syscalls, *, after: bool) -> None:
        super().__init__(base)
        self.at = at
        self.after = after
        self.result: object = None

    def _watched(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        watched = super()._watched(name, function)

        def interrupted(*arguments: object, **keywords: object) -> object:
            number = len(self.record) + 1
            if number == self.at and not self.after:
                self.record.append(Call(name, arguments, keywords))
                raise KeyboardInterrupt
            if number != self.at:
                return watched(*arguments, **keywords)
            try:
                self.result = watched(*arguments, **keywords)
            except OSError:
                pass  # the call has failed, and that is not known either
            raise KeyboardInterrupt

        return interrupted


def _lost(table: Interrupting) -> set[object]:
    """The descriptor that nobody can know of: it was just opened, or just about to be closed."""
    name, arguments, _ = table.record[table.at - 1]
    if table.after:
        return {table.result} if name in ("open", "dup") else set()
    return {arguments[0]} if name == "close" else set()
