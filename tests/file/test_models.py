"""A file being saved behaves as the builtin ``open``'s does, whatever is done to it, and ends the same."""

from __future__ import annotations

import array
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import durably
import entry_points
from entry_points import folder

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

BINARY = ("wb", "w+b", "xb", "x+b", "ab", "a+b", "r+b")
TEXT = ("w", "w+", "x", "x+", "a", "a+", "r+")
NEWLINES = (None, "", "\n", "\r", "\r\n")
ENCODINGS = ("utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32", "latin-1", "cp1252", "ascii", "shift_jis")
ERRORS = (None, "strict", "replace", "ignore", "xmlcharrefreplace", "backslashreplace", "surrogateescape")

# What is done to a file: a method and its arguments.
POSITIONS = st.tuples(st.just("seek"), st.integers(-3, 40), st.integers(0, 2))
BINARY_STEPS = st.one_of(
    st.tuples(st.just("write"), st.binary(max_size=40)),
    POSITIONS,
    st.tuples(st.just("truncate")),
    st.tuples(st.just("truncate"), st.integers(-1, 40)),
    st.tuples(st.just("read"), st.integers(-1, 20)),
    st.tuples(st.just("readline")),
    st.tuples(st.just("writelines"), st.lists(st.binary(max_size=9), max_size=3)),
    *(st.tuples(st.just(name)) for name in ("tell", "flush", "close", "readable", "seekable", "writable")),
)
CHARACTERS = st.text(st.sampled_from("ab\u00e9\u20ac\udc80\n\r"), max_size=12)
TEXT_STEPS = st.one_of(
    st.tuples(st.just("write"), CHARACTERS),
    st.tuples(st.just("seek"), st.just(0), st.sampled_from((0, 2))),
    st.tuples(st.just("truncate"), st.integers(0, 30)),
    st.tuples(st.just("read"), st.integers(-1, 9)),
    *(st.tuples(st.just(name)) for name in ("tell", "flush", "readline", "close", "readable", "writable")),
)

fast = settings(max_examples=120, deadline=None, database=None)


@pytest.fixture(scope="module")
def place() -> Iterator[Path]:
    with folder() as directory:
        yield directory


def _do(file: Any, step: tuple[Any, ...]) -> Any:
    """What a step gives, or the type of the error it raises."""
    name, *arguments = step
    try:
        return getattr(file, name)(*arguments)
    except OSError as error:
        return type(error), error.errno
    except (TypeError, ValueError) as error:
        return type(error), str(error)


def _run(path: Path, opener: Any, mode: str, steps: list[tuple[Any, ...]], how: dict[str, Any]) -> list[Any]:
    try:
        with opener(path, mode, **how) as file:
            seen = [type(file), file.name == str(path), file.mode]
            seen += [_do(file, step) for step in steps]
            seen.append(file.closed)
    except (OSError, ValueError) as error:
        # Closing wrote the rest, and that failed, as for a character that the encoding has not.
        return [type(error)]
    return seen


def _compare(
    place: Path, mode: str, old: bytes | None, steps: list[tuple[Any, ...]], how: dict[str, Any]
) -> None:
    saved, plain = place / "saved", place / "plain"
    for path in (saved, plain):
        path.unlink(missing_ok=True)
        if old is not None and "x" not in mode:
            path.write_bytes(old)
        elif "r" in mode:
            path.write_bytes(b"")
    before = saved.read_bytes() if saved.exists() else None
    expected = _run(plain, _plainly, mode, steps, how)
    found = _run(saved, durably.open, mode, steps, {**how, "durability": "none"})
    assert found == expected
    if len(expected) > 1:
        assert saved.read_bytes() == plain.read_bytes()
    else:
        assert (saved.read_bytes() if saved.exists() else None) == before
    assert entry_points.beside(saved) <= {"plain"}


def _plainly(path: Path, mode: str, **how: Any) -> Any:
    return open(str(path), mode, **how)  # the model


