"""What a target may be called: every name that the builtin ``open`` takes, and no store's."""

from __future__ import annotations

import errno
import os
import sys
from enum import StrEnum
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

import pytest

import durably
from capabilities import needs_posix, needs_proc, needs_unprivileged_user
from disk import NEW, OLD, Without, as_nobody, names, untouched
from durably import UnsupportedError
from durably._system import temp_names
from durably.testing import RecordingSyscalls, use
from entry_points import MAIN, EntryPoint, plainly, shown

if TYPE_CHECKING:
    from collections.abc import Callable

every_entry_point = pytest.mark.parametrize("entry_point", MAIN, ids=shown)
STREAMS: list[Callable[..., Any]] = [lambda path: durably.open(path, "wb"), durably.staged_path]
every_stream = pytest.mark.parametrize("stream", STREAMS, ids=["open", "staged_path"])


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Every test in an empty directory of its own."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


class Named:
    """Something with a path that is not pathlib's."""

    def __init__(self, path: Any) -> None:
        self._path = path

    def __fspath__(self) -> Any:
        return self._path

    def __repr__(self) -> str:
        return f"Named({self._path!r})"


class Text(str):
    """A str with a mind of its own about how it is shown."""

    __slots__ = ()

    def __str__(self) -> str:
        return "something else"

    __repr__ = __format__ = __str__  # type: ignore[assignment]


class Colour(StrEnum):
    RED = "red"


def fill(stream: Any, data: bytes = NEW) -> None:
    (stream.write if hasattr(stream, "write") else stream.write_bytes)(data)


# Names.


@every_entry_point
@pytest.mark.parametrize(
    "path",
    [
        "file",
        "./file",
        b"file",
        Path("file"),
        PurePath("file"),
        Named("file"),
        Named(b"file"),
        Text("file"),
        Named(Text("file")),
    ],
    ids=plainly,
)
def test_whatever_names_a_path(here: Path, entry_point: EntryPoint, path: Any) -> None:
    receipt = entry_point.save(path, NEW)
    assert (here / "file").read_bytes() == NEW
    assert names(here) == ["file"]
    assert type(receipt.path) is str
    assert receipt.path in ("file", "./file")


@every_entry_point
def test_a_member_of_a_str_enum_is_its_value(here: Path, entry_point: EntryPoint) -> None:
    entry_point.save(Colour.RED, NEW)
    assert names(here) == ["red"]


@every_entry_point
@pytest.mark.parametrize(
    "file_name",
    [
        "name with spaces",
        "-",
        "--help",
        "a\nb",
        "\u00e9\u4f60\U0001f600",
        ".hidden",
        "...",
        "~",
        "$HOME",
        "*",
        "a:b",
        "x" * 255,
        "\u00e9" * 127,
        ".durably-f-0-0-0-0-0000000000000000.tmp",
    ],
)
@needs_posix
def test_unusual_names(here: Path, entry_point: EntryPoint, file_name: str) -> None:
    for content in (OLD, NEW):
        entry_point.save(file_name, content)
        assert names(here) == [file_name]
        assert (here / file_name).read_bytes() == content


@every_entry_point
@needs_posix
def test_names_that_are_no_text(here: Path, entry_point: EntryPoint) -> None:
    if sys.platform == "darwin":
        pytest.skip("APFS refuses names that are not UTF-8")
    raw = b"\xff\xfe\x80name"
    receipt = entry_point.save(raw, OLD)
    assert os.listdir(b".") == [raw]
    assert receipt.path == os.fsdecode(raw)
    entry_point.save(os.fsdecode(raw), NEW)
    assert os.listdir(b".") == [raw]
    assert (here / os.fsdecode(raw)).read_bytes() == NEW


