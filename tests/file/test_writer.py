"""AtomicWriter: what it yields, what decides, and that nothing but the end of the block commits."""

from __future__ import annotations

import contextlib
import copy
import errno
import gc
import gzip
import io
import os
import pickle
from typing import IO, TYPE_CHECKING, Any

import pytest

import durably
from capabilities import file_system, needs, needs_file_system, needs_linux, needs_posix
from disk import NEW, OLD, Refusing, Without, names, run, untouched
from durably import AtomicWriter, Receipt
from durably.testing import RecordingSyscalls, use
from mounts import mounted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@pytest.fixture
def target(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.write_bytes(OLD)
    return path


@pytest.fixture(params=["unnamed", "named"])
def temporary(request: pytest.FixtureRequest) -> Iterator[RecordingSyscalls]:
    """With a temporary that has no name while it is written, and with one that has."""
    table = Without() if request.param == "unnamed" else Without("unnamed")
    with use(table):
        yield table


def kept(target: Path) -> bool:
    """Whether the old file is there, and nothing else."""
    return target.read_bytes() == OLD and names(target.parent) == [target.name]


@contextlib.contextmanager
def abandoned() -> Iterator[None]:
    """A writer is dropped in this block, and says so."""
    with pytest.warns(ResourceWarning, match="unfinished save of .* was discarded"):
        yield
        gc.collect()


# The file.

MODES = ["w", "x", "a", "w+", "x+", "a+", "r+"]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    ("letter", "buffering"), [("", -1), ("t", 1), ("", 4096), ("b", -1), ("b", 4096), ("b", 0)]
)
def test_the_file_is_exactly_what_open_gives(tmp_path: Path, mode: str, letter: str, buffering: int) -> None:
    model, target = tmp_path / "model", tmp_path / "file"
    for path in (model, target):
        if "x" not in mode:
            path.write_bytes(OLD)
    how = mode + letter
    text = "b" not in how
    with (
        open(model, how, buffering=buffering, encoding="utf-8" if text else None) as expected,
        durably.open(target, how, buffering=buffering) as file,
    ):
        assert type(file) is type(expected)
        assert file.name == str(target)
        for method in ("readable", "writable", "seekable", "tell", "isatty"):
            assert getattr(file, method)() == getattr(expected, method)()
        assert isinstance(file.fileno(), int)
        if text:
            assert (file.mode, file.encoding, file.errors) == (  # type: ignore[attr-defined] # by parameter
                expected.mode,
                expected.encoding,  # type: ignore[attr-defined] # by parameter
                expected.errors,  # type: ignore[attr-defined] # by parameter
            )
            assert file.line_buffering == expected.line_buffering  # type: ignore[attr-defined] # by parameter
            assert type(file.buffer) is type(expected.buffer)  # type: ignore[attr-defined] # by parameter
    assert file.closed


@pytest.mark.parametrize("path", ["file", b"file"])
def test_the_files_name_is_the_path_as_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    with durably.open(path) as file:
        assert file.name == "file"


