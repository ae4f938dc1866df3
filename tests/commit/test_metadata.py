"""The mode, owner, group, ACL and attributes of new and of replaced files, at the end and on the way."""

from __future__ import annotations

import errno
import os
import shutil
import stat
import time
from typing import TYPE_CHECKING, Any

import pytest

import durably
from capabilities import (
    NOBODY,
    needs_file_system,
    needs_linux,
    needs_posix,
    needs_root,
    needs_unprivileged_user,
)
from disk import (
    ACCESS,
    DEFAULT,
    NEW,
    OLD,
    After,
    Refusing,
    Without,
    acl,
    as_nobody,
    attribute,
    entries,
    mode,
    names,
    needs_acls,
    umask,
)
from durably.testing import RecordingSyscalls, use
from entry_points import BY_NAME, EntryPoint, shown
from mounts import mounted

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = needs_posix

ENTRY_POINTS = [
    BY_NAME[entry_point]
    for entry_point in ("write_bytes", "open wb", "open a", "staged_path", "staged_path by rename")
]
every_entry_point = pytest.mark.parametrize("entry_point", ENTRY_POINTS, ids=shown)
STRANGER, GROUP = 4321, 5432
LIST = acl(("owner", 6), ("user", 4, STRANGER), ("group", 0), ("mask", 4), ("other", 0))
REFUSING = acl(("owner", 6), ("user", 0, STRANGER), ("group", 4), ("mask", 4), ("other", 4))
INHERITED = acl(
    ("owner", 7), ("user", 6, STRANGER), ("group", 5), ("named group", 7, GROUP), ("mask", 7), ("other", 4)
)


@pytest.fixture(params=["unnamed", "named"])
def table(request: pytest.FixtureRequest) -> Iterator[RecordingSyscalls]:
    """Streams with and without unnamed files."""
    table = Without(*(() if request.param == "unnamed" else ("unnamed",)))
    with use(table):
        yield table


def built_in(path: Path) -> os.stat_result:
    """What the builtin ``open`` makes at this path."""
    path.write_bytes(b"")
    try:
        return path.stat()
    finally:
        path.unlink()


# New files.


@every_entry_point
@pytest.mark.parametrize("mask", [0o000, 0o002, 0o022, 0o077, 0o777])
@pytest.mark.usefixtures("table")
def test_a_new_file_gets_the_mode_that_open_gives_it(
    tmp_path: Path, entry_point: EntryPoint, mask: int
) -> None:
    target = tmp_path / "file"
    with umask(mask):
        expected = mode_of(built_in(target))
        if mask == 0o777 and os.geteuid() != 0 and entry_point.name.startswith("staged"):
            pytest.skip("a saver that opens its file by name needs to be allowed to")
        entry_point.save(target, NEW)
    assert mode(target) == expected == 0o666 & ~mask


def mode_of(status: os.stat_result) -> int:
    return stat.S_IMODE(status.st_mode)


@every_entry_point
@needs_acls
@pytest.mark.usefixtures("table")
def test_a_new_file_inherits_the_directorys_default_acl(tmp_path: Path, entry_point: EntryPoint) -> None:
    os.setxattr(tmp_path, DEFAULT, INHERITED)
    target = tmp_path / "file"
    target.write_bytes(b"")
    expected = mode(target), attribute(target, ACCESS)
    target.unlink()
    entry_point.save(target, NEW)
    assert (mode(target), attribute(target, ACCESS)) == expected
    assert expected[0] == 0o664


@every_entry_point
@needs_root
@pytest.mark.usefixtures("table")
def test_a_new_file_in_a_setgid_directory_gets_its_group(tmp_path: Path, entry_point: EntryPoint) -> None:
    os.chown(tmp_path, -1, GROUP)
    tmp_path.chmod(0o2775)
    target = tmp_path / "file"
    expected = built_in(target)
    entry_point.save(target, NEW)
    found = target.stat()
    assert (found.st_gid, found.st_mode) == (expected.st_gid, expected.st_mode)
    assert found.st_gid == GROUP


