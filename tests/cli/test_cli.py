"""The command line: what is on the disk afterwards, what is said, and the exit code."""

from __future__ import annotations

import errno
import json
import os
import runpy
import signal
import stat
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

import durably
from capabilities import needs_file_system, needs_mount, needs_open_files_replaced, needs_posix, needs_proc
from durably import __main__, testing
from durably._cli import copying, exit_codes
from durably._cli import main as command_line
from durably._cli import options as _options
from durably._cli import write as _write
from durably._cli.output import shown
from durably._cli.report import Report
from durably._system import temp_names
from mounts import mounted

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from cli_fixtures import Cli

    Body = Callable[[str, int], BaseException | None]

COMMAND = [sys.executable, "-m", "durably"]
LARGE = os.urandom(1 << 16) * 50


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Every test in an empty directory of its own."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def old(here: Path) -> Path:
    path = here / "file"
    path.write_bytes(b"old")
    return path


class Refusing(testing.RecordingSyscalls):
    """A table whose calls raise what ``body`` returns for their name and how often it was called."""

    def __init__(self, body: Body) -> None:
        super().__init__()
        self.body = body

    def _before(
        self, name: str, arguments: object, keywords: object, function: Callable[..., object]
    ) -> None:
        error = self.body(name, self.names.count(name))
        if error is not None:
            raise error


def failing(**errors: int) -> Refusing:
    """A table whose calls of these names fail, always, with these errnos."""
    return Refusing(
        lambda name, _: OSError(errors[name], os.strerror(errors[name])) if name in errors else None
    )


def names(directory: Path) -> list[str]:
    return sorted(os.listdir(directory))


def execute(*arguments: str, **keywords: Any) -> subprocess.CompletedProcess[bytes]:
    """The command line as its users start it."""
    return subprocess.run([*COMMAND, *arguments], capture_output=True, check=False, timeout=60, **keywords)


# write, from standard input


def test_write_replaces_a_file_and_says_nothing_more_than_needed(cli: Cli, old: Path) -> None:
    done = cli("write", "file", "--durability", "none", stdin=LARGE)
    assert done == (0, "", "")
    assert old.read_bytes() == LARGE
    assert names(old.parent) == ["file"]


def test_write_saves_empty_input_as_an_empty_file(cli: Cli, old: Path) -> None:
    assert cli("write", "file", stdin=b"").code == 0
    assert old.read_bytes() == b""


def test_write_reports_its_receipt_as_json(cli: Cli, old: Path) -> None:
    receipt = cli("write", "--json", "file", stdin=b"12345").json
    assert (receipt["path"], receipt["size"], receipt["replaced"], receipt["in_place"]) == (
        "file",
        5,
        True,
        False,
    )
    assert receipt["durability"] in list(durably.Durability)
    assert "fsync" in receipt["steps"]


@needs_posix
@pytest.mark.parametrize(("level", "flushes"), [("none", 0), ("consistent", 1), ("durable", 2)])
def test_the_durability_is_the_one_asked_for(cli: Cli, level: str, flushes: int) -> None:
    calls = testing.RecordingSyscalls()
    assert cli("write", "file", "--durability", level, calls=calls).code == 0
    assert calls.names.count("fsync") == flushes


def test_no_overwrite_keeps_the_file(cli: Cli, old: Path) -> None:
    done = cli("write", "--no-overwrite", "file")
    assert done.code == 1
    assert done.err == (
        "durably: file: File exists; the target was not changed; leave out --no-overwrite to replace it\n"
    )
    assert old.read_bytes() == b"old"
    assert cli("write", "--no-overwrite", "another").code == 0


def test_make_parents(cli: Cli, here: Path) -> None:
    done = cli("write", "a/b/file")
    assert done.code == 1
    assert done.err.endswith("; the target was not changed; --make-parents makes missing directories\n")
    assert names(here) == []
    assert cli("write", "a/b/file", "--make-parents").code == 0
    assert (here / "a/b/file").read_bytes() == b"new"


@needs_posix
def test_permissions_and_metadata(cli: Cli, old: Path) -> None:
    assert cli("write", "file", "--permissions", "640").code == 0
    assert stat.S_IMODE(old.stat().st_mode) == 0o640
    assert cli("write", "file").code == 0
    assert stat.S_IMODE(old.stat().st_mode) == 0o640
    before = os.umask(0o002)
    try:
        assert cli("write", "file", "--metadata", "fresh").code == 0
    finally:
        os.umask(before)
    assert stat.S_IMODE(old.stat().st_mode) == 0o664


