"""Make the source distribution and the wheel, and save a file with the wheel on every Python that is here.

    release.py OUT

The wheel is made from the unpacked source distribution, as an installer would. What lies in OUT
afterwards is what is published: one .tar.gz and one .whl, both checked by ``twine check --strict``. Each
Python from 3.11 to the newest that can be found by its name (python3.11, python3.12, ...) then gets an
environment of its own with the wheel alone. Needs build and twine.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

PROJECT = Path(__file__).parent.parent
FIRST, LAST = 11, 20
# What somebody does who has installed durably alone: saves, and asks for what needs an extra.
USE = """
import pathlib, sys
import durably
assert durably.write_bytes("saved", b"saved").size == 5
with durably.open("saved", "a") as file:
    file.write(" and more")
with durably.Batch() as batch:
    batch.write_text("of a batch", "whole")
with durably.Transaction(".") as txn:
    txn.remove("of a batch")
assert [path.name for path in pathlib.Path().iterdir()] == ["saved"]
assert pathlib.Path("saved").read_bytes() == b"saved and more"
for statement in ("import durably.filesystem", "durably.open('memory://x', 'w')"):
    try:
        exec(statement)
    except (ImportError, durably.UnsupportedError) as error:
        assert "pip install 'durably[fsspec]'" in str(error), error
    else:
        raise AssertionError(statement)
print("Python", sys.version.split()[0], "saved with durably", durably.__version__)
"""


def run(*command: object, cwd: Path | None = None) -> str:
    """What a command printed. Exits with what it said if it failed."""
    words = [str(word) for word in command]
    done = subprocess.run(words, cwd=cwd, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(words)}\n{done.stdout}{done.stderr}")
    return done.stdout


def built(out: Path) -> Path:
    """The wheel, made from the source distribution and lying beside it."""
    if out.exists() and any(out.iterdir()):
        sys.exit(f"release.py: {out} is not empty")
    run(sys.executable, "-m", "build", "--outdir", out, PROJECT)
    run(sys.executable, "-m", "twine", "check", "--strict", *out.iterdir())
    (wheel,) = out.glob("*.whl")
    return wheel


def pythons() -> list[str]:
    """Every supported Python that can be found by its name, and runs."""
    named = [shutil.which(f"python3.{minor}") for minor in range(FIRST, LAST)]
    return [python for python in named if python and runs(python)] or [sys.executable]


def runs(python: str) -> bool:
    """Whether it starts: the shim of a version manager may stand for a version that is not chosen."""
    return subprocess.call([python, "-c", ""], stderr=subprocess.DEVNULL) == 0


def use(python: str, wheel: Path) -> str:
    """What using the wheel alone prints, in a clean environment of that Python."""
    with tempfile.TemporaryDirectory() as made:
        place = Path(made)
        saves = place / "saves"
        saves.mkdir()
        run(python, "-m", "venv", place / "clean")
        clean = place / "clean" / ("Scripts" if sys.platform == "win32" else "bin") / "python"
        run(clean, "-m", "pip", "install", "-q", "--no-index", "--no-deps", wheel)
        return run(clean, "-I", "-W", "error", "-c", USE, cwd=saves)


def main() -> None:
    """Build into the directory that was named, and try what was built."""
    if len(sys.argv) != 2:  # noqa: PLR2004 # the program and one directory
        sys.exit("usage: release.py OUT")
    wheel = built(Path(sys.argv[1]).absolute())
    print(wheel.name)
    for python in pythons():
        print(use(python, wheel), end="")


if __name__ == "__main__":
    main()