@every_stream
@needs_posix
@pytest.mark.parametrize(
    "path", ["x" * 256, "\u00e9" * 128, "d/" * 2100 + "file"], ids=["bytes", "utf-8", "path"]
)
def test_a_name_beyond_the_limit_is_refused_before_the_body(
    here: Path, stream: Callable[..., Any], path: str
) -> None:
    ran = False
    with pytest.raises(OSError, match=os.strerror(errno.ENAMETOOLONG)) as caught, stream(path):
        ran = True
    assert (caught.value.errno, caught.value.filename, ran) == (errno.ENAMETOOLONG, path, False)
    assert names(here) == []


def test_every_name_that_fits_leaves_room_for_the_temporary(here: Path) -> None:
    made = [temp_names.fresh(kind) for kind in ("f", "h", "d")]
    assert max(map(len, made)) < 120


@pytest.mark.parametrize("file_name", ["x" * 255, "file.parquet"])
@pytest.mark.parametrize("stream", STREAMS, ids=["open", "staged_path"])
@needs_posix
def test_long_names_while_they_are_written(here: Path, stream: Callable[..., Any], file_name: str) -> None:
    with use(Without("unnamed")), stream(file_name) as file:
        fill(file)
    assert (here / file_name).read_bytes() == NEW


# What is no path.


@every_entry_point
@pytest.mark.parametrize(
    "path", [None, 3, True, 1.5, ["file"], Named(3), bytearray(b"file"), object()], ids=plainly
)
def test_what_is_no_path_is_a_type_error(here: Path, entry_point: EntryPoint, path: Any) -> None:
    with untouched(here), pytest.raises(TypeError):
        entry_point.save(path, NEW)


@every_entry_point
@pytest.mark.parametrize("path", ["a\0b", b"a\0b", "a\0b/file", Named("\0")])
def test_an_embedded_nul_is_a_value_error(here: Path, entry_point: EntryPoint, path: Any) -> None:
    with pytest.raises(ValueError, match="null"):
        entry_point.save(path, NEW)
    assert names(here) == []


@every_entry_point
@pytest.mark.parametrize("path", ["", b"", Named("")], ids=plainly)
def test_an_empty_path_is_no_file(here: Path, entry_point: EntryPoint, path: Any) -> None:
    with pytest.raises(FileNotFoundError):
        entry_point.save(path, NEW)
    assert names(here) == []


@every_entry_point
@pytest.mark.parametrize("path", ["dir/", "new/", ".", "..", "./", "dir/.", "dir/..", "/", "dir"])
@needs_posix
def test_what_can_only_be_a_directory(here: Path, entry_point: EntryPoint, path: str) -> None:
    (here / "dir").mkdir()
    with pytest.raises(IsADirectoryError) as caught:
        entry_point.save(path, NEW)
    assert caught.value.filename == path
    assert names(here) == ["dir"]
    assert names(here / "dir") == []


@every_entry_point
def test_a_missing_directory(here: Path, entry_point: EntryPoint) -> None:
    with pytest.raises(FileNotFoundError) as caught:
        entry_point.save("missing/file", NEW)
    assert caught.value.filename == "missing/file"
    assert names(here) == []


# Missing directories.


@every_entry_point
@pytest.mark.parametrize("path", ["a/file", "a/b/c/file", "a//b///file", "./a/file"])
def test_missing_directories_are_made_on_request(here: Path, entry_point: EntryPoint, path: str) -> None:
    (here / "model").mkdir()
    entry_point.save(path, NEW, make_parents=True)
    assert (here / path).read_bytes() == NEW
    assert (here / "a").stat().st_mode == (here / "model").stat().st_mode
    entry_point.save(path, OLD, make_parents=True)
    assert (here / path).read_bytes() == OLD


@every_stream
def test_directories_that_were_made_go_with_a_discarded_save(here: Path, stream: Callable[..., Any]) -> None:
    streams = {STREAMS[0]: durably.open, STREAMS[1]: durably.staged_path}
    (here / "a").mkdir()
    with pytest.raises(KeyError), streams[stream]("a/b/c/file", make_parents=True):  # type: ignore[operator] # by parameter
        raise KeyError
    assert names(here) == ["a"]
    assert names(here / "a") == []


