"""The command line: ``durably`` and ``python -m durably``, with the extra ``durably[cli]``.

Exit codes::

    0        done
    1        not done: the target was not changed (also: click or rich is not installed)
    2        wrong usage: nothing was done
    3        saved, but not durable: a power cut may bring the old file back
    4        not known: the target holds the whole old or the whole new file
    5        the COMMAND failed or could not be run: the target was not changed
    6        torn in place (only with --allow-in-place): the staged copy, which is named, holds everything
    7        done, but the report could not be written to standard output
    8        recover: the transaction is still unfinished; each file is whole
    128 + N  stopped by signal N, 130 by Ctrl-C: the message says whether the new file was in place by then
"""

from __future__ import annotations

import sys

_NEEDED = {"click", "rich"}
NOT_INSTALLED = 1


def main() -> None:
    """Run the command line on ``sys.argv``, and exit."""
    try:
        from durably._cli.main import run
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in _NEEDED:
            raise
        message = f"the command line needs {package}; nothing was done; pip install 'durably[cli]'"
        print(f"durably: {message}", file=sys.stderr)
        raise SystemExit(NOT_INSTALLED) from None
    raise SystemExit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()
