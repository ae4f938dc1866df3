"""Saving what is in memory: which data, which bytes, and what is done with many of them."""

from __future__ import annotations

import array
import ctypes
import importlib.util
import mmap
import os
import tracemalloc
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import durably
from disk import NEW, OLD, names, untouched
from durably._file import content
from durably.testing import RecordingSyscalls, use
from entry_points import plainly

if TYPE_CHECKING:
    from collections.abc import Callable

# Wine 8 has no numpy: its C library lacks crealf.
numpy: Any = importlib.import_module("numpy") if importlib.util.find_spec("numpy") else None
needs_numpy = pytest.mark.skipif(numpy is None, reason="numpy is not installed")
ARRAYS = numpy and [
    numpy.arange(12, dtype="int32").reshape(3, 4),
    numpy.arange(12, dtype="float64").reshape(3, 4)[1:],
    numpy.zeros(3, dtype=">i4"),
    numpy.zeros(3, dtype="complex128"),
    numpy.zeros(2, dtype=[("a", "i4"), ("b", "f8")]),
    numpy.array(7),
    numpy.empty((0, 3)),
    numpy.empty((3, 0, 2)),
]
WITH_GAPS = numpy and [numpy.arange(12).reshape(3, 4)[:, 1], numpy.arange(6).reshape(2, 3).T]

SAVERS: list[Callable[..., Any]] = [durably.write_bytes, durably.atomic_write]
every_saver = pytest.mark.parametrize("save", SAVERS, ids=["write_bytes", "atomic_write"])
MEBI = 1 << 20


@pytest.fixture
def target(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.write_bytes(OLD)
    return path


class Kilobyte(bytes):
    """A kind of bytes."""


def mapped() -> mmap.mmap:
    memory = mmap.mmap(-1, 4096)
    memory[:3] = b"abc"
    return memory


@every_saver
@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"abc",
        Kilobyte(b"abc"),
        bytearray(b"abc"),
        bytearray(),
        memoryview(b"abcdef")[1:4],
        memoryview(b"abcdef")[3:3],
        memoryview(b"abcdef").cast("B", (2, 3)),
        array.array("d", [1.5, 2.5]),
        array.array("i"),
        (ctypes.c_int * 3)(1, 2, 3),
        mapped(),
        *(ARRAYS or ()),
    ],
    ids=lambda data: type(data).__name__,
)
def test_every_contiguous_buffer_is_saved(target: Path, save: Callable[..., Any], data: Any) -> None:
    receipt = save(target, data)
    assert target.read_bytes() == bytes(memoryview(data).tobytes())
    assert receipt.size == target.stat().st_size == memoryview(data).nbytes
    assert names(target.parent) == ["file"]


@every_saver
@pytest.mark.parametrize(
    "data",
    [memoryview(b"abcdef")[::2], *(WITH_GAPS or ())],
    ids=lambda data: type(data).__name__,
)
def test_a_buffer_with_gaps_is_refused(target: Path, save: Callable[..., Any], data: Any) -> None:
    with untouched(target.parent), pytest.raises(BufferError, match="C-contiguous"):
        save(target, data)
    assert target.read_bytes() == OLD


@every_saver
@pytest.mark.parametrize(
    "data", [None, 3, True, [1, 2], (b"a",), {}, iter(b"abc"), object(), range(3)], ids=plainly
)
def test_what_is_no_buffer_is_a_type_error(target: Path, save: Callable[..., Any], data: Any) -> None:
    with untouched(target.parent), pytest.raises(TypeError, match=f"not {type(data).__name__}"):
        save(target, data)


def test_text_is_no_bytes(target: Path) -> None:
    with untouched(target.parent), pytest.raises(TypeError, match="write_text saves text"):
        durably.write_bytes(target, "text")  # type: ignore[arg-type]


@pytest.mark.parametrize("text", [b"x", None, 3, ["x"]], ids=plainly)
def test_bytes_are_no_text(target: Path, text: Any) -> None:
    with untouched(target.parent), pytest.raises(TypeError, match="text must be a str"):
        durably.write_text(target, text)


@needs_numpy
def test_an_array_without_a_buffer_says_so(target: Path) -> None:
    with untouched(target.parent), pytest.raises(ValueError, match="dtype 'M'"):
        durably.write_bytes(target, numpy.zeros(3, dtype="datetime64[s]"))


def test_the_data_is_let_go_of(target: Path) -> None:
    data = bytearray(b"abc")
    durably.write_bytes(target, data)
    data.append(1)  # BufferError while a view of it is alive


TEXTS = ["", "plain", "one\ntwo\n", "one\r\ntwo\rthree\n\n", "\u00e9\u20ac\U0001f600\n"]


@pytest.mark.parametrize("text", TEXTS, ids=plainly)
@pytest.mark.parametrize("newline", [None, "", "\n", "\r", "\r\n"], ids=plainly)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-8-sig", "utf-16-le"])
def test_text_becomes_what_pathlib_makes_of_it(
    tmp_path: Path, text: str, newline: str | None, encoding: str
) -> None:
    (tmp_path / "model").write_text(text, encoding=encoding, newline=newline)
    receipt = durably.write_text(tmp_path / "file", text, encoding=encoding, newline=newline)
    assert (tmp_path / "file").read_bytes() == (tmp_path / "model").read_bytes()
    assert receipt.size == (tmp_path / "model").stat().st_size


