"""The arguments of the builtin ``open``, checked before anything is staged."""

from __future__ import annotations

import codecs
from functools import lru_cache

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Literal

    from durably._types import SaveOptions

    TextMode = Literal[
        "w", "x", "a", "wt", "xt", "at", "tw", "tx", "ta",
        "w+", "x+", "a+", "r+", "+w", "+x", "+a", "+r",
        "w+t", "x+t", "a+t", "r+t", "wt+", "xt+", "at+", "rt+",
    ]  # fmt: skip
    WriteMode = Literal["wb", "xb", "ab", "bw", "bx", "ba"]
    UpdateMode = Literal[
        "w+b", "x+b", "a+b", "r+b", "wb+", "xb+", "ab+", "rb+", "bw+", "bx+", "ba+", "br+",
    ]  # fmt: skip

_LETTERS = frozenset("rwxabt+")
_NEWLINES = (None, "", "\n", "\r", "\r\n")
_DEFAULT_ENCODING = "utf-8"
_LARGEST = 2**31 - 1  # the builtin open takes a C int


class Mode:
    """How a file is to be opened. Raises as the builtin ``open`` does, in its words where it can."""

    __slots__ = (
        "action",
        "buffering",
        "encoding",
        "errors",
        "keeps",
        "mode",
        "newline",
        "raw",
        "reads",
        "text",
    )

    keeps: bool
    """Whether the old content is the beginning of the new one."""
    raw: str
    """The mode of the raw file below, on a descriptor that is open already."""

    def __init__(
        self, mode: str, buffering: int, encoding: str | None, errors: str | None, newline: str | None
    ) -> None:
        self.mode: str = mode
        self.action: str = _action(mode)
        self.keeps = self.action in "ar"
        self.reads: bool = "+" in mode
        self.raw = _raw(self.action, self.reads)
        self.text: bool = "b" not in mode
        self.buffering: int = _size(buffering)
        self.encoding: str = _DEFAULT_ENCODING if encoding is None else encoding
        self.errors: str | None = errors
        self.newline: str | None = newline
        if self.text:
            self._check_text()
        else:
            self._check_binary()

    def _check_text(self) -> None:
        if self.buffering == 0:
            raise ValueError("can't have unbuffered text I/O")
        if self.newline not in _NEWLINES:
            raise ValueError(f"illegal newline value: {self.newline!r}")
        if not codecs.lookup(self.encoding)._is_text_encoding:  # noqa: SLF001 # as TextIOWrapper asks
            raise LookupError(f"{self.encoding!r} is not a text encoding")
        if self.errors is not None:
            codecs.lookup_error(self.errors)

    def _check_binary(self) -> None:
        given = {
            "encoding": self.encoding != _DEFAULT_ENCODING,
            "errors": self.errors is not None,
            "newline": self.newline is not None,
        }
        for name, is_given in given.items():
            if is_given:
                raise ValueError(f"binary mode doesn't take {name!r}")


@lru_cache(maxsize=128, typed=True)
def parsed(mode: str, buffering: int, encoding: str | None, errors: str | None, newline: str | None) -> Mode:
    """A `Mode`; equal arguments share one."""
    return Mode(mode, buffering, encoding, errors, newline)


def _size(buffering: int) -> int:
    if not isinstance(buffering, int):  # pyright: ignore[reportUnnecessaryIsInstance] # for the untyped
        raise TypeError(f"buffering must be an int, not {type(buffering).__name__}")
    if not -1 <= buffering <= _LARGEST:
        raise ValueError(f"buffering must lie between -1 and {_LARGEST}, not {buffering}")
    return buffering


def _action(mode: str) -> str:
    if not isinstance(mode, str):  # pyright: ignore[reportUnnecessaryIsInstance] # for the untyped
        raise TypeError(f"mode must be a str, not {type(mode).__name__}")
    letters = set(mode)
    actions = letters & set("rwxa")
    if not letters <= _LETTERS or len(letters) != len(mode) or len(actions) != 1 or {"b", "t"} <= letters:
        raise ValueError(f"invalid mode: {mode!r}")
    action = actions.pop()
    if action == "r" and "+" not in letters:
        raise ValueError(f"mode {mode!r} only reads: use the builtin open")
    return action


def _raw(action: str, reads: bool) -> str:
    if action in "ax":
        return f"{action}b+" if reads else f"{action}b"
    return "rb+" if reads else "wb"


def with_action(options: SaveOptions, mode: Mode) -> SaveOptions:
    """The options, where mode x is ``overwrite=False``."""
    if mode.action == "x":
        return {**options, "overwrite": False}
    if mode.keeps and options.get("overwrite") is False:
        raise ValueError(f"mode {mode.mode!r} goes on from the old file; overwrite=False forbids that")
    return options
