"""Many files in one call: each is atomic by itself, and the flushes are shared."""

from __future__ import annotations

import errno
import itertools
import os
import signal
from typing import TYPE_CHECKING, Any

import pytest

pytest.importorskip("fsspec", reason="fsspec is not installed")

import durably
import entry_points
from capabilities import needs_linux, needs_posix, needs_symlinks
from durably.filesystem import DurableFileSystem
from durably.testing import RecordingSyscalls, Syscalls, every_failure, use
from entry_points import in_child
from transactions import held, ours, sweep_all

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

OLD, NEW = entry_points.OLD, entry_points.NEW
COUNT = 40


@pytest.fixture
def root() -> Iterator[Path]:
    with entry_points.folder() as directory:
        yield directory / "root"


def made(**options: Any) -> Any:
    return DurableFileSystem(skip_instance_cache=True, **options)


def lay(root: Path, count: int = COUNT) -> dict[str, bytes]:
    """Files to copy, one of them old at its place."""
    for number in range(count):
        path = root / "from" / str(number % 3) / str(number)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"%d" % number)
    (root / "to" / "0").mkdir(parents=True)
    (root / "to" / "0" / "0").write_bytes(OLD)
    return {f"to/{number % 3}/{number}": b"%d" % number for number in range(count)}


def piped(fs: Any, root: Path, wanted: dict[str, bytes]) -> None:
    fs.pipe({str(root / name): content for name, content in wanted.items()})


def put(fs: Any, root: Path, wanted: dict[str, bytes]) -> None:
    fs.put(f"{root}/from/", f"{root}/to/", recursive=True)


def got(fs: Any, root: Path, wanted: dict[str, bytes]) -> None:
    fs.get(f"{root}/from/", f"{root}/to/", recursive=True)


def copied(fs: Any, root: Path, wanted: dict[str, bytes]) -> None:
    fs.copy(f"{root}/from/", f"{root}/to/", recursive=True)


def listed(fs: Any, root: Path, wanted: dict[str, bytes]) -> None:
    fs.put([str(root / name.replace("to", "from")) for name in wanted], [str(root / name) for name in wanted])


def matched(fs: Any, root: Path, wanted: dict[str, bytes]) -> None:
    for number in range(3):
        fs.cp(f"{root}/from/{number}/*", f"{root}/to/{number}/")


WAYS = (piped, put, got, copied, listed, matched)


def there(root: Path) -> dict[str, bytes]:
    return {name: content for name, content in held(root).items() if name.startswith("to")}


@needs_linux
@pytest.mark.parametrize("way", WAYS)
def test_all_are_saved_with_few_flushes(way: Callable[..., None], root: Path) -> None:
    wanted = lay(root)
    table = RecordingSyscalls()
    with use(table):
        way(made(), root, wanted)
    assert there(root) == wanted
    assert not ours(root)
    by_itself = table.names.count("fsync")
    one_by_one = RecordingSyscalls()
    with use(one_by_one):
        for name, content in wanted.items():
            made().pipe_file(str(root / name), content)
    assert one_by_one.names.count("fsync") >= 2 * COUNT - 2
    # On a tmpfs, where no flush of all proves anything, each file has its own; the directories share.
    assert by_itself <= COUNT + 12


@pytest.mark.parametrize("level", ["none", "consistent", "durable"])
def test_what_is_read_was_saved_before(level: str, root: Path) -> None:
    lay(root)
    fs = made(durability=level)
    a, b, c = (str(root / "to" / name) for name in "abc")
    fs.pipe({a: b"1", b: b"2"})
    fs.copy([a, b], [b, c])
    assert (fs.cat_file(b), fs.cat_file(c)) == (b"1", b"1")
    fs.copy([a, c, str(root / "from" / "1" / "1")], [b, b, b])
    assert fs.cat_file(b) == b"1"


@needs_symlinks
def test_two_names_of_one_file(root: Path) -> None:
    lay(root)
    (root / "link").symlink_to("to")
    made().pipe({f"{root}/to/x": b"first", f"{root}/link/x": b"second"})
    assert (root / "to" / "x").read_bytes() == b"second"
    assert not ours(root)


def test_a_missing_source(root: Path) -> None:
    wanted = lay(root)
    sources = [str(root / "from" / "0" / "0"), str(root / "missing"), str(root / "from" / "1" / "1")]
    targets = [str(root / "to" / name) for name in ("x", "y", "z")]
    fs = made()
    for call in (fs.copy, fs.put, fs.get):
        with pytest.raises(FileNotFoundError):
            call(sources, targets)
        assert (root / "to" / "x").read_bytes() == wanted["to/0/0"]  # what came before is saved
        assert not (root / "to" / "z").exists()
        (root / "to" / "x").unlink()
    fs.copy(sources, targets, on_error="ignore")
    assert (root / "to" / "z").read_bytes() == wanted["to/1/1"]
    assert not (root / "to" / "y").exists()


