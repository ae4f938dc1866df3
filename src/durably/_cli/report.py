"""What a command tells when it ends: a line on standard error, a JSON object, an exit code."""

from __future__ import annotations

import errno
import io
import os
from typing import TYPE_CHECKING, Any, NoReturn

import click

from durably import (
    BatchError,
    NotDurableError,
    OutcomeUnknownError,
    RecoveryConflictError,
    RecoveryNeededError,
    TornError,
)
from durably._cli import exit_codes
from durably._cli.output import OutputError, complain, put_json, shown

if TYPE_CHECKING:
    from collections.abc import Callable

    from durably import AtomicWriter, Receipt

UNCHANGED = "the target was not changed"
_AT_STORE = "the target holds the whole old or the whole new object"
_MAY_BE_TORN = "the target may hold a part of the new content"
_WHOLE_NEW = "the whole new file is in place"

_ADVICE = {
    errno.ENOENT: "--make-parents makes missing directories",
    errno.EEXIST: "leave out --no-overwrite to replace it",
    errno.EISDIR: "name a file",
    errno.ENOSPC: "make room and try again",
    errno.EBUSY: "--allow-in-place rewrites the file itself where it cannot be replaced",
    errno.EXDEV: "--allow-in-place rewrites the file itself where it cannot be replaced",
}


class CommandError(Exception):
    """The COMMAND whose output was to be saved failed. ``status``: as in subprocess, None: not run."""

    def __init__(self, message: str, status: int | None) -> None:
        super().__init__(message)
        self.status = status


class Report:
    """Tells how one command ended.

    ``path``: what the command works on.
    ``as_json``: whether one JSON object goes to standard output.
    ``quiet``: whether to say nothing about what could not be kept.
    ``state``: what is on the disk after an ordinary error.
    ``midway``: the same after an interrupt; by default as after an error.
    """

    def __init__(
        self, path: str, *, as_json: bool, quiet: bool = False, state: str = UNCHANGED, midway: str = ""
    ) -> None:
        self.path = path
        self.as_json = as_json
        self.quiet = quiet
        self.state = state
        self.midway = midway or state
        self.is_at_store = False
        self.identity: tuple[int, int] | None = None

    def watch(self, writer: AtomicWriter[Any]) -> None:
        """Remember the new file, to recognise it after an interrupt."""
        try:
            staged = os.fstat(writer.file.fileno())
        except io.UnsupportedOperation:
            self.is_at_store = True
            return
        self.identity = staged.st_dev, staged.st_ino

    def finalize(self, work: Callable[[], int]) -> NoReturn:
        """Do the work and exit with its code, or with the one that its error stands for."""
        try:
            code = self._attempt(work)
        except OutputError as error:
            if error.errno != errno.EPIPE:  # whoever closed the pipe knows
                complain(f"standard output: {error.strerror}; the report is lost, the work was done")
            code = exit_codes.UNREPORTED
        click.get_current_context().exit(code)

    def _attempt(self, work: Callable[[], int]) -> int:
        try:
            return work()
        except KeyboardInterrupt as interrupt:
            return self._stopped(interrupt)
        except CommandError as error:
            return self._failed(
                error, exit_codes.COMMAND_FAILED, f"{error}; {self.state}", status=error.status
            )
        except OutputError:
            raise
        except (OSError, ValueError) as error:
            return self._broken_off(error)

    def _broken_off(self, error: OSError | ValueError) -> int:
        message = _what(error)
        if isinstance(error, NotDurableError):
            receipt = error.receipt and receipt_fields(error.receipt)
            return self._failed(error, exit_codes.NOT_DURABLE, message, receipt=receipt)
        if isinstance(error, BatchError):
            return self._failed(error, _batch_code(error), _batch_said(error), **_batch_fields(error))
        if isinstance(error, RecoveryNeededError | RecoveryConflictError):
            conflicts = list(getattr(error, "conflicts", ()))
            return self._failed(error, exit_codes.UNRECOVERED, message, conflicts=conflicts)
        if isinstance(error, OutcomeUnknownError):
            message += "; the target holds the whole old or the whole new file: look, or save again"
            return self._failed(error, exit_codes.UNKNOWN, message)
        if isinstance(error, TornError):
            message += "; move that over the target once the cause is removed"
            return self._failed(error, exit_codes.TORN, message, staged=error.staged)
        return self._failed(error, exit_codes.NOT_DONE, self._with_advice(error))

    def saved(self, receipt: Receipt, asked: str) -> int:
        """The command saved a file, at the level that was asked for or a lower one."""
        if self.as_json:
            put_json(receipt_fields(receipt))
        elif not self.quiet:
            for remark in _remarks(receipt, asked):
                complain(f"{shown(self.path)}: saved; {remark}")
        return exit_codes.DONE

    def _with_advice(self, error: OSError | ValueError) -> str:
        about_target = self.state == UNCHANGED and getattr(error, "filename", None) == self.path
        advice = _ADVICE.get(getattr(error, "errno", None) or 0) if about_target else None
        return "; ".join(filter(None, (_what(error), self.state, advice)))

    def _stopped(self, interrupt: KeyboardInterrupt) -> int:
        return self._failed(
            interrupt, exit_codes.code_of(interrupt), f"interrupted; {self._state_now(interrupt)}"
        )

    def _state_now(self, interrupt: KeyboardInterrupt) -> str:
        if self._is_published():
            return f"{_WHOLE_NEW}, its durability is not known"
        if self.is_at_store:
            return _AT_STORE
        # The writer removes what it staged, except a copy that a rewrite in place still needs.
        return _MAY_BE_TORN if getattr(interrupt, "leftovers", ()) else self.midway

    def _is_published(self) -> bool:
        try:
            found = os.stat(self.path)
        except OSError:
            return False
        return (found.st_dev, found.st_ino) == self.identity

    def _failed(self, error: BaseException, code: int, message: str, **more: object) -> int:
        path = getattr(error, "filename", None)
        path = self.path if path is None else os.fsdecode(path)
        leftovers: tuple[str, ...] = getattr(error, "leftovers", ())
        line = f"{shown(path)}: {message}"
        if leftovers and not isinstance(error, TornError):
            line += f"; left over: {', '.join(map(shown, leftovers))}"
        complain(line)
        if self.as_json:
            fields = {
                "kind": type(error).__name__,
                "errno": getattr(error, "errno", None),
                "path": path,
                "message": message,
                "leftovers": list(leftovers),
            }
            put_json({"error": {**fields, **more}})
        return code


