"""The command line: arguments in, exit code out. The exit codes stand in `durably.__main__`."""

from __future__ import annotations

import click

import durably
from durably._cli import exit_codes
from durably._cli.copy import copy
from durably._cli.demo import demo
from durably._cli.output import complain
from durably._cli.probe import probe
from durably._cli.recover import recover
from durably._cli.sweep import sweep
from durably._cli.write import write


@click.group(epilog=exit_codes.EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(durably.__version__, message="%(prog)s %(version)s")
def cli() -> None:
    """Save files so that nobody ever sees half of one."""


for _command in (write, copy, probe, sweep, recover, demo):
    cli.add_command(_command)


def run(arguments: list[str]) -> int:
    """Run the command line. Returns the exit code."""
    try:
        with exit_codes.stoppable():
            return int(cli.main(arguments, "durably", standalone_mode=False) or exit_codes.DONE)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except click.Abort:
        return exit_codes.code_of(KeyboardInterrupt())
    except OSError as error:
        complain(f"standard output: {error.strerror}")
        return exit_codes.UNREPORTED