@fast
@given(
    mode=st.sampled_from(BINARY),
    old=st.none() | st.binary(max_size=60),
    buffering=st.sampled_from((-1, 0, 2, 16, 4096)),
    steps=st.lists(BINARY_STEPS, max_size=12),
)
@example(
    mode="a+b", old=b"old", buffering=-1, steps=[("tell",), ("read", -1), ("seek", 0, 0), ("write", b"new")]
)
@example(mode="r+b", old=b"old", buffering=0, steps=[("truncate",), ("tell",)])
@example(mode="wb", old=None, buffering=-1, steps=[("truncate", -1), ("write", b"on")])
@example(mode="w+b", old=None, buffering=2, steps=[("close",), ("write", b"late")])
def test_bytes(
    place: Path, mode: str, old: bytes | None, buffering: int, steps: list[tuple[Any, ...]]
) -> None:
    _compare(place, mode, old, steps, {"buffering": buffering})


@fast
@given(
    mode=st.sampled_from(TEXT),
    old=st.none() | st.sampled_from((b"", b"one\ntwo\r\nthree", b"\xef\xbb\xbfbom\n")),
    encoding=st.sampled_from(("utf-8", "utf-8-sig", "utf-16", "latin-1", "ascii")),
    errors=st.sampled_from(ERRORS),
    newline=st.sampled_from(NEWLINES),
    buffering=st.sampled_from((-1, 1, 16)),
    steps=st.lists(TEXT_STEPS, max_size=10),
)
@example("a", b"\xef\xbb\xbfbom\n", "utf-8-sig", None, None, -1, [("write", "no second bom")])
@example("a+", b"one\n", "utf-16", None, None, -1, [("write", "b"), ("seek", 0, 0), ("tell",)])
def test_text(
    place: Path,
    mode: str,
    old: bytes | None,
    encoding: str,
    errors: str | None,
    newline: str | None,
    buffering: int,
    steps: list[tuple[Any, ...]],
) -> None:
    how = {"encoding": encoding, "errors": errors, "newline": newline, "buffering": buffering}
    _compare(place, mode, old, steps, how)


@fast
@given(
    text=st.text(max_size=60) | CHARACTERS,
    encoding=st.sampled_from(ENCODINGS),
    errors=st.sampled_from(ERRORS),
    newline=st.sampled_from(NEWLINES),
)
@example("\r\n \n \r", "utf-8", None, "\r\n")
def test_write_text(place: Path, text: str, encoding: str, errors: str | None, newline: str | None) -> None:
    saved, plain = place / "saved", place / "plain"
    saved.write_bytes(b"old")
    try:
        plain.write_text(text, encoding=encoding, errors=errors, newline=newline)
    except UnicodeError as expected:
        with pytest.raises(type(expected)):
            durably.write_text(saved, text, encoding=encoding, errors=errors, newline=newline)
        assert saved.read_bytes() == b"old"
        return
    receipt = durably.write_text(
        saved, text, encoding=encoding, errors=errors, newline=newline, durability="none"
    )
    assert saved.read_bytes() == plain.read_bytes()
    assert receipt.size == plain.stat().st_size


@fast
@given(text=st.text(max_size=60), encoding=st.sampled_from(ENCODINGS))
def test_atomic_write_leaves_newlines_alone(place: Path, text: str, encoding: str) -> None:
    path = place / "saved"
    try:
        expected = text.encode(encoding)
    except UnicodeEncodeError:
        with pytest.raises(UnicodeEncodeError):
            durably.atomic_write(path, text, encoding=encoding)
        return
    durably.atomic_write(path, text, encoding=encoding, durability="none")
    assert path.read_bytes() == expected


@fast
@given(
    items=st.lists(st.integers(0, 1000), max_size=50),
    kind=st.sampled_from("HIQd"),
    wrap=st.sampled_from(
        (lambda data: data, memoryview, bytearray, bytes, lambda data: memoryview(data).toreadonly())
    ),
)
def test_every_buffer(place: Path, items: list[int], kind: str, wrap: Any) -> None:
    data = array.array(kind, items)
    buffer = wrap(data)
    path = place / "saved"
    assert durably.write_bytes(path, buffer, durability="none").size == len(data.tobytes())
    assert path.read_bytes() == data.tobytes()
    for buffering in (-1, 0):
        with durably.open(path, "wb", buffering=buffering, durability="none") as file:
            assert file.write(buffer) == len(data.tobytes())
        assert path.read_bytes() == data.tobytes()
