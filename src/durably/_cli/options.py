"""What several commands take from the command line."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, cast

import click

from durably._types import resolve

if TYPE_CHECKING:
    from collections.abc import Callable

    from durably._types import SaveOptions

    Command = Callable[..., object]

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}


def _octal(_: click.Context, __: click.Parameter, value: str | None) -> int | None:
    try:
        return value if value is None else int(value, 8)
    except ValueError:
        raise click.BadParameter(f"{value!r} is not an octal mode such as 640") from None


def _seconds(_: click.Context, __: click.Parameter, value: str) -> float:
    number, unit = (value[:-1], value[-1]) if value[-1:] in _UNITS else (value, "s")
    if not (number.isascii() and number.isdigit()):
        raise click.BadParameter(f"{value!r} is not a duration such as 3600, 90s, 15m, 1h or 1d")
    return float(int(number) * _UNITS[unit])


def _storage(_: click.Context, __: click.Parameter, values: tuple[str, ...]) -> dict[str, Any] | None:
    options: dict[str, Any] = {}
    for given in values:
        key, equals, text = given.partition("=")
        if not key or not equals:
            raise click.BadParameter(f"{given!r} is not KEY=VALUE")
        try:
            options[key] = json.loads(text)
        except ValueError:
            options[key] = text
    return options or None


storage_options = click.option(
    "--storage-option",
    "storage_options",
    multiple=True,
    callback=_storage,
    metavar="KEY=VALUE",
    help="For a URL: an option of its fsspec file system, such as endpoint_url=https://...; may be "
    "repeated. VALUE is JSON where it can be read as that (true, 22, '\"22\"'), else text. Others may see "
    "it in the list of processes: leave secrets to the client's own files or variables.",
)
older_than = click.option(
    "--older-than",
    callback=_seconds,
    default="1h",
    show_default=True,
    metavar="DURATION",
    help="Leave what was changed within this time: 3600 (seconds), 90s, 15m, 1h, 1d.",
)
as_json = click.option("--json", "as_json", is_flag=True, help="Report as a JSON object on standard output.")

_SAVING = (
    click.option(
        "--durability",
        type=click.Choice(["none", "consistent", "durable"]),
        default="durable",
        show_default=True,
        help="What is to survive a power cut: nothing, the old or the new file, the new file.",
    ),
    click.option("--no-overwrite", is_flag=True, help="Only make a new file, without a race."),
    click.option(
        "--metadata",
        type=click.Choice(["preserve", "strict", "fresh"]),
        default="preserve",
        show_default=True,
        help="Carry the old file's mode, owner, ACL and attributes over; strict: or fail; fresh: do not.",
    ),
    click.option(
        "--symlinks",
        type=click.Choice(["follow", "replace", "refuse"]),
        default="follow",
        show_default=True,
        help="What to do where the target is a symbolic link.",
    ),
    click.option("--permissions", callback=_octal, metavar="MODE", help="The new file's mode, such as 640."),
    click.option("--make-parents", is_flag=True, help="Make missing directories."),
    click.option(
        "--allow-in-place",
        is_flag=True,
        help="Rewrite the file itself where no rename is possible; it can then be torn.",
    ),
    storage_options,
    click.option("-q", "--quiet", is_flag=True, help="Say nothing about what could not be kept."),
    as_json,
)


def saving(command: Command) -> Command:
    """Give a command the options of every command that saves."""
    for option in reversed(_SAVING):
        command = option(command)
    return command


def save_options(*, no_overwrite: bool, **options: object) -> SaveOptions:
    """Return the options of `durably.open`. Raises click.UsageError where they contradict each other."""
    storage = options.pop("storage_options")
    chosen = cast("SaveOptions", {**options, "overwrite": not no_overwrite})
    try:
        resolve(chosen)
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    if storage is not None:
        chosen["storage_options"] = cast("dict[str, Any]", storage)
    return chosen