def test_directories_that_others_use_by_now_stay(here: Path) -> None:
    with pytest.raises(KeyError), durably.open("a/b/file", "w", make_parents=True):
        (here / "a" / "theirs").write_bytes(b"")
        raise KeyError
    assert names(here / "a") == ["theirs"]


def test_a_directory_that_somebody_else_makes_meanwhile_is_theirs(here: Path) -> None:
    class Rival(RecordingSyscalls):
        def _before(self, name: str, arguments: Any, keywords: Any, function: Any) -> None:
            if name == "mkdir":
                (here / "a").mkdir()

    with use(Rival()), pytest.raises(KeyError), durably.open("a/file", "w", make_parents=True):
        raise KeyError
    assert names(here) == ["a"]


def test_a_directory_that_cannot_be_made(here: Path) -> None:
    (here / "file").write_bytes(OLD)
    with pytest.raises(NotADirectoryError):
        durably.write_bytes("file/a/b", NEW, make_parents=True)
    assert (here / "file").read_bytes() == OLD


@needs_posix
def test_made_directories_are_flushed_from_the_top(here: Path) -> None:
    flushed = []

    class Flushes(RecordingSyscalls):
        def _before(self, name: str, arguments: Any, keywords: Any, function: Any) -> None:
            if name == "fsync":
                flushed.append(os.fstat(arguments[0]).st_ino)

    with use(Flushes()):
        durably.write_bytes("a/b/file", NEW, make_parents=True)
    assert {
        path.stat().st_ino for path in (here, here / "a", here / "a" / "b", here / "a" / "b" / "file")
    } == set(flushed)


# A directory that moves while the body runs.