# Replaced files.


@every_entry_point
@pytest.mark.parametrize("old", [0o644, 0o600, 0o755, 0o666, 0o640, 0o400, 0o060, 0o000])
@pytest.mark.usefixtures("table")
def test_a_replaced_file_keeps_its_mode(tmp_path: Path, entry_point: EntryPoint, old: int) -> None:
    if os.geteuid() != 0 and entry_point.goes_on and not old & 0o400:
        pytest.skip("what may not be read cannot be gone on with")
    target = tmp_path / "file"
    target.write_bytes(OLD)
    target.chmod(old)
    receipt = entry_point.save(target, NEW)
    assert mode(target) == old
    assert receipt.lost == ()


@every_entry_point
@pytest.mark.parametrize("old", [0o4755, 0o2755, 0o6711, 0o1644])
def test_setuid_setgid_and_sticky_bits_vouched_for_content_that_is_gone(
    tmp_path: Path, entry_point: EntryPoint, old: int
) -> None:
    target = tmp_path / "file"
    target.write_bytes(OLD)
    target.chmod(old)
    entry_point.save(target, NEW)
    assert mode(target) == old & 0o777


@every_entry_point
@needs_root
@pytest.mark.usefixtures("table")
def test_a_replaced_file_keeps_owner_and_group(tmp_path: Path, entry_point: EntryPoint) -> None:
    target = tmp_path / "file"
    target.write_bytes(OLD)
    os.chown(target, STRANGER, GROUP)
    target.chmod(0o6640)
    receipt = entry_point.save(target, NEW)
    found = target.stat()
    assert (found.st_uid, found.st_gid, mode(target)) == (STRANGER, GROUP, 0o640)
    assert receipt.lost == ()


@every_entry_point
@needs_acls
@pytest.mark.parametrize("inherits", [False, True])
@pytest.mark.usefixtures("table")
def test_a_replaced_file_keeps_its_acl_and_user_attributes(
    tmp_path: Path, entry_point: EntryPoint, inherits: bool
) -> None:
    target = tmp_path / "file"
    target.write_bytes(OLD)
    os.setxattr(target, ACCESS, LIST)
    os.setxattr(target, "user.colour", b"green")
    os.setxattr(target, "user.empty", b"")
    if inherits:
        os.setxattr(tmp_path, DEFAULT, INHERITED)
    expected = mode(target)
    receipt = entry_point.save(target, NEW)
    assert attribute(target, ACCESS) == LIST
    assert (attribute(target, "user.colour"), attribute(target, "user.empty")) == (b"green", b"")
    assert (mode(target), receipt.lost) == (expected, ())


@every_entry_point
@needs_acls
@pytest.mark.usefixtures("table")
def test_a_replaced_file_without_an_acl_does_not_inherit_one(tmp_path: Path, entry_point: EntryPoint) -> None:
    target = tmp_path / "file"
    target.write_bytes(OLD)
    target.chmod(0o640)
    os.setxattr(tmp_path, DEFAULT, INHERITED)
    entry_point.save(target, NEW)
    assert (attribute(target, ACCESS), mode(target)) == (None, 0o640)


@every_entry_point
def test_a_replaced_file_gets_a_fresh_time_and_another_inode(tmp_path: Path, entry_point: EntryPoint) -> None:
    target = tmp_path / "file"
    target.write_bytes(OLD)
    os.utime(target, (1000, 1000))
    before, inode = time.time() - 5, target.stat().st_ino
    entry_point.save(target, NEW)
    assert target.stat().st_mtime > before
    assert target.stat().st_ino != inode


@every_entry_point
def test_hard_links_are_split(tmp_path: Path, entry_point: EntryPoint) -> None:
    target, other = tmp_path / "file", tmp_path / "other"
    target.write_bytes(OLD)
    os.link(target, other)
    entry_point.save(target, NEW)
    assert other.read_bytes() == OLD
    assert target.read_bytes() == entry_point.content(OLD, NEW)
    assert (target.stat().st_nlink, other.stat().st_nlink) == (1, 1)