def test_the_default_encoding_is_utf_8_whatever_the_locale(tmp_path: Path) -> None:
    program = "import sys, durably\nwith durably.open(sys.argv[1]) as file: file.write('\\u20ac')"
    done = run(program, tmp_path / "file", env={**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0"})
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "file").read_bytes() == b"\xe2\x82\xac"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-8-sig", "latin-1", None])
@pytest.mark.parametrize("newline", [None, "", "\n", "\r", "\r\n"])
def test_text_is_encoded_as_open_does_it(tmp_path: Path, encoding: str | None, newline: str | None) -> None:
    text = "one\ntwo\r\nthree \u00e9\u20ac\n"
    model, target = tmp_path / "model", tmp_path / "file"
    for mode in ("w", "a", "w+"):
        with open(model, mode, encoding=encoding or "utf-8", errors="replace", newline=newline) as file:
            file.write(text)
        with durably.open(target, mode, encoding=encoding, errors="replace", newline=newline) as file:
            file.write(text)
        assert target.read_bytes() == model.read_bytes()


# What is checked before anything is staged.


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"mode": ""}, ValueError),
        ({"mode": "r"}, ValueError),
        ({"mode": "rb"}, ValueError),
        ({"mode": "b"}, ValueError),
        ({"mode": "wr"}, ValueError),
        ({"mode": "wx"}, ValueError),
        ({"mode": "ww"}, ValueError),
        ({"mode": "wbt"}, ValueError),
        ({"mode": "w++"}, ValueError),
        ({"mode": "U"}, ValueError),
        ({"mode": "w "}, ValueError),
        ({"mode": None}, TypeError),
        ({"mode": b"w"}, TypeError),
        ({"mode": ["w"]}, TypeError),
        ({"encoding": "nope"}, LookupError),
        ({"encoding": "hex"}, LookupError),
        ({"encoding": 8}, TypeError),
        ({"errors": "nope"}, LookupError),
        ({"errors": 8}, TypeError),
        ({"newline": "x"}, ValueError),
        ({"newline": "\n\r"}, ValueError),
        ({"newline": 3}, (TypeError, ValueError)),
        ({"buffering": 0}, ValueError),
        ({"buffering": "big"}, TypeError),
        ({"buffering": None}, TypeError),
        ({"buffering": 1.5}, TypeError),
        ({"buffering": 1 << 31}, ValueError),
        ({"buffering": -2}, ValueError),
        ({"mode": "wb", "encoding": "latin-1"}, ValueError),
        ({"mode": "wb", "errors": "strict"}, ValueError),
        ({"mode": "wb", "newline": "\n"}, ValueError),
        ({"mode": "wb", "newline": ""}, ValueError),
        ({"mode": "wb", "errors": ""}, ValueError),
        ({"mode": "w", "encoding": ""}, LookupError),
        ({"mode": "wb", "buffering": "big"}, TypeError),
    ],
    ids=str,
)
def test_arguments_are_checked_before_anything_is_staged(
    target: Path, arguments: dict[str, Any], error: Any
) -> None:
    with untouched(target.parent), pytest.raises(error):
        durably.open(target, **arguments)
    assert kept(target)


def test_reading_is_the_builtins_work(target: Path) -> None:
    with untouched(target.parent), pytest.raises(ValueError, match="only reads: use the builtin open"):
        durably.open(target, "r")


# What decides.


@pytest.mark.usefixtures("temporary")
def test_leaving_the_block_commits(target: Path) -> None:
    writer = durably.open(target, "wb")
    with writer as file:
        file.write(NEW)
        assert target.read_bytes() == OLD
        assert writer.receipt is None
    assert target.read_bytes() == NEW
    assert names(target.parent) == ["file"]
    assert isinstance(writer.receipt, Receipt)
    assert (writer.receipt.size, writer.receipt.replaced) == (len(NEW), True)


@pytest.mark.usefixtures("temporary")
@pytest.mark.parametrize(
    "error", [ValueError, OSError, KeyboardInterrupt, SystemExit, GeneratorExit, RecursionError, MemoryError]
)
@pytest.mark.parametrize("mode", ["w", "wb", "a", "r+b"])
def test_any_exception_discards_and_goes_on(target: Path, error: type[BaseException], mode: str) -> None:
    raised = error("from the body")
    writer = durably.open(target, mode)
    with pytest.raises(error) as caught, writer as file:
        file.write(NEW if "b" in mode else NEW.decode())
        raise raised
    assert caught.value is raised
    assert not hasattr(raised, "__notes__")
    assert kept(target)
    assert file.closed
    assert writer.receipt is None


def test_commit_without_a_block(target: Path) -> None:
    writer = durably.open(target, "wb")
    writer.file.write(NEW)
    receipt = writer.commit()
    assert target.read_bytes() == NEW
    assert writer.commit() is receipt
    assert writer.receipt is receipt
    writer.discard()
    assert target.read_bytes() == NEW
    assert writer.file.closed


@pytest.mark.usefixtures("temporary")
def test_discard_without_a_block(target: Path) -> None:
    writer = durably.open(target, "wb")
    writer.file.write(NEW)
    writer.discard()
    writer.discard()
    assert kept(target)
    assert writer.file.closed
    with pytest.raises(ValueError, match="is over: discarded"):
        writer.commit()
    assert writer.receipt is None


def test_commit_in_the_block(target: Path) -> None:
    with (writer := durably.open(target, "wb")) as file:
        file.write(NEW)
        receipt = writer.commit()
        assert target.read_bytes() == NEW
    assert writer.receipt is receipt