@every_stream
def test_a_relative_path_means_where_the_save_began(
    here: Path, stream: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    (here / "elsewhere").mkdir()
    with stream("file") as file:
        monkeypatch.chdir(here / "elsewhere")
        fill(file)
    assert (here / "file").read_bytes() == NEW
    assert names(here / "elsewhere") == []


def test_a_relative_path_survives_a_discard_elsewhere(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (here / "elsewhere").mkdir()
    with use(Without("unnamed")), pytest.raises(KeyError), durably.open("file", "w"):
        assert len(names(here)) == 2
        monkeypatch.chdir(here / "elsewhere")
        raise KeyError
    assert names(here) == ["elsewhere"]


@pytest.mark.parametrize("lacks", [(), ("unnamed",)])
@needs_posix
def test_a_directory_that_is_renamed_takes_the_save_along(here: Path, lacks: tuple[str, ...]) -> None:
    (here / "before").mkdir()
    (here / "before" / "file").write_bytes(OLD)
    with use(Without(*lacks)), durably.open("before/file", "wb") as file:
        file.write(NEW)
        (here / "before").rename(here / "after")
    assert (here / "after" / "file").read_bytes() == NEW
    assert names(here) == ["after"]
    assert names(here / "after") == ["file"]


@pytest.mark.parametrize("lacks", [(), ("unnamed",)])
@pytest.mark.parametrize("fails", [False, True])
@needs_posix
def test_a_directory_that_is_swapped_for_a_link_is_not_followed(
    here: Path, lacks: tuple[str, ...], fails: bool
) -> None:
    (here / "place").mkdir()
    (here / "trap").mkdir()
    (here / "trap" / "file").write_bytes(OLD)
    try:
        with use(Without(*lacks)), durably.open("place/file", "wb") as file:
            file.write(NEW)
            (here / "place").rename(here / "moved")
            (here / "place").symlink_to("trap")
            if fails:
                raise KeyError
    except KeyError:
        assert fails
    assert names(here / "moved") == ([] if fails else ["file"])
    assert names(here / "trap") == ["file"]
    assert (here / "trap" / "file").read_bytes() == OLD


@needs_posix
def test_a_directory_that_is_removed_is_an_error(here: Path) -> None:
    (here / "place").mkdir()
    with pytest.raises(FileNotFoundError) as caught, durably.open("place/file", "wb") as file:
        file.write(NEW)
        (here / "place").rmdir()
    assert caught.value.filename == "place/file"
    assert names(here) == []


@needs_unprivileged_user
def test_a_directory_that_may_be_written_but_not_read(here: Path) -> None:
    place = here / "place"
    place.mkdir()
    os.chown(place, 65534, 65534)
    place.chmod(0o300)
    here.chmod(0o777)

    def save() -> None:
        for entry_point in MAIN:
            for content in (OLD, NEW):
                receipt = entry_point.save("place/file", content)
                assert "may be written but not read" in receipt.skipped["fsync directory"]
                assert receipt.durability != "durable"
                assert "fsync directory" not in receipt.steps

    as_nobody(place, save)
    assert (place / "file").read_bytes() == NEW
    assert names(place) == ["file"]


@needs_unprivileged_user
def test_a_directory_that_may_not_be_written(here: Path) -> None:
    (here / "file").write_bytes(OLD)
    (here / "file").chmod(0o666)

    def save() -> None:
        for entry_point in MAIN:
            for path in ("file", "new"):
                with pytest.raises(PermissionError) as caught:
                    entry_point.save(path, NEW)
                assert caught.value.filename == path

    as_nobody(here, save)
    assert (here / "file").read_bytes() == OLD
    assert names(here) == ["file"]


# URLs.


class Remote:
    """An object that knows its file system, as fsspec's OpenFile and universal_pathlib's paths do."""

    def __init__(self, protocol: str | None = None) -> None:
        self.fs = object()
        if protocol is not None:
            self.protocol = protocol

    def __fspath__(self) -> str:
        return "file"

    def __str__(self) -> str:
        return "memory://file"


@every_entry_point
@pytest.mark.parametrize(
    "path",
    [
        "simplecache::s3://bucket/key",
        "http://host/file",
        "ab://",
        "git+ssh://host/x",
        "S3://b/k",
        Text("http://bucket/key"),
        Remote(),
        Remote("s3"),
    ],
    ids=plainly,
)
def test_a_store_is_refused_and_not_taken_for_a_directory(
    here: Path, entry_point: EntryPoint, path: Any
) -> None:
    with untouched(here), pytest.raises(UnsupportedError, match="names a store") as caught:
        entry_point.save(path, NEW, make_parents=True)
    assert caught.value.errno == errno.ENOTSUP
    assert "://" in caught.value.path


@every_entry_point
@pytest.mark.parametrize(
    ("path", "made"),
    [
        (b"s3://bucket", "s3:/bucket"),
        (Named("s3://bucket"), "s3:/bucket"),
        (Path("s3://bucket"), "s3:/bucket"),
        ("c://x", "c:/x"),
        ("1a://x", "1a:/x"),
        ("a b://x", "a b:/x"),
        ("./s3://x", "s3:/x"),
        ("\u00e9\u00e9://x", "\u00e9\u00e9:/x"),
    ],
    ids=plainly,
)
@needs_posix
def test_what_looks_like_a_store_and_is_a_path(
    here: Path, entry_point: EntryPoint, path: Any, made: str
) -> None:
    entry_point.save(path, NEW, make_parents=True)
    assert (here / made).read_bytes() == NEW


@every_entry_point
@pytest.mark.parametrize("protocol", ["", "file", "local"])
def test_an_object_of_the_local_file_system_is_a_path(
    here: Path, entry_point: EntryPoint, protocol: str
) -> None:
    entry_point.save(Remote(protocol), NEW)
    assert names(here) == ["file"]


@needs_proc
def test_an_absolute_path_through_a_link_of_proc(here: Path) -> None:
    directory = os.open(here, os.O_RDONLY)
    try:
        durably.write_bytes(f"/proc/self/fd/{directory}/file", NEW)
    finally:
        os.close(directory)
    assert (here / "file").read_bytes() == NEW