def test_the_systems_own_newline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(content._NEWLINES, None, "\r\n")
    durably.write_text(tmp_path / "file", "a\nb\n")
    assert (tmp_path / "file").read_bytes() == b"a\r\nb\r\n"
    durably.atomic_write(tmp_path / "file", "a\nb\n")
    assert (tmp_path / "file").read_bytes() == b"a\nb\n"


@pytest.mark.parametrize(
    "errors", [None, "strict", "replace", "ignore", "xmlcharrefreplace", "surrogateescape"]
)
@pytest.mark.parametrize("text", ["caf\u00e9", "\udcff"], ids=ascii)
def test_errors_are_as_pathlibs(tmp_path: Path, errors: str | None, text: str) -> None:
    model, target = tmp_path / "model", tmp_path / "file"
    try:
        model.write_text(text, encoding="ascii", errors=errors)
    except UnicodeEncodeError:
        with untouched(target.parent), pytest.raises(UnicodeEncodeError):
            durably.write_text(target, text, encoding="ascii", errors=errors)
        assert not target.exists()
    else:
        durably.write_text(target, text, encoding="ascii", errors=errors)
        assert target.read_bytes() == model.read_bytes()


@pytest.mark.parametrize("newline", ["x", "\n\r", 3])
def test_other_newlines_are_refused(target: Path, newline: Any) -> None:
    with untouched(target.parent), pytest.raises(ValueError, match="newline must be"):
        durably.write_text(target, "x", newline=newline)


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"encoding": "nope"}, LookupError),
        ({"encoding": "hex"}, LookupError),
        ({"encoding": None}, TypeError),
        ({"encoding": "ascii"}, UnicodeEncodeError),
        ({"errors": "nope", "encoding": "ascii"}, LookupError),
    ],
    ids=str,
)
def test_bad_encodings_touch_nothing(target: Path, arguments: dict[str, Any], error: type[Exception]) -> None:
    with untouched(target.parent), pytest.raises(error):
        durably.write_text(target, "\u00e9", **arguments)
    if "errors" not in arguments:
        with untouched(target.parent), pytest.raises(error):
            durably.atomic_write(target, "\u00e9", **arguments)
    assert target.read_bytes() == OLD


def test_an_unknown_error_handler_is_refused_also_where_none_is_needed(target: Path) -> None:
    for errors in ("nope", ""):
        with untouched(target.parent), pytest.raises(LookupError, match="unknown error handler"):
            durably.write_text(target, "plain", errors=errors)


@pytest.mark.parametrize("data", ["a\nb\r\nc\r", b"a\nb\r\nc\r"], ids=["str", "bytes"])
def test_atomic_write_leaves_newlines_alone(target: Path, data: str | bytes) -> None:
    receipt = durably.atomic_write(target, data)
    assert target.read_bytes() == b"a\nb\r\nc\r"
    assert receipt.size == 7


def test_atomic_write_encodes(target: Path) -> None:
    assert durably.atomic_write(target, "\u20ac", encoding="utf-16-le").size == 2
    assert target.read_bytes() == "\u20ac".encode("utf-16-le")


# Large data.


@pytest.mark.parametrize("size", [8 * MEBI - 1, 8 * MEBI, 8 * MEBI + 1, 20 * MEBI])
@pytest.mark.parametrize("durability", ["none", "consistent"])
def test_large_data_is_written_in_pieces_and_flushed_meanwhile(
    target: Path, size: int, durability: Any
) -> None:
    data = os.urandom(MEBI) * 20
    data = data[:size]
    table = RecordingSyscalls()
    tracemalloc.start()
    try:
        with use(table):
            receipt = durably.write_bytes(target, data, durability=durability)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert target.read_bytes() == data
    assert receipt.size == size
    assert peak < MEBI
    expected = 0 if durability == "none" else (size - 1) // (8 * MEBI)
    assert table.names.count("sync_file_range") == expected * hasattr(os, "O_TMPFILE")


@pytest.mark.parametrize("size", [10, 3 * MEBI, 9 * MEBI])
def test_short_writes_are_gone_on_with(target: Path, size: int) -> None:
    data = os.urandom(size)

    class Short(RecordingSyscalls):
        def __init__(self) -> None:
            super().__init__()
            self.write = lambda fd, piece: os.write(fd, memoryview(piece)[: max(1, len(piece) // 3)])  # type: ignore[arg-type] # by parameter

    with use(Short()):
        assert durably.write_bytes(target, data).size == size
    assert target.read_bytes() == data


def test_bytes_are_not_copied_or_changed(target: Path) -> None:
    data = bytearray(b"abc")
    durably.write_bytes(target, data)
    assert data == b"abc"


def test_a_relative_path_object(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert durably.write_bytes(Path("file"), NEW).path == "file"
    assert (tmp_path / "file").read_bytes() == NEW
