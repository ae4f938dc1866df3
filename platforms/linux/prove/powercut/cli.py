"""The commands. Exit codes: 0 all held, 1 something did not, 2 wrong usage, 77 this machine cannot."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile

from .. import pages
from . import doctor
from .file_systems import FILE_SYSTEMS

SKIPPED = 77
_KEEP = os.path.join(tempfile.gettempdir(), "powercut-logs")


def main(arguments: list[str]) -> int:
    """Run one command; the exit code."""
    asked = _parser().parse_args(arguments)
    if asked.command == "pages":
        return pages.main(check=asked.check)
    if asked.command == "odd":
        from ..odd import command

        return command.main(record=asked.record)
    kinds: list[str] = getattr(asked, "file_system", None) or list(FILE_SYSTEMS)
    reasons = doctor.machine()
    if asked.command == "doctor":
        return _doctor(reasons, kinds)
    lacking = {} if reasons else {kind: why for kind in kinds if (why := doctor.file_system(kind))}
    if asked.command in ("inject", "ci"):
        reasons += doctor.strace()
    for reason in reasons:
        print(f"SKIPPED: {reason}")
    for kind, whys in lacking.items():
        print(f"SKIPPED {kind}: {'; '.join(whys)}")
    if (reasons or lacking) and os.environ.get("POWERCUT_REQUIRE") == "1":
        print("FAILED: POWERCUT_REQUIRE=1, and this machine cannot run all of it")
        return 1
    asked.file_system = [kind for kind in kinds if kind not in lacking]
    if reasons or not asked.file_system:
        return SKIPPED
    from . import commands

    return commands.COMMANDS[asked.command](asked)


def _doctor(reasons: list[str], kinds: list[str]) -> int:
    found = {"this machine": reasons}
    if sys.platform == "linux":
        found.update({"strace": doctor.strace(), "overlay": doctor.overlay()})
        found.update({kind: doctor.file_system(kind) for kind in kinds})
    for what, whys in found.items():
        print(f"{what}: {'; '.join(whys) or 'ready'}")
    return SKIPPED if any(found.values()) else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m prove", description="Cut the power, and look.")
    commands = parser.add_subparsers(dest="command", required=True)
    _add_run(commands.add_parser("run", help="the product: nothing may be wrong"))
    _add_replay(commands.add_parser("replay", help="one state of a kept log again"))
    controls = commands.add_parser("controls", help="what is wrong on purpose: all of it must show")
    _add_choice(controls, workload=True, record=True)
    again = commands.add_parser("again", help="cut off, recovered, and cut off again: nothing may be wrong")
    _add_choice(again, workload=True, record=True, keep=True)
    again.add_argument("--states", type=int, default=3, help="of each workload: how many recoveries (3)")
    again.add_argument("--points", type=int, default=20, help="of each recovery (20)")
    faults = commands.add_parser("faults", help="a disk that fails a write: no loss may be reported as saved")
    _add_choice(faults, workload=True, record=True, keep=True)
    faults.add_argument("--writes", type=int, default=20, help="of each workload; 0: all (20)")
    inject = commands.add_parser("inject", help="strace fails each call of each save, and kills at each")
    _add_choice(inject, record=True)
    inject.add_argument("--faults", type=int, default=0, help="for each file system; 0: all (0)")
    inject.add_argument("--way", action="append", help="by default, every way to save; again for more")
    options = commands.add_parser("options", help="other options of mount, and a disk that tears blocks")
    _add_choice(options, record=True, keep=True)
    options.add_argument("--points", type=int, default=2000, help="for each setting (2000)")
    peers = commands.add_parser("peers", help="the same with other libraries, where they are installed")
    _add_choice(peers, record=True)
    peers.add_argument("--points", type=int, default=300, help="for each file system and library (300)")
    ci = commands.add_parser("ci", help="a short run of all of it")
    _add_choice(ci, keep=True)
    ci.add_argument("--points", type=int, default=300, help="for each file system (300)")
    written = commands.add_parser("pages", help="write docs/proofs from what was recorded")
    written.add_argument("--check", action="store_true", help="fail if a page is not what was recorded")
    odd = commands.add_parser("odd", help="every entry point on overlays, FUSE, NFS, FAT, a mounted file")
    odd.add_argument("--record", action="store_true", help="keep what came of it for the pages")
    commands.add_parser("doctor", help="what this machine lacks")
    commands.add_parser("list", help="the workloads and the controls")
    return parser


def _add_run(run: argparse.ArgumentParser) -> None:
    _add_choice(run, workload=True, record=True, keep=True)
    run.add_argument("--writer", default="", help="module:function, called with a path and bytes, instead")
    run.add_argument("--options", default="", help="more options of mount")
    run.add_argument("--points", type=int, default=1000, help="for each file system (1000)")
    run.add_argument("--exhaustive", action="store_true", help="every position of the log, four subsets each")
    run.add_argument("--several", action="store_true", help="only what saves several files by one act")
    run.add_argument("--rounds", type=int, default=0, help="saves a workload (60; 3 if exhaustive)")
    run.add_argument("--piece", type=int, default=4096, choices=(512, 4096), help="what is written as one")


def _add_replay(replay: argparse.ArgumentParser) -> None:
    replay.add_argument("log")
    replay.add_argument("--point", type=int, required=True)
    replay.add_argument("--seed", type=int, required=True)
    replay.add_argument("--piece", type=int, default=4096, choices=(512, 4096))
    replay.add_argument("--image", default="", help="write the disk into this file")


def _add_choice(
    parser: argparse.ArgumentParser, *, workload: bool = False, record: bool = False, keep: bool = False
) -> None:
    kinds = list(FILE_SYSTEMS)
    parser.add_argument("--file-system", action="append", choices=kinds, help="all, if left out")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    if workload:
        parser.add_argument("--workload", action="append", help="by default, all of them; again for more")
    if record:
        parser.add_argument("--record", action="store_true", help="keep what came of it for the pages")
    if keep:
        parser.add_argument("--keep", default=_KEEP, help=f"where the logs of failures go ({_KEEP})")
