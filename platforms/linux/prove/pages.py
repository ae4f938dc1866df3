"""The pages of docs/proofs: what the commands have recorded, in tables. No figure is written by hand."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import records
from .odd import page as odd

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

PLACE = Path(__file__).resolve().parents[3] / "docs" / "proofs"
NOTE = "<!-- Written by `python -m prove pages` from platforms/linux/prove/records; do not edit. -->\n"
KINDS = ("ext4", "xfs", "btrfs")


def main(*, check: bool) -> int:
    """Write the pages, or only see whether they are what was recorded; the exit code."""
    wrong = [name for name, text in rendered().items() if not _is(PLACE / name, text)]
    if check:
        for name in wrong:
            print(f"{PLACE / name} is out of date: run python -m prove pages", file=sys.stderr)
        return 1 if wrong else 0
    PLACE.mkdir(parents=True, exist_ok=True)
    for name, text in rendered().items():
        (PLACE / name).write_text(text, encoding="utf-8", newline="\n")
    print(f"written: {', '.join(wrong) or 'nothing new'}")
    return 0


def _is(path: Path, text: str) -> bool:
    return path.exists() and path.read_text(encoding="utf-8") == text


def rendered() -> dict[str, str]:
    """Each page, by the name of its file."""
    pages = {"README.md": _index, "power-cuts.md": _power_cuts, "faults.md": _faults, "peers.md": _peers}
    pages["odd-mounts.md"] = _odd_mounts
    return {name: NOTE + page() for name, page in pages.items()}


def table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A table in Markdown."""
    lines = [columns, ["---"] * len(columns), *rows]
    return "".join(f"| {' | '.join(str(cell) for cell in line)} |\n" for line in lines)


def _when(record: dict[str, Any]) -> str:
    if not record["rows"]:
        return "Not recorded yet.\n"
    return f"{record['date']}, Linux {record['kernel']}, Python {record['python']}\n"


def _index() -> str:
    sampled, again, injected = (records.read(name) for name in ("sampled", "again", "inject"))
    disks = records.read("faults")
    lines = [
        [
            "power cuts",
            _sum(sampled, "points"),
            _sum(sampled, "violations"),
            "[power-cuts.md](power-cuts.md)",
        ],
        [
            "power cuts, every position of a short run",
            _sum(records.read("exhaustive"), "points"),
            _sum(records.read("exhaustive"), "violations"),
            "[power-cuts.md](power-cuts.md)",
        ],
        [
            "power cuts, several files by one act",
            _sum(records.read("several"), "points"),
            _sum(records.read("several"), "violations"),
            "[power-cuts.md](power-cuts.md)",
        ],
        [
            "cuts of a recovery",
            _sum(again, "points"),
            _sum(again, "violations"),
            "[power-cuts.md](power-cuts.md)",
        ],
        [
            "system calls that fail, kills",
            _sum(injected, "faults"),
            _sum(injected, "violations"),
            "[faults.md](faults.md)",
        ],
        [
            "writes that the disk fails",
            _sum(disks, "writes"),
            _sum(disks, "violations"),
            "[faults.md](faults.md)",
        ],
        [
            "saves to odd mounts",
            _sum(records.read("odd-mounts"), "saves"),
            _sum(records.read("odd-mounts"), "violations"),
            "[odd-mounts.md](odd-mounts.md)",
        ],
    ]
    return f"""
# What is proven

What was tried on real file systems, and how often a promise was found broken. `0` of many is what was
found, not that there is nothing to find; [what it does not show](power-cuts.md#what-it-does-not-show).

{table(["tried", "how often", "violations", "more"], lines)}
[Other libraries in the same rig](peers.md).

## All of it again

As root on Linux, with a copy of the repository; Debian's names:

    apt-get install e2fsprogs xfsprogs btrfs-progs strace
    pip install . && cd platforms/linux
    python -m prove doctor
    python -m prove run --points 10000 --record
    python -m prove run --exhaustive --record
    python -m prove run --several --points 10000 --record
    python -m prove controls --record
    python -m prove again --record
    python -m prove options --record
    python -m prove faults --record
    python -m prove inject --record
    pip install -r prove/requirements-peers.txt && python -m prove peers --record
    python -m prove odd --record
    python -m prove pages && python ../support.py
    pip install -r prove/requirements-picture.txt && python -m prove.picture

Each command writes what came of it into `prove/records`, and `pages` makes these pages of it.
"""


def _odd_mounts() -> str:
    return odd.rendered(table, _when(records.read("odd-mounts")))


def _sum(record: dict[str, Any], key: str) -> int | str:
    return sum(row[key] for row in record["rows"]) if record["rows"] else "not recorded"


_CUTS = (
    ("file_system", "file system"),
    ("workloads", "workloads"),
    ("points", "points"),
    ("violations", "violations"),
    ("disks", "different disks"),
    ("checked", "of them checked by fsck"),
    ("leftovers", "most leftovers at once"),
    ("ms_a_point", "ms a point"),
)


_SEVERAL = (_CUTS[0], ("saver", "saved by"), *_CUTS[1:])


def _listed(name: str, columns: Sequence[tuple[str, str]]) -> str:
    record = records.read(name)
    rows = [[row[key] for key, _ in columns] for row in record["rows"]]
    return _when(record) + ("\n" + table([title for _, title in columns], rows) if rows else "")


