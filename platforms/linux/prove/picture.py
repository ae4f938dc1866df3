"""`python -m prove.picture`: the table of the other libraries as a picture, docs/proofs/peers.svg.

Needs `pip install -r prove/requirements-picture.txt`. The picture carries a digest of the record that it
was drawn from, by which a test tells whether it is current.
"""

from __future__ import annotations

import hashlib
import json
import sys
from importlib import import_module
from typing import Any

from . import records
from .pages import KINDS, PLACE

PICTURE = PLACE / "peers.svg"
_WHAT = (("torn", "a file was torn", "#b3261e"), ("lost", "an acknowledged file was lost or old", "#e8a33d"))
_ROW, _WIDTH, _THICK = 0.36, 10.0, 0.4


def digest(record: dict[str, Any]) -> str:
    """What stands for a record in its picture."""
    return hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()


def main() -> int:
    """Draw; the exit code."""
    record = records.read("peers")
    if not record["rows"]:
        print("nothing was recorded: run python -m prove peers --record", file=sys.stderr)
        return 1
    try:
        library: Any = import_module("matplotlib")
    except ImportError:
        print("needs: pip install -r prove/requirements-picture.txt", file=sys.stderr)
        return 77
    library.use("svg")
    library.rcParams["svg.hashsalt"] = "durably"  # the same record gives the same file
    library.rcParams["svg.fonttype"] = "none"
    _draw(record)
    print(f"written: {PICTURE.name}")
    return 0


def _draw(record: dict[str, Any]) -> None:
    pyplot: Any = import_module("matplotlib.pyplot")
    rows = record["rows"]
    names = list(dict.fromkeys(f"{row['name']} {row['version']}".strip() for row in rows))
    kinds = [kind for kind in KINDS if any(row["file_system"] == kind for row in rows)]
    size = (_WIDTH, 1.4 + _ROW * len(names))
    figure, axes = pyplot.subplots(1, len(kinds), sharex=True, sharey=True, figsize=size, squeeze=False)
    for axis, kind in zip(axes[0], kinds, strict=True):
        own = {f"{row['name']} {row['version']}".strip(): row for row in rows if row["file_system"] == kind}
        _panel(axis, kind, names, own)
    figure.suptitle(
        f"Power cuts after which (of {rows[0]['points']}) ... Linux {record['kernel']}", fontsize=10
    )
    figure.legend(*axes[0][0].get_legend_handles_labels(), loc="lower center", ncols=2, frameon=False)
    figure.tight_layout(rect=(0, 0.07, 1, 1))
    about = {"Date": None, "Creator": None, "Title": "Other libraries", "Description": digest(record)}
    figure.savefig(PICTURE, format="svg", metadata=about)


def _panel(axis: Any, kind: str, names: list[str], rows: dict[str, dict[str, Any]]) -> None:
    # Side by side: after one power cut one file may be torn and another lost.
    for shift, (key, label, colour) in enumerate(_WHAT):
        counts = [rows[name][key] for name in names]
        places = [at + (shift - 0.5) * _THICK for at in range(len(names))]
        axis.barh(places, counts, color=colour, label=label, height=_THICK)
        for count, place in zip(counts, places, strict=True):
            axis.text(count, place, f" {count}", va="center", fontsize=7)
    axis.set_yticks(range(len(names)), names)
    axis.set_title(kind, fontsize=10)
    if not axis.yaxis_inverted():
        axis.invert_yaxis()
    axis.tick_params(labelsize=8)
    axis.margins(x=0.15)
    for side in ("top", "right"):
        axis.spines[side].set_visible(False)


if __name__ == "__main__":
    sys.exit(main())
