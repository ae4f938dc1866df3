"""Many small files: durably.Batch beside the classic recipe in a loop, and beside the same calls in C.

    python tests/benchmarks/batches.py [--quick] [--rounds N] [--json FILE] [--disk DIRECTORY] [FIGURE ...]

Figures: ext4, xfs, btrfs, growth; without a name, all of them. Each file system is a fresh image,
mounted where only this process sees it; that takes root.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import durably
from calls import compiler
from durably._native import linux
from rounds import Ratio, Rounds, Target

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_CONTENT = b"x" * 4096
_SOURCE = Path(__file__).with_name("batch.c")
_NEW_MOUNTS = 0x20000
_IMAGE_MIB = 2048
_BATCH = "durably.Batch"
_RECIPE = "the classic recipe in a loop"
_SAME = "the same calls, in C"
# Times faster than the recipe, with new files and with replaced ones.
_TARGETS = {"ext4": (12.0, 10.0), "xfs": (8.0, 7.0), "btrfs": (15.0, 10.0)}
_GROWTH = (100, 1_000, 10_000, 100_000)
_MEASURE = """
import sys, time
import durably
directory, count = sys.argv[1], int(sys.argv[2])
content = b"x" * 4096
start = time.perf_counter()
with durably.Batch() as batch:
    for number in range(count):
        batch.write_bytes(f"{directory}/{number}", content)
taken = time.perf_counter() - start
assert len(batch.receipt.saved) == count
with open("/proc/self/status") as status:
    peak = next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))
print(taken, peak)
"""


@contextmanager
def fresh(kind: str, parent: Path) -> Iterator[Path]:
    """A fresh file system in an image on the disk that ``parent`` lies on."""
    if ctypes.CDLL(None, use_errno=True).unshare(_NEW_MOUNTS) != 0:
        raise OSError(ctypes.get_errno(), "no mount namespace of one's own: this takes root")
    subprocess.run(["mount", "--make-rprivate", "/"], check=True)
    with tempfile.TemporaryDirectory(prefix=".durably-benchmark-", dir=parent) as directory:
        image, mountpoint = Path(directory) / "image", Path(directory) / kind
        mountpoint.mkdir()
        with image.open("wb") as file:
            file.truncate(_IMAGE_MIB << 20)
        subprocess.run([f"mkfs.{kind}", "-q", image], check=True)
        subprocess.run(["mount", "-o", "loop", image, mountpoint], check=True)
        try:
            yield mountpoint
        finally:
            subprocess.run(["umount", mountpoint], check=True)


@contextmanager
def _in_c(count: int) -> Iterator[Callable[[Path], float] | None]:
    """The C program, which saves to a directory and returns the seconds; None where it cannot be had."""
    found = compiler()
    if found is None:
        yield None
        return
    with tempfile.TemporaryDirectory(prefix="durably-") as built:
        program = Path(built) / "batch"
        subprocess.run([found, "-O2", "-o", program, _SOURCE], check=True)
        with subprocess.Popen([program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:

            def save(directory: Path) -> float:
                assert process.stdin is not None
                assert process.stdout is not None
                process.stdin.write(f"{directory} {count}\n")
                process.stdin.flush()
                return int(process.stdout.readline()) / 1e9

            yield save
            process.communicate()


def _in_python(save: Callable[[str, int], None], count: int) -> Callable[[Path], float]:
    def timed(directory: Path) -> float:
        start = time.perf_counter()
        save(str(directory), count)
        return time.perf_counter() - start

    return timed


def _batch(directory: str, count: int) -> None:
    with durably.Batch() as batch:
        for number in range(count):
            batch.write_bytes(f"{directory}/{number}", _CONTENT)


def recipe(directory: str, count: int) -> None:
    for number in range(count):
        _save(f"{directory}/{number}")


def _save(path: str) -> None:
    """The classic recipe, flushed to the end."""
    directory = os.path.dirname(path)
    fd, temporary = tempfile.mkstemp(dir=directory)
    try:
        with open(fd, "wb") as file:
            file.write(_CONTENT)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
    above = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(above)
    finally:
        os.close(above)


def on_fresh(kind: str, parent: Path, rounds: int, count: int) -> list[Ratio]:
    """New files and replaced ones, each contender in a directory of its own."""
    found: list[Ratio] = []
    with fresh(kind, parent) as place, _in_c(count) as in_c:
        savers = {_BATCH: _in_python(_batch, count), _RECIPE: _in_python(recipe, count)}
        if in_c is not None:
            savers[_SAME] = in_c
        for replaced, target in enumerate(_TARGETS[kind]):
            contenders = {
                name: _round(place / f"{number}", save, replaced=bool(replaced))
                for number, (name, save) in enumerate(savers.items())
            }
            what = f"{count} files of 4 KiB, {'replaced' if replaced else 'new'}, fresh {kind}, durable"
            measured = Rounds(what, contenders, rounds)
            found.append(measured.ratio(_RECIPE, _BATCH, Target(target, at_least=True)))
            if in_c is not None:
                found.append(measured.ratio(_BATCH, _SAME, Target(1.3)))
    return found


def _round(directory: Path, save: Callable[[Path], float], *, replaced: bool) -> Callable[[], float]:
    def timed() -> float:
        if directory.exists() and not replaced:
            shutil.rmtree(directory)
        directory.mkdir(exist_ok=True)
        _drain(directory)
        return save(directory)

    if replaced:
        directory.mkdir(exist_ok=True)
        save(directory)
    return timed


def _drain(directory: Path) -> None:
    """Have written what others have left: it is not the next contender's to write."""
    fd = os.open(directory, os.O_RDONLY)
    try:
        linux.syncfs(fd)
    finally:
        os.close(fd)


