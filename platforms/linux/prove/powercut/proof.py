"""Writing what was proven into platform.toml."""

from __future__ import annotations

import platform
import tomllib
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .workloads import WORKLOADS

if TYPE_CHECKING:
    from .runs import Result

PLATFORM = Path(__file__).resolve().parents[2] / "platform.toml"
RIG = Path(__file__).resolve().parent.name
_MARK = "# Written by the rigs; whatever follows this line is replaced.\n"
_KEYS = ("promise", "file_system", "rig", "points", "violations", "kernel", "date")


def proofs(results: list[Result]) -> list[dict[str, Any]]:
    """The entries for a run: what held on each file system mounted as usual, overlays left out."""
    entries: list[dict[str, Any]] = []
    own_options = [one for one in results if not one.recording.options]
    plain = [one for one in own_options if not WORKLOADS[one.recording.workload].overlay]
    for kind in sorted({one.recording.kind for one in plain}):
        own = [one for one in plain if one.recording.kind == kind]
        durable = [one for one in own if WORKLOADS[one.recording.workload].durable]
        entries += [_entry("crash", kind, own), _entry("durable", kind, durable)]
    return entries


def _entry(promise: str, kind: str, results: list[Result]) -> dict[str, Any]:
    points = sum(one.points for one in results)
    violations = sum(len(one.failures) for one in results)
    values = (promise, kind, RIG, points, violations, platform.release(), datetime.now(UTC).date())
    return dict(zip(_KEYS, values, strict=True))


def write(entries: list[dict[str, Any]], path: Path = PLATFORM) -> None:
    """Put the entries in place of those that this rig wrote before for the same promises.

    Raises ValueError, and changes nothing, if one of them has violations.
    """
    broken = [f"{one['promise']} on {one['file_system']}" for one in entries if one["violations"]]
    if broken:
        raise ValueError(f"not a proof: {', '.join(broken)}")
    text = path.read_text(encoding="utf-8")
    kept = {_key(one): one for one in tomllib.loads(text).get("proof", [])}
    kept.update({_key(one): one for one in entries})
    before = text.partition(_MARK)[0]
    blocks = "".join(_block(kept[key]) for key in sorted(kept))
    path.write_text(f"{before}{_MARK}{blocks}", encoding="utf-8", newline="\n")


def _key(entry: dict[str, Any]) -> tuple[str, str, str]:
    return entry["rig"], entry["promise"], entry["file_system"]


def _block(entry: dict[str, Any]) -> str:
    lines = [f"{key} = {_value(entry[key])}" for key in _KEYS]
    return "\n".join(["\n[[proof]]", *lines, ""])


def _value(value: object) -> str:
    return f'"{value}"' if isinstance(value, str) else str(value)
