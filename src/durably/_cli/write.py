"""``durably write``: standard input, or what a command says, into a file."""

from __future__ import annotations

import errno
import signal
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, cast

import click

import durably
from durably._cli.options import save_options, saving
from durably._cli.output import shown
from durably._cli.report import CommandError, Report
from durably._cli.stream import pour

if TYPE_CHECKING:
    import io
    from collections.abc import Generator

_COMMAND = "durably.command"
_GRACE = 5.0


class _WithCommand(click.Command):
    """A command line of which everything behind ``--`` is another one.

    Without the dashes, ``durably write *.txt`` would run the second file.
    """

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if "--" in args:
            at = args.index("--")
            args, command = args[:at], args[at + 1 :]
            if not command:
                raise click.UsageError("Missing COMMAND behind '--'.", ctx)
            ctx.meta[_COMMAND] = command
        return super().parse_args(ctx, args)

    def collect_usage_pieces(self, ctx: click.Context) -> list[str]:
        return [*super().collect_usage_pieces(ctx), "[-- COMMAND...]"]


@click.command(cls=_WithCommand)
@click.argument("path", type=click.Path())
@saving
def write(path: str, *, as_json: bool, quiet: bool, **options: object) -> None:
    """Save standard input, or the output of COMMAND, to PATH, a file or the URL of an object.

    PATH holds its old content, whole, until the new one is complete. Standard input is read to its
    end first, so that `sort < names | durably write names` works. A pipe does not tell whether the
    program before it failed; `durably write PATH -- COMMAND...` does: it runs COMMAND and saves its
    output only if it exits with 0.
    """
    chosen = save_options(**options)  # type: ignore[arg-type] # as click has checked them
    report = Report(path, as_json=as_json, quiet=quiet)
    command: list[str] | None = click.get_current_context().meta.get(_COMMAND)

    def work() -> int:
        writer = durably.open(path, "wb", **chosen)
        with writer as file:
            report.watch(writer)
            if command is None:
                _pour_input(file)
            else:
                _pour_output(command, file)
        assert writer.receipt is not None
        return report.saved(writer.receipt, str(options["durability"]))

    report.finalize(work)


def _pour_input(file: io.BufferedWriter) -> None:
    if sys.stdin is None:
        raise OSError(errno.EBADF, "standard input is closed")
    with open(sys.stdin.fileno(), "rb", buffering=0, closefd=False) as source:
        pour(source, "standard input", file)


def _pour_output(command: list[str], file: io.BufferedWriter) -> None:
    with _running(command) as process:
        pour(cast("io.FileIO", process.stdout), "the command's output", file)
        status = process.wait()
    if status:
        raise CommandError(f"{shown(command[0])!r} {_ending(status)}", status)


@contextmanager
def _running(command: list[str]) -> Generator[subprocess.Popen[bytes], None, None]:
    """Run the command; if the block fails, end it."""
    try:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, bufsize=0)
    except OSError as error:
        raise CommandError(f"{shown(command[0])!r} cannot be run: {error.strerror}", None) from error
    with process:
        try:
            yield process
        except BaseException:
            _end(process)
            raise


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(_GRACE)
    except subprocess.TimeoutExpired:
        process.kill()


def _ending(status: int) -> str:
    if status > 0:
        return f"exited with {status}"
    try:
        return f"was killed by {signal.Signals(-status).name}"
    except ValueError:
        return f"was killed by signal {-status}"
