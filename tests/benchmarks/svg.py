"""Pictures as text: a few shapes, and colours that follow the reader's light or dark setting.

The page behind a picture is painted too, so that it is readable wherever it is put.
"""

from __future__ import annotations

from xml.sax.saxutils import escape

# Class: the colour in light, and in dark.
_COLOURS = {
    "paper": ("#ffffff", "#0d1117"),
    "ink": ("#1f2328", "#e6edf3"),
    "faint": ("#59636e", "#9198a1"),
    "line": ("#c4cbd3", "#3d444d"),
    "good": ("#1a7f37", "#3fb950"),
    "fair": ("#0969da", "#58a6ff"),
    "doubt": ("#9a6700", "#d29922"),
    "bad": ("#cf222e", "#f85149"),
}
_FONT = "system-ui, -apple-system, 'Segoe UI', 'DejaVu Sans', sans-serif"
_CODE = "ui-monospace, 'Cascadia Mono', 'DejaVu Sans Mono', monospace"


def _style() -> str:
    light = " ".join(_rules(name, pair[0]) for name, pair in _COLOURS.items())
    dark = " ".join(_rules(name, pair[1]) for name, pair in _COLOURS.items())
    return (
        f"text {{ font: 13px {_FONT}; }} .code {{ font: 12px {_CODE}; }} "
        ".small { font-size: 11.5px; } .strong { font-weight: 600; } "
        f".halo {{ stroke-width: 3px; paint-order: stroke; }} {light} "
        f"@media (prefers-color-scheme: dark) {{ {dark} }}"
    )


def _rules(name: str, colour: str) -> str:
    rules = f".{name} {{ fill: {colour}; }} .{name}-stroke {{ stroke: {colour}; fill: none; }}"
    return f"{rules} .halo {{ stroke: {colour}; }}" if name == "paper" else rules


def document(width: int, height: int, title: str, described: str, shapes: list[str]) -> str:
    """The whole picture."""
    size = f'viewBox="0 0 {width} {height}" width="{width}" height="{height}"'
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img">',
        f"<title>{escape(title)}</title>",
        f"<desc>{escape(described)}</desc>",
        f"<style>{_style()}</style>",
        f'<rect class="paper" width="{width}" height="{height}"/>',
        *shapes,
        "</svg>",
    ]
    return "\n".join(lines) + "\n"


def text(x: float, y: float, said: str, kind: str = "ink", anchor: str = "start") -> str:
    """A line of text; ``kind`` names classes."""
    where = f'x="{x:g}" y="{y:g}"' + (f' text-anchor="{anchor}"' if anchor != "start" else "")
    return f'<text {where} class="{kind}">{escape(said)}</text>'


def line(x1: float, y1: float, x2: float, y2: float, kind: str = "line", *, dashed: bool = False) -> str:
    """A straight line."""
    dashes = ' stroke-dasharray="4 3"' if dashed else ""
    return f'<path d="M{x1:g} {y1:g}L{x2:g} {y2:g}" class="{kind}-stroke"{dashes}/>'


def arrow(x1: float, y: float, x2: float, kind: str = "ink") -> str:
    """A level line with a head."""
    back = -6 if x2 > x1 else 6
    head = f'<path d="M{x2 + back:g} {y - 4:g}L{x2:g} {y:g}L{x2 + back:g} {y + 4:g}Z" class="{kind}"/>'
    return line(x1, y, x2, y, kind) + head


def box(x: float, y: float, width: float, height: float, kind: str) -> str:
    """A filled box with round corners."""
    return f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="4" class="{kind}"/>'


def frame(x: float, y: float, width: float, height: float, kind: str = "line") -> str:
    """An empty one."""
    return f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="4" class="{kind}-stroke"/>'
