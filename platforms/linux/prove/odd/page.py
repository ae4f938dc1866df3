"""The page of the odd mounts, made from their record."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .. import records

if TYPE_CHECKING:
    from collections.abc import Callable

_COLUMNS = ("mount", "`probe` says", "readers, crash, durable", "saved", "level kept", "left out", "wrong")
_TEXT = """
# Odd mounts

Every entry point saves to each of these mounts, to a new name and over an old file: `write_bytes`,
`write_text`, `atomic_write`, `open` in every mode, `staged_path`, `staged_directory`, `Batch`, `Transaction`.
What must hold: a save that returns has put the whole new content in place; one that raises has left
what was there, and nothing beside it. "wrong" counts what did not hold.

    apt-get install exfat-fuse exfatprogs ntfs-3g fuse2fs fuse-overlayfs bindfs mergerfs dosfstools \\
        user-mode-linux kmod iproute2 nfs-kernel-server
    python -m prove odd --record && python -m prove pages

"""
_NOTES = """
"level kept" is what the receipts say ("in place": a rewrite that was asked for; entry points without a
receipt are not counted), "left out" what they name as skipped.

vfat and NFS are those of Linux {inside}, in User Mode Linux, where this machine's own kernel has neither: its
NFS server exports an ext4 to its client. Not shown: an NFS server that goes away, other hosts, SMB,
fusefat (it loses the content of a directory that is renamed, whoever renames it), exFAT and NTFS by the
kernel's drivers. No power is cut here.
"""


def rendered(table: Callable[[Any, Any], str], when: str) -> str:
    """The page. ``table``: of columns and rows, in Markdown. ``when``: it was recorded."""
    rows = records.read("odd-mounts")["rows"]
    cells = [
        (
            row["file_system"],
            f"`{row['probe']}`",
            ", ".join(row["promises"]),
            f"{row['saved']} of {row['saves']}",
            ", ".join(f"{level} {count}" for level, count in row["kept"].items()) or "-",
            ", ".join(row["skipped"]) or "-",
            row["violations"],
        )
        for row in rows
    ]
    refused = [
        (row["file_system"], f"`{error}`", ", ".join(entry_points))
        for row in rows
        for error, entry_points in row["refused"].items()
    ]
    inside = ", ".join(sorted({row["kernel"] for row in rows if row["inside"]}))
    return "".join(
        (
            _TEXT,
            when,
            "\n",
            table(_COLUMNS, cells),
            "\nRefused, with nothing changed:\n\n",
            table(("mount", "error", "entry_points"), refused),
            _NOTES.format(inside=inside or "?"),
        )
    )
