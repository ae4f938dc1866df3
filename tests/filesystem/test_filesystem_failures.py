"""An exception never commits half a file, however far it is from the handle; and nothing else discards."""

from __future__ import annotations

import asyncio
import bz2
import contextlib
import gc
import gzip
import io
import logging
import os
import subprocess
import sys
import textwrap
import threading
from typing import TYPE_CHECKING, Any

import pytest

pytest.importorskip("fsspec", reason="fsspec is not installed")

import fsspec

import entry_points
from durably._fsspec import exception_detection
from durably.filesystem import DurableFileSystem

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator
    from pathlib import Path

OLD = entry_points.OLD
HALF = "half of it\n" * 15_000  # more than a buffer holds


class BrokenError(Exception):
    pass


@pytest.fixture
def fs() -> Any:
    return DurableFileSystem(durability="none")


@pytest.fixture
def path() -> Iterator[Path]:
    with entry_points.folder() as folder:
        target = folder / "target"
        target.write_bytes(OLD)
        yield target


def half(file: Any) -> None:
    """Write a part, and fail."""
    try:
        file.write(HALF)
    except TypeError:
        file.write(HALF.encode())
    raise BrokenError


def untouched(path: Path) -> None:
    gc.collect()
    assert path.read_bytes() == OLD
    assert not entry_points.beside(path)


# Ways to lose an exception. Each is given the file system, the path, and how it is to be opened.


def _fs_open(fs: Any, path: Path, **how: Any) -> None:
    with fs.open(path, **how) as file:
        half(file)


def _fsspec_open(fs: Any, path: Path, **how: Any) -> None:
    with fsspec.open(f"durable://{path}", **how) as file:
        half(file)


def _fsspec_open_by_hand(fs: Any, path: Path, **how: Any) -> None:
    with contextlib.closing(fsspec.open(f"durable://{path}", **how)) as opened:
        half(opened.open())


def _open_files(fs: Any, path: Path, **how: Any) -> None:
    with fsspec.open_files([f"durable://{path}"], **how) as files:
        half(files[0])


def _exit_stack(fs: Any, path: Path, **how: Any) -> None:
    with contextlib.ExitStack() as stack:
        half(stack.enter_context(fsspec.open(f"durable://{path}", **how)))


def _callback(fs: Any, path: Path, **how: Any) -> None:
    with contextlib.ExitStack() as stack:
        file = fs.open(path, **how)
        stack.callback(file.close)
        half(file)


def _closing(fs: Any, path: Path, **how: Any) -> None:
    with contextlib.closing(fs.open(path, **how)) as file:
        half(file)


def _context_manager(fs: Any, path: Path, **how: Any) -> None:
    @contextlib.contextmanager
    def opened() -> Iterator[Any]:
        file = fs.open(path, **how)
        try:
            yield file
        finally:
            file.close()

    with opened() as file:
        half(file)


def _generator(fs: Any, path: Path, **how: Any) -> None:
    def writing() -> Generator[None]:
        with fsspec.open(f"durable://{path}", **how) as file:
            try:
                half(file)
            except BrokenError:
                yield

    steps = writing()
    next(steps)
    steps.close()
    raise BrokenError


def _asynchronous(fs: Any, path: Path, **how: Any) -> None:
    class Opened:
        async def __aenter__(self) -> Any:
            self.file = fs.open(path, **how)
            return self.file

        async def __aexit__(self, kind: object, error: object, traceback: object) -> None:
            await asyncio.sleep(0)
            self.file.close()

    async def write() -> None:
        async with Opened() as file:
            half(file)

    asyncio.run(write())


def _raised_while_handling(fs: Any, path: Path, **how: Any) -> None:
    class Careful:
        """Meets an error of its own before it closes."""

        def __init__(self) -> None:
            self.file = fs.open(path, **how)

        def __enter__(self) -> Any:
            return self.file

        def __exit__(self, *failure: object) -> None:
            try:
                raise KeyError
            except KeyError:
                self.file.close()

    with Careful() as file:
        half(file)