def test_what_cannot_be_saved_does_not_keep_the_others(root: Path) -> None:
    lay(root)
    fs = made(auto_mkdir=False)
    missing, other = str(root / "no" / "x"), str(root / "none" / "y")
    good = str(root / "to" / "good")
    with pytest.raises(FileNotFoundError) as raised:
        fs.pipe({missing: NEW, good: NEW})
    assert os.path.normpath(raised.value.filename) == missing
    assert (root / "to" / "good").read_bytes() == NEW
    with pytest.raises(durably.BatchError) as several:
        fs.pipe({missing: OLD, good: OLD, other: OLD})
    assert several.value.receipt is not None
    assert set(map(os.path.normpath, several.value.receipt.failed)) == {missing, other}
    assert (root / "to" / "good").read_bytes() == OLD
    source = str(root / "from" / "0" / "0")
    fs.copy([source, source], [missing, good], on_error="ignore")
    assert (root / "to" / "good").read_bytes() == b"0"
    with pytest.raises(FileNotFoundError):
        fs.copy([source, source], [missing, good])


@needs_posix
def test_an_error_of_the_call_and_one_of_the_end(root: Path) -> None:
    lay(root)
    fs = made()
    source, missing = str(root / "from" / "0" / "0"), str(root / "missing")

    class Table(RecordingSyscalls):
        def _before(self, name: str, arguments: Any, keywords: Any, function: Any) -> None:
            if name in ("replace", "renameat2"):
                raise OSError(errno.EIO, os.strerror(errno.EIO))

    with pytest.raises(FileNotFoundError) as raised, use(Table()):
        fs.copy([source, missing], [str(root / "to" / "x"), str(root / "to" / "y")])
    (note,) = raised.value.__notes__
    assert str(root / "to" / "x") in note


@needs_posix
def test_an_interrupt_throws_all_away(root: Path) -> None:
    wanted = lay(root)

    class Table(RecordingSyscalls):
        def _before(self, name: str, arguments: Any, keywords: Any, function: Any) -> None:
            if name == "write" and self.names.count("write") == COUNT // 2:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), use(Table()):
        copied(made(), root, wanted)
    assert there(root) == {"to/0/0": OLD}
    assert not ours(root)


def test_in_a_transaction_they_are_part_of_it(root: Path) -> None:
    wanted = lay(root)
    for way in WAYS:
        fs = made(durability="none")
        with pytest.raises(RuntimeError), fs.transaction:
            way(fs, root, wanted)
            raise RuntimeError
        assert there(root) == {"to/0/0": OLD}
    with fs.transaction:
        copied(fs, root, wanted)
    assert there(root) == wanted


def test_options_of_the_single_call_and_in_place(root: Path) -> None:
    wanted = lay(root)
    piped(made(allow_in_place=True), root, wanted)
    assert there(root) == wanted
    names = {str(root / "to" / name): NEW for name in "ab"}
    made().pipe(names, durability="none")
    assert (root / "to" / "b").read_bytes() == NEW
    with pytest.raises(FileExistsError):
        made().pipe(names, mode="create")
    with pytest.raises(FileExistsError):
        made().copy(list(names), [f"{name}x" for name in names][:1] + list(names)[:1], mode="create")


def test_a_callback_may_save_as_well(root: Path) -> None:
    from fsspec.callbacks import Callback

    wanted = lay(root)
    fs = made()

    class Saving(Callback):  # type: ignore[misc]
        def branch(self, path_1: str, path_2: str, kwargs: dict[str, Any]) -> None:
            if os.path.isfile(path_1):
                fs.copy([path_1, path_1], [f"{root}/to/by callback", f"{root}/to/twice"])

    fs.put(f"{root}/from/", f"{root}/to/", recursive=True, callback=Saving())
    assert there(root).keys() == {*wanted, "to/by callback", "to/twice"}


@needs_linux
@pytest.mark.parametrize("way", [piped, copied])
def test_whatever_call_fails_each_file_is_old_or_new(way: Callable[..., None], root: Path) -> None:
    turns = 0
    for table in every_failure(dict.fromkeys(vars(Syscalls()), (errno.EIO,))):
        with use(Syscalls()):
            if root.exists():
                made().rm(str(root), recursive=True)
            wanted = lay(root, 4)
        before = entry_points.descriptors()
        error: Exception | None = None
        try:
            way(made(), root, wanted)
        except OSError as raised:
            error = raised
            error.__traceback__ = None
        told = (table.failed, error)
        assert entry_points.descriptors() == before, told
        found = there(root)
        old: dict[str, Any] = {"to/0/0": OLD}
        assert all(content in (wanted[name], old.get(name)) for name, content in found.items()), told
        assert error is not None or found == wanted, told
        assert table.failed is not None or error is None
        turns += 1
    assert turns > 50


@needs_linux
@pytest.mark.parametrize("way", [piped, put])
def test_killed_at_each_call_each_file_is_old_or_new(way: Callable[..., None], root: Path) -> None:
    class Killing(RecordingSyscalls):
        at = 0

        def _before(self, name: str, arguments: Any, keywords: Any, function: Any) -> None:
            if len(self.record) == self.at:
                os.kill(os.getpid(), signal.SIGKILL)

    def everywhere() -> None:
        for at in itertools.count(1, 2):
            with use(Syscalls()):
                if root.exists():
                    made().rm(str(root), recursive=True)
                wanted = lay(root, 4)
            child = os.fork()
            if child == 0:
                table = Killing()
                table.at = at
                try:
                    with use(table):
                        way(made(), root, wanted)
                finally:
                    os._exit(0)
            status = os.waitpid(child, 0)[1]
            found = there(root)
            old: dict[str, Any] = {"to/0/0": OLD}
            assert all(content in (wanted[name], old.get(name)) for name, content in found.items()), at
            sweep_all(root)
            assert not ours(root)
            if not status:
                assert found == wanted
                return

    in_child(everywhere)