def growth(parent: Path, rounds: int) -> list[dict[str, str | float]]:
    """The time of one file, and the peak of the process's memory, from 100 files to 100,000."""
    found: list[dict[str, str | float]] = []
    for kind in _TARGETS:
        with fresh(kind, parent) as place:
            for count in _GROWTH:
                runs = [_grown(place / f"{count}-{number}", count) for number in range(rounds)]
                seconds, peak = min(run[0] for run in runs), max(run[1] for run in runs)
                each, mebibytes = seconds / count * 1e6, peak / 1024
                print(
                    f"{kind}: {count} files: {each:.1f} us each, {mebibytes:.1f} MiB at the peak", flush=True
                )
                found.append({"file_system": kind, "files": count, "us_each": each, "peak_mib": mebibytes})
    return found


def _grown(directory: Path, count: int) -> tuple[float, float]:
    directory.mkdir()
    _drain(directory)
    command = [sys.executable, "-c", _MEASURE, str(directory), str(count)]
    taken, peak = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    shutil.rmtree(directory)
    return float(taken), float(peak)


def main() -> None:
    """Run the figures that were asked for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("figure", nargs="*", choices=[*_TARGETS, "growth", []], help="default: all")
    parser.add_argument("--quick", action="store_true", help="few rounds: to see that the figures run")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the findings to a data file as well")
    parser.add_argument("--disk", type=Path, default=Path.cwd(), metavar="DIRECTORY", help="for the images")
    arguments = parser.parse_args()
    wanted = arguments.figure or [*_TARGETS, "growth"]
    ratios: list[Ratio] = []
    for kind in filter(_TARGETS.__contains__, wanted):
        rounds, count = (3, 200) if arguments.quick else (arguments.rounds, 1000)
        for ratio in on_fresh(kind, arguments.disk, rounds, count):
            ratios.append(ratio)
            print(
                f"{ratio.figure}: {ratio.contender} takes {ratio.median:.2f} x the time of {ratio.base} "
                f"({ratio.low:.2f}-{ratio.high:.2f}; {ratio.seconds * 1e3:.1f} ms); "
                f"{ratio.target}: {ratio.verdict}",
                flush=True,
            )
    grown = growth(arguments.disk, 1 if arguments.quick else 3) if "growth" in wanted else []
    if arguments.json:
        data = {"ratios": [ratio.as_data() for ratio in ratios], "growth": grown}
        arguments.json.write_text(json.dumps(data, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
