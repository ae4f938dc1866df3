"""What the commands have measured, one JSON file each; the pages of docs/proofs are made from them."""

from __future__ import annotations

import json
import platform
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parent


def write(name: str, rows: list[dict[str, Any]], **more: Any) -> Path:
    """Keep the rows of a run, with the date, the kernel and the Python that it ran on. Returns the file."""
    about = {
        "date": str(datetime.now(UTC).date()),
        "kernel": platform.release(),
        "python": platform.python_version(),
    }
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
