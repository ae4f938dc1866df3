"""Owner, group, mode and ACL of the old file, given to the new one by descriptor."""

from __future__ import annotations

import errno
import struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    import os

    from durably._commit.pending import PendingFile
    from durably._system.syscalls import Syscalls

_ACL_HEADER = 4
_ACL_ENTRY = struct.Struct("<HHI")
_ACL_GROUP, _ACL_OTHER = 0x04, 0x20

# "You may not give files away", "that id has no name here", "no owners here".
_NO_OWNER = {errno.EPERM, errno.EACCES, errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS}


def preserve_owner(calls: Syscalls, save: PendingFile, new: os.stat_result) -> bool:
    """Give the new file its owner and group. False: it keeps a group of its own."""
    old = save.old
    assert old is not None
    if old.st_uid == new.st_uid and old.st_gid == new.st_gid:
        return True
    try:
        calls.fchown(save.fd, old.st_uid, old.st_gid)
    except OSError as error:
        if error.errno not in _NO_OWNER:
            raise
        if old.st_uid != new.st_uid:
            lose(save, "owner", error)
        return old.st_gid == new.st_gid or _preserve_group(calls, save, old.st_gid)
    return True


def _preserve_group(calls: Syscalls, save: PendingFile, group: int) -> bool:
    try:
        calls.fchown(save.fd, -1, group)
    except OSError as error:
        if error.errno not in _NO_OWNER:
            raise
        lose(save, "group", error)
        return False
    return True


def without_group(mode: int) -> int:
    """The mode where the group is another now, or its bits were a lost ACL's mask.

    The group may do no more than everybody may.
    """
    return mode & ~0o070 | mode & 0o070 & mode << 3


def acl_without_group(acl: bytes) -> bytes:
    """The ACL whose owning group, now another group, may do no more than everybody may."""
    entries = list(_ACL_ENTRY.iter_unpack(acl[_ACL_HEADER:]))
    everybody = next(permissions for tag, permissions, _ in entries if tag == _ACL_OTHER)
    return acl[:_ACL_HEADER] + b"".join(
        _ACL_ENTRY.pack(tag, permissions & everybody if tag == _ACL_GROUP else permissions, who)
        for tag, permissions, who in entries
    )


def lose(save: PendingFile, what: str, error: OSError) -> None:
    """Note what cannot be kept; under ``metadata="strict"`` that is an error."""
    if save.options.metadata == "strict":
        message = f"cannot keep the old file's {what}, and metadata='strict': {error.strerror}"
        raise OSError(error.errno, message, save.path) from error
    save.lost = (*save.lost, what)
