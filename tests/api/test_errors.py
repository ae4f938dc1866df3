"""The error tree: what can be caught, what an error carries, and that it survives copying and pickling."""

from __future__ import annotations

import copy
import errno
import os
import pickle
import sys
from typing import TYPE_CHECKING, Any

import pytest

import durably
from capabilities import needs_directory_flush, needs_posix
from disk import NEW, OLD, Refusing, names
from durably import (
    Durability,
    NotDurableError,
    OutcomeUnknownError,
    Receipt,
    TornError,
    UnsupportedError,
    _commit,
)
from durably.testing import RecordingSyscalls, use

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

RECEIPT = Receipt("a/b", 3, True, False, Durability.CONSISTENT, ("write",), {"fsync": "why"}, ("acl",))
ERRORS: list[Any] = [
    UnsupportedError(errno.ENOTSUP, "cannot", "a/b"),
    NotDurableError(errno.EIO, "not flushed", "a/b", RECEIPT),
    OutcomeUnknownError(errno.ESTALE, "lost", "a/b"),
    TornError(errno.ENOSPC, "broke off", "a/b", "/var/tmp/copy"),
]
PROTOCOLS = range(pickle.HIGHEST_PROTOCOL + 1)
WAYS: list[Callable[[Any], Any]] = [
    copy.copy,
    copy.deepcopy,
    *(lambda error, protocol=protocol: pickle.loads(pickle.dumps(error, protocol)) for protocol in PROTOCOLS),
]


def kind(error: BaseException) -> str:
    return type(error).__name__


@pytest.mark.parametrize("error", ERRORS, ids=kind)
def test_every_error_is_an_oserror_and_none_is_another(error: OSError) -> None:
    assert isinstance(error, OSError)
    assert [type(other) for other in ERRORS if isinstance(error, type(other))] == [type(error)]


@pytest.mark.parametrize("error", ERRORS, ids=kind)
def test_an_error_says_errno_message_and_path(error: Any) -> None:
    assert (error.path, error.filename) == ("a/b", "a/b")
    assert str(error) == f"[Errno {error.errno}] {error.strerror}: 'a/b'"
    assert error.args == (error.errno, error.strerror)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("error", ERRORS, ids=kind)
def test_an_error_survives(error: Any, way: Callable[[Any], Any]) -> None:
    error = copy.copy(error)
    error.leftovers = ("/x/.durably-f.tmp",)
    error.__notes__ = ["a note"]  # not add_note: once tblib is imported, a copy shares the list
    other = way(error)
    assert type(other) is type(error)
    assert (str(other), other.errno, other.path) == (str(error), error.errno, "a/b")
    assert getattr(other, "receipt", None) == getattr(error, "receipt", None)
    assert getattr(other, "staged", None) == getattr(error, "staged", None)
    assert (other.leftovers, other.__notes__) == (error.leftovers, ["a note"])


def test_what_an_error_carries_may_be_missing() -> None:
    assert NotDurableError(errno.EIO, "x", "p").receipt is None
    assert TornError(errno.EIO, "x", "p").staged is None


def test_the_errors_are_public() -> None:
    for error in ERRORS:
        assert getattr(durably, kind(error)) is type(error)


def test_an_unknown_system_is_refused_before_the_disk_is_touched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "platform", "plan9")
    monkeypatch.setattr(_commit, "_active", None)
    for save in (durably.write_bytes, durably.open, durably.staged_path):
        with pytest.raises(UnsupportedError, match="no commit routine for 'plan9'") as caught:
            save(tmp_path / "file", b"x") if save is durably.write_bytes else save(tmp_path / "file")  # type: ignore[call-arg] # by parameter
        assert caught.value.errno == errno.ENOTSUP
        assert caught.value.path == ""
    assert names(tmp_path) == []


@pytest.mark.parametrize(
    "platform", ["linux", "android", "darwin", "win32", "freebsd14", "openbsd7", "cygwin"]
)
def test_known_systems_have_a_routine(platform: str) -> None:
    assert _commit.choose(platform)(RecordingSyscalls()).name in ("linux", "macos", "windows", "posix")


def test_a_builtin_error_names_the_target_and_not_the_temporary(tmp_path: Path) -> None:
    target = tmp_path / "file"
    target.write_bytes(OLD)
    with use(Refusing(write=errno.ENOSPC)), pytest.raises(OSError, match=os.strerror(errno.ENOSPC)) as caught:
        durably.write_bytes(target, NEW)
    error = caught.value
    assert (error.errno, error.filename, error.filename2) == (errno.ENOSPC, str(target), None)
    assert str(error).endswith(f": {str(target)!r}")
    assert error.__notes__ == ["durably: the target was not changed"]
    assert target.read_bytes() == OLD
    assert names(tmp_path) == ["file"]


@needs_posix
def test_a_failed_rename_names_the_target_alone(tmp_path: Path) -> None:
    target = tmp_path / "file"
    with pytest.raises(IsADirectoryError) as caught, durably.open(target) as file:
        file.write("new")
        target.mkdir()
    assert (caught.value.filename, caught.value.filename2) == (str(target), None)
    assert "->" not in str(caught.value)
    assert names(tmp_path) == ["file"]


def test_a_missing_directory_is_named_by_the_target(tmp_path: Path) -> None:
    target = tmp_path / "missing" / "file"
    with pytest.raises(FileNotFoundError) as caught:
        durably.write_bytes(target, NEW)
    assert caught.value.filename == str(target)


def test_an_error_of_the_body_stays_as_it_is(tmp_path: Path) -> None:
    missing = tmp_path / "input.csv"
    with pytest.raises(FileNotFoundError) as caught, durably.open(tmp_path / "output", "w"):
        missing.open()
    assert caught.value.filename == str(missing)
    assert not hasattr(caught.value, "__notes__")
    assert names(tmp_path) == []


def test_an_error_of_a_staged_body_stays_as_it_is(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="two names") as caught, durably.staged_path(tmp_path / "output"):
        raise OSError(errno.EXDEV, "two names", "one", None, "two")
    assert (caught.value.filename, caught.value.filename2) == ("one", "two")
    assert names(tmp_path) == []


@needs_directory_flush
def test_not_durable_carries_the_receipt_of_a_save_that_is_in_place(tmp_path: Path) -> None:
    target = tmp_path / "file"
    target.write_bytes(OLD)

    class DirectoryFails(RecordingSyscalls):
        def _before(self, name: str, *rest: Any) -> None:
            if name == "fsync" and self.names.count("fsync") > 1:
                raise OSError(errno.EIO, os.strerror(errno.EIO))

    with use(DirectoryFails()), pytest.raises(NotDurableError, match="a power cut may") as caught:
        durably.write_bytes(target, NEW)
    receipt = caught.value.receipt
    assert receipt is not None
    assert (receipt.size, receipt.replaced) == (len(NEW), True)
    assert receipt.durability in ("consistent", "none")
    assert (caught.value.path, caught.value.errno) == (str(target), errno.EIO)
    assert target.read_bytes() == NEW
