"""Symbolic links, and targets that are no regular files."""

from __future__ import annotations

import errno
import os
import socket
import stat
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import durably
from capabilities import NOBODY, needs_linux, needs_posix, needs_root, needs_unprivileged_user
from disk import NEW, OLD, Refusing, as_nobody, names
from durably import UnsupportedError
from durably.testing import RecordingSyscalls, use
from entry_points import MAIN, EntryPoint, shown

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = needs_posix
every_entry_point = pytest.mark.parametrize("entry_point", MAIN, ids=shown)
WRITES = {"write", "mkdir", "replace", "link", "renameat2", "ftruncate", "unlink"}


class Flushes(RecordingSyscalls):
    """Notes which directories were flushed."""

    def __init__(self) -> None:
        super().__init__()
        self.directories: list[tuple[int, int]] = []

    def _before(self, name: str, arguments: Any, keywords: Any, function: Any) -> None:
        if name == "fsync":
            found = os.fstat(arguments[0])
            if stat.S_ISDIR(found.st_mode):
                self.directories.append((found.st_dev, found.st_ino))


def identity(path: Path) -> tuple[int, int]:
    found = path.stat()
    return found.st_dev, found.st_ino


def nothing_written(table: RecordingSyscalls) -> bool:
    opened = [call.arguments[1] for call in table.record if call.name == "open"]
    return not WRITES & set(table.names) and not any(flags & os.O_CREAT for flags in opened)  # type: ignore[operator] # by parameter


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A directory with a file in it, beside one for links."""
    (tmp_path / "data").mkdir()
    (tmp_path / "links").mkdir()
    (tmp_path / "data" / "file").write_bytes(OLD)
    return tmp_path


def relative(place: Path) -> str:
    return "../data/file"


def absolute(place: Path) -> str:
    return str(place / "data" / "file")


def chained(place: Path) -> str:
    (place / "data" / "second").symlink_to("../links/third")
    (place / "links" / "third").symlink_to(place / "data" / "file")
    return "../data/second"


def through_a_directory(place: Path) -> str:
    (place / "links" / "way").symlink_to("../data", target_is_directory=True)
    return "way/file"


def roundabout(place: Path) -> str:
    return "..//links/./../data/file"


@every_entry_point
@pytest.mark.parametrize("kind", [relative, absolute, chained, through_a_directory, roundabout])
@pytest.mark.parametrize("exists", [True, False], ids=["referent", "dangling"])
def test_a_link_is_followed(
    place: Path, entry_point: EntryPoint, kind: Callable[[Path], str], exists: bool
) -> None:
    referent, link = place / "data" / "file", place / "links" / "link"
    link.symlink_to(kind(place))
    text = os.readlink(link)
    before = names(place / "links")
    if not exists:
        referent.unlink()
    table = Flushes()
    with use(table):
        receipt = entry_point.save(link, NEW)
    assert (referent.read_bytes(), referent.is_symlink()) == (NEW, False)
    assert os.readlink(link) == text
    assert (receipt.path, receipt.replaced) == (str(link), exists)
    assert identity(referent.parent) in table.directories
    assert identity(link.parent) not in table.directories
    assert names(place / "links") == before
    assert {"file"} <= set(names(referent.parent)) <= {"file", "second"}


@every_entry_point
def test_the_referents_metadata_is_kept(place: Path, entry_point: EntryPoint) -> None:
    referent, link = place / "data" / "file", place / "links" / "link"
    referent.chmod(0o640)
    link.symlink_to(referent)
    entry_point.save(link, NEW)
    assert stat.S_IMODE(referent.stat().st_mode) == 0o640


@every_entry_point
def test_the_directory_of_an_ordinary_file_is_flushed(place: Path, entry_point: EntryPoint) -> None:
    table = Flushes()
    with use(table):
        entry_point.save(place / "data" / "file", NEW)
    assert table.directories[-1] == identity(place / "data")


@every_entry_point
@pytest.mark.parametrize("length", [1, 2, 41])
def test_a_loop_is_an_error(place: Path, entry_point: EntryPoint, length: int) -> None:
    for number in range(length):
        (place / "links" / str(number)).symlink_to(str((number + 1) % length))
    before = names(place / "links")
    with pytest.raises(OSError, match=os.strerror(errno.ELOOP)) as caught:
        entry_point.save(place / "links" / "0", NEW)
    assert caught.value.errno == errno.ELOOP
    assert caught.value.filename == str(place / "links" / "0")
    assert names(place / "links") == before


@every_entry_point
@pytest.mark.parametrize(("length", "fits"), [(40, True), (41, False)])
def test_as_many_links_are_followed_as_the_kernel_follows(
    place: Path, entry_point: EntryPoint, length: int, fits: bool
) -> None:
    for number in range(1, length):
        (place / "links" / str(number)).symlink_to(str(number + 1))
    (place / "links" / str(length)).symlink_to("../data/file")
    first = place / "links" / "1"
    if fits:
        assert first.read_bytes() == OLD
        entry_point.save(first, NEW)
    else:
        with pytest.raises(OSError, match=os.strerror(errno.ELOOP)):
            first.read_bytes()
        with pytest.raises(OSError, match=os.strerror(errno.ELOOP)):
            entry_point.save(first, NEW)
    assert (place / "data" / "file").read_bytes() == (NEW if fits else OLD)


@every_entry_point
@pytest.mark.parametrize("dangling", [False, True])
def test_a_link_is_replaced_on_request(place: Path, entry_point: EntryPoint, dangling: bool) -> None:
    referent, link = place / "data" / "file", place / "links" / "link"
    link.symlink_to("nowhere" if dangling else referent)
    receipt = entry_point.save(link, NEW, symlinks="replace")
    assert (link.is_symlink(), link.read_bytes()) == (False, NEW)
    assert referent.read_bytes() == OLD
    assert not receipt.replaced
    assert names(place / "links") == ["link"]


@every_entry_point
def test_replacing_a_link_does_not_take_over_the_referents_mode(place: Path, entry_point: EntryPoint) -> None:
    referent, link = place / "data" / "file", place / "links" / "link"
    referent.chmod(0o777)
    link.symlink_to(referent)
    entry_point.save(link, NEW, symlinks="replace")
    (place / "model").write_bytes(b"")
    assert link.stat().st_mode == (place / "model").stat().st_mode


@every_entry_point
@pytest.mark.parametrize("dangling", [False, True])
def test_a_link_is_refused_on_request(place: Path, entry_point: EntryPoint, dangling: bool) -> None:
    referent, link = place / "data" / "file", place / "links" / "link"
    link.symlink_to("nowhere" if dangling else referent)
    table = RecordingSyscalls()
    with use(table), pytest.raises(OSError, match="symlinks='refuse'") as caught:
        entry_point.save(link, NEW, symlinks="refuse")
    assert (caught.value.errno, caught.value.filename) == (errno.ELOOP, str(link))
    assert nothing_written(table)
    assert referent.read_bytes() == OLD


@every_entry_point
@pytest.mark.parametrize("symlinks", ["replace", "refuse"])
def test_a_link_in_the_middle_of_a_path_is_followed_all_the_same(
    place: Path, entry_point: EntryPoint, symlinks: str
) -> None:
    (place / "links" / "way").symlink_to(place / "data")
    entry_point.save(place / "links" / "way" / "file", NEW, symlinks=symlinks)
    assert (place / "data" / "file").read_bytes() == NEW


@every_entry_point
@pytest.mark.parametrize("text", ["../data/", "../data/file/", "../data/new/", "..", ".", "../data/."])
def test_a_link_to_what_can_only_be_a_directory(place: Path, entry_point: EntryPoint, text: str) -> None:
    (place / "links" / "link").symlink_to(text)
    table = RecordingSyscalls()
    with use(table), pytest.raises(IsADirectoryError) as caught:
        entry_point.save(place / "links" / "link", NEW)
    assert caught.value.filename == str(place / "links" / "link")
    assert nothing_written(table)
    assert (names(place / "data"), names(place / "links")) == (["file"], ["link"])


@every_entry_point
def test_a_link_into_nowhere_is_an_error_and_its_way_can_be_made(
    place: Path, entry_point: EntryPoint
) -> None:
    link = place / "links" / "link"
    link.symlink_to("../new/directory/file")
    with pytest.raises(FileNotFoundError) as caught:
        entry_point.save(link, NEW)
    assert caught.value.filename == str(link)
    assert names(place) == ["data", "links"]
    entry_point.save(link, NEW, make_parents=True)
    assert (place / "new" / "directory" / "file").read_bytes() == NEW


# The rule of proc(5), protected_symlinks. It is kept whatever the sysctl says here.


@pytest.fixture
def shared(tmp_path: Path) -> Iterator[Path]:
    """A sticky directory that everybody may write in, and a file outside of it."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "shared"
        path.mkdir()
        path.chmod(0o1777)
        (Path(directory) / "file").write_bytes(OLD)
        Path(directory).chmod(0o777)
        yield path


