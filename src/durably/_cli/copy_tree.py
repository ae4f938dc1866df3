"""``durably copy --batch``: the files of a directory, flushed together."""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING, NoReturn

import click

import durably
from durably._cli import exit_codes
from durably._cli.copying import Meter, choose_mode, cloned
from durably._cli.output import complain, put_json, shown
from durably._cli.stream import pour
from durably._file.paths import is_url

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Literal

    from durably._cli.report import Report
    from durably._types import SaveOptions


def copy_tree(
    source: str,
    target: str,
    options: SaveOptions,
    report: Report,
    *,
    on_error: Literal["abort", "continue"],
) -> NoReturn:
    """Copy every file of a tree, report, and exit."""
    if options.pop("allow_in_place", False):
        raise click.UsageError("--allow-in-place and --batch cannot go together")
    options["make_parents"] = True

    asked = str(options.get("durability"))

    def work() -> int:
        if not is_url(target):
            _refuse_overlap(source, target)
        files = list(_files(source))
        unread: dict[str, OSError] = {}
        batch = durably.Batch(on_error=on_error)
        try:
            with Meter(sum(size for _, size in files), source) as meter, batch:
                for name, _ in files:
                    path = _below(target, name)
                    try:
                        _copy(batch, os.path.join(source, name), path, options.copy(), meter)
                    except OSError as error:
                        if on_error == "abort":
                            raise
                        unread[path] = error
        except durably.BatchError as error:
            _add(unread, error)
            raise
        assert batch.receipt is not None
        return _tell(batch.receipt, unread, report, asked)

    report.finalize(work)


def _add(unread: dict[str, OSError], error: durably.BatchError) -> None:
    """Have the report of a batch tell of the files that have not come so far as to be part of it, too."""
    assert error.receipt is not None  # a batch that ends gives it one
    for path, cause in unread.items():
        if path not in error.receipt.failed:
            error.receipt.failed[path] = cause
            complain(_unread(path, cause))


def _unread(path: str, error: OSError) -> str:
    named = error.filename if isinstance(error.filename, str) else path
    return f"{shown(named)}: {error.strerror or error}; the target was not changed"


def _tell(receipt: durably.BatchReceipt, unread: dict[str, OSError], report: Report, asked: str) -> int:
    """What was copied and kept, and the files of SRC that could not be read."""
    saved = list(receipt.saved)
    reasons = {why for each in saved if each.durability != asked for why in each.skipped.values()}
    lost = sorted({what for each in saved for what in each.lost})
    for path, error in unread.items():
        complain(_unread(path, error))
    if report.as_json:
        failed = {path: str(error.strerror or error) for path, error in unread.items()}
        fields = {"saved": len(saved), "size": sum(each.size for each in saved), "failed": failed}
        levels = sorted({str(each.durability) for each in saved})
        put_json({**fields, "durability": levels, "reasons": sorted(reasons), "lost": lost})
    elif not report.quiet:
        if reasons:
            why = "; ".join(sorted(reasons))
            complain(f"{shown(report.path)}: {asked!r} was asked for and is not kept ({why})")
        if lost:
            complain(f"{shown(report.path)}: metadata of old files could not all be kept: {', '.join(lost)}")
    return exit_codes.NOT_DONE if unread else exit_codes.DONE


def _below(target: str, name: str) -> str:
    if is_url(target):
        return f"{target.rstrip('/')}/{name.replace(os.sep, '/')}"
    return os.path.join(target, name)


def _refuse_overlap(source: str, target: str) -> None:
    one, other = os.path.realpath(source), os.path.realpath(target)
    if os.path.commonpath([one, other]) in (one, other):
        raise OSError(errno.EINVAL, f"and {shown(source)} lie one in the other", target)


def _files(source: str) -> Iterator[tuple[str, int]]:
    """The files of a tree, by their paths in it, and their sizes. Raises OSError for what is no file."""
    for directory, below, names in os.walk(source, onerror=_raise):
        below.sort()
        for name in sorted(
            (*names, *filter(lambda one: os.path.islink(os.path.join(directory, one)), below))
        ):
            path = os.path.join(directory, name)
            status = os.lstat(path)
            if not stat.S_ISREG(status.st_mode):
                raise OSError(errno.EINVAL, "is not a regular file, and --batch copies nothing else", path)
            yield os.path.relpath(path, source), status.st_size


def _raise(error: OSError) -> NoReturn:
    raise error


def _copy(batch: durably.Batch, source: str, target: str, options: SaveOptions, meter: Meter) -> None:
    with open(source, "rb", buffering=0) as reader:
        choose_mode(reader, target, options)
        with batch.open(target, "wb", **options) as file:
            if not cloned(reader, file):
                pour(reader, shown(source), file, meter.moved)
