"""The command line: arguments in, exit code out. The exit codes stand in `durably.__main__`."""

from __future__ import annotations

import click

import durably
from durably._cli import _exit
from durably._cli._copy import copy
from durably._cli._demo import demo
from durably._cli._output import complain
from durably._cli._probe import probe
from durably._cli._recover import recover
from durably._cli._sweep import sweep
from durably._cli._write import write


@click.group(epilog=_exit.EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(durably.__version__, message="%(prog)s %(version)s")
def cli() -> None:
    """Save files so that nobody ever sees half of one."""


for _command in (write, copy, probe, sweep, recover, demo):
    cli.add_command(_command)


def run(arguments: list[str]) -> int:
    """Run the command line. Returns the exit code."""
    try:
        with _exit.stoppable():
            return int(cli.main(arguments, "durably", standalone_mode=False) or _exit.DONE)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except click.Abort:
        return _exit.code_of(KeyboardInterrupt())
    except OSError as error:
        complain(f"standard output: {error.strerror}")
        return _exit.UNREPORTED