def link_of(owner: int, directory: Path, text: str = "../file") -> Path:
    link = directory / "link"
    link.symlink_to(text)
    os.chown(link, owner, owner, follow_symlinks=False)
    return link


@every_entry_point
@pytest.mark.parametrize("dangling", [False, True])
@needs_root
def test_another_users_link_in_a_shared_directory_is_not_followed(
    shared: Path, entry_point: EntryPoint, dangling: bool
) -> None:
    link = link_of(NOBODY, shared, "../planted" if dangling else "../file")
    table = RecordingSyscalls()
    with use(table), pytest.raises(PermissionError, match="another user's symbolic link") as caught:
        entry_point.save(link, NEW)
    assert (caught.value.errno, caught.value.filename) == (errno.EACCES, str(link))
    assert nothing_written(table)
    assert (shared.parent / "file").read_bytes() == OLD
    assert names(shared.parent) == ["file", "shared"]


@every_entry_point
@needs_root
def test_such_a_link_can_be_replaced(shared: Path, entry_point: EntryPoint) -> None:
    link = link_of(NOBODY, shared)
    entry_point.save(link, NEW, symlinks="replace")
    assert link.read_bytes() == NEW
    assert (shared.parent / "file").read_bytes() == OLD


@every_entry_point
@needs_root
@pytest.mark.parametrize(
    ("owner", "directory_owner", "directory_mode"),
    [
        (0, 4321, 0o1777),  # one's own link
        (NOBODY, NOBODY, 0o1777),  # the directory owner's link
        (NOBODY, 0, 0o777),  # not sticky
        (NOBODY, 0, 0o1775),  # not for everybody
    ],
)
def test_links_that_the_rule_allows(
    shared: Path, entry_point: EntryPoint, owner: int, directory_owner: int, directory_mode: int
) -> None:
    link = link_of(owner, shared)
    os.chown(shared, directory_owner, directory_owner)
    shared.chmod(directory_mode)
    entry_point.save(link, NEW)
    assert (shared.parent / "file").read_bytes() == NEW