# Never looser on the way.


def rights(file: int | str) -> dict[tuple[str, int], int]:
    """What everybody but the owner may do with a file: the effective rights of each group and user."""
    status = os.stat(file)
    value = attribute(file, ACCESS)  # type: ignore[arg-type] # a path below /proc
    if value is None:
        group, other = status.st_mode >> 3 & 7, status.st_mode & 7
        return {("group", status.st_gid): group, ("other", 0): other}
    listed = entries(value)
    mask = next((given for tag, given, _ in listed if tag == "mask"), 7)
    found = {}
    for tag, given, who in listed:
        if tag == "other":
            found["other", 0] = given
        elif tag == "group":
            found["group", status.st_gid] = given & mask
        elif tag in ("user", "named group"):
            found[tag.rpartition(" ")[2], who] = given & mask
    return found


def too_loose(now: dict[tuple[str, int], int], final: dict[tuple[str, int], int]) -> bool:
    return any(given & ~final.get(who, final["other", 0]) for who, given in now.items())


def open_files_below(directory: Path) -> Iterator[str]:
    """The files of this directory that this process has open, with a name or without."""
    for number in os.listdir("/proc/self/fd"):
        path = f"/proc/self/fd/{number}"
        try:
            where = os.readlink(path)
            if where.startswith(f"{directory}/") and stat.S_ISREG(os.stat(path).st_mode):
                yield path
        except OSError:
            continue  # the descriptor of the listing itself


@pytest.mark.parametrize(
    "entry_point", [BY_NAME[entry_point] for entry_point in ("write_bytes", "open wb", "open a")], ids=shown
)
@pytest.mark.parametrize(
    "options", [{}, {"permissions": 0o600}, {"permissions": 0o640}, {"metadata": "fresh"}], ids=str
)
@pytest.mark.parametrize(
    "old", ["none", "0600", "0640", "0604", "0644", "0000", "0777", "list", "refusing", "foreign"]
)
@pytest.mark.parametrize("inherits", [False, True])
@pytest.mark.parametrize("lacks", [(), ("unnamed",)])
@needs_acls
@needs_root
def test_the_new_file_is_at_no_moment_looser_than_it_ends(
    tmp_path: Path,
    entry_point: EntryPoint,
    options: dict[str, Any],
    old: str,
    inherits: bool,
    lacks: tuple[str, ...],
) -> None:
    target = tmp_path / "file"
    if old != "none":
        target.write_bytes(OLD)
        target.chmod(int(old, 8) if old.isdigit() else 0o640)
    if old == "list":
        os.setxattr(target, ACCESS, LIST)
    if old == "refusing":
        os.setxattr(target, ACCESS, REFUSING)
    if old == "foreign":
        os.chown(target, STRANGER, GROUP)
    if inherits:
        os.setxattr(tmp_path, DEFAULT, INHERITED)
    seen: list[tuple[str, dict[tuple[str, int], int]]] = []
    previous = target.stat().st_ino if target.exists() else 0

    def look(call: str) -> None:
        files = [*open_files_below(tmp_path), *(f"{tmp_path}/{entry}" for entry in names(tmp_path))]
        seen.extend((call, rights(file)) for file in files if os.stat(file).st_ino != previous)

    class Watched(After, Without):
        pass

    table = Watched(look)
    table.features = lacks
    with umask(0o022), use(table):
        entry_point.save(target, NEW, durability="none", **options)
    final = rights(str(target))
    assert len(seen) > 3
    assert [(call, now) for call, now in seen if too_loose(now, final)] == []


