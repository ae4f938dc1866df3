"""What a caller may name, and how it is told from what lies at a store."""

from __future__ import annotations

import enum
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal

import pytest

import durably
from durably._api.dispatch import is_local, resolve_target

fsspec = pytest.importorskip("fsspec")


class Named(str, enum.Enum):  # noqa: UP042 # its str() is its name, other than a StrEnum's
    LOCAL = "a/b"
    URL = "memory://dispatch/b"


LOCAL: dict[str, tuple[Any, str]] = {
    "str": ("a/b", "a/b"),
    "bytes": (b"a\xff", os.fsdecode(b"a\xff")),
    "PathLike": (Path("a/b"), str(Path("a/b"))),
    "Enum": (Named.LOCAL, "a/b"),
    "one letter": ("c://b", "c://b"),
    "no scheme": ("a b://c", "a b://c"),
    "bytes like a URL": (b"s3://a/b", "s3://a/b"),
}


@pytest.mark.parametrize(("path", "text"), LOCAL.values(), ids=LOCAL)
@pytest.mark.parametrize(
    "options", [{}, {"overwrite": False}, {"storage_options": None, "fs": None}], ids=str
)
def test_a_local_path_is_given_as_text(path: Any, text: str, options: Any) -> None:
    left: Any = dict(options)
    assert is_local(path, left)
    found = resolve_target(path, left)
    assert type(found) is str
    assert found == text
    assert "fs" not in left
    assert "storage_options" not in left


@pytest.mark.parametrize(
    ("path", "given"),
    [
        ("memory://dispatch/b", {}),
        ("memory://dispatch/b", {"storage_options": {}}),
        (Named.URL, {}),
        (fsspec.open("memory://dispatch/b"), {}),
        (
            SimpleNamespace(fs=fsspec.filesystem("memory"), path="/dispatch/b", protocol="memory"),
            {},
        ),
        ("/dispatch/b", {"fs": fsspec.filesystem("memory")}),
        (b"/dispatch/b", {"fs": fsspec.filesystem("memory")}),
    ],
    ids=["URL", "storage_options", "Enum", "OpenFile", "UPath", "fs", "fs and bytes"],
)
def test_an_object_of_a_store_is_found(path: Any, given: Any) -> None:
    options: Any = {**given, "overwrite": True}
    assert not is_local(path, options)
    found = resolve_target(path, options)
    assert not isinstance(found, str)
    assert found.path == "/dispatch/b"
    assert options == {"overwrite": True}


@pytest.mark.parametrize("scheme", ["file", "local"])
def test_a_local_file_named_by_its_url_is_local_after_all(tmp_path: Path, scheme: str) -> None:
    path = tmp_path / "target"
    url = f"{scheme}://{path.as_posix()}"
    assert resolve_target(url, {}) == path.as_posix()
    assert resolve_target(path, {"fs": fsspec.filesystem("file")}) == path.as_posix()
    durably.write_bytes(url, b"whole")
    with durably.open(url, "ab") as file:
        file.write(b" and more")
    assert path.read_bytes() == b"whole and more"
    with durably.staged_path(url) as staged:
        staged.write_bytes(b"staged")
    assert path.read_bytes() == b"staged"
    assert durably.probe(url).file_system == durably.probe(path).file_system
    assert durably.sweep(f"{scheme}://{tmp_path.as_posix()}") == []


def test_storage_options_are_not_for_local_paths(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="this is a local file"):
        durably.write_bytes(str(tmp_path / "a"), b"", storage_options={"key": "a"})
    with pytest.raises(ValueError, match="takes none"):
        durably.write_bytes(tmp_path / "a", b"", storage_options={"key": "a"})
    assert not any(tmp_path.iterdir())


def test_an_unknown_scheme_is_refused() -> None:
    with pytest.raises(durably.UnsupportedError, match="cannot reach") as caught:
        resolve_target("nobody://a", {})
    assert caught.value.path == "nobody://a"


@pytest.mark.parametrize("path", [None, 3, object()], ids=lambda given: type(given).__name__)
def test_what_is_no_path_is_a_type_error(path: Any) -> None:
    with pytest.raises(TypeError, match="PathLike"):
        resolve_target(path, {})


def _opened(url: str, **options: Any) -> None:
    durably.open(url, "xb", **options)


def _staged(url: str, **options: Any) -> None:
    durably.staged_path(url, **options)


def _written(url: str, **options: Any) -> None:
    durably.write_bytes(url, b"", **options)


def _batched(url: str, **options: Any) -> None:
    with durably.Batch() as batch:
        batch.write_bytes(url, b"", **options)


@pytest.mark.parametrize("save", [_opened, _staged, _written, _batched])
def test_an_error_of_a_store_has_no_other_behind_it(save: Any) -> None:
    with pytest.raises(durably.UnsupportedError, match="permissions is not to be had") as caught:
        save("memory://dispatch/context", permissions=0o600)
    assert caught.value.__context__ is None
    assert caught.value.__cause__ is None


@pytest.mark.parametrize(
    "named", [{"fs": fsspec.filesystem("memory")}, {"storage_options": {}}], ids=["fs", "options"]
)
def test_what_is_for_this_machine_alone_takes_no_store(tmp_path: Path, named: Any) -> None:
    for use in (durably.AtomicWriter, durably.Transaction, durably.staged_directory):
        with pytest.raises(durably.UnsupportedError, match="storage_options and fs name a store") as caught:
            use(tmp_path / "a", **named)
        assert caught.value.__context__ is None
    assert not any(tmp_path.iterdir())


def test_what_is_for_this_machine_alone_takes_no_store_that_is_not_named(tmp_path: Path) -> None:
    with durably.AtomicWriter(tmp_path / "a", "wb", storage_options=None, fs=None) as file:
        file.write(b"whole")
    assert (tmp_path / "a").read_bytes() == b"whole"


def test_a_batch_tells_of_a_store_that_cannot_be_connected_to(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise ConnectionRefusedError("nobody is there")

    monkeypatch.setattr("fsspec.core.url_to_fs", refuse)
    ways: tuple[Literal["abort", "continue"], ...] = ("abort", "continue")
    for on_error in ways:
        with (
            pytest.raises(OSError, match="nobody is there") as caught,
            durably.Batch(on_error=on_error) as batch,
        ):
            batch.write_bytes("memory://a", b"")
        assert isinstance(caught.value, durably.BatchError) == (on_error == "continue")