@needs_unprivileged_user
def test_the_rule_holds_for_ordinary_users_too(shared: Path) -> None:
    roots = shared / "roots"
    roots.symlink_to("../file")
    os.chown(shared, 4321, 4321)
    (shared.parent / "file").chmod(0o666)

    def save() -> None:
        with pytest.raises(PermissionError, match="another user's symbolic link"):
            durably.write_bytes(roots, NEW)
        own = shared / "own"
        own.symlink_to("../file")
        durably.write_bytes(own, NEW)

    as_nobody(shared, save)
    assert (shared.parent / "file").read_bytes() == NEW


@every_entry_point
@needs_unprivileged_user
def test_the_directory_of_the_link_need_not_be_readable(shared: Path, entry_point: EntryPoint) -> None:
    data, links = shared / "data", shared / "links"
    data.mkdir()
    links.mkdir()
    link = links / "link"
    link.symlink_to("../data/file")
    for directory in (data, links):
        os.chown(directory, NOBODY, NOBODY)
    links.chmod(0o300)

    def save() -> None:
        flushes = Flushes()
        with use(flushes):
            receipt = entry_point.save(link, NEW)
        assert identity(data) in flushes.directories
        assert receipt.steps[-1] == "fsync directory"
        assert "fsync directory" not in receipt.skipped

    as_nobody(shared, save)
    assert (data / "file").read_bytes() == NEW