@pytest.mark.parametrize(
    "entry_point", [BY_NAME[entry_point] for entry_point in ("write_bytes", "open wb")], ids=shown
)
@pytest.mark.parametrize(
    ("old", "mask", "made"),
    [
        (0o644, 0o022, 0o644),
        (0o755, 0o022, 0o755),
        (0o666, 0o022, 0o644),  # the umask takes bits away
        (0o640, 0o022, 0o600),  # the group may do more than everybody, and may be another at first
        (0o604, 0o022, 0o600),
        (0o444, 0o022, 0o600),  # not every file system lets its maker write to such a file
    ],
)
@needs_linux
def test_a_temporary_is_made_with_its_final_mode_where_that_is_never_looser(
    tmp_path: Path, entry_point: EntryPoint, old: int, mask: int, made: int
) -> None:
    target = tmp_path / "file"
    target.write_bytes(OLD)
    target.chmod(old)
    previous = target.stat().st_ino
    seen: list[int] = []

    def look(call: str) -> None:
        files = [os.stat(file) for file in open_files_below(tmp_path)]
        seen.extend(stat.S_IMODE(file.st_mode) for file in files if file.st_ino != previous)

    with umask(mask), use(After(look)):
        entry_point.save(target, NEW, durability="none")
    assert seen[0] == made
    assert mode(target) == old


@needs_acls
def test_a_staged_file_lies_where_nobody_else_may_enter(tmp_path: Path) -> None:
    os.setxattr(tmp_path, DEFAULT, INHERITED)
    with umask(0), durably.staged_path(tmp_path / "file") as temporary:
        assert mode(temporary.parent) == 0o700
        assert not any(rights(str(temporary.parent)).values())
        temporary.write_bytes(NEW)


@needs_acls
@needs_root
def test_metadata_is_set_by_descriptor_before_the_flush(tmp_path: Path) -> None:
    target = tmp_path / "file"
    target.write_bytes(OLD)
    os.chown(target, STRANGER, GROUP)
    target.chmod(0o640)
    os.setxattr(target, "user.colour", b"green")
    for entry_point in ENTRY_POINTS:
        table = RecordingSyscalls()
        with use(table):
            entry_point.save(target, NEW)
        changes = [
            call for call in table.record if call.name in ("fchmod", "fchown", "setxattr", "removexattr")
        ]
        assert {call.name for call in changes} == {"fchmod", "fchown", "setxattr"}
        assert all(isinstance(call.arguments[0], int) for call in changes)
        flush = "syncfs" if "syncfs" in table.names else "fsync"
        assert table.record.index(changes[-1]) < table.names.index(flush)


# Options.


@every_entry_point
@needs_acls
def test_fresh_metadata_is_a_new_files(tmp_path: Path, entry_point: EntryPoint) -> None:
    target = tmp_path / "file"
    target.write_bytes(OLD)
    target.chmod(0o600)
    os.setxattr(target, "user.colour", b"green")
    with umask(0o027):
        receipt = entry_point.save(target, NEW, metadata="fresh")
    assert (mode(target), os.listxattr(target), receipt.lost) == (0o640, [], ())


@every_entry_point
@pytest.mark.parametrize("old", [True, False])
@pytest.mark.parametrize("permissions", [0o604, 0o000, 0o4750, 0o7777])
@pytest.mark.parametrize("metadata", ["preserve", "fresh"])
def test_permissions_are_exact(
    tmp_path: Path, entry_point: EntryPoint, old: bool, permissions: int, metadata: str
) -> None:
    target = tmp_path / "file"
    if old:
        target.write_bytes(OLD)
        target.chmod(0o640)
    entry_point.save(target, NEW, permissions=permissions, metadata=metadata)
    assert mode(target) == permissions


@every_entry_point
@needs_acls
@pytest.mark.parametrize("metadata", ["preserve", "fresh"])
def test_permissions_stand_in_place_of_both_acls(
    tmp_path: Path, entry_point: EntryPoint, metadata: str
) -> None:
    target = tmp_path / "file"
    target.write_bytes(OLD)
    os.setxattr(target, ACCESS, LIST)
    os.setxattr(target, "user.colour", b"green")
    os.setxattr(tmp_path, DEFAULT, INHERITED)
    entry_point.save(target, NEW, permissions=0o664, metadata=metadata)
    assert (mode(target), attribute(target, ACCESS)) == (0o664, None)
    assert attribute(target, "user.colour") == (b"green" if metadata == "preserve" else None)