def _raised_again(fs: Any, path: Path, **how: Any) -> None:
    try:
        raise BrokenError
    except BrokenError:
        with fsspec.open(f"durable://{path}", **how) as file:
            file.write(HALF if "t" in how["mode"] else HALF.encode())
            raise


def _by_hand(fs: Any, path: Path, **how: Any) -> None:
    class Handles:
        def __init__(self) -> None:
            self.file = fs.open(path, **how)

        def __exit__(self, kind: object, error: object, traceback: object) -> None:
            self.file.close()

    handles = Handles()
    try:
        half(handles.file)
    except BrokenError as error:
        handles.__exit__(type(error), error, error.__traceback__)
        raise


WAYS = (
    _fs_open,
    _fsspec_open,
    _fsspec_open_by_hand,
    _open_files,
    _exit_stack,
    _callback,
    _closing,
    _context_manager,
    _generator,
    _asynchronous,
    _raised_while_handling,
    _raised_again,
    _by_hand,
)
HOW: tuple[dict[str, Any], ...] = (
    {"mode": "wb"},
    {"mode": "wt"},
    {"mode": "ab"},
    *({"mode": mode, "compression": each} for mode in ("wb", "wt") for each in ("gzip", "bz2", "xz", "zip")),
)


def _named(value: Any) -> str:
    return "-".join(value.values()) if isinstance(value, dict) else value.__name__.strip("_")


@pytest.mark.parametrize("how", HOW, ids=_named)
@pytest.mark.parametrize("way", WAYS, ids=_named)
def test_an_exception_discards(
    way: Callable[..., None], how: dict[str, Any], path: Path, fs: Any, caplog: pytest.LogCaptureFixture
) -> None:
    if way is _open_files and how["mode"] == "ab":
        pytest.skip("open_files does not append")
    with pytest.raises(BrokenError) as caught:
        way(fs, path, **how)
    caught.value.__traceback__ = None
    untouched(path)
    told = [record for record in caplog.records if record.name == "durably.filesystem"]
    name = path.as_posix()  # what fsspec calls it, on Windows too
    assert all(record.levelno == logging.WARNING and name in record.getMessage() for record in told)
    if way is not _fs_open:
        assert told, "a discard that was inferred must not be silent"
    else:
        assert not told, "a discard that was asked for is no surprise"


@pytest.mark.parametrize("compression", ["gzip", "zstd", "lz4"])
def test_a_failure_of_the_interpreter_in_the_body(compression: str, path: Path, fs: Any) -> None:
    if compression not in fsspec.available_compressions():
        pytest.skip(f"fsspec has no {compression} here: its library is not installed")
    with pytest.raises(KeyboardInterrupt):
        with fs.open(path, "w", compression=compression) as file:
            file.write(HALF)
            raise KeyboardInterrupt
    untouched(path)
    with pytest.raises(SystemExit):
        with fsspec.open(f"durable://{path}", "w", compression=compression) as file:
            file.write(HALF)
            sys.exit()
    untouched(path)


WRAPPERS: tuple[Callable[[Any], Any], ...] = (io.TextIOWrapper, io.BufferedWriter)