def test_an_exception_after_the_commit_takes_nothing_back(target: Path) -> None:
    writer = durably.open(target, "wb")
    with pytest.raises(KeyError), writer as file:
        file.write(NEW)
        writer.commit()
        raise KeyError
    assert target.read_bytes() == NEW


@pytest.mark.usefixtures("temporary")
def test_discard_in_the_block(target: Path) -> None:
    with (writer := durably.open(target, "wb")) as file:
        file.write(NEW)
        writer.discard()
    assert kept(target)
    assert writer.receipt is None


def test_a_finally_that_discards_fits_both_ends(target: Path) -> None:
    def save(fail: bool) -> None:
        writer = durably.open(target, "wb")
        try:
            writer.file.write(NEW)
            if fail:
                raise KeyError
            writer.commit()
        finally:
            writer.discard()

    with pytest.raises(KeyError):
        save(fail=True)
    assert kept(target)
    save(fail=False)
    assert target.read_bytes() == NEW


def test_it_is_entered_once(target: Path) -> None:
    writer = durably.open(target, "wb")
    with writer as file:
        file.write(NEW)
        with pytest.raises(ValueError, match="entered once"):
            writer.__enter__()
    with pytest.raises(ValueError, match="entered once"), writer:
        pass
    assert target.read_bytes() == NEW


@pytest.mark.parametrize("end", ["commit", "discard"])
def test_a_decided_writer_cannot_be_entered(target: Path, end: str) -> None:
    writer = durably.open(target, "wb")
    getattr(writer, end)()
    with pytest.raises(ValueError, match="before it is decided"), writer:
        pass


def test_its_form_tells_its_state(target: Path) -> None:
    writer = durably.open(target)
    assert repr(writer) == f"<AtomicWriter {str(target)!r} open>"
    writer.commit()
    assert repr(writer) == f"<AtomicWriter {str(target)!r} committed>"
    other = durably.open(target)
    other.discard()
    assert repr(other) == f"<AtomicWriter {str(target)!r} discarded>"


def as_written(data: bytes, mode: str) -> bytes:
    """What the text layer makes of line feeds: the system's own line ends."""
    return data if "b" in mode else data.replace(b"\n", os.linesep.encode())


# What does not decide.


@pytest.mark.parametrize("mode", ["w", "wb"])
def test_closing_the_file_decides_nothing(target: Path, mode: str) -> None:
    content = NEW if "b" in mode else NEW.decode()
    with durably.open(target, mode) as file:
        file.write(content)
        file.close()
        assert target.read_bytes() == OLD
    assert target.read_bytes() == as_written(NEW, mode)
    target.write_bytes(OLD)
    with pytest.raises(KeyError), durably.open(target, mode) as file:
        file.write(content)
        file.close()
        raise KeyError
    assert kept(target)


def test_an_inner_block_of_the_file_decides_nothing(target: Path) -> None:
    with pytest.raises(KeyError), durably.open(target) as file, file:
        file.write("half")
        raise KeyError
    assert kept(target)


def test_it_cannot_be_closed(target: Path) -> None:
    writer: Any = durably.open(target, "wb")
    assert not hasattr(writer, "close")
    assert not hasattr(writer, "write")
    writer.discard()


def test_closing_of_contextlib_fails_loudly(target: Path) -> None:
    def save() -> None:
        with contextlib.closing(durably.open(target, "wb")) as writer:  # type: ignore[type-var]
            writer.file.write(NEW)

    with abandoned(), pytest.raises(AttributeError):
        save()
    assert kept(target)


def test_an_exit_stack(target: Path) -> None:
    with contextlib.ExitStack() as stack:
        stack.enter_context(durably.open(target, "wb")).write(NEW)
    assert target.read_bytes() == NEW
    target.write_bytes(OLD)
    with pytest.raises(KeyError), contextlib.ExitStack() as stack:
        stack.enter_context(durably.open(target, "wb")).write(NEW)
        raise KeyError
    assert kept(target)


@pytest.mark.parametrize("way", [copy.copy, copy.deepcopy, pickle.dumps])
def test_there_is_one_owner(target: Path, way: Callable[[Any], Any]) -> None:
    with durably.open(target, "wb") as file:
        writer = AtomicWriter(target.with_name("other"), "wb")
        with pytest.raises(TypeError, match="cannot be copied or pickled"):
            way(writer)
        writer.discard()
        file.write(NEW)
    assert target.read_bytes() == NEW