@needs_unprivileged_user
@pytest.mark.parametrize("entry_point", ENTRY_POINTS, ids=shown)
def test_setuid_that_was_asked_for_survives_the_writing(tmp_path: Path, entry_point: EntryPoint) -> None:
    # write(2) takes setuid and setgid from a file when an ordinary user writes to it.
    os.chown(tmp_path, NOBODY, NOBODY)
    tmp_path.parent.chmod(0o755)
    target = tmp_path / "file"

    def save() -> None:
        entry_point.save(target, NEW, permissions=0o6755)
        assert mode(target) == 0o6755

    as_nobody(tmp_path, save)


# Rewritten in place.


class _Busy(Refusing):
    """A table without a rename, which notes the target's mode at each write to it.

    ``fixed``: whether that mode cannot be changed.
    """

    def __init__(self, target: Path, *, fixed: bool = False) -> None:
        super().__init__(replace=errno.EBUSY)
        self.inode = target.stat().st_ino
        self.fixed = fixed
        self.modes: set[int] = set()

    def _before(self, name: str, arguments: Any, keywords: Any, function: Any) -> None:
        super()._before(name, arguments, keywords, function)
        if name not in ("write", "fchmod") or (found := os.fstat(arguments[0])).st_ino != self.inode:
            return
        if name == "write":
            self.modes.add(stat.S_IMODE(found.st_mode))
        elif self.fixed:
            raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))


@every_entry_point
@needs_acls
@pytest.mark.parametrize("permissions", [None, 0o600, 0o664])
def test_a_rewritten_file_keeps_its_own_or_gets_the_permissions(
    tmp_path: Path, entry_point: EntryPoint, permissions: int | None
) -> None:
    target = tmp_path / "file"
    target.write_bytes(OLD)
    os.setxattr(target, ACCESS, LIST)
    os.setxattr(target, "user.colour", b"green")
    expected = mode(target) if permissions is None else permissions
    busy = _Busy(target)
    with use(busy):
        receipt = entry_point.save(target, NEW, permissions=permissions, allow_in_place=True)
    assert (receipt.in_place, receipt.lost, target.stat().st_ino) == (True, (), busy.inode)
    assert (mode(target), busy.modes) == (expected, {expected})
    assert attribute(target, ACCESS) == (LIST if permissions is None else None)
    assert attribute(target, "user.colour") == b"green"


@every_entry_point
def test_a_file_that_cannot_be_given_the_permissions_is_not_rewritten(
    tmp_path: Path, entry_point: EntryPoint
) -> None:
    target = tmp_path / "file"
    target.write_bytes(OLD)
    busy = _Busy(target, fixed=True)
    with use(busy), pytest.raises(PermissionError) as caught:
        entry_point.save(target, NEW, permissions=0o600, allow_in_place=True)
    assert caught.value.filename == str(target)
    assert "target was not changed" in "".join(caught.value.__notes__)
    assert (target.read_bytes(), names(tmp_path), busy.modes) == (OLD, ["file"], set())


@needs_unprivileged_user
@pytest.mark.parametrize("entry_point", ENTRY_POINTS, ids=shown)
def test_setuid_that_was_asked_for_survives_a_rewrite(tmp_path: Path, entry_point: EntryPoint) -> None:
    os.chown(tmp_path, NOBODY, NOBODY)
    target = tmp_path / "file"

    def save() -> None:
        target.write_bytes(OLD)
        with use(Refusing(replace=errno.EBUSY)):
            assert entry_point.save(target, NEW, permissions=0o6755, allow_in_place=True).in_place
        assert mode(target) == 0o6755

    as_nobody(tmp_path, save)