@needs_posix
def test_symlinks(cli: Cli, old: Path, here: Path) -> None:
    link = here / "link"
    link.symlink_to("file")
    assert cli("write", "link", "--symlinks", "refuse").code == 1
    assert old.read_bytes() == b"old"
    assert cli("write", "link", stdin=b"followed").code == 0
    assert (link.is_symlink(), old.read_bytes()) == (True, b"followed")
    assert cli("write", "link", "--symlinks", "replace").code == 0
    assert (link.is_symlink(), link.read_bytes(), old.read_bytes()) == (False, b"new", b"followed")


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("file", "--permissions", "9"),
        ("file", "--durability", "high"),
        ("file", "--no-overwrite", "--allow-in-place"),
        ("file", "--"),
        ("file", "another"),
        ("--", "file"),
    ],
)
def test_wrong_usage_does_nothing(cli: Cli, old: Path, arguments: tuple[str, ...]) -> None:
    done = cli("write", *arguments)
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("Usage: durably write [OPTIONS] PATH [-- COMMAND...]")
    assert old.read_bytes() == b"old"


def test_a_second_path_is_not_run(cli: Cli, here: Path) -> None:
    script = here / "script"
    script.write_text("#!/bin/sh\ntouch ran\n")
    script.chmod(0o755)
    assert cli("write", "file", "./script").code == 2
    assert names(here) == ["script"]


@pytest.mark.parametrize("target", [".", "http://host/file"])
def test_what_cannot_be_saved_to_is_refused(cli: Cli, here: Path, target: str) -> None:
    done = cli("write", target)
    assert done.code == 1
    assert done.err.startswith(f"durably: {target}: ")
    assert done.err.count("\n") == 1
    assert names(here) == []


@needs_open_files_replaced
def test_standard_input_may_be_the_target(old: Path) -> None:
    with old.open("rb") as file:
        assert execute("write", "file", stdin=file).returncode == 0
    assert old.read_bytes() == b"old"


def test_closed_standard_input_is_an_error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], old: Path
) -> None:
    monkeypatch.setattr(sys, "stdin", None)
    assert command_line.run(["write", "file"]) == 1
    assert capsys.readouterr().err == "durably: file: standard input is closed; the target was not changed\n"
    assert old.read_bytes() == b"old"


@needs_posix
def test_standard_input_that_does_not_block_is_read_to_its_end(
    monkeypatch: pytest.MonkeyPatch, old: Path
) -> None:
    assert sys.platform != "win32"
    reader, writer = os.pipe()
    os.set_blocking(reader, False)

    def feed() -> None:
        for piece in (b"one ", b"two"):
            time.sleep(0.1)
            os.write(writer, piece)
        os.close(writer)

    thread = threading.Thread(target=feed)
    with os.fdopen(reader) as file:
        monkeypatch.setattr(sys, "stdin", file)
        thread.start()
        assert command_line.run(["write", "file", "-q"]) == 0
        thread.join()
    assert old.read_bytes() == b"one two"


@needs_proc
def test_standard_input_that_cannot_be_read_is_an_error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], old: Path
) -> None:
    with open("/proc/self/mem", encoding="latin-1") as unreadable:
        monkeypatch.setattr(sys, "stdin", unreadable)
        assert command_line.run(["write", "file"]) == 1
    message = f"standard input cannot be read: {os.strerror(errno.EIO)}; the target was not changed"
    assert capsys.readouterr().err == f"durably: file: {message}\n"
    assert old.read_bytes() == b"old"


# write, from a command


def test_a_commands_output_is_saved(cli: Cli, old: Path) -> None:
    code = "import sys; sys.stdout.write('x' * 3_000_000)"
    assert cli("write", "file", "-q", "--", sys.executable, "-c", code) == (0, "", "")
    assert old.read_bytes() == b"x" * 3_000_000


def test_a_commands_own_options_are_its_own(cli: Cli, old: Path) -> None:
    code = "import sys; print(sys.argv[1:], end='')"
    cli("write", "file", "--", sys.executable, "-c", code, "--json", "--", "-q")
    assert old.read_bytes() == b"['--json', '--', '-q']"


@needs_posix
@pytest.mark.parametrize(
    ("script", "ending", "status"),
    [
        ("exit 3", "exited with 3", 3),
        ("kill -9 $$", "was killed by SIGKILL", -9),
        ("kill -40 $$", "was killed by signal 40", -40),
    ],
)
def test_a_failed_commands_output_is_thrown_away(
    cli: Cli, old: Path, script: str, ending: str, status: int
) -> None:
    done = cli("write", "file", "--json", "--", "sh", "-c", f"echo new; {script}")
    assert done.code == 5
    assert done.err == f"durably: file: 'sh' {ending}; the target was not changed\n"
    assert (done.json["error"]["kind"], done.json["error"]["status"]) == ("CommandError", status)
    assert old.read_bytes() == b"old"
    assert names(old.parent) == ["file"]