def test_it_takes_no_stray_attributes(target: Path) -> None:
    writer: Any = durably.open(target, "wb")
    with pytest.raises(AttributeError):
        writer.recipt = None
    writer.discard()


# A file that is closed or broken behind the writer's back.


@needs_posix
@pytest.mark.usefixtures("temporary")
@pytest.mark.parametrize("flush", [True, False])
@pytest.mark.parametrize("way", ["fdopen", "close"])
def test_a_descriptor_that_the_body_closed_discards(target: Path, flush: bool, way: str) -> None:
    with pytest.raises(OSError, match=os.strerror(errno.EBADF)) as caught:
        with durably.open(target, "wb") as file:
            file.write(NEW)
            if flush:
                file.flush()
            os.fdopen(file.fileno(), "wb").close() if way == "fdopen" else os.close(file.fileno())
    assert (caught.value.errno, caught.value.filename) == (errno.EBADF, str(target))
    assert target.read_bytes() == OLD
    if not getattr(caught.value, "leftovers", ()):
        assert kept(target)


@pytest.mark.parametrize("mode", ["w", "wb"])
@pytest.mark.usefixtures("temporary")
def test_a_detached_buffer_is_an_error(target: Path, mode: str) -> None:
    with pytest.raises(ValueError, match="detached"), durably.open(target, mode) as file:
        file.write(NEW if "b" in mode else NEW.decode())
        below = file.detach()  # type: ignore[attr-defined] # by parameter
    assert kept(target)
    assert below.closed


def test_a_file_that_outlives_its_writer_does_not_reach_other_files(target: Path) -> None:
    """The descriptor's number may be another file's by then."""
    writer = durably.open(target, "wb")
    file = writer.file
    raw = file.raw
    number = file.fileno()
    writer.commit()
    stranger = target.with_name("stranger")
    stranger.write_bytes(OLD)
    opened = [os.open(stranger, os.O_RDWR) for _ in range(8)]
    try:
        assert number in opened
        calls: list[Callable[[], object]] = [
            lambda: file.write(b"x"),  # noqa: F821 # deleted at the end
            lambda: file.truncate(0),  # noqa: F821
            file.flush,
            file.fileno,
            lambda: raw.write(b"x"),  # noqa: F821
            lambda: raw.truncate(0),  # noqa: F821
            raw.fileno,  # type: ignore[attr-defined] # by parameter
        ]
        for call in calls:
            with pytest.raises(ValueError, match=r"closed|detached"):
                call()
        del file, raw, writer
        gc.collect()
        assert stranger.read_bytes() == OLD
        for descriptor in opened:
            os.fstat(descriptor)
    finally:
        for descriptor in opened:
            os.close(descriptor)


def test_a_file_that_was_closed_takes_nothing_more(target: Path) -> None:
    with durably.open(target, "wb") as file:
        raw = file.raw
        file.write(NEW)
        file.close()
        with pytest.raises(ValueError, match="closed file"):
            raw.write(b"x")
        with pytest.raises(ValueError, match="closed file"):
            raw.truncate(0)
    assert target.read_bytes() == NEW


# Wrappers.


@pytest.mark.usefixtures("temporary")
@pytest.mark.parametrize("wrap", [io.TextIOWrapper, lambda file: gzip.GzipFile(fileobj=file, mode="wb")])
def test_an_exception_through_a_wrapper_discards(target: Path, wrap: Callable[[Any], Any]) -> None:
    with pytest.raises(KeyError), durably.open(target, "wb") as file, wrap(file) as wrapper:
        wrapper.write("x" * 100_000 if isinstance(wrapper, io.TextIOWrapper) else b"x" * 100_000)
        raise KeyError
    assert kept(target)


def test_a_wrapper_that_is_closed_in_the_block_commits_with_it(target: Path) -> None:
    with durably.open(target, "wb") as file, io.TextIOWrapper(file, "utf-8", newline="") as wrapper:
        wrapper.write(NEW.decode())
    assert target.read_bytes() == NEW


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_wrapper_that_is_dropped_after_an_exception_writes_nothing(target: Path) -> None:
    def save() -> None:
        with durably.open(target, "wb") as file:
            wrapper = io.TextIOWrapper(file, "utf-8")
            wrapper.write(NEW.decode())
            raise KeyError

    with pytest.raises(KeyError):
        save()
    gc.collect()
    assert kept(target)


