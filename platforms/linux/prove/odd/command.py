"""`python -m prove odd`: every entry point on every mount that this machine can have; recorded."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import records
from . import mounts, rows, uml

if TYPE_CHECKING:
    from collections.abc import Iterator

SKIPPED = 77


def main(*, record: bool) -> int:
    """Run all of it; 0, 1 if something was wrong, 77 where nothing can be mounted."""
    found = list(_found())
    for row in found:
        print(f"{row['file_system']}: {row['saved']} of {row['saves']} saved, {row['violations']} wrong")
        for wrong in row["wrong"]:
            print(f"  WRONG: {wrong}")
    if not found:
        return SKIPPED
    if record:
        print(f"recorded: {records.write('odd-mounts', found)}")
    return int(any(row["violations"] for row in found))


def _found() -> Iterator[dict[str, Any]]:
    with tempfile.TemporaryDirectory(prefix="odd-") as place:
        for number, mount in enumerate(mounts.HERE):
            if why := mount.lacks():
                print(f"SKIPPED {mount.name}: {why}")
            else:
                yield rows.row(mount, Path(place, str(number)))
    if why := uml.lacks():
        print(f"SKIPPED {', '.join(mount.name for mount in uml.THERE)}: {why}")
    else:
        yield from uml.rows()