def test_a_command_that_does_not_exist(cli: Cli, old: Path) -> None:
    done = cli("write", "file", "--json", "--", "./no-such-command")
    assert done.code == 5
    assert done.err.startswith("durably: file: './no-such-command' cannot be run: ")
    assert done.json["error"]["status"] is None
    assert names(old.parent) == ["file"]


def test_the_command_is_not_run_where_its_output_could_not_be_saved(cli: Cli, here: Path) -> None:
    code = "open('ran', 'w')"
    assert cli("write", "no/file", "--", sys.executable, "-c", code).code == 1
    assert names(here) == []


def test_the_commands_standard_error_and_input_pass_through(old: Path) -> None:
    code = "import sys; print(sys.stdin.read()); print('oops', file=sys.stderr)"
    done = execute("write", "file", "-q", "--", sys.executable, "-c", code, input=b"through")
    assert (done.returncode, done.stdout, done.stderr.split()) == (0, b"", [b"oops"])
    assert old.read_bytes().split() == [b"through"]


@needs_posix
@pytest.mark.parametrize("handler", ["SIG_DFL", "SIG_IGN"])
def test_a_command_is_ended_when_its_output_cannot_be_saved(
    cli: Cli, old: Path, monkeypatch: pytest.MonkeyPatch, handler: str
) -> None:
    monkeypatch.setattr(_write, "_GRACE", 0.2)
    endless = (
        f"import signal; signal.signal(signal.SIGTERM, signal.{handler})\nwhile True: print('x' * 99999)"
    )
    done = cli("write", "file", "--", sys.executable, "-c", endless, calls=failing(write=errno.ENOSPC))
    assert done.code == 1
    assert done.err.endswith(
        f"{os.strerror(errno.ENOSPC)}; the target was not changed; make room and try again\n"
    )
    assert old.read_bytes() == b"old"
    assert names(old.parent) == ["file"]


@needs_mount
def test_a_full_file_system(cli: Cli, here: Path) -> None:
    with mounted("tmpfs", here / "small", options="size=64k"):
        assert cli("write", "small/file", stdin=b"old").code == 0
        assert cli("write", "small/file", stdin=LARGE).code == 1
        assert (here / "small/file").read_bytes() == b"old"
        assert names(here / "small") == ["file"]


# What happens when it breaks off


def directory_flush_fails(name: str, count: int) -> OSError | None:
    return OSError(errno.EIO, "broken") if (name, count) == ("fsync", 2) else None


@needs_posix
def test_saved_but_not_durable(cli: Cli, old: Path) -> None:
    done = cli("write", "file", "--json", calls=Refusing(directory_flush_fails))
    assert done.code == 3
    error = done.json["error"]
    assert (error["kind"], error["errno"], error["path"]) == ("NotDurableError", errno.EIO, "file")
    assert error["receipt"]["replaced"] is True
    assert done.err == f"durably: file: {error['message']}\n"
    assert old.read_bytes() == b"new"


@needs_posix
def test_an_unknown_outcome(cli: Cli, old: Path) -> None:
    done = cli("write", "file", calls=failing(replace=errno.EIO, stat=errno.EIO))
    assert done.code == 4
    assert done.err.endswith("; the target holds the whole old or the whole new file: look, or save again\n")
    assert old.read_bytes() == b"old"


def tearing(last: Callable[[], BaseException]) -> Refusing:
    """No rename is possible, and the rewrite in place breaks off."""

    def body(name: str, count: int) -> BaseException | None:
        if name == "replace":
            return OSError(errno.EBUSY, "busy")
        return last() if (name, count) == ("write", 2) else None

    return Refusing(body)


@needs_posix
def test_torn_in_place(cli: Cli, old: Path) -> None:
    done = cli(
        "write", "file", "--allow-in-place", "--json", calls=tearing(lambda: OSError(errno.EIO, "broken"))
    )
    assert done.code == 6
    staged = done.json["error"]["staged"]
    assert done.json["error"]["leftovers"] == [staged]
    assert staged in done.err
    assert done.err.endswith("; move that over the target once the cause is removed\n")
    with open(staged, "rb") as file:
        assert file.read() == b"new"


@needs_posix
def test_an_interrupt_while_rewriting_in_place(cli: Cli, old: Path) -> None:
    done = cli("write", "file", "--allow-in-place", calls=tearing(KeyboardInterrupt))
    assert done.code == 130
    assert done.err.startswith(
        "durably: file: interrupted; the target may hold a part of the new content; left over: "
    )
    left = next(name for name in names(old.parent) if name != "file")
    assert (old.parent / left).read_bytes() == b"new"


