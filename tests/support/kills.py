"""Processes that die at a call: a table, and a forked child."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING, Any

from durably.testing import RecordingSyscalls

if TYPE_CHECKING:
    from collections.abc import Callable

    from durably._system.syscalls import Syscalls


class Killing(RecordingSyscalls):
    """A table in which the process dies at the N-th call, before it or after it."""

    def __init__(self, at: int, base: Syscalls, *, after: bool = False) -> None:
        super().__init__(base)
        self.at = at
        self.after = after

    def _watched(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        watched = super()._watched(name, function)

        def dying(*arguments: object, **keywords: object) -> object:
            result = watched(*arguments, **keywords)
            if self.after and len(self.record) == self.at:
                die()
            return result

        return dying

    def _before(self, name: str, arguments: Any, keywords: Any, function: Any) -> None:
        if not self.after and len(self.record) == self.at:
            die()


def die() -> None:
    """End this process at once."""
    os.kill(os.getpid(), signal.SIGKILL)


def killed(body: Callable[[], object]) -> bool:
    """Run the body in a forked child. Whether the child was killed."""
    child = os.fork()
    if child == 0:
        try:
            body()
            os._exit(0)
        except BaseException as error:  # noqa: BLE001 # nothing may leave the child
            os.write(2, repr(error).encode())
        finally:
            os._exit(3)
    status = os.waitpid(child, 0)[1]
    assert status in (0, signal.SIGKILL), status
    return status != 0
