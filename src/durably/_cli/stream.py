"""From a source to the new file, a piece at a time."""

from __future__ import annotations

import os
import select
from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    import io
    from collections.abc import Callable

_CHUNK = 1 << 20


def pour(
    source: io.FileIO, name: str, file: BinaryIO, moved: Callable[[int], object] = lambda _: None
) -> None:
    """Write everything that ``source`` still holds to ``file``.

    ``moved`` is told the size of each piece. An OSError of the source says so, with its ``name``.
    """
    while piece := _next_piece(source, name):
        file.write(piece)
        moved(len(piece))


def _next_piece(source: io.FileIO, name: str) -> bytes:
    try:
        while (piece := source.read(_CHUNK)) is None:
            # Whoever shares this pipe made it non-blocking: nothing there yet is not the end.
            select.select([source], [], [])
    except OSError as error:
        message = f"{name} cannot be read: {os.strerror(error.errno or 0)}"
        raise OSError(error.errno, message) from error
    return piece
