"""docs/figures: its pages and pictures are what was recorded, and nothing else is there."""

from __future__ import annotations

import sys
from pathlib import Path

TOP = Path(__file__).resolve().parents[2]
for _place in ("platforms", "platforms/linux"):  # the promises' table, and the rig's records
    if str(TOP / _place) not in sys.path:
        sys.path.append(str(TOP / _place))

import commits  # noqa: E402
import comparison  # noqa: E402
import page  # noqa: E402
import plots  # noqa: E402
import promised  # noqa: E402
import record  # noqa: E402
import support  # noqa: E402


def texts(figures: Path) -> dict[Path, str]:
    """Each page, each picture that is text, and the README's table, by path."""
    found = {
        figures / "index.md": page.index(figures, list(plots.shown(figures))),
        figures / "comparison.md": comparison.snippet(figures),
        figures / "support.svg": promised.drawn(),
        **{figures / f"steps-{system}.svg": commits.drawn(system) for system in support.SYSTEMS},
    }
    if figures == record.FIGURES:
        readme = TOP / "README.md"
        found[readme] = comparison.with_table(readme.read_text(encoding="utf-8"), figures)
    return found


def draw(figures: Path) -> int:
    """Write what is out of date; the exit code."""
    figures.mkdir(parents=True, exist_ok=True)
    undrawn = plots.draw(figures)
    for path, text in texts(figures).items():
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8", newline="\n")
            print(f"written: {path.name}")
    if undrawn:
        print(f"NOT DRAWN, matplotlib is not installed: {', '.join(undrawn)}", file=sys.stderr)
    return 1 if undrawn else 0


def outdated(figures: Path) -> list[str]:
    """The names of those that are not what was recorded."""
    return plots.outdated(figures) + [
        path.name
        for path, text in texts(figures).items()
        if not path.exists() or path.read_text(encoding="utf-8") != text
    ]


def check(figures: Path) -> int:
    """Say what is out of date; the exit code."""
    names = outdated(figures)
    for name in names:
        print(f"{name} is out of date: run python tests/benchmarks/run.py --draw", file=sys.stderr)
    return 1 if names else 0
