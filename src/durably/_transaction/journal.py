"""The journal: what a transaction is about to do, so that whoever comes after a crash can finish or undo it.

    durably-journal <version> <checksum> <bytes>
    {"direction": ..., "root": ..., "operations": [...]}

The first line alone must stay readable for every version to come. The checksum is the CRC-32 of what
follows it. All names are relative to the root. Files are told by number, size and time of their last
change: never by a device number, which another mount changes, nor by the number alone, which ext4
gives to the next new file at once.
"""

from __future__ import annotations

import errno
import zlib

from durably._commit.pending import CLOSED
from durably._errors import RecoveryNeededError, note_leftovers
from durably._system import temp_names
from durably._system.syscalls import write_all
from durably._transaction.operations import Identity, Operation

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from durably._transaction.root import Root

_MAGIC = b"durably-journal"
_VERSION = 1
_HEAD = 4
FORWARD, BACK = "forward", "back"


# To text and back.


def encode(direction: str, root: int, operations: list[Operation]) -> bytes:
    """The journal's content."""
    import json  # costs as much as the rest of the package, and only a transaction needs it

    listed = [
        [
            list(each.where),
            each.name,
            each.staged,
            _listed(each.new),
            each.backup,
            _listed(each.old),
            _inside(each),
        ]
        for each in operations
    ]
    fields = {"direction": direction, "root": root, "operations": listed}
    body = json.dumps(fields, separators=(",", ":")).encode("ascii")
    head = b"%s %d %08x %d\n" % (_MAGIC, _VERSION, zlib.crc32(body), len(body))
    return head + body


def _listed(known: Identity | None) -> list[int] | None:
    return None if known is None else [known.number, known.size, known.changed]


def _inside(operation: Operation) -> dict[str, list[int] | None] | None:
    if operation.inside is None:
        return None
    return {path: _listed(known) for path, known in operation.inside.items()}


class _DamagedError(ValueError):
    pass


class _NewerError(ValueError):
    pass


def decode(data: bytes) -> tuple[str, int, list[Operation]]:
    """The direction, the number of the root, and the operations. Raises ValueError."""
    import json

    head, _, body = data.partition(b"\n")
    words = head.split(b" ")
    if words[0] != _MAGIC or len(words) < _HEAD or not words[1].isdigit():
        raise _DamagedError("it does not begin as one")
    if int(words[1]) != _VERSION:
        raise _NewerError(f"it has version {int(words[1])}, and this durably knows {_VERSION}")
    if words[2:] != [b"%08x" % zlib.crc32(body), b"%d" % len(body)]:
        raise _DamagedError("its checksum does not fit")
    fields = json.loads(body)
    try:
        operations = [_operation(*each) for each in fields["operations"]]
        if fields["direction"] not in (FORWARD, BACK):
            raise _DamagedError("it has no direction")
        return fields["direction"], int(fields["root"]), operations
    except (AttributeError, KeyError, TypeError) as error:
        raise _DamagedError(f"a field is missing, or of another type: {error}") from error


def _operation(
    where: list[str], name: str, staged: str | None, new: Any, backup: str | None, old: Any, inside: Any
) -> Operation:
    for component in (*where, name):
        _check(component)
    for temporary in (staged, backup):
        if temporary is not None and not temp_names.is_of(temporary, "t"):
            raise _DamagedError(f"{temporary!r} is not a name of a transaction's temporary")
    if inside is not None:
        for path in inside:
            for component in path.split("/"):
                _check(component)
        inside = {path: _known(known) for path, known in inside.items()}
    return Operation(
        tuple(where), name, staged=staged, new=_known(new), backup=backup, old=_known(old), inside=inside
    )


def _check(component: object) -> None:
    bad = (
        not isinstance(component, str)
        or component in ("", ".", "..")
        or not {"/", "\0"}.isdisjoint(component)
    )
    if bad:
        raise _DamagedError(f"{component!r} is not a name")


def _known(listed: Any) -> Identity | None:
    return None if listed is None else Identity(*map(int, listed))


# On the disk.


def read(root: Root) -> tuple[str, list[Operation]] | None:
    """The direction and the operations of the journal in a root; None if there is none.

    Raises RecoveryNeededError where it cannot be acted on.
    """
    try:
        root.routine.lookup(root.directory, temp_names.JOURNAL)
    except FileNotFoundError:
        return None
    root.check_trusted(temp_names.JOURNAL)
    data = root.content(temp_names.JOURNAL)
    try:
        direction, number, operations = decode(data)
    except _NewerError as error:
        raise _refused(root, errno.ENOTSUP, error) from error
    except ValueError as error:
        raise _refused(root, errno.EBADMSG, error) from error
    if number != root.routine.lookup(root.directory, ".").st_ino:
        raise _refused(
            root, errno.EBADMSG, ValueError("it was made in another directory, and moved or copied")
        )
    return direction, operations


def _refused(root: Root, number: int, reason: ValueError) -> RecoveryNeededError:
    message = (
        f"the journal of an unfinished transaction cannot be acted on: {reason}; nothing was changed. "
        f"It is {root.full((temp_names.JOURNAL,))}: recover with the durably that wrote it, or look at the "
        "files, then remove it and sweep"
    )
    return RecoveryNeededError(number, message, root.path)


def write(root: Root, direction: str, operations: list[Operation]) -> None:
    """Put a journal in the root, in place of one that stands there, and bring it to the device.

    After any exception, `stands` tells whether it is there.
    """
    number = root.routine.lookup(root.directory, ".").st_ino
    data = memoryview(encode(direction, number, operations))
    temporary = temp_names.fresh("t")
    try:
        _make(root, temporary, data)
        root.journaled = True
        root.entries.move(root.directory, temporary, root.directory, temp_names.JOURNAL, replace=True)
    except BaseException as error:
        try:
            root.routine.remove_entry(root.directory, temporary)
        except OSError as failure:
            note_leftovers(error, (root.full((temporary,)),), failure)
        raise
    root.flush()


def _make(root: Root, temporary: str, data: memoryview) -> None:
    calls, notes = root.routine.calls, root.notes
    notes.fd = root.entries.create(root.directory, temporary)
    try:
        write_all(calls, notes.fd, data)
        if root.flushes:
            done = len(notes.steps)
            root.routine.flush(notes)
            del notes.steps[done:]
    finally:
        fd, notes.fd = notes.fd, CLOSED
        calls.close(fd)


def stands(root: Root) -> bool:
    """Whether there is a journal. What cannot be told counts as yes."""
    try:
        root.routine.lookup(root.directory, temp_names.JOURNAL)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return True


def remove_journal(root: Root) -> None:
    """Remove the journal: what it said is done, and on the device."""
    try:
        root.entries.unlink(root.directory, temp_names.JOURNAL)
    except FileNotFoundError:
        pass  # there was none, which could not be told
    root.journaled = False
