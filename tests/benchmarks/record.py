"""The data files: what was found, on what machine, one a group. Pages and pictures are made from them."""

from __future__ import annotations

import json
import os
import platform
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

from findings import Found

TOP = Path(__file__).resolve().parents[2]
FIGURES = TOP / "docs" / "figures"
NOTE = "<!-- Written by `python tests/benchmarks/run.py --draw` from what was recorded; do not edit. -->\n"


class Record(NamedTuple):
    """What a data file holds."""

    about: dict[str, Any]
    found: Found


def machine() -> dict[str, Any]:
    """What a reader needs to know of it, and nothing that tells whose it is."""
    facts: dict[str, Any] = {
        "date": str(datetime.now(UTC).date()),
        "durably": version("durably"),
        "kernel": f"{platform.system()} {platform.release()}",
        "machine": platform.machine(),
        "processors": os.cpu_count(),
        "python": platform.python_version(),
    }
    if hasattr(os, "getloadavg"):
        facts["load_before"] = round(os.getloadavg()[0], 1)
    return facts


def write(figures: Path, name: str, about: dict[str, Any], found: Found) -> Path:
    """Keep what a group has found; a row a line. Returns the file."""
    parts = [f' "about": {json.dumps(about, sort_keys=True)}']
    for key, rows in found.as_data().items():
        lines = ",\n".join(f"  {json.dumps(row, ensure_ascii=False)}" for row in rows)
        parts.append(f' "{key}": [\n{lines}\n ]' if rows else f' "{key}": []')
    path = figures / "data" / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("{\n" + ",\n".join(parts) + "\n}\n", encoding="utf-8", newline="\n")
    return path


def read(figures: Path, name: str) -> Record | None:
    """What a group has found; None: it was not recorded."""
    path = figures / "data" / f"{name}.json"
    if not path.exists():
        return None
    data = json.loads(path.read_text(encoding="utf-8"))
    return Record(data.pop("about"), Found.from_data(data))