@needs_posix
def test_rewritten_in_place(cli: Cli, old: Path) -> None:
    done = cli("write", "file", "--allow-in-place", calls=failing(replace=errno.EBUSY))
    assert done.code == 0
    assert done.err == "durably: file: saved; rewritten in place, which a crash could have torn\n"
    assert old.read_bytes() == b"new"
    done = cli("write", "file", stdin=b"x", calls=failing(replace=errno.EBUSY))
    assert done.code == 1
    assert done.err.endswith("; --allow-in-place rewrites the file itself where it cannot be replaced\n")
    assert old.read_bytes() == b"new"


@needs_posix
def test_a_leftover_is_named(cli: Cli, old: Path) -> None:
    done = cli("write", "file", "--json", calls=failing(replace=errno.EIO, unlink=errno.EIO))
    assert done.code == 1
    (left,) = done.json["error"]["leftovers"]
    assert done.err.endswith(f"; the target was not changed; left over: {left}\n")
    assert names(old.parent) == sorted(["file", os.path.basename(left)])


def test_what_could_not_be_kept_is_said_unless_quiet(capsys: pytest.CaptureFixture[str]) -> None:
    skipped = {"durable": "it lies in memory", "fsync directory": "not supported"}
    receipt = durably.Receipt("file", 1, True, False, durably.Durability.NONE, (), skipped, ("acl", "owner"))
    assert Report("file", as_json=False, quiet=True).saved(receipt, "durable") == 0
    assert capsys.readouterr() == ("", "")
    assert Report("file", as_json=False).saved(receipt, "durable") == 0
    assert capsys.readouterr().err.splitlines() == [
        "durably: file: saved; 'durable' was asked for, 'none' is kept ({})".format(
            "it lies in memory; fsync directory: not supported"
        ),
        "durably: file: saved; the old file's metadata could not all be kept: acl, owner",
    ]


# Signals


def interrupting(name: str, count: int, signals: Callable[[], object]) -> Refusing:
    """A table in which a signal arrives before a call."""

    def body(called: str, number: int) -> None:
        if (called, number) == (name, count):
            signals()

    return Refusing(body)


@needs_posix
@pytest.mark.parametrize(("name", "code"), [("SIGINT", 130), ("SIGTERM", 143), ("SIGHUP", 129)])
def test_a_signal_before_the_rename_changes_nothing(cli: Cli, old: Path, name: str, code: int) -> None:
    calls = interrupting("write", 1, lambda: signal.raise_signal(signal.Signals[name]))
    done = cli("write", "file", "--json", calls=calls)
    assert done.code == code
    assert done.err == "durably: file: interrupted; the target was not changed\n"
    assert done.json["error"]["message"] == "interrupted; the target was not changed"
    assert old.read_bytes() == b"old"
    assert names(old.parent) == ["file"]


@needs_posix
def test_a_signal_after_the_rename_leaves_the_new_file(cli: Cli, old: Path) -> None:
    done = cli("write", "file", calls=interrupting("fsync", 2, lambda: signal.raise_signal(signal.SIGTERM)))
    assert done.code == 143
    assert done.err == (
        "durably: file: interrupted; the whole new file is in place, its durability is not known\n"
    )
    assert old.read_bytes() == b"new"
    assert names(old.parent) == ["file"]


@needs_posix
def test_a_signal_before_a_new_file_leaves_none(cli: Cli, here: Path) -> None:
    done = cli("write", "file", calls=interrupting("write", 1, lambda: signal.raise_signal(signal.SIGINT)))
    assert (done.code, names(here)) == (130, [])


@needs_posix
def test_an_ignored_signal_stays_ignored() -> None:
    assert sys.platform != "win32"
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with exit_codes.stoppable():
            signal.raise_signal(signal.SIGHUP)
            assert signal.getsignal(signal.SIGTERM) not in (signal.SIG_DFL, signal.SIG_IGN)
    finally:
        signal.signal(signal.SIGHUP, before)
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


@needs_posix
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_real_signal_ends_the_command_too(old: Path, number: int) -> None:
    code = "import os, sys, time; print(os.getpid(), file=sys.stderr, flush=True); print('x'); time.sleep(60)"
    arguments = [*COMMAND, "write", "file", "--", sys.executable, "-c", code]
    with subprocess.Popen(arguments, stderr=subprocess.PIPE, start_new_session=True) as process:
        assert process.stderr is not None
        child = int(process.stderr.readline())
        process.send_signal(number)
        assert process.stderr.read() == b"durably: file: interrupted; the target was not changed\n"
    assert process.returncode == 128 + number
    with pytest.raises(ProcessLookupError):
        os.kill(child, 0)
    assert old.read_bytes() == b"old"
    assert names(old.parent) == ["file"]