@needs_unprivileged_user
@pytest.mark.parametrize("entry_point", ENTRY_POINTS, ids=shown)
def test_another_owners_file_keeps_its_owner_in_a_rewrite_and_its_mode(
    tmp_path: Path, entry_point: EntryPoint
) -> None:
    os.chown(tmp_path, NOBODY, NOBODY)
    target = tmp_path / "file"
    target.write_bytes(OLD)
    target.chmod(0o666)
    before = target.stat()

    def save() -> None:
        with use(Refusing(replace=errno.EBUSY)):
            with pytest.raises(PermissionError) as caught:
                entry_point.save(target, NEW, permissions=0o600, allow_in_place=True)
            assert caught.value.filename == str(target)
            assert (target.read_bytes(), names(tmp_path)) == (OLD, ["file"])
            receipt = entry_point.save(target, NEW, allow_in_place=True)
        assert (receipt.in_place, receipt.lost) == (True, ())

    as_nobody(tmp_path, save)
    after = target.stat()
    assert (after.st_ino, after.st_uid, after.st_mode) == (before.st_ino, before.st_uid, before.st_mode)


@needs_unprivileged_user
def test_the_copy_elsewhere_is_private_whatever_the_permissions(tmp_path: Path) -> None:
    target = tmp_path / "file"
    target.write_bytes(OLD)
    os.chown(target, NOBODY, NOBODY)
    tmp_path.chmod(0o555)
    modes = set()

    class Looking(RecordingSyscalls):
        def _before(self, name: str, arguments: Any, keywords: Any, function: Any) -> None:
            if name == "read":
                modes.add(stat.S_IMODE(os.fstat(arguments[0]).st_mode))

    def save() -> None:
        with use(Looking()):
            durably.write_bytes(target, NEW, permissions=0o4755, allow_in_place=True)
        assert modes == {0o600}
        assert mode(target) == 0o4755

    as_nobody(tmp_path, save)


# What cannot be kept.


@needs_unprivileged_user
@needs_acls
@pytest.mark.parametrize("metadata", ["preserve", "strict"])
def test_a_file_of_another_owner_in_ones_own_directory(tmp_path: Path, metadata: str) -> None:
    target = tmp_path / "file"
    target.write_bytes(OLD)
    target.chmod(0o666)
    os.chown(tmp_path, NOBODY, NOBODY)

    def save() -> None:
        if metadata == "strict":
            with pytest.raises(
                OSError, match="cannot keep the old file's owner, and metadata='strict'"
            ) as caught:
                durably.write_bytes(target, NEW, metadata="strict")
            assert caught.value.errno == errno.EPERM
            assert target.read_bytes() == OLD
            assert names(tmp_path) == ["file"]
            return
        receipt = durably.write_bytes(target, NEW)
        assert receipt.lost == ("owner", "group")
        assert (target.stat().st_uid, target.stat().st_gid) == (NOBODY, NOBODY)
        assert target.read_bytes() == NEW

    as_nobody(tmp_path, save)


@needs_unprivileged_user
@needs_acls
def test_another_group_may_do_no_more_than_everybody(tmp_path: Path) -> None:
    plain, listed = tmp_path / "plain", tmp_path / "listed"
    for target in (plain, listed):
        target.write_bytes(OLD)
        target.chmod(0o664)
        os.chown(target, NOBODY, GROUP)
    os.setxattr(
        listed, ACCESS, acl(("owner", 6), ("user", 6, STRANGER), ("group", 6), ("mask", 6), ("other", 4))
    )
    os.chown(tmp_path, NOBODY, NOBODY)

    def save() -> None:
        assert durably.write_bytes(plain, NEW).lost == ("group",)
        assert mode(plain) == 0o644
        assert durably.write_bytes(listed, NEW).lost == ("group",)
        now = entries(attribute(listed, ACCESS) or b"")
        assert [given for tag, given, _ in now if tag == "group"] == [4]
        assert ("user", 6, STRANGER) in now

    as_nobody(tmp_path, save)


@needs_root
@needs_posix
def test_the_group_alone_can_be_kept(tmp_path: Path) -> None:
    target = tmp_path / "file"
    target.write_bytes(OLD)
    os.chown(target, STRANGER, GROUP)

    class OwnGroupsOnly(RecordingSyscalls):
        def _before(self, name: str, arguments: Any, keywords: Any, function: Any) -> None:
            if name == "fchown" and arguments[1] != -1:
                raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    with use(OwnGroupsOnly()):
        receipt = durably.write_bytes(target, NEW)
    assert receipt.lost == ("owner",)
    assert (target.stat().st_uid, target.stat().st_gid) == (os.getuid(), GROUP)