# Nothing more is written.


@pytest.mark.parametrize("mode", ["w", "wb", "a", "w+b", "r+"])
@pytest.mark.parametrize("way", ["exception", "discard", "drop"])
def test_discarding_writes_nothing_more(
    target: Path, temporary: RecordingSyscalls, mode: str, way: str
) -> None:
    writer: AtomicWriter[IO[Any]] | None = durably.open(target, mode)
    assert writer is not None
    writer.file.write(NEW if "b" in mode else NEW.decode())
    before = temporary.names.count("write")
    if way == "exception":
        with pytest.raises(KeyError), writer:
            raise KeyError
    elif way == "discard":
        writer.discard()
    else:
        with abandoned():
            writer = None
    gc.collect()
    assert temporary.names.count("write") == before
    assert not {"fsync", "replace", "link"} & set(temporary.names)
    assert kept(target)


# Failures while discarding.


@needs_posix
def test_a_failure_while_discarding_is_a_note(target: Path) -> None:
    with use(Failing("unlink")), pytest.raises(KeyError) as caught, durably.open(target, "wb"):
        raise KeyError
    (left,) = set(names(target.parent)) - {"file"}
    (note,) = caught.value.__notes__
    assert note.startswith(f"durably: left over: {target.parent / left}")
    assert caught.value.leftovers == (str(target.parent / left),)  # type: ignore[attr-defined]
    assert target.read_bytes() == OLD


class Failing(Without):
    """Has no unnamed files, and calls of one name fail."""

    def __init__(self, name: str) -> None:
        super().__init__("unnamed")
        self.name = name

    def _before(self, name: str, arguments: Any, keywords: Any, function: Any) -> None:
        super()._before(name, arguments, keywords, function)
        if name == self.name:
            raise OSError(errno.EIO, os.strerror(errno.EIO))


@needs_posix
def test_a_discard_that_leaves_something_says_what(target: Path) -> None:
    with use(Failing("unlink")):
        writer = durably.open(target, "wb")
        with pytest.raises(OSError, match="could not be removed") as caught:
            writer.discard()
        writer.discard()
    (left,) = set(names(target.parent)) - {"file"}
    assert caught.value.leftovers == (str(target.parent / left),)  # type: ignore[attr-defined]
    assert target.read_bytes() == OLD


@needs_posix
def test_a_dropped_writer_says_what_it_leaves(target: Path) -> None:
    with use(Failing("unlink")), pytest.warns(ResourceWarning, match=r"left over: .*\.durably-h-"):
        durably.open(target, "wb")
        gc.collect()
    assert target.read_bytes() == OLD


@needs_posix
def test_a_failing_close_while_discarding_is_no_matter(target: Path) -> None:
    table = Refusing()
    with use(table), pytest.raises(KeyError) as caught, durably.open(target, "wb"):
        table.errors = {"close": errno.EIO}
        raise KeyError
    assert not hasattr(caught.value, "__notes__")
    assert kept(target)


# Abandoned writers.


@pytest.mark.usefixtures("temporary")
def test_an_abandoned_writer_discards_with_a_warning(target: Path) -> None:
    with abandoned():
        writer = durably.open(target, "wb")
        writer.file.write(NEW)
        del writer
    assert kept(target)


@pytest.mark.usefixtures("temporary")
def test_a_file_that_is_kept_without_its_writer_is_closed(target: Path) -> None:
    with abandoned():
        file = durably.open(target).file
    with pytest.raises(ValueError, match="closed"):
        file.write("x")
    assert kept(target)


@pytest.mark.usefixtures("temporary")
def test_a_writer_in_a_cycle_is_collected(target: Path) -> None:
    def save() -> None:
        cycle: list[Any] = [durably.open(target, "wb")]
        cycle.append(cycle)
        cycle[0].file.write(NEW)

    with abandoned():
        save()
    assert kept(target)


