"""Owner, group, mode and ACL of the old file, given to the new one by descriptor."""

from __future__ import annotations

import errno
import struct

from durably._commit._flags import PRIVATE

TYPE_CHECKING = False
if TYPE_CHECKING:
    import os

    from durably._save import Save
    from durably._syscalls import Syscalls

_ACL_HEADER = 4
_ACL_ENTRY = struct.Struct("<HHI")
_ACL_GROUP, _ACL_OTHER = 0x04, 0x20

# "You may not give files away", "that id has no name here", "no owners here".
_NO_OWNER = {errno.EPERM, errno.EACCES, errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS}


def carry_owner(calls: Syscalls, save: Save, new: os.stat_result) -> bool:
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
        return old.st_gid == new.st_gid or _carry_group(calls, save, old.st_gid)
    return True


def _carry_group(calls: Syscalls, save: Save, group: int) -> bool:
    try:
        calls.fchown(save.fd, -1, group)
    except OSError as error:
        if error.errno not in _NO_OWNER:
            raise
        lose(save, "group", error)
        return False
    return True


def first_mode(save: Save, *, hidden: bool = False) -> int:
    """The mode to make the temporary with: the final one, where that is never looser than it ends.

    ``hidden``: it has no name, and nobody else can open it. One that has a name may get another group
    at first, or inherit an ACL, which its group bits mask: neither matters if the group may do what
    everybody may. The old file's ACL may forbid more than that, and is set later.
    """
    mode = save.options.permissions
    if mode is None:
        mode = save.old.st_mode  # type: ignore[union-attr] # carries
    mode &= 0o777
    if save.old_attributes or mode & PRIVATE != PRIVATE or not (hidden or mode >> 3 & 7 == mode & 7):
        return PRIVATE
    return mode


def carried_mode(old: os.stat_result, group_kept: bool) -> int:
    """The old mode, without setuid and setgid: they vouched for content that is gone.

    Where the group is another now, it may do no more than everybody may.
    """
    mode = old.st_mode & 0o777
    return mode if group_kept else mode & ~0o070 | mode & 0o070 & mode << 3


def acl_without_group(acl: bytes) -> bytes:
    """The ACL whose owning group, now another group, may do no more than everybody may."""
    entries = list(_ACL_ENTRY.iter_unpack(acl[_ACL_HEADER:]))
    everybody = next(permissions for tag, permissions, _ in entries if tag == _ACL_OTHER)
    return acl[:_ACL_HEADER] + b"".join(
        _ACL_ENTRY.pack(tag, permissions & everybody if tag == _ACL_GROUP else permissions, who)
        for tag, permissions, who in entries
    )


def lose(save: Save, what: str, error: OSError) -> None:
    """Note what cannot be kept; under ``metadata="strict"`` that is an error."""
    if save.options.metadata == "strict":
        message = f"cannot keep the old file's {what}, and metadata='strict': {error.strerror}"
        raise OSError(error.errno, message, save.path) from error
    save.lost = (*save.lost, what)
