"""Every entry point on overlayfs, on a FUSE file system that lacks almost everything, and on others."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

import durably
from capabilities import needs_file_system, needs_fuse
from durably import UnsupportedError
from entry_points import CASES, NEW, OLD, EntryPoint, beside, prepare, read, shown
from fuse import served
from mounts import mounted
from prove import records
from prove.odd import mounts as odd
from prove.odd import rows

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

every_case = pytest.mark.parametrize(("entry_point", "state"), CASES, ids=shown)


@contextmanager
def overlay(place: Path, options: str = "") -> Iterator[Path]:
    with mounted("tmpfs", place / "layers") as layers:
        for name in ("lower", "upper", "work"):
            (layers / name).mkdir()
        (layers / "lower" / "target").write_bytes(OLD)
        where = f"lowerdir={layers}/lower,upperdir={layers}/upper,workdir={layers}/work{options}"
        with mounted("overlay", place / "merged", options=where) as merged:
            yield merged


@needs_file_system("overlay")
@pytest.mark.parametrize("options", ["", ",volatile"], ids=["overlay", "volatile"])
@every_case
def test_every_entry_point_on_overlayfs(
    entry_point: EntryPoint, state: str, options: str, tmp_path: Path
) -> None:
    with overlay(tmp_path, options) as merged:
        path = merged / "target"
        assert read(path) == OLD  # of the lower layer, which is not changed
        if state == "new":
            path.unlink()
        receipt = entry_point.save(path, NEW)
        assert read(path) == entry_point.content(OLD if state == "replaced" else None)
        assert receipt.replaced is (state == "replaced")
        assert receipt.durability == "none"  # the layer beneath decides, and cannot be told from here
        assert "fsync" in receipt.steps
        assert not beside(path)
        assert (tmp_path / "layers" / "lower" / "target").read_bytes() == OLD
        found = durably.probe(path)
        assert found.file_system == "overlay"
        assert found.readers == "yes"
        assert (found.durable == "no") is bool(options)


@needs_fuse
@every_case
def test_every_entry_point_on_a_file_system_without_fsync_and_renameat2(
    entry_point: EntryPoint, state: str, tmp_path: Path
) -> None:
    with served(tmp_path / "fuse") as place:
        path = place / "target"
        old = prepare(path, state)
        if "create" in entry_point.name or " x" in entry_point.name:
            # Neither a rename that refuses to replace nor links: refused, and nothing is there.
            with pytest.raises(UnsupportedError):
                entry_point.save(path, NEW)
            assert read(path) is None
        else:
            receipt = entry_point.save(path, NEW)
            assert read(path) == entry_point.content(old)
            assert receipt.durability == "none"  # the kernel reports success for a flush that is not there
        assert not beside(path)
        assert durably.sweep(place, older_than=0) == []


@needs_fuse
def test_a_failed_body_on_a_file_system_without_fsync(tmp_path: Path) -> None:
    with served(tmp_path / "fuse") as place:
        path = place / "target"
        prepare(path, "replaced")
        with pytest.raises(KeyError), durably.open(path, "wb") as file:
            file.write(NEW)
            raise KeyError
        assert read(path) == OLD
        assert os.listdir(place) == ["target"]
        assert durably.probe(path).file_system.startswith("fuse")


@pytest.mark.timeout(300)
@pytest.mark.parametrize("mount", odd.HERE, ids=lambda mount: mount.name)
def test_every_entry_point_does_what_the_page_of_odd_mounts_says(mount: odd.Mount, tmp_path: Path) -> None:
    reason = mount.lacks()
    if reason:
        pytest.skip(reason)
    found = rows.row(mount, tmp_path / "mount")
    assert found["wrong"] == []
    if mount.program:
        return  # another version of it may do more, or less
    (recorded,) = (row for row in records.read("odd-mounts")["rows"] if row["file_system"] == mount.name)
    for what in ("saves", "saved", "kept", "refused", "skipped", "promises", "probe"):
        assert found[what] == recorded[what]