@needs_unprivileged_user
@needs_acls
@pytest.mark.parametrize("old", [0o200, 0o000])
def test_a_file_that_may_not_be_read_keeps_what_can_be_seen(tmp_path: Path, old: int) -> None:
    target = tmp_path / "file"
    target.write_bytes(OLD)
    os.setxattr(target, "user.colour", b"green")
    target.chmod(old)
    os.chown(target, NOBODY, NOBODY)
    os.chown(tmp_path, NOBODY, NOBODY)

    def save() -> None:
        with pytest.raises(OSError, match=r"xattr:user\.colour"):
            durably.write_bytes(target, NEW, metadata="strict")
        receipt = durably.write_bytes(target, NEW)
        assert receipt.lost == ("xattr:user.colour",)
        assert mode(target) == old

    def save_listed() -> None:
        assert durably.write_bytes(target, NEW).lost == ()

    as_nobody(tmp_path, save)
    os.setxattr(
        target, ACCESS, acl(("owner", 0), ("user", 4, STRANGER), ("group", 0), ("mask", 4), ("other", 0))
    )
    as_nobody(tmp_path, save_listed)
    assert ("user", 4, STRANGER) in entries(attribute(target, ACCESS) or b"")


@needs_root
@needs_acls
def test_root_reads_the_attributes_of_every_file(tmp_path: Path) -> None:
    target = tmp_path / "file"
    target.write_bytes(OLD)
    os.setxattr(target, "user.colour", b"green")
    target.chmod(0)
    assert durably.write_bytes(target, NEW).lost == ()
    assert attribute(target, "user.colour") == b"green"


@needs_root
def test_a_group_that_cannot_be_kept_under_ones_own_name(tmp_path: Path) -> None:
    target = tmp_path / "file"
    target.write_bytes(OLD)
    target.chmod(0o664)
    os.chown(target, -1, GROUP)
    with use(Refusing(fchown=errno.EPERM)):
        assert durably.write_bytes(target, NEW).lost == ("group",)
    assert mode(target) == 0o644


@needs_root
def test_a_group_that_fails_to_be_set_is_an_error(tmp_path: Path) -> None:
    target = tmp_path / "file"
    target.write_bytes(OLD)
    os.chown(target, STRANGER, GROUP)

    class Fails(RecordingSyscalls):
        def _before(self, name: str, arguments: Any, keywords: Any, function: Any) -> None:
            if name == "fchown":
                number = errno.EIO if arguments[1] == -1 else errno.EPERM
                raise OSError(number, os.strerror(number))

    with use(Fails()), pytest.raises(OSError, match=os.strerror(errno.EIO)):
        durably.write_bytes(target, NEW)
    assert target.read_bytes() == OLD


@needs_acls
@every_entry_point
def test_attributes_that_cannot_even_be_listed(tmp_path: Path, entry_point: EntryPoint) -> None:
    target = tmp_path / "file"
    target.write_bytes(OLD)
    target.chmod(0o664)

    class Unseen(RecordingSyscalls):
        number = errno.EACCES

        def _before(self, name: str, arguments: Any, keywords: Any, function: Any) -> None:
            if name == "listxattr":
                raise OSError(self.number, os.strerror(self.number))

    table = Unseen()
    with use(table):
        with pytest.raises(OSError, match="cannot keep the old file's xattrs"):
            entry_point.save(target, NEW, metadata="strict")
        assert target.read_bytes() == OLD
        assert entry_point.save(target, NEW).lost == ("xattrs",)
        # Perhaps there was an ACL, and the group's bits were its mask.
        assert mode(target) == 0o644
        table.number = errno.ENOTSUP
        assert entry_point.save(target, NEW, metadata="strict").lost == ()