@pytest.mark.usefixtures("temporary")
def test_a_generator_that_is_dropped_discards(target: Path) -> None:
    def lines() -> Iterator[None]:
        with durably.open(target, "wb") as file:
            while True:
                file.write(NEW)
                yield

    generator = lines()
    next(generator)
    generator.close()  # type: ignore[attr-defined] # by parameter
    assert kept(target)


def test_the_warning_names_where_it_was_dropped(target: Path) -> None:
    with pytest.warns(ResourceWarning) as caught:
        durably.open(target, "wb")
        gc.collect()
    assert caught[0].filename == __file__
    assert repr(str(target)) in str(caught[0].message)


@pytest.mark.parametrize("path", [3, "missing/file"])
def test_a_half_built_writer_is_dropped_in_silence(tmp_path: Path, path: Any) -> None:
    with pytest.raises((TypeError, FileNotFoundError)):
        durably.open(path if path == 3 else tmp_path / path)
    empty = AtomicWriter.__new__(AtomicWriter)
    del empty
    gc.collect()


@needs_linux
@pytest.mark.parametrize("lacks", ["", "unnamed"])
@pytest.mark.parametrize("where", ["global", "cycle", "frame"])
def test_the_end_of_the_interpreter_discards(target: Path, lacks: str, where: str) -> None:
    program = """
import sys, durably
from durably._commit.linux import strategy as linux
if sys.argv[2]:
    linux._descriptors_can_be_linked = False
def main():
    global writer
    writer = durably.open(sys.argv[1], "wb")
    writer.file.write(b"half")
    if sys.argv[3] == "cycle":
        cycle = [writer]; cycle.append(cycle); del writer
    elif sys.argv[3] == "frame":
        mine = writer; del writer
        sys.exit(0)
main()
"""
    done = run(program, target, lacks, where)
    assert done.returncode == 0
    assert "Traceback" not in done.stderr
    assert "ResourceWarning: unfinished save" in done.stderr
    assert kept(target)


def test_a_commit_at_exit(target: Path) -> None:
    program = """
import atexit, sys, durably
writer = durably.open(sys.argv[1], "wb")
writer.file.write(b"all of it")
atexit.register(writer.commit)
"""
    done = run(program, target)
    assert (done.returncode, done.stderr) == (0, "")
    assert target.read_bytes() == b"all of it"
    assert names(target.parent) == ["file"]


# Modes.


def model_and_file(tmp_path: Path, mode: str, old: bytes | None, body: Callable[[Any], None]) -> bytes:
    """Run a body on the builtin's file and on ours; both must end alike."""
    model, target = tmp_path / "model", tmp_path / "file"
    for path in (model, target):
        path.unlink(missing_ok=True)
        if old is not None:
            path.write_bytes(old)
    text = "b" not in mode
    with open(model, mode, encoding="utf-8" if text else None) as file:
        body(file)
    with durably.open(target, mode) as file:
        body(file)
    assert target.read_bytes() == model.read_bytes()
    assert names(tmp_path) == ["file", "model"]
    return target.read_bytes()