def receipt_fields(receipt: Receipt) -> dict[str, object]:
    """A receipt for JSON."""
    return receipt._asdict()


def _batch_code(error: BatchError) -> int:
    assert error.receipt is not None  # a batch that ends gives it one
    failed = error.receipt.failed.values()
    in_place = failed and all(isinstance(one, NotDurableError) for one in failed)
    return exit_codes.NOT_DURABLE if in_place else exit_codes.NOT_DONE


def _batch_said(error: BatchError) -> str:
    receipt = error.receipt
    assert receipt is not None  # a batch that ends gives it one
    failed, saved = len(receipt.failed), len(receipt.saved)
    total = failed + saved + len(receipt.unsaved)
    why = _what(receipt.failed[error.path])
    return (
        f"{why}; {failed} of {total} files could not be saved to the end, {saved} were; --json tells of each"
    )


def _batch_fields(error: BatchError) -> dict[str, object]:
    receipt = error.receipt
    assert receipt is not None  # a batch that ends gives it one
    failed = {path: str(one.strerror or one) for path, one in receipt.failed.items()}
    return {"saved": len(receipt.saved), "failed": failed, "unsaved": list(receipt.unsaved)}


def _what(error: OSError | ValueError) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)


def _remarks(receipt: Receipt, asked: str) -> list[str]:
    remarks: list[str] = []
    if receipt.in_place:
        remarks.append("rewritten in place, which a crash could have torn")
    elif receipt.durability != asked:
        skipped = receipt.skipped.items()
        reasons = "; ".join(why if step == asked else f"{step}: {why}" for step, why in skipped)
        remarks.append(f"{asked!r} was asked for, {str(receipt.durability)!r} is kept ({reasons})")
    if receipt.lost:
        remarks.append(f"the old file's metadata could not all be kept: {', '.join(receipt.lost)}")
    return remarks
