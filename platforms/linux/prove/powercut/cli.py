"""The commands. Exit codes: 0 all held, 1 something did not, 2 wrong usage, 77 this machine cannot."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile

from . import doctor
from .file_systems import FILE_SYSTEMS

SKIPPED = 77
_KEEP = os.path.join(tempfile.gettempdir(), "powercut-logs")


def main(arguments: list[str]) -> int:
    """Run one command; the exit code."""
    asked = _parser().parse_args(arguments)
    kinds: list[str] = getattr(asked, "file_system", None) or list(FILE_SYSTEMS)
    reasons = doctor.machine()
    if asked.command == "doctor":
        return _doctor(reasons, kinds)
    lacking = {} if reasons else {kind: why for kind in kinds if (why := doctor.file_system(kind))}
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
    found = {"this machine": reasons, "overlay": doctor.overlay() if sys.platform == "linux" else []}
    if sys.platform == "linux":
        found.update({kind: doctor.file_system(kind) for kind in kinds})
    for what, whys in found.items():
        print(f"{what}: {'; '.join(whys) or 'ready'}")
    return SKIPPED if any(found.values()) else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m prove", description="Cut the power, and look.")
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run", help="the product: nothing may be wrong")
    _add_choice(run)
    run.add_argument("--workload", action="append", help="by default, all of the product's; again for more")
    run.add_argument("--writer", default="", help="module:function, called with a path and bytes, instead")
    run.add_argument("--options", default="", help="more options of mount")
    run.add_argument("--points", type=int, default=1000, help="for each file system (1000)")
    run.add_argument("--exhaustive", action="store_true", help="every position of the log, four subsets each")
    run.add_argument("--rounds", type=int, default=0, help="saves a workload (60; 3 if exhaustive)")
    run.add_argument("--piece", type=int, default=4096, choices=(512, 4096), help="what is written as one")
    run.add_argument("--record", action="store_true", help="write the proofs into platform.toml")
    run.add_argument("--keep", default=_KEEP, help=f"where the logs of failures go ({_KEEP})")
    replay = commands.add_parser("replay", help="one state of a kept log again")
    replay.add_argument("log")
    replay.add_argument("--point", type=int, required=True)
    replay.add_argument("--seed", type=int, required=True)
    replay.add_argument("--piece", type=int, default=4096, choices=(512, 4096))
    replay.add_argument("--image", default="", help="write the disk into this file")
    controls = commands.add_parser("controls", help="what is wrong on purpose: all of it must show")
    _add_choice(controls)
    controls.add_argument("--workload", action="append", help="by default, all of them; again for more")
    again = commands.add_parser("again", help="cut off, recovered, and cut off again: nothing may be wrong")
    _add_choice(again)
    again.add_argument("--workload", action="append", help="by default, all of the product's; again for more")
    again.add_argument("--states", type=int, default=3, help="of each workload: how many recoveries (3)")
    again.add_argument("--points", type=int, default=20, help="of each recovery (20)")
    again.add_argument("--keep", default=_KEEP, help=f"where the logs of failures go ({_KEEP})")
    faults = commands.add_parser("faults", help="a disk that fails a write: no loss may be reported as saved")
    _add_choice(faults)
    faults.add_argument("--writes", type=int, default=20, help="of each workload; 0: all (20)")
    faults.add_argument("--record", action="store_true", help="keep the counts for the pages")
    faults.add_argument("--keep", default=_KEEP, help=f"where the logs of failures go ({_KEEP})")
    inject = commands.add_parser("inject", help="strace fails each call of each save, and kills at each")
    _add_choice(inject)
    inject.add_argument("--faults", type=int, default=0, help="for each file system; 0: all (0)")
    inject.add_argument("--way", action="append", help="by default, every way to save; again for more")
    inject.add_argument("--record", action="store_true", help="keep the counts for the pages")
    peers = commands.add_parser("peers", help="the same with other libraries, where they are installed")
    _add_choice(peers)
    peers.add_argument("--points", type=int, default=300, help="for each file system and library (300)")
    ci = commands.add_parser("ci", help="a short run of the product, and all controls")
    _add_choice(ci)
    ci.add_argument("--points", type=int, default=300, help="for each file system (300)")
    ci.add_argument("--keep", default=_KEEP, help=f"where the logs of failures go ({_KEEP})")
    commands.add_parser("doctor", help="what this machine lacks")
    commands.add_parser("list", help="the workloads and the controls")
    return parser


def _add_choice(parser: argparse.ArgumentParser) -> None:
    kinds = list(FILE_SYSTEMS)
    parser.add_argument("--file-system", action="append", choices=kinds, help="all, if left out")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
