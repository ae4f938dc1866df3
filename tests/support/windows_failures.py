"""Every call of the routine of Windows failing in turn."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from durably import testing
from durably._commit.windows.handles import PATIENCE
from durably._system.native import win32 as win
from fakes import NO_SPACE, FakeWindows, windows_error

if TYPE_CHECKING:
    from collections.abc import Iterator


class FailingWindows(testing.FailingSyscalls):
    """Fails with the code of a Win32 error where the call is one of Windows."""

    def _before(self, name: str, arguments: Any, keywords: Any, function: Any) -> None:
        try:
            super()._before(name, arguments, keywords, function)
        except OSError:
            raise windows_error(self.error) from None


def every_windows_failure() -> Iterator[FailingWindows]:
    table = FailingWindows(base=FakeWindows())
    with testing.use(table, "win32"):
        yield table
    # What fails for ever is tried for as long as the fake clock says, thousands of times in two seconds.
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(PATIENCE, "0.05")
        yield from _each_windows_failure(len(table.names))


def _each_windows_failure(calls: int) -> Iterator[FailingWindows]:
    for number in range(1, calls + 1):
        for code in (win.ERROR_ACCESS_DENIED, win.ERROR_SHARING_VIOLATION, NO_SPACE):
            for forever in (False, True):
                failing = FailingWindows(number, code, forever=forever, base=FakeWindows())
                with testing.use(failing, "win32"):
                    yield failing