@needs_acls
@pytest.mark.parametrize("number", [errno.ENOTSUP, errno.EPERM, errno.EINVAL])
@every_entry_point
def test_attributes_that_cannot_be_set_are_named(
    tmp_path: Path, entry_point: EntryPoint, number: int
) -> None:
    target = tmp_path / "file"
    target.write_bytes(OLD)
    os.setxattr(target, ACCESS, LIST)
    os.setxattr(target, "user.colour", b"green")
    with use(Refusing(setxattr=number)):
        receipt = entry_point.save(target, NEW)
        assert sorted(receipt.lost) == ["acl", "xattr:user.colour"]
        # Without the list its mask is the group's right, and the group had none.
        assert mode(target) == 0o600
        os.setxattr(target, ACCESS, LIST)
        with pytest.raises(OSError, match="cannot keep the old file's acl"):
            entry_point.save(target, NEW, metadata="strict")
    assert names(tmp_path) == ["file"]
    assert attribute(target, ACCESS) == LIST


@needs_acls
@pytest.mark.parametrize("call", ["listxattr", "getxattr", "setxattr", "fchown", "fchmod"])
@every_entry_point
def test_an_error_that_is_no_refusal_is_raised(tmp_path: Path, entry_point: EntryPoint, call: str) -> None:
    target = tmp_path / "file"
    target.write_bytes(OLD)
    os.setxattr(target, "user.colour", b"green")
    target.chmod(0o604)
    if call == "fchown":
        if os.getuid() != 0:
            pytest.skip("needs root")
        os.chown(target, STRANGER, -1)
    with use(Refusing(**{call: errno.EIO})), pytest.raises(OSError, match=os.strerror(errno.EIO)):
        entry_point.save(target, NEW)
    assert target.read_bytes() == OLD
    assert names(tmp_path) == ["file"]


@needs_file_system("ramfs")
def test_a_file_system_without_attributes(tmp_path: Path) -> None:
    with mounted("ramfs", tmp_path / "mount") as place:
        target = place / "file"
        target.write_bytes(OLD)
        target.chmod(0o640)
        for entry_point in ENTRY_POINTS:
            assert entry_point.save(target, NEW, metadata="strict").lost == ()
            assert mode(target) == 0o640


@needs_acls
def test_a_large_attribute_that_does_not_fit_is_an_error_not_a_loss(tmp_path: Path) -> None:
    target = tmp_path / "file"
    target.write_bytes(OLD)
    os.setxattr(target, "user.colour", b"green")
    with use(Refusing(setxattr=errno.ENOSPC)), pytest.raises(OSError, match=os.strerror(errno.ENOSPC)):
        durably.write_bytes(target, NEW)
    assert target.read_bytes() == OLD


@needs_acls
def test_a_saver_that_moves_its_file_in_gives_it_the_directorys_acl(tmp_path: Path) -> None:
    """The file was made elsewhere, and did not inherit what a file made here does."""
    here, elsewhere = tmp_path / "here", tmp_path / "elsewhere"
    here.mkdir()
    os.setxattr(here, DEFAULT, INHERITED)
    model = here / "model"
    model.write_bytes(b"")
    with durably.staged_path(here / "file") as temporary:
        elsewhere.write_bytes(NEW)
        shutil.move(elsewhere, temporary)
    assert (mode(here / "file"), attribute(here / "file", ACCESS)) == (mode(model), attribute(model, ACCESS))


@needs_acls
def test_a_saver_that_moves_its_file_in_does_not_bring_rights_along(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    with umask(0o022), durably.staged_path(tmp_path / "file") as temporary:
        elsewhere.write_bytes(NEW)
        os.setxattr(
            elsewhere,
            ACCESS,
            acl(("owner", 6), ("user", 7, STRANGER), ("group", 7), ("mask", 7), ("other", 0)),
        )
        elsewhere.rename(temporary)
    assert (mode(tmp_path / "file"), attribute(tmp_path / "file", ACCESS)) == (0o644, None)
