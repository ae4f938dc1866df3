"""The command line with URLs, at a real server."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from durably._cli import exit_codes
from durably._cli import options as _options
from store_fixtures import NEW, OLD, STOP, Broken, BrokenFiles, Local, only

pytest.importorskip("fsspec")

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from cli_fixtures import Cli
    from servers import Server


pytestmark = [
    pytest.mark.timeout(300),
    # Clients leave connections and event loops to the garbage collector.
    pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture(scope="module")
def s3() -> Iterator[Server]:
    yield from only("s3")


@pytest.fixture
def how(s3: Server) -> list[str]:
    """How the server is reached, on the command line."""
    options = {**s3.options, "skip_instance_cache": False}
    return [f"--storage-option={key}={json.dumps(value)}" for key, value in options.items()]


def test_standard_input_and_a_command_are_saved_to_a_url(cli: Cli, s3: Server, how: list[str]) -> None:
    url = s3.url("written")
    done = cli("write", url, "--json", *how, stdin=NEW)
    assert (done.code, s3.read("written")) == (exit_codes.DONE, NEW)
    assert (done.json["path"], done.json["size"], done.json["durability"]) == (url, len(NEW), "durable")
    done = cli("write", url, "--no-overwrite", *how)
    assert done.code == exit_codes.NOT_DONE
    assert "leave out --no-overwrite" in done.err
    done = cli("write", url, *how, "--", "sh", "-c", "echo half; exit 3")
    assert (done.code, s3.read("written")) == (exit_codes.COMMAND_FAILED, NEW)
    done = cli("write", url, *how, "--", "echo", "whole")
    assert (done.code, s3.read("written"), s3.leftovers()) == (exit_codes.DONE, b"whole\n", [])


def test_a_file_is_copied_to_a_url(cli: Cli, s3: Server, how: list[str], tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(NEW)
    source.chmod(0o600)
    done = cli("copy", source, s3.url("copied"), "--json", *how)
    assert (done.code, s3.read("copied"), done.json["size"]) == (exit_codes.DONE, NEW, len(NEW))


def test_a_file_is_copied_to_memory(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "source").write_bytes(NEW)
    (tmp_path / "source").chmod(0o600)
    memory = Local("memory", tmp_path)
    done = cli("copy", tmp_path / "source", memory.url("copied"))
    assert (done.code, memory.read("copied")) == (exit_codes.DONE, NEW)
    assert "'durable' was asked for, 'none' is kept" in done.err


@pytest.mark.parametrize("kind", ["s3", "memory"])
def test_a_tree_is_copied_to_a_url(
    cli: Cli, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    place = request.getfixturevalue("s3") if kind == "s3" else Local("memory", tmp_path)
    how = request.getfixturevalue("how") if kind == "s3" else []
    (tmp_path / "below").mkdir()
    (tmp_path / "a").write_bytes(NEW)
    (tmp_path / "below" / "b").write_bytes(OLD)
    monkeypatch.chdir(tmp_path)  # the URL is no path in it
    done = cli("copy", "--batch", ".", place.url("tree"), "--json", *how)
    assert (done.code, done.json["saved"]) == (exit_codes.DONE, 2)
    assert (place.read("tree/a"), place.read("tree/below/b")) == (NEW, OLD)


def test_probe_shows_what_a_store_promises(cli: Cli, s3: Server, how: list[str]) -> None:
    done = cli("probe", s3.url("x"), "--json", *how)
    assert (done.code, done.json["file_system"], done.json["routine"]) == (exit_codes.DONE, "s3", "S3 upload")
    assert done.json["durable"]["answer"] == "yes"
    done = cli("probe", "hdfs://nowhere/x")
    assert done.code == exit_codes.NOT_DONE
    assert "nothing was done" in done.err


def test_forgotten_uploads_are_swept(cli: Cli, s3: Server, how: list[str]) -> None:
    fs: Any = pytest.importorskip("s3fs").S3FileSystem(**s3.options)
    fs.call_s3("create_multipart_upload", Bucket=s3.bucket, Key="prefix/forgotten")
    arguments = ("sweep", s3.url("prefix"), "--older-than", "1d", *how)
    done = cli(*arguments, "--dry-run", "--json")
    (one,) = done.json["found"]
    assert (done.code, one["removed"]) == (exit_codes.DONE, True)
    assert one["path"].startswith(s3.url("prefix/forgotten?uploadId="))
    assert "would be removed" in cli(*arguments, "--dry-run").out
    assert len(s3.leftovers()) == 1
    assert "removed" in cli(*arguments).out
    assert s3.leftovers() == []
    assert "no leftovers" in cli(*arguments).out
    done = cli("sweep", "memory://x", "--json")
    assert (done.code, done.json["error"]["kind"]) == (exit_codes.NOT_DONE, "UnsupportedError")


def test_what_is_not_a_store_says_so(cli: Cli, tmp_path: Path) -> None:
    for arguments in (("write", "nothing-of-the-kind://x"), ("probe", "ftp::file://x")):
        done = cli(*arguments)
        assert done.code == exit_codes.NOT_DONE
        assert "nothing was written" in done.err
    done = cli("write", tmp_path / "target", "--storage-option", "key=k")
    assert done.code == exit_codes.NOT_DONE
    assert "go with a URL" in done.err
    assert not (tmp_path / "target").exists()
    local = f"file://{(tmp_path / 'target').as_posix()}"
    assert cli("write", local, stdin=NEW).code == exit_codes.DONE
    assert (tmp_path / "target").read_bytes() == NEW


@pytest.mark.parametrize("text", ["key", "=value", ""])
def test_wrong_storage_options(cli: Cli, text: str) -> None:
    assert cli("write", "memory://x/y", "--storage-option", text).code == 2


@pytest.mark.parametrize(
    ("text", "value"),
    [("k=v", "v"), ("k=22", 22), ('k="22"', "22"), ("k=", ""), ("k=a=b", "a=b"), ("k=null", None)],
)
def test_storage_options(text: str, value: object) -> None:
    assert _options._storage(None, None, (text,)) == {"k": value}  # type: ignore[arg-type]


def test_an_interrupt_says_what_a_store_may_hold(
    cli: Cli,
    broken: Local,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import fsspec

    monkeypatch.setattr(BrokenFiles, "protocol", "broken")
    fsspec.register_implementation("broken", BrokenFiles, clobber=True)
    Broken.at, Broken.error = "write", STOP
    done = cli("write", f"broken:/{broken.url('target')}")
    Broken.at = ""
    assert done.code == 130
    assert "holds the whole old or the whole new object" in done.err
    assert broken.read("target") == OLD
