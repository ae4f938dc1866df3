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

    Trial = Callable[[Syscalls, int, int, int], bool]
    """With the private directory, and the descriptors of the files "one", which has content, and "two"."""
    Rename = Callable[[str, str], None]

_NAMES = ("one", "two", "free", "copy", "unnamed")
_CONTENT = b"durably\n" * 512
# How kernels and file systems refuse what they do not have, sandboxes (EPERM) and /proc (ENOENT) too; then
# "not yours to write", "not to be written" and "no room".
_REFUSED = {
    *(errno.EINVAL, errno.EISDIR, errno.ENOENT, errno.ENOSYS, errno.ENOTSUP, errno.ENOTTY, errno.EPERM),
    *(errno.EOPNOTSUPP, errno.EXDEV, errno.EACCES, errno.EROFS, errno.ENOSPC, errno.EDQUOT),
}


def tried(calls: Syscalls, directory: int, trials: dict[str, Trial]) -> frozenset[str]:
    """The names of the trials that worked in ``directory``; none where it cannot be written.

    Raises OSError for an error that is no refusal, and where the private directory cannot be removed.
    """
    name = temp_names.fresh("d")
    try:
        calls.mkdir(name, 0o700, dir_fd=directory)
    except OSError as error:
        if error.errno not in _REFUSED:
            raise
        return frozenset()
    try:
        found = _all_tried(calls, directory, name, trials)
        calls.rmdir(name, dir_fd=directory)
    except BaseException as error:
        _remove_after(error, calls, directory, name)
        raise
    return found


def _remove_after(error: BaseException, calls: Syscalls, directory: int, name: str) -> None:
    try:
        calls.rmdir(name, dir_fd=directory)
    except FileNotFoundError:
        pass
    except OSError:
        error.leftovers = (name,)  # type: ignore[attr-defined] # documented
        error.add_note(f"durably: left over in the directory that was probed: {name}")


def _all_tried(calls: Syscalls, directory: int, name: str, trials: dict[str, Trial]) -> frozenset[str]:
    private = calls.open(name, DIRECTORY | NOFOLLOW, dir_fd=directory)
    try:
        return frozenset(what for what, trial in trials.items() if _works(trial, calls, private))
    finally:
        calls.close(private)


def _works(trial: Trial, calls: Syscalls, private: int) -> bool:
    try:
        return _with_two_files(trial, calls, private)
    except OSError as error:
        if error.errno not in _REFUSED:
            raise
        return False
    finally:
        _clear(calls, private)


def _clear(calls: Syscalls, private: int) -> None:
    # By name: on btrfs a descriptor lists only what was there when it was opened (Linux 6.5).
    for name in _NAMES:
        try:
            calls.unlink(name, dir_fd=private)
        except FileNotFoundError:
            pass


def _with_two_files(trial: Trial, calls: Syscalls, private: int) -> bool:
    one = calls.open("one", CREATE, PRIVATE, dir_fd=private)
    try:
        two = calls.open("two", CREATE, PRIVATE, dir_fd=private)
        try:
            calls.write(one, _CONTENT)
            return trial(calls, private, one, two)
        finally:
            calls.close(two)
    finally:
        calls.close(one)


def _unnamed(calls: Syscalls, private: int, _one: int, _two: int) -> bool:
    fd = calls.open(".", UNNAMED, PRIVATE, dir_fd=private)
    try:
        # With a directory descriptor: see the routine's own use.
        calls.link(f"/proc/self/fd/{fd}", "unnamed", dst_dir_fd=private, follow_symlinks=True)
    finally:
        calls.close(fd)
    return True


def _keeps_taken(rename: Rename) -> bool:
    rename("one", "free")
    try:
        rename("free", "two")
    except FileExistsError:
        return True
    return False


def _swaps(calls: Syscalls, private: int, one: int, two: int, rename: Rename) -> bool:
    rename("one", "two")
    found = [calls.stat(name, dir_fd=private, follow_symlinks=False).st_ino for name in ("two", "one")]
    return found == [calls.fstat(fd).st_ino for fd in (one, two)]


def _linux(flag: int, calls: Syscalls, private: int) -> Rename:
    return lambda old, new: calls.renameat2(private, old, private, new, flag)


def _macos(flag: int, calls: Syscalls, private: int) -> Rename:
    return lambda old, new: calls.renameatx_np(private, old, private, new, flag)


def _reflink(calls: Syscalls, _private: int, one: int, two: int) -> bool:
    calls.ficlone(two, one)
    return bool(calls.fstat(two).st_size == len(_CONTENT))


def _clone(calls: Syscalls, private: int, one: int, _two: int) -> bool:
    calls.fclonefileat(one, private, "copy", 0)
    return bool(calls.stat("copy", dir_fd=private, follow_symlinks=False).st_size == len(_CONTENT))


def _xattrs(calls: Syscalls, _private: int, one: int, _two: int) -> bool:
    calls.setxattr(one, "user.durably", b"kept")
    return bool(calls.getxattr(one, "user.durably") == b"kept")


LINUX: dict[str, Trial] = {
    "unnamed": _unnamed,
    "no-replace": lambda calls, at, _one, _two: _keeps_taken(_linux(RENAME_NOREPLACE, calls, at)),
    "exchange": lambda calls, at, one, two: _swaps(calls, at, one, two, _linux(RENAME_EXCHANGE, calls, at)),
    "reflink": _reflink,
    "xattrs": _xattrs,
}
MACOS: dict[str, Trial] = {
    "no-replace": lambda calls, at, _one, _two: _keeps_taken(_macos(RENAME_EXCL, calls, at)),
    "exchange": lambda calls, at, one, two: _swaps(calls, at, one, two, _macos(RENAME_SWAP, calls, at)),
    "reflink": _clone,
}
