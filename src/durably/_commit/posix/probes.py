"""Finding out what a file system supports by doing it, in a private directory that is removed again."""

from __future__ import annotations

import errno

from durably._commit.posix.flags import CREATE, DIRECTORY, NOFOLLOW, PRIVATE, UNNAMED
from durably._system import temp_names
from durably._system.native.darwin import RENAME_EXCL, RENAME_SWAP
from durably._system.native.linux import RENAME_EXCHANGE, RENAME_NOREPLACE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from durably._system.syscalls import Syscalls

    Rename = Callable[[str, str], None]
    Trial = Callable[[Syscalls, int], bool]

_CONTENT = b"durably\n" * 512

# "Not yours to write", "not to be written", "no room"; /proc says that there is no such directory.
_UNWRITABLE = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.ENOENT}
# How kernels and file systems refuse what they do not have; EPERM is a sandbox's way to say it.
_REFUSED = {
    errno.EACCES,
    errno.EINVAL,
    errno.EISDIR,
    errno.ENOENT,
    errno.ENOSYS,
    errno.ENOTSUP,
    errno.ENOTTY,
    errno.EOPNOTSUPP,
    errno.EPERM,
    errno.EXDEV,
}


def tried(calls: Syscalls, directory: int, trials: dict[str, Trial]) -> frozenset[str]:
    """The names of the trials that worked in ``directory``; none where it cannot be written.

    Raises OSError for an error that is no refusal, and where the private directory cannot be removed.
    """
    name = temp_names.fresh("d")
    try:
        calls.mkdir(name, 0o700, dir_fd=directory)
    except OSError as error:
        if error.errno not in _UNWRITABLE:
            raise
        return frozenset()
    try:
        found = _all_tried(calls, directory, name, trials)
        calls.rmdir(name, dir_fd=directory)
    except BaseException as error:
        _give_up(calls, directory, name, error)
        raise
    return found


def _all_tried(calls: Syscalls, directory: int, name: str, trials: dict[str, Trial]) -> frozenset[str]:
    private = calls.open(name, DIRECTORY | NOFOLLOW, dir_fd=directory)
    try:
        return frozenset(what for what, trial in trials.items() if _works(trial, calls, private))
    finally:
        _empty(calls, private)


def _give_up(calls: Syscalls, directory: int, name: str, error: BaseException) -> None:
    try:
        calls.rmdir(name, dir_fd=directory)
    except FileNotFoundError:
        pass
    except OSError:
        error.leftovers = (name,)  # type: ignore[attr-defined] # documented
        error.add_note(f"durably: left over in the directory that was probed: {name}")


def _works(trial: Trial, calls: Syscalls, private: int) -> bool:
    try:
        return trial(calls, private)
    except OSError as error:
        if error.errno not in _REFUSED | _UNWRITABLE:
            raise
        return False
    finally:
        _clear(calls, private)


def _clear(calls: Syscalls, private: int) -> None:
    for name in calls.listdir(private):
        calls.unlink(name, dir_fd=private)


def _empty(calls: Syscalls, private: int) -> None:
    try:
        _clear(calls, private)
    finally:
        calls.close(private)


def unnamed(calls: Syscalls, private: int) -> bool:
    """A file without a name can be made, and given one."""
    fd = calls.open(".", UNNAMED, PRIVATE, dir_fd=private)
    try:
        # With a directory descriptor: see the routine's own use.
        calls.link(f"/proc/self/fd/{fd}", "unnamed", dst_dir_fd=private, follow_symlinks=True)
        return True
    finally:
        calls.close(fd)


def no_replace(calls: Syscalls, private: int) -> bool:
    """renameat2 moves to a free name, and refuses one that is taken."""
    return _keeps_taken(
        calls, private, lambda old, new: calls.renameat2(private, old, private, new, RENAME_NOREPLACE)
    )


def no_replace_macos(calls: Syscalls, private: int) -> bool:
    """The same with renameatx_np."""
    return _keeps_taken(
        calls, private, lambda old, new: calls.renameatx_np(private, old, private, new, RENAME_EXCL)
    )


def exchange(calls: Syscalls, private: int) -> bool:
    """renameat2 swaps two names."""
    return _swaps(
        calls, private, lambda old, new: calls.renameat2(private, old, private, new, RENAME_EXCHANGE)
    )


def exchange_macos(calls: Syscalls, private: int) -> bool:
    """The same with renameatx_np."""
    return _swaps(
        calls, private, lambda old, new: calls.renameatx_np(private, old, private, new, RENAME_SWAP)
    )


def reflink(calls: Syscalls, private: int) -> bool:
    """A copy shares the extents of its source."""
    source = _filled(calls, private)
    try:
        copy = calls.open("copy", CREATE, PRIVATE, dir_fd=private)
        try:
            calls.ficlone(copy, source)
            return calls.fstat(copy).st_size == len(_CONTENT)
        finally:
            calls.close(copy)
    finally:
        calls.close(source)


def clone_macos(calls: Syscalls, private: int) -> bool:
    """The same with fclonefileat, which makes the copy."""
    source = _filled(calls, private)
    try:
        calls.fclonefileat(source, private, "copy", 0)
        return calls.stat("copy", dir_fd=private, follow_symlinks=False).st_size == len(_CONTENT)
    finally:
        calls.close(source)


def xattrs(calls: Syscalls, private: int) -> bool:
    """An extended attribute of the user's is kept."""
    fd = calls.open("attributes", CREATE, PRIVATE, dir_fd=private)
    try:
        calls.setxattr(fd, "user.durably", b"kept")
        return bool(calls.getxattr(fd, "user.durably") == b"kept")
    finally:
        calls.close(fd)


def _keeps_taken(calls: Syscalls, private: int, rename: Rename) -> bool:
    _make(calls, private, "new")
    _make(calls, private, "taken")
    rename("new", "free")
    try:
        rename("free", "taken")
    except FileExistsError:
        return True
    return False


def _swaps(calls: Syscalls, private: int, rename: Rename) -> bool:
    before = _make(calls, private, "one"), _make(calls, private, "two")
    rename("one", "two")
    return before == (_inode(calls, private, "two"), _inode(calls, private, "one"))


def _filled(calls: Syscalls, private: int) -> int:
    fd = calls.open("source", CREATE, PRIVATE, dir_fd=private)
    try:
        calls.write(fd, _CONTENT)
    except BaseException:
        calls.close(fd)
        raise
    return fd


def _make(calls: Syscalls, private: int, name: str) -> int:
    fd = calls.open(name, CREATE, PRIVATE, dir_fd=private)
    try:
        return calls.fstat(fd).st_ino
    finally:
        calls.close(fd)


def _inode(calls: Syscalls, private: int, name: str) -> int:
    return calls.stat(name, dir_fd=private, follow_symlinks=False).st_ino


LINUX: dict[str, Trial] = {
    "unnamed": unnamed,
    "no-replace": no_replace,
    "exchange": exchange,
    "reflink": reflink,
    "xattrs": xattrs,
}
MACOS: dict[str, Trial] = {
    "no-replace": no_replace_macos,
    "exchange": exchange_macos,
    "reflink": clone_macos,
}
