"""POSIX ACLs and extended attributes on Linux, read and set by descriptor."""

from __future__ import annotations

import errno

from durably._commit.posix import metadata

TYPE_CHECKING = False
if TYPE_CHECKING:
    from durably._commit.pending import PendingFile
    from durably._system.syscalls import Syscalls

ACL = "system.posix_acl_access"
# Where one of these was lost: the group bits of a mode were the ACL's mask, and mean something else
# without it.
MASK_LOST = {"acl", "xattrs"}

# "No extended attributes here", "not yours to read or set", "not there any more".
_NO_XATTR = {
    errno.EACCES,
    errno.EINVAL,
    errno.ENODATA if hasattr(errno, "ENODATA") else errno.ENOENT,
    errno.ENOSYS,
    errno.ENOTSUP,
    errno.EOPNOTSUPP,
    errno.EPERM,
}
# Attributes that may be there and cannot be seen: a sandbox, or no /proc for a file that may not be read.
_UNSEEN_XATTR = {errno.EACCES, errno.EPERM, errno.ENOENT}


def read_old(calls: Syscalls, save: PendingFile, file: int | str, also: str = ACL) -> None:
    """Read what is carried over of the old file: the ACL, the user's own attributes, and ``also``."""
    try:
        found = calls.listxattr(file)
    except OSError as error:
        if error.errno in _UNSEEN_XATTR:
            metadata.lose(save, "xattrs", error)
        elif error.errno not in _NO_XATTR:
            raise
        return
    if found:
        save.old_attributes = {
            name: _value(calls, file, name)
            for name in found
            if name in (ACL, also) or name.startswith("user.")
        }


def names(calls: Syscalls, fd: int) -> list[str]:
    """The attributes of an open file; none where there are no such things."""
    try:
        found: list[str] = calls.listxattr(fd)
    except OSError as error:
        if error.errno not in _NO_XATTR:
            raise
        return []
    return found


def copy(calls: Syscalls, source: int, target: int) -> None:
    """Give an open file the attributes of another, as far as it takes them."""
    for name in names(calls, source):
        try:
            calls.setxattr(target, name, calls.getxattr(source, name))
        except OSError as error:
            if error.errno not in _NO_XATTR:
                raise


def access_list(calls: Syscalls, fd: int) -> bytes | None:
    """The POSIX ACL of an open file, if it has one."""
    if ACL not in names(calls, fd):
        return None
    acl: bytes = calls.getxattr(fd, ACL)
    return acl


def preserve_user_attributes(calls: Syscalls, save: PendingFile) -> None:
    """Give the temporary the old file's user attributes."""
    for name, value in save.old_attributes.items():
        if name != ACL:
            _set(calls, save, name, value, f"xattr:{name}")


def preserve_acl(calls: Syscalls, save: PendingFile, group_kept: bool) -> bool:
    """Give the temporary the old file's ACL. False: it had none, or it is lost."""
    value = save.old_attributes.get(ACL)
    if value is None:
        return False
    if not group_kept and isinstance(value, bytes):
        value = metadata.acl_without_group(value)
    return _set(calls, save, ACL, value, "acl")


def _value(calls: Syscalls, file: int | str, name: str) -> bytes | OSError:
    try:
        value: bytes = calls.getxattr(file, name)
    except OSError as error:
        if error.errno not in _NO_XATTR:
            raise
        return error
    return value


def _set(calls: Syscalls, save: PendingFile, name: str, value: bytes | OSError, what: str) -> bool:
    try:
        if isinstance(value, OSError):
            raise value
        calls.setxattr(save.fd, name, value)
    except OSError as error:
        if error.errno not in _NO_XATTR:
            raise
        metadata.lose(save, what, error)
        return False
    return True
