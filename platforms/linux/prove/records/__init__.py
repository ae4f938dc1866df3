"""What the commands have measured, one JSON file each; the pages of docs/proofs are made from them."""

from __future__ import annotations

import json
import platform
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

ORDER = ("ext4", "xfs", "btrfs", "tmpfs")
FOLDER = Path(__file__).resolve().parent


def write(name: str, rows: list[dict[str, Any]], **more: Any) -> Path:
    """Keep the rows of a run, with the date, the kernel and the Python that it ran on. Returns the file.

    Of a run before on the same day and kernel, the rows of other file systems stay.
    """
    about = {
        "date": str(datetime.now(UTC).date()),
        "kernel": platform.release(),
        "python": platform.python_version(),
    }
    before, mine = read(name), {row["file_system"] for row in rows}
    if all(before.get(key) == value for key, value in about.items()):
        rows = [row for row in before["rows"] if row["file_system"] not in mine] + rows
        known = [*ORDER, *(row["file_system"] for row in rows)]
        rows.sort(key=lambda row: known.index(row["file_system"]))
    lines = ",\n".join("  " + json.dumps(row, sort_keys=True) for row in rows)
    head = json.dumps(about | more, sort_keys=True)[1:-1]
    path = FOLDER / f"{name}.json"
    path.write_text(f'{{{head},\n "rows": [\n{lines}\n]}}\n', encoding="utf-8", newline="\n")
    return path


def read(name: str) -> dict[str, Any]:
    """What was kept under a name; nothing but empty rows if nothing was."""
    path = FOLDER / f"{name}.json"
    if not path.exists():
        return {"rows": []}
    kept: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return kept