# What is no regular file.


@every_entry_point
@pytest.mark.parametrize(
    "options", [{}, {"metadata": "fresh"}, {"durability": "none"}, {"symlinks": "replace"}], ids=str
)
@pytest.mark.parametrize("kind", ["directory", "fifo", "socket", "device"])
@pytest.mark.parametrize("linked", [False, True])
def test_what_is_no_regular_file_is_refused_before_a_byte_is_written(
    place: Path, entry_point: EntryPoint, options: dict[str, Any], kind: str, linked: bool
) -> None:
    target = place / "data" / "special"
    listener = socket.socket(socket.AF_UNIX)
    if kind == "directory":
        target.mkdir()
    elif kind == "fifo":
        os.mkfifo(target)
    elif kind == "socket":
        here = os.getcwd()
        os.chdir(place / "data")  # the name of a socket has 107 bytes at most
        listener.bind("special")
        os.chdir(here)
    else:
        target = Path("/dev/null")
    if linked and options.get("symlinks") != "replace":
        link = place / "links" / "link"
        link.symlink_to(target)
        target = link
    before = target.stat(), names(place / "data")
    table = RecordingSyscalls()
    expected = IsADirectoryError if kind == "directory" else UnsupportedError
    with listener, use(table), pytest.raises(expected) as caught:
        entry_point.save(target, NEW, **options)
    assert caught.value.filename == str(target)
    assert nothing_written(table)
    assert (target.stat().st_ino, names(place / "data")) == (before[0].st_ino, before[1])
    if kind != "directory":
        assert "is not a regular file; nothing was written" in str(caught.value)


@pytest.mark.parametrize("mode", ["wb", "ab", "r+b", "w+b"])
def test_a_fifo_without_a_reader_does_not_hang(place: Path, mode: str) -> None:
    fifo = place / "fifo"
    os.mkfifo(fifo)
    with pytest.raises(UnsupportedError):
        durably.open(fifo, mode)


def test_a_fifos_reader_is_not_woken(place: Path) -> None:
    fifo = place / "fifo"
    os.mkfifo(fifo)
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    try:
        with pytest.raises(UnsupportedError):
            durably.write_bytes(fifo, NEW)
        assert os.read(reader, 10) == b""
    finally:
        os.close(reader)


def test_a_name_below_a_file_is_no_directory(place: Path) -> None:
    with pytest.raises(NotADirectoryError) as caught:
        durably.write_bytes(place / "data" / "file" / "x", NEW)
    assert caught.value.filename == str(place / "data" / "file" / "x")


@every_entry_point
@needs_linux
@pytest.mark.parametrize("kind", ["pipe", "removed"])
@pytest.mark.parametrize("through", [False, True])
def test_a_link_to_what_has_no_name_is_refused(
    place: Path, entry_point: EntryPoint, kind: str, through: bool
) -> None:
    if kind == "pipe":
        ends = [*os.pipe()]
    else:
        ends = [os.open(place / "gone", os.O_CREAT | os.O_RDWR)]
        (place / "gone").unlink()
    link = Path(f"/proc/self/fd/{ends[-1]}")
    if through:
        (place / "links" / "link").symlink_to(link)
        link = place / "links" / "link"
    said = {"pipe": "is not a regular file", "removed": "leads to a file that was removed"}[kind]
    try:
        with pytest.raises(UnsupportedError, match=said) as caught:
            entry_point.save(link, NEW)
        assert caught.value.path == str(link)
        if kind == "removed":
            assert os.fstat(ends[0]).st_size == 0
    finally:
        for end in ends:
            os.close(end)
    assert names(place) == ["data", "links"]


def test_an_error_while_a_link_is_read_is_raised(place: Path) -> None:
    (place / "links" / "link").symlink_to("../data/file")
    with use(Refusing(readlink=errno.EIO)), pytest.raises(OSError, match=os.strerror(errno.EIO)):
        durably.write_bytes(place / "links" / "link", NEW)
    assert (place / "data" / "file").read_bytes() == OLD