@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_a_foreign_wrapper_that_is_left_by_an_exception(
    wrapper: Callable[[Any], Any], path: Path, fs: Any, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(BrokenError):
        with wrapper(fs.open(path, "wb")) as file:
            half(file)
    untouched(path)
    assert "BrokenError" in caplog.text


def test_a_compressor_in_a_with_block_of_its_own(path: Path, fs: Any) -> None:
    for pack in (lambda file: gzip.GzipFile(fileobj=file, mode="w"), lambda file: bz2.BZ2File(file, "w")):
        with pytest.raises(BrokenError):
            with fs.open(path, "wb") as file, pack(file) as packed:
                half(packed)
        untouched(path)


# Given up.


class Owner:
    """Closes its file when it is given up, as ParquetWriter does."""

    def __init__(self, file: Any) -> None:
        self.file = file

    def finish(self) -> None:
        self.file.close()

    def __del__(self) -> None:
        self.finish()


GIVEN_UP: dict[str, Callable[[Any], Any]] = {
    "handle": lambda file: file,
    "text": io.TextIOWrapper,
    "buffer": io.BufferedWriter,
    "text over a buffer": lambda file: io.TextIOWrapper(io.BufferedWriter(file)),
    "owner": Owner,
}


@pytest.mark.parametrize("wrap", GIVEN_UP)
def test_what_is_given_up_is_discarded_with_a_warning(
    wrap: str, path: Path, fs: Any, caplog: pytest.LogCaptureFixture
) -> None:
    file = fs.open(path, "wb")
    file.write(HALF.encode())
    with pytest.warns(ResourceWarning, match="unfinished save"):
        wrapped = GIVEN_UP[wrap](file)
        if wrap.startswith(("text", "buffer")):
            wrapped.write("tail" if wrap.startswith("text") else b"tail")
        del wrapped, file
        gc.collect()
    untouched(path)
    assert bool(caplog.records) == (wrap != "handle")


# The collector may end a GzipFile, which is a cycle, after the file under it; Python 3.13 tells.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("compression", [None, "gzip", "bz2", "xz"])
@pytest.mark.parametrize("mode", ["wt", "wb"])
@pytest.mark.parametrize("by_url", [False, True], ids=["fs.open", "fsspec.open"])
def test_layers_that_are_given_up(
    by_url: bool, mode: str, compression: str | None, path: Path, fs: Any
) -> None:
    with pytest.warns(ResourceWarning, match="unfinished save"):
        if by_url:
            file = fsspec.open(f"durable://{path}", mode, compression=compression).open()
        else:
            file = fs.open(path, mode, compression=compression)
        file.write("tail" if mode == "wt" else b"tail")
        del file
        gc.collect()
    untouched(path)


def test_an_uncaught_error_at_the_end_of_a_program(path: Path) -> None:
    script = f"""
        import fsspec
        file = fsspec.open("durable://{path.as_posix()}", "wt").open()
        file.write("half")
        binary = fsspec.filesystem("durable").open("{path.as_posix()}", "wb")
        binary.write(b"half")
        raise SystemError("broken")
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, check=False
    )
    assert "broken" in done.stderr
    untouched(path)


# What is no failure is not discarded.


def test_a_handle_closed_while_an_error_is_handled_is_kept(path: Path, fs: Any) -> None:
    before = fs.open(path.with_name("before"), "wb")
    wrapped = fsspec.open(f"durable://{path.with_name('wrapped')}", "wt").open()
    try:
        raise BrokenError
    except BrokenError:
        before.write(b"whole")
        before.close()
        wrapped.write("whole")
        wrapped.close()
        inside = fs.open(path.with_name("inside"), "wb")
        inside.write(b"whole")
        inside.close()
        with fsspec.open(f"durable://{path.with_name('block')}", "wb") as file:
            file.write(b"whole")
    try:
        raise BrokenError
    except BrokenError:
        try:
            raise KeyError
        except KeyError:
            with fs.open(path.with_name("deep"), "w", compression="gzip") as file:
                file.write("whole")
    names = {"before", "wrapped", "inside", "block", "deep"}
    assert entry_points.beside(path) == names
    assert {path.with_name(name).read_bytes() for name in names - {"deep"}} == {b"whole"}


class ReportsErrors:
    """Writes a report of the exception that leaves the block."""

    def __init__(self, report: Callable[[], None]) -> None:
        self.report = report

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: object, traceback: object) -> None:
        self.report()


@pytest.mark.parametrize("kind", ["closed", "with", "fsspec"])
def test_a_report_written_in_an_exit_is_kept(kind: str, path: Path, fs: Any) -> None:
    report = path.with_name("report")

    def write() -> None:
        if kind == "closed":
            file = fs.open(report, "wb")
            file.write(b"whole")
            file.close()
        elif kind == "with":
            with fs.open(report, "wb") as file:
                file.write(b"whole")
        else:
            with fsspec.open(f"durable://{report}", "wb") as file:
                file.write(b"whole")

    with pytest.raises(BrokenError), ReportsErrors(write):
        raise BrokenError
    assert report.read_bytes() == b"whole"


def test_a_file_that_failed_and_one_that_did_not(path: Path, fs: Any) -> None:
    """The inner block is left by the exception, and the outer one goes on."""
    outer = path.with_name("outer")
    with fsspec.open(f"durable://{outer}", "wb") as whole:
        whole.write(b"who")
        with contextlib.suppress(BrokenError):
            with fsspec.open(f"durable://{path}", "wb") as file:
                half(file)
        whole.write(b"le")
    assert outer.read_bytes() == b"whole"
    outer.unlink()
    untouched(path)


def test_an_explicit_close_in_a_finally_commits(path: Path, fs: Any) -> None:
    """The documented limit: an explicit close cannot be told from one in good order."""
    file = fs.open(path, "wb")
    with pytest.raises(BrokenError):
        try:
            file.write(b"whole")
            raise BrokenError
        finally:
            file.close()
    assert path.read_bytes() == b"whole"


def test_a_close_from_another_thread_commits(path: Path, fs: Any) -> None:
    """The documented limit: the other thread knows nothing of the exception."""

    class Elsewhere(io.RawIOBase):
        def __exit__(self, *_: object) -> None:
            thread = threading.Thread(target=file.close)
            thread.start()
            thread.join()

    file = fs.open(path, "wb")
    with pytest.raises(BrokenError), Elsewhere():
        file.write(b"whole")
        raise BrokenError
    assert path.read_bytes() == b"whole"


def test_a_finally_that_means_it_discards(path: Path, fs: Any) -> None:
    file = fs.open(path, "wb")
    with pytest.raises(BrokenError):
        try:
            half(file)
            file.close()
        finally:
            file.discard()
    untouched(path)


def test_nothing_is_looked_at_while_nothing_is_pending(
    path: Path, fs: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exception_detection, "_exits", None)
    with fsspec.open(f"durable://{path}", "wb") as file:
        file.write(b"whole")
    assert path.read_bytes() == b"whole"


# Failing layers.


class BrokenCompressor(io.BytesIO):
    def __init__(self, below: Any, mode: str) -> None:
        super().__init__()
        self.below = below

    def close(self) -> None:
        if not self.closed:
            super().close()
            self.below.write(b"a part")
            raise BrokenError("the end cannot be written")


def test_a_compressor_that_cannot_end_discards(path: Path, fs: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(fsspec.compression.compr, "broken", BrokenCompressor)
    for finish in ("close", "commit", "discard"):
        file = fs.open(path, "wb", compression="broken")
        with pytest.raises(BrokenError):
            getattr(file, finish)()
        untouched(path)
    with pytest.raises(BrokenError, match="the end"):
        with fs.open(path, "wb", compression="broken"):
            pass
    with pytest.raises(KeyError) as caught:
        with fs.open(path, "wb", compression="broken"):
            raise KeyError
    assert "the end cannot be written" in caught.value.__notes__[0]
    untouched(path)


def test_text_that_cannot_be_written_discards(path: Path, fs: Any) -> None:
    with pytest.raises(UnicodeEncodeError):
        with fs.open(path, "w", encoding="ascii") as file:
            file.write("abc")
            file.write("\u20ac")
    with pytest.raises(UnicodeEncodeError):
        with fsspec.open(f"durable://{path}", "w", encoding="ascii") as file:
            file.write("abc")
            file.write("\u20ac")
    untouched(path)


def test_a_write_error_that_was_dropped_is_raised_at_the_end(path: Path, fs: Any) -> None:
    if not os.path.exists("/dev/full"):
        pytest.skip("no /dev/full")
    for layered in (False, True):
        file = fs.open(path, "w" if layered else "wb")
        below = file.buffer if layered else file
        full = os.open("/dev/full", os.O_WRONLY)
        os.dup2(full, below.fileno())
        os.close(full)
        file.write("half" if layered else b"half")
        with pytest.raises(OSError, match="No space"):
            file.flush()
        with pytest.raises(ValueError, match=r"over|closed"):
            file.close()
        untouched(path)