def test_an_interrupt_outside_the_work(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(_options, "resolve", interrupted)
    assert cli("write", "file").code == 130


# copy


@pytest.fixture
def source(here: Path) -> Path:
    path = here / "source"
    path.write_bytes(LARGE)
    path.chmod(0o644)
    return path


def test_copy_replaces_a_file(cli: Cli, old: Path, source: Path) -> None:
    done = cli("copy", "source", "file", "--json")
    assert (done.code, done.err) == (0, "")
    assert (done.json["size"], done.json["replaced"]) == (len(LARGE), True)
    assert old.read_bytes() == LARGE
    assert names(old.parent) == ["file", "source"]


@needs_posix
@pytest.mark.parametrize(
    ("mode", "umask", "options", "expected"),
    [
        (0o644, 0o022, [], 0o644),
        (0o755, 0o022, [], 0o755),
        (0o4775, 0o027, [], 0o750),
        (0o600, 0o022, [], 0o600),
        (0o444, 0o022, [], 0o444),
        (0o755, 0o022, ["--permissions", "640"], 0o640),
    ],
)
def test_a_new_copy_gets_the_mode_of_the_source(
    cli: Cli, here: Path, source: Path, mode: int, umask: int, options: list[str], expected: int
) -> None:
    source.chmod(mode)
    before = os.umask(umask)
    try:
        assert cli("copy", "source", "copy", *options).code == 0
        assert os.umask(umask) == umask
    finally:
        os.umask(before)
    assert stat.S_IMODE((here / "copy").stat().st_mode) == expected


@needs_posix
def test_the_directorys_default_acl_stays_in_force_where_the_mode_would_be_the_same(
    cli: Cli, source: Path
) -> None:
    source.chmod(0o666)
    calls = testing.RecordingSyscalls()
    before = os.umask(0o022)
    try:
        assert cli("copy", "source", "copy", calls=calls).code == 0
    finally:
        os.umask(before)
    assert "fchmod" not in calls.names


@needs_posix
def test_an_existing_copy_keeps_its_mode_unless_it_is_to_be_fresh(cli: Cli, old: Path, source: Path) -> None:
    source.chmod(0o750)
    old.chmod(0o604)
    assert cli("copy", "source", "file").code == 0
    assert stat.S_IMODE(old.stat().st_mode) == 0o604
    assert cli("copy", "source", "file", "--metadata", "fresh").code == 0
    assert stat.S_IMODE(old.stat().st_mode) == 0o750


@needs_posix
@pytest.mark.parametrize("options", [[], ["--symlinks", "replace"]], ids=["followed", "replaced"])
def test_a_copy_through_a_link_is_new_where_no_old_file_is_replaced(
    cli: Cli, old: Path, source: Path, options: list[str]
) -> None:
    source.chmod(0o750)
    old.chmod(0o604)
    link = old.parent / "link"
    link.symlink_to("file" if options else "nowhere")
    assert cli("copy", "source", "link", *options).code == 0
    assert stat.S_IMODE(link.stat().st_mode) == 0o750
    assert stat.S_IMODE(old.stat().st_mode) == 0o604


@needs_posix
def test_the_same_file_is_refused_under_every_name(cli: Cli, old: Path, here: Path) -> None:
    os.link(old, here / "hard")
    (here / "soft").symlink_to("file")
    for name in ("file", "./file", "hard", "soft"):
        done = cli("copy", "file", name)
        assert done.code == 1
        assert done.err == f"durably: {name}: is the same file as file; the target was not changed\n"
    assert names(here) == ["file", "hard", "soft"]


@needs_posix
def test_a_link_to_the_source_can_be_replaced_by_a_copy(cli: Cli, old: Path, here: Path) -> None:
    link = here / "soft"
    link.symlink_to("file")
    assert cli("copy", "file", "soft", "--symlinks", "replace").code == 0
    assert (link.is_symlink(), link.read_bytes()) == (False, b"old")


@pytest.mark.parametrize(
    ("names_", "about"), [(("source", "."), "."), ((".", "file"), "."), (("no", "file"), "no")]
)
def test_directories_and_missing_sources_are_refused(
    cli: Cli, source: Path, names_: tuple[str, str], about: str
) -> None:
    done = cli("copy", *names_, "--json")
    assert done.code == 1
    assert done.json["error"]["path"] == about
    assert "--make-parents" not in done.err
    assert names(source.parent) == ["source"]


@needs_posix
def test_a_source_that_is_a_pipe_gives_its_content_only(cli: Cli, here: Path) -> None:
    assert sys.platform != "win32"
    os.mkfifo("pipe", 0o600)
    thread = threading.Thread(target=(here / "pipe").write_bytes, args=(b"through",))
    thread.start()
    before = os.umask(0o022)
    try:
        assert cli("copy", "pipe", "copy").code == 0
    finally:
        os.umask(before)
        thread.join()
    assert (here / "copy").read_bytes() == b"through"
    assert stat.S_IMODE((here / "copy").stat().st_mode) == 0o644


@needs_proc
def test_a_source_that_cannot_be_read_is_named(cli: Cli, old: Path) -> None:
    done = cli("copy", "/proc/self/mem", "file")
    assert done.code == 1
    assert "/proc/self/mem cannot be read: " in done.err
    assert old.read_bytes() == b"old"


class Cloning(testing.RecordingSyscalls):
    """A file system that shares extents, as far as the command line can tell."""

    def __init__(self) -> None:
        super().__init__()
        self.ficlone = self._clone

    @staticmethod
    def _clone(target: int, source: int) -> None:
        os.write(target, os.read(source, 1 << 24))


@needs_posix
def test_extents_are_shared_where_they_can_be(cli: Cli, old: Path, source: Path) -> None:
    calls = Cloning()
    with testing.use(calls, "linux"):
        assert cli("copy", "source", "file").code == 0
    assert old.read_bytes() == LARGE
    assert "write" not in calls.names


@needs_file_system("btrfs")
def test_extents_are_really_shared(cli: Cli, here: Path, source: Path) -> None:
    with mounted("btrfs", here / "btrfs"):
        (here / "btrfs/source").write_bytes(LARGE)
        calls = testing.RecordingSyscalls()
        assert cli("copy", "btrfs/source", "btrfs/copy", calls=calls).code == 0
        assert (here / "btrfs/copy").read_bytes() == LARGE
        assert "ficlone" in calls.names
        assert "write" not in calls.names


@needs_posix
@pytest.mark.parametrize(("error", "code"), [(errno.EXDEV, 0), (errno.EOPNOTSUPP, 0), (errno.EIO, 1)])
def test_only_a_refusal_to_share_leads_to_a_copy(
    cli: Cli, old: Path, source: Path, error: int, code: int
) -> None:
    with testing.use(failing(ficlone=error), "linux"):
        assert cli("copy", "source", "file").code == code
    assert old.read_bytes() == (b"old" if code else LARGE)


@needs_posix
def test_other_systems_copy(cli: Cli, old: Path, source: Path) -> None:
    calls = testing.RecordingSyscalls()
    with testing.use(calls, "freebsd14"):
        assert cli("copy", "source", "file").code == 0
    assert old.read_bytes() == LARGE
    assert "ficlone" not in calls.names


@needs_posix
@pytest.mark.parametrize(("long", "seen"), [(0.0, True), (600.0, False)])
def test_long_copies_show_their_progress_on_a_terminal(
    monkeypatch: pytest.MonkeyPatch, old: Path, source: Path, long: float, seen: bool
) -> None:
    assert sys.platform != "win32"
    import pty  # there is none on Windows

    monkeypatch.setattr(copying, "_LONG", long)
    monkeypatch.setenv("TERM", "xterm")
    terminal, end = pty.openpty()
    with os.fdopen(end, "w") as stderr, testing.use(failing(ficlone=errno.EXDEV), "linux"):
        monkeypatch.setattr(sys, "stderr", stderr)
        assert command_line.run(["copy", "source", "file", "--quiet"]) == 0
        stderr.write("end")
        stderr.flush()
        shown_there = b""
        while not shown_there.endswith(b"end"):
            shown_there += os.read(terminal, 1 << 16)
    os.close(terminal)
    assert (b"source" in shown_there) is seen
    assert (b"MiB" in shown_there) is seen
    assert old.read_bytes() == LARGE


# probe and sweep


def test_probe_shows_the_promises_with_their_reasons(cli: Cli, here: Path) -> None:
    found = durably.probe(".")
    done = cli("probe")
    assert (done.code, done.err) == (0, "")
    text = " ".join(done.out.split())
    assert f"file system {found.file_system}" in text
    assert f"routine {found.routine}" in text
    assert "readers see a whole file" in text
    assert all(len(line) <= 80 for line in done.out.splitlines())
    assert names(here) == []


def test_probe_as_json_is_everything_that_probe_returns(cli: Cli, here: Path) -> None:
    found = durably.probe(here / "new")
    fields = cli("probe", here / "new", "--json").json
    assert fields == {
        "path": found.path,
        "file_system": found.file_system,
        "options": list(found.options),
        "routine": found.routine,
        "readers": {"answer": found.readers, "reason": found.readers.reason},
        "crash": {"answer": found.crash, "reason": found.crash.reason},
        "durable": {"answer": found.durable, "reason": found.durable.reason},
        "supports": sorted(found.supports),
    }


def test_probe_of_nowhere(cli: Cli) -> None:
    done = cli("probe", "no/file")
    assert done.code == 1
    assert done.err.endswith("; nothing was done\n")


@pytest.fixture
def dead(here: Path) -> Path:
    """What a process that is gone left behind."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    maker = temp_names.this_process()
    maker.process = process.pid
    path = here / f".durably-f-{maker}-0123456789abcdef.tmp"
    path.write_bytes(b"half")
    return path


@needs_posix
def test_sweep_removes_what_is_dead(cli: Cli, here: Path, dead: Path, old: Path) -> None:
    done = cli("sweep", ".")
    assert (done.code, names(here)) == (0, sorted([dead.name, "file"]))
    assert "left" in done.out.split()
    done = cli("sweep", ".", "--older-than", "0", "--dry-run")
    assert (done.code, names(here)) == (0, sorted([dead.name, "file"]))
    assert "would be removed" in " ".join(done.out.split())
    found = cli("sweep", ".", "--older-than", "0", "--json").json
    assert found["dry_run"] is False
    assert [(one["path"], one["removed"]) for one in found["found"]] == [(os.path.join(".", dead.name), True)]
    assert names(here) == ["file"]
    assert cli("sweep", ".", "--older-than", "0") == (0, ".: no leftovers\n", "")


@needs_posix
@pytest.mark.parametrize(
    ("options", "said"),
    [([], "some leftovers may have been removed"), (["--dry-run"], "nothing was removed")],
)
def test_a_sweep_that_is_interrupted(cli: Cli, dead: Path, options: list[str], said: str) -> None:
    calls = interrupting("listdir", 1, lambda: signal.raise_signal(signal.SIGINT))
    done = cli("sweep", ".", "--older-than", "0", *options, calls=calls)
    assert (done.code, done.err) == (130, f"durably: .: interrupted; {said}\n")


def test_sweep_of_nowhere(cli: Cli) -> None:
    done = cli("sweep", "no")
    assert done.code == 1
    assert done.err.endswith("; nothing was removed\n")


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("3600", 3600), ("90s", 90), ("15m", 900), ("1h", 3600), ("1d", 86400), ("2w", 1209600), (None, 3600)],
)
def test_durations(cli: Cli, monkeypatch: pytest.MonkeyPatch, text: str | None, seconds: float) -> None:
    asked = []

    def sweep(_: str, older_than: float, __: bool, **___: object) -> list[object]:
        asked.append(older_than)
        return []

    monkeypatch.setattr(durably, "sweep", sweep)
    assert cli("sweep", ".", *(["--older-than", text] if text else [])).code == 0
    assert asked == [seconds]


@pytest.mark.parametrize("text", ["", "h", "-1", "1.5h", "1x", "²", "1 h"])
def test_wrong_durations(cli: Cli, text: str) -> None:
    done = cli("sweep", ".", f"--older-than={text}")
    assert done.code == 2
    assert "is not a duration such as 3600, 90s, 15m, 1h or 1d" in done.err


# Standard output and standard error


@needs_posix
@pytest.mark.parametrize("arguments", [("probe",), ("probe", "--json"), ("--help",)])
def test_a_full_standard_output_is_an_error(arguments: tuple[str, ...]) -> None:
    if not os.path.exists("/dev/full"):
        pytest.skip("needs /dev/full")
    with open("/dev/full", "wb") as full:
        done = subprocess.run([*COMMAND, *arguments], stdout=full, stderr=subprocess.PIPE, check=False)
    assert done.returncode == 7
    assert done.stderr.startswith(b"durably: standard output: No space left on device")
    assert done.stderr.count(b"\n") == 1


@needs_posix
def test_a_report_that_cannot_be_written_does_not_hide_that_the_file_was_saved(
    cli: Cli, old: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not os.path.exists("/dev/full"):
        pytest.skip("needs /dev/full")
    with open("/dev/full", "w", encoding="utf-8") as full:
        monkeypatch.setattr(sys, "stdout", full)
        done = cli("write", "file", "--json")
        full.flush()  # what could not be written goes nowhere by now
    assert done.code == 7
    assert done.err.endswith("; the report is lost, the work was done\n")
    assert old.read_bytes() == b"new"


@needs_posix
def test_a_closed_pipe_ends_without_a_word(monkeypatch: pytest.MonkeyPatch, cli: Cli) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as pipe:
        monkeypatch.setattr(sys, "stdout", pipe)
        assert cli("probe")[::2] == (7, "")


def test_a_closed_standard_output_is_an_error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    assert command_line.run(["probe"]) == 7
    assert "it is closed" in capsys.readouterr().err


def test_help_to_a_broken_standard_output(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise OSError(errno.EIO, "broken")

    monkeypatch.setattr(command_line.cli, "main", broken)
    assert command_line.run(["--help"]) == 7
    assert capsys.readouterr().err == "durably: standard output: broken\n"


def test_nothing_goes_to_standard_output_where_standard_error_is_closed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stderr", None)
    assert command_line.run(["probe", "no/file"]) == 1
    assert capsys.readouterr().out == ""


@needs_posix
def test_a_full_standard_error_changes_no_exit_code(monkeypatch: pytest.MonkeyPatch) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    unwritable = os.fdopen(os.dup(writer), "w", buffering=1)
    monkeypatch.setattr(sys, "stderr", unwritable)
    assert command_line.run(["probe", "no/file"]) == 1
    monkeypatch.undo()
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, unwritable.fileno())
    unwritable.close()
    os.close(nowhere)
    os.close(writer)


@needs_proc
def test_names_that_are_not_text_survive_in_json(old: Path) -> None:
    name = b"odd-\xff\n"
    done = execute("write", "--json", os.fsdecode(name), input=b"new")
    assert done.returncode == 0
    done.stdout.decode("ascii")
    assert os.fsencode(json.loads(done.stdout)["path"]) == name
    done = execute("write", "--no-overwrite", os.fsdecode(name), input=b"")
    assert done.stderr.startswith(b"durably: odd-\\xff\\n: File exists")


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("plain é", "plain é"),
        ("a\nb", "a\\nb"),
        ("\x1b[1m", "\\x1b[1m"),
        ("\udcff", "\\xff"),
        ("\ud800", "\\ud800"),
    ],
)
def test_paths_are_shown_on_one_line(path: str, expected: str) -> None:
    assert shown(path) == expected


def test_an_output_in_another_encoding(cli: Cli, here: Path) -> None:
    done = execute("probe", "é", env={**os.environ, "PYTHONIOENCODING": "ascii"})
    assert done.returncode == 0
    assert b"\\xe9" in done.stdout


# The program


@pytest.mark.parametrize("code", range(8))
def test_every_exit_code_is_documented_in_both_places(code: int) -> None:
    assert f"\n    {code}  " in str(__main__.__doc__)
    assert f"\n  {code}  " in exit_codes.EPILOG


def test_help_has_the_exit_codes_and_version_the_version(cli: Cli) -> None:
    assert "6      torn in place (only with --allow-in-place)" in cli("--help").out
    assert cli("--version") == (0, f"durably {durably.__version__}\n", "")


def test_a_wrong_command_is_wrong_usage(cli: Cli) -> None:
    assert cli("wrote").code == 2


def test_main_runs_what_the_arguments_say(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["durably", "sweep", "no"])
    with pytest.raises(SystemExit) as stopped:
        __main__.main()
    assert stopped.value.code == 1
    assert capsys.readouterr().err.startswith("durably: no: ")


def test_the_module_is_a_program(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["durably", "--version"])
    with pytest.raises(SystemExit) as stopped:
        runpy.run_path(str(__main__.__file__), run_name="__main__")
    assert stopped.value.code == 0
    assert capsys.readouterr().out == f"durably {durably.__version__}\n"


@pytest.mark.parametrize("package", ["click", "rich"])
def test_without_the_extra_it_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], package: str
) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == package or "durably._cli" in name]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delattr(durably, "_cli")
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(SystemExit) as stopped:
        __main__.main()
    assert stopped.value.code == 1
    message = f"durably: the command line needs {package}; nothing was done; pip install 'durably[cli]'\n"
    assert capsys.readouterr().err == message


def test_without_the_extra_as_a_program() -> None:
    code = "import sys, runpy; sys.modules['click'] = None; runpy.run_module('durably', run_name='__main__')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert (done.returncode, done.stdout) == (1, b"")
    assert done.stderr.startswith(b"durably: the command line needs click; ")
    assert done.stderr.count(b"\n") == 1


def test_another_missing_module_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if "durably._cli" in name]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delattr(durably, "_cli")
    monkeypatch.setitem(sys.modules, "durably._cli.copy", None)
    with pytest.raises(ModuleNotFoundError, match=r"_cli\.copy"):
        __main__.main()


@needs_posix
def test_completion() -> None:
    environment = {"_DURABLY_COMPLETE": "bash_complete", "COMP_WORDS": "durably sw", "COMP_CWORD": "1"}
    done = execute(env={**os.environ, **environment})
    assert done.stdout == b"plain,sweep\n"