def _power_cuts() -> str:
    shown = records.read("controls")
    controls = [[row["control"], row["file_system"], row["points"]] for row in shown["rows"]]
    return f"""
# Power cuts

A point is a position in the log of a disk and a choice of what was still in its cache; the disk that such
a cut leaves is mounted, read, and swept. How that works, what must hold, and why to believe it:
[the rig](../../platforms/linux/README.md#the-power-cut-rig).

## Sampled

{_listed("sampled", _CUTS)}
## Every position of a short run

{_listed("exhaustive", _CUTS)}
## Several files by one act

Each point of a transaction runs `durably.recover` before it is judged.

{_listed("several", _SEVERAL)}
## Recovery, cut off in its turn

What recovery and sweeping write after one cut is recorded, and cut off again.

{_listed("again", _CUTS)}
## Other options of mount, and a disk that tears blocks

With `as usual` and pieces of 512 the disk keeps or loses each sector by itself.

{_options()}
## Controls

What is wrong on purpose, and after how many points it was found out. With one that is not, a run fails.

{_when(shown)}
{table(["control", "file system", "points"], controls) if controls else ""}
## What it does not show

Other kernels, file systems and options. A disk that ignores flushes, or on btrfs one that tears a block of
4096 bytes. States in which nothing but a write with FUA reached the disk: the loop device turns it into a
write and a flush. A full disk or a bad block while the journal is replayed. No finite number of points is
every state.
"""


def _options() -> str:
    record = records.read("options")
    rows = [
        [
            row["file_system"],
            f"`{row['options']}`" if row["options"] else "as usual",
            row["piece"],
            row["points"],
            ", ".join(f"{kind} {count}" for kind, count in row["found"].items()) or 0,
        ]
        for row in record["rows"]
    ]
    columns = ["file system", "options", "pieces", "points", "violations"]
    note = """
A disk that tears blocks can leave ext4 and btrfs unable to mount, whatever was saved: ext4's superblock is
two sectors under one checksum, and is read before the journal that would mend it; that of btrfs is one
block of 4096 bytes.
"""
    return _when(record) + ("\n" + table(columns, rows) + note if rows else "")


def _faults() -> str:
    injected = records.read("inject")
    rows = injected["rows"]
    return f"""
# Faults

## Every system call, from outside

For each public way to save, strace makes each system call of the save fail, once and from then on, with
every error that applies to it, and kills the process at each. Afterwards: the target is the whole old or
the whole new file or directory, and of a transaction all files are old or all are new, once
`durably.recover` has run where that is asked for; a plain error means the old ones; a flush that failed is
never called durable; metadata are kept or named as lost; nothing is left over that the error does not name,
and after a kill nothing that `durably.sweep` does not remove. The campaign counts only if it finds out four
ways to save that are wrong.

{_when(injected)}
{_counts(rows)}
{_tally("by error", rows, "errors")}
{_tally("by call", rows, "calls")}
{_tally("how the saves ended", rows, "endings")}
One that was missed was aimed at a call that the save did not make this time, because something was cached.

## A disk that fails a write

The disk answers one write, each time another one, with an error; afterwards nothing that was reported as
saved may be missing. Most of those writes are made long after the call that caused them.

{_listed("faults", _DISKS)}"""


_DISKS = (
    ("file_system", "file system"),
    ("workloads", "workloads"),
    ("writes", "failed writes"),
    ("reported", "times a save reported it"),
    ("violations", "violations"),
)


def _counts(rows: list[dict[str, Any]]) -> str:
    keys = ("file_system", "ways", "faults", "kills", "missed", "violations", "per_second")
    columns = ("file system", "ways to save", "faults", "of them kills", "missed", "violations", "a second")
    return table(columns, [[row[key] for key in keys] for row in rows]) if rows else ""


def _tally(title: str, rows: list[dict[str, Any]], key: str) -> str:
    if not rows:
        return ""
    names = sorted({name for row in rows for name in row[key]})
    lines = [[f"`{name}`", *(row[key].get(name, 0) for row in rows)] for name in names]
    return table([title, *(row["file_system"] for row in rows)], lines)


def _peers() -> str:
    record = records.read("peers")
    rows = record["rows"]
    names = dict.fromkeys(f"{row['name']} {row['version']}".strip() for row in rows)
    cells = {(f"{row['name']} {row['version']}".strip(), row["file_system"]): row for row in rows}
    kinds = [kind for kind in KINDS if any(row["file_system"] == kind for row in rows)]
    counted: Callable[[str, str], str] = lambda name, kind: " / ".join(  # noqa: E731
        str(cells[name, kind][key]) for key in ("torn", "lost", "litter")
    )
    lines = [[name, *(counted(name, kind) for kind in kinds)] for name in names]
    points = ", ".join(map(str, sorted({row["points"] for row in rows})))
    return f"""
# Other libraries

Each saves one file again and again with its strongest setting, in the same rig. Of {points} power cuts on
each file system, those after which

- a file was torn: empty, zeros, or a part
- an acknowledged file was lost or old
- a temporary was left over: no defect of a save that was cut off; what matters is who removes it

{_when(record)}
{table(["torn / lost or old / left over", *kinds], lines) if rows else ""}
![the same as a picture](peers.svg)

"recipe" is the classic one: a temporary file, fsync, rename, fsync of the directory. A library that works
in native code cannot be interrupted between its own steps, so its zeros weigh less.
"""
