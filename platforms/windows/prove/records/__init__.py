"""What the suite has shown under Wine, by Python version; the dossier's table is made from it."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

FILE = Path(__file__).resolve().with_name("suite.json")


def write(version: str, about: dict[str, str], drives: dict[str, dict[str, Any]]) -> None:
    """Keep what one version has shown, with the date; that of the others stays."""
    kept = read()
    kept[version] = {"date": str(datetime.now(UTC).date()), **about, "drives": drives}
    text = json.dumps(dict(sorted(kept.items())), indent=1, sort_keys=True)
    FILE.write_text(text + "\n", encoding="utf-8", newline="\n")


def read() -> dict[str, dict[str, Any]]:
    """What was kept, by version."""
    if not FILE.exists():
        return {}
    kept: dict[str, dict[str, Any]] = json.loads(FILE.read_text(encoding="utf-8"))
    return kept