@pytest.mark.parametrize("mode", ["w", "w+", "a", "a+", "r+", "wb", "w+b", "ab", "a+b", "r+b", "x", "x+b"])
def test_modes_mean_what_they_mean_to_open(tmp_path: Path, mode: str) -> None:
    def piece(text: str) -> Any:
        return text.encode() if "b" in mode else text

    def body(file: Any) -> None:
        file.write(piece("first\n"))
        file.seek(0)
        file.write(piece("SECOND"))
        file.flush()
        if "+" in mode:
            file.seek(2)
            seen.append(file.read(4))
            file.seek(0, os.SEEK_END)
        file.write(piece("third\n"))
        file.truncate()

    seen: list[Any] = []
    model_and_file(tmp_path, mode, None if "x" in mode else OLD, body)
    assert seen[: len(seen) // 2] == seen[len(seen) // 2 :]
    if mode[0] in "awx":
        model_and_file(tmp_path, mode, None, body)


@pytest.mark.parametrize("mode", ["r+", "r+b", "w+b"])
@pytest.mark.parametrize("size", [0, 3, 100])
def test_truncate(tmp_path: Path, mode: str, size: int) -> None:
    def body(file: Any) -> None:
        if "w" in mode:
            file.write(OLD)
        file.truncate(size)

    assert len(model_and_file(tmp_path, mode, OLD, body)) == size


@pytest.mark.parametrize("mode", ["a", "ab", "a+", "a+b"])
def test_appending_goes_to_the_end_after_a_seek(tmp_path: Path, mode: str) -> None:
    def body(file: Any) -> None:
        assert file.tell() == len(OLD)
        file.seek(0)
        file.write(NEW if "b" in mode else NEW.decode())

    assert model_and_file(tmp_path, mode, OLD, body) == OLD + as_written(NEW, mode)


@pytest.mark.parametrize("mode", ["a", "r+"])
def test_what_others_append_meanwhile_is_lost(target: Path, mode: str) -> None:
    with durably.open(target, mode) as file:
        with target.open("ab") as other:
            other.write(b"theirs")
        file.seek(0, os.SEEK_END)
        file.write("ours")
    assert target.read_bytes() == OLD + b"ours"


@pytest.mark.parametrize("mode", ["r+", "r+b"])
def test_going_on_needs_a_file(tmp_path: Path, mode: str) -> None:
    with pytest.raises(FileNotFoundError) as caught:
        durably.open(tmp_path / "file", mode)
    assert (caught.value.errno, caught.value.filename) == (errno.ENOENT, str(tmp_path / "file"))
    with pytest.raises(FileNotFoundError):
        durably.open(tmp_path / "a" / "file", mode, make_parents=True)
    assert names(tmp_path) == []


@pytest.mark.parametrize("mode", ["ab", "r+b"])
def test_a_large_old_file_is_copied_whole(tmp_path: Path, mode: str) -> None:
    old = os.urandom(1 << 16) * 40 + b"odd"
    (tmp_path / "file").write_bytes(old)
    table = Refusing(ficlone=errno.EOPNOTSUPP)
    with use(table), durably.open(tmp_path / "file", mode) as file:
        file.seek(0, os.SEEK_END)
        file.write(NEW)
    assert (tmp_path / "file").read_bytes() == old + NEW


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC])
@needs_linux
def test_an_error_while_sharing_extents_is_raised(target: Path, number: int) -> None:
    with use(Refusing(ficlone=number)), pytest.raises(OSError, match=os.strerror(number)):
        durably.open(target, "a")
    assert kept(target)


@pytest.mark.parametrize("kind", ["xfs", "btrfs", "ext4"])
@pytest.mark.parametrize("mode", ["ab", "r+b"])
@needs(lambda: file_system("xfs") or file_system("btrfs") or file_system("ext4"))
def test_extents_are_shared_where_the_file_system_can(tmp_path: Path, kind: str, mode: str) -> None:
    with mounted(kind, tmp_path / "mount") as place:
        target = place / "file"
        target.write_bytes(b"x" * 100_000)
        writer = durably.open(target, mode)
        with writer as file:
            file.seek(0, os.SEEK_END)
            file.write(NEW)
        assert writer.receipt is not None
        assert ("reflink" in writer.receipt.steps) == (kind != "ext4")
        assert ("copy" in writer.receipt.steps) == (kind == "ext4")
        assert target.read_bytes() == b"x" * 100_000 + NEW


@needs_file_system("tmpfs")
def test_a_full_file_system_keeps_the_old_file(tmp_path: Path) -> None:
    with mounted("tmpfs", tmp_path / "mount", options="size=1m") as place:
        target = place / "file"
        target.write_bytes(OLD)
        with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)), durably.open(target, "wb") as file:
            file.write(b"x" * (2 << 20))
        assert kept(target)


# Early write-out.


@needs_linux
@pytest.mark.parametrize(("durability", "starts"), [("durable", 3), ("consistent", 3), ("none", 0)])
@pytest.mark.parametrize("mode", ["wb", "w"])
def test_write_out_starts_while_the_body_runs(
    tmp_path: Path, durability: Any, starts: int, mode: str
) -> None:
    table = RecordingSyscalls()
    piece = bytes(1 << 20)
    with use(table), durably.open(tmp_path / "file", mode, durability=durability) as file:
        for _ in range(25):
            file.write(piece if "b" in mode else piece.decode())
        started = table.names.count("sync_file_range")
    assert started == starts
    assert max(len(call.arguments[1]) for call in table.record if call.name == "write") <= 2 << 20  # type: ignore[arg-type]
