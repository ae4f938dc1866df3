"""What a save said of itself, as plain values that pass through a pipe."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from durably import Receipt


class Outcome(NamedTuple):
    """How a save ended.

    ``error``: the class of what it raised, "" for none. ``builtin``: whether Python itself has that
    class. ``durability``: that of the receipt, "" without one. ``skipped`` and ``lost``: the receipt's.
    ``left``: the names of leftovers that the error or the receipt gives. ``staged``: of a TornError.
    """

    error: str = ""
    builtin: bool = False
    number: int = 0
    path: str = ""
    message: str = ""
    durability: str = ""
    in_place: bool = False
    skipped: dict[str, str] = {}  # noqa: RUF012 # never written to
    lost: list[str] = []  # noqa: RUF012
    left: list[str] = []  # noqa: RUF012
    staged: str = ""


_LEFT = " is left over: "


def succeeded(receipt: Receipt | None) -> Outcome:
    """A save that returned. None: one that is not durably's, and has no receipt."""
    return Outcome(durability="durable")._replace(**_told(receipt))


def failed(error: BaseException) -> Outcome:
    """A save that raised."""
    told = _told(getattr(error, "receipt", None))
    return Outcome(
        error=type(error).__name__,
        builtin=type(error).__module__ == "builtins",
        number=getattr(error, "errno", None) or 0,
        path=str(getattr(error, "filename", None) or ""),
        message=str(error),
        staged=getattr(error, "staged", None) or "",
    )._replace(**told | {"left": [*told.get("left", []), *getattr(error, "leftovers", ())]})


def _told(receipt: Receipt | None) -> dict[str, Any]:
    if receipt is None:
        return {}
    return {
        "durability": str(receipt.durability),
        "in_place": getattr(receipt, "in_place", False),  # a transaction never is
        "skipped": receipt.skipped,
        "lost": list(receipt.lost),
        "left": [path for why in receipt.skipped.values() for path in _left(why)],
    }


def _left(why: str) -> list[str]:
    """The paths of what is left over; a transaction names several at once."""
    if why.startswith(_LEFT.removeprefix(" is ")):
        return why.partition(": ")[2].split(", ")
    return [why.partition(_LEFT)[0]] if _LEFT in why else []
