"""`python -m prove.picture`: the table of the other libraries as a picture, docs/proofs/peers.svg.

Needs `pip install -r prove/requirements-picture.txt`. The picture carries a digest of the record that it
was drawn from, by which a test tells whether it is current.
"""

from __future__ import annotations

import hashlib
import json
import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

from . import records
from .pages import KINDS, PLACE

if TYPE_CHECKING:
    from pathlib import Path

PICTURE = PLACE / "peers.svg"
_WHAT = (("torn", "a file was torn", "#b3261e"), ("lost", "an acknowledged file was lost or old", "#e8a33d"))
_ROW, _WIDTH, _THICK = 0.36, 5.2, 0.4  # narrow, so that a phone shows it too
_PAPER, _INK, _GRID = "#ffffff", "#1f2328", "#c4cbd3"
_DARK = {_PAPER: "#0d1117", _INK: "#e6edf3", _GRID: "#3d444d"}
STYLE = {
    "svg.hashsalt": "durably",  # the same record gives the same file
    "svg.fonttype": "none",
    "font.family": "DejaVu Sans",  # wider than what most readers have: nothing runs into another
    "font.size": 9,
    "axes.titlesize": 9,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "figure.facecolor": _PAPER,
    "axes.facecolor": _PAPER,
    "savefig.facecolor": _PAPER,
    "legend.frameon": False,
    "legend.fontsize": 8,
    "grid.color": _GRID,
    "grid.linewidth": 0.6,
    **dict.fromkeys(("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color"), _INK),
}
"""How matplotlib draws every picture of the docs."""


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
    library.rcParams.update(STYLE)
    _draw(record)
    print(f"written: {PICTURE.name}")
    return 0


def finish(path: Path) -> None:
    """Have a drawing of matplotlib follow the reader's light or dark setting, and their fonts.

    It writes a colour into each shape; only a rule that is important overrules that.
    """
    rules = " ".join(
        f'[style*="{kind}: {light}"] {{ {kind}: {dark} !important; }}'
        for light, dark in _DARK.items()
        for kind in ("fill", "stroke")
    )
    style = f'<style type="text/css">@media (prefers-color-scheme: dark) {{ {rules} }}</style>'
    drawing = "\n".join(line.rstrip() for line in path.read_text(encoding="utf-8").splitlines()) + "\n"
    drawing = drawing.replace("'DejaVu Sans'", "system-ui, 'DejaVu Sans', sans-serif")
    path.write_text(drawing.replace("<defs>", f"<defs>\n{style}", 1), encoding="utf-8", newline="\n")


def _draw(record: dict[str, Any]) -> None:
    pyplot: Any = import_module("matplotlib.pyplot")
    rows = record["rows"]
    names = list(dict.fromkeys(f"{row['name']} {row['version']}".strip() for row in rows))
    kinds = [kind for kind in KINDS if any(row["file_system"] == kind for row in rows)]
    size = (_WIDTH, 0.9 + (0.5 + _ROW * len(names)) * len(kinds))
    figure, axes = pyplot.subplots(len(kinds), 1, sharex=True, figsize=size, squeeze=False)
    for axis, kind in zip(axes.flat, kinds, strict=True):
        own = {f"{row['name']} {row['version']}".strip(): row for row in rows if row["file_system"] == kind}
        _panel(axis, kind, names, own)
    figure.suptitle(
        f"Power cuts, of {rows[0]['points']}, after which ...\nLinux {record['kernel']}", fontsize=9
    )
    figure.legend(*axes[0][0].get_legend_handles_labels(), loc="lower center", ncols=2)
    figure.tight_layout(rect=(0, 0.03, 1, 1))
    about = {"Date": None, "Creator": None, "Title": "Other libraries", "Description": digest(record)}
    figure.savefig(PICTURE, format="svg", metadata=about)
    finish(PICTURE)


def _panel(axis: Any, kind: str, names: list[str], rows: dict[str, dict[str, Any]]) -> None:
    # Side by side: after one power cut one file may be torn and another lost.
    for shift, (key, label, colour) in enumerate(_WHAT):
        counts = [rows[name][key] for name in names]
        places = [at + (shift - 0.5) * _THICK for at in range(len(names))]
        axis.barh(places, counts, color=colour, label=label, height=_THICK)
        for count, place in zip(counts, places, strict=True):
            axis.text(count, place, f" {count}", va="center", fontsize=7)
    axis.set_yticks(range(len(names)), names)
    axis.set_title(kind)
    axis.invert_yaxis()
    axis.tick_params(labelsize=8)
    axis.margins(x=0.15)


if __name__ == "__main__":
    sys.exit(main())
