"""The writers of other libraries: each writes as to any other file; an exception keeps the old one."""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import json
import lzma
import os
import pickle
import shutil
import sys
import tarfile
import xml.etree.ElementTree as ET
import zipfile
from configparser import ConfigParser
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

import durably
from capabilities import needs_posix
from disk import OLD, Without, names
from durably.testing import use
from libraries import Later

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


numpy, pandas, pyarrow = Later("numpy"), Later("pandas"), Later("pyarrow")
feather, parquet = Later("pyarrow.feather"), Later("pyarrow.parquet")

ROWS = [["id", "name"], ["1", "one, with a comma"], ["2", "zwei \u00e9"]]
DATA = {"id": list(range(1000)), "name": [f"row {number}" for number in range(1000)]}
BYTES = os.urandom(1000) * 300


class Format(NamedTuple):
    """How a library writes, and how the result is read back."""

    name: str
    mode: str
    write: Callable[[Any], None]
    check: Callable[[Path], None]
    options: dict[str, Any] = {}  # noqa: RUF012 # a default that nothing changes


@cache
def array() -> Any:
    return numpy.arange(12, dtype="float64").reshape(3, 4)


@cache
def frame() -> Any:
    return pandas.DataFrame(DATA)


@cache
def table() -> Any:
    return pyarrow.table(DATA)


def same(found: object, expected: object) -> None:
    assert found == expected


def _bytes(file: Any) -> None:
    file.write(BYTES)


def _csv(file: Any) -> None:
    csv.writer(file).writerows(ROWS)


def _read_csv(path: Path) -> None:
    with path.open(newline="", encoding="utf-8") as file:
        same(list(csv.reader(file)), ROWS)


def _gzip(file: Any) -> None:
    with gzip.GzipFile(fileobj=file, mode="wb") as inner:
        inner.write(BYTES)


def _gzip_text(file: Any) -> None:
    with gzip.open(file, "wt", encoding="utf-8") as inner:
        json.dump(DATA, inner)


def _read_gzip_text(path: Path) -> None:
    with gzip.open(path, "rt", encoding="utf-8") as file:
        same(json.load(file), DATA)


def _bz2(file: Any) -> None:
    with bz2.open(file, "wb") as inner:
        inner.write(BYTES)


def _lzma(file: Any) -> None:
    with lzma.open(file, "wb") as inner:
        inner.write(BYTES)


def _zip(file: Any) -> None:
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("one", BYTES)
        with archive.open("two", "w") as member:
            member.write(b"second")


def _read_zip(path: Path) -> None:
    with zipfile.ZipFile(path) as archive:
        same(archive.testzip(), None)
        same({name: archive.read(name) for name in archive.namelist()}, {"one": BYTES, "two": b"second"})


def _more_zip(file: Any) -> None:
    with zipfile.ZipFile(file, "a") as archive:
        archive.writestr("three", b"3")


def _tar(mode: str) -> Callable[[Any], None]:
    def write(file: Any) -> None:
        with tarfile.open(fileobj=file, mode=mode) as archive:  # type: ignore[call-overload]
            member = tarfile.TarInfo("one")
            member.size = len(BYTES)
            archive.addfile(member, io.BytesIO(BYTES))

    return write


def _read_tar(path: Path) -> None:
    with tarfile.open(path) as archive:
        member = archive.extractfile("one")
        assert member is not None
        same(member.read(), BYTES)


def _printed(file: Any) -> None:
    print("one", 2, sep=", ", file=file)
    print("three", end="", file=file, flush=True)


def _copied(file: Any) -> None:
    shutil.copyfileobj(io.BytesIO(BYTES), file)


def _ini(file: Any) -> None:
    parser = ConfigParser()
    parser["section"] = {"key": "value"}
    parser.write(file)


def _xml(file: Any) -> None:
    ET.ElementTree(ET.Element("root", {"a": "b"})).write(file)


def _to_file(file: Any) -> None:
    array().tofile(file)


def _parquet_writer(file: Any) -> None:
    with parquet.ParquetWriter(file, table().schema) as writer:
        writer.write_table(table().slice(0, 400))
        writer.write_table(table().slice(400))


def _arrow_stream(file: Any) -> None:
    with pyarrow.ipc.new_file(file, table().schema) as writer:
        writer.write_table(table())


def _read_npz(path: Path) -> None:
    with numpy.load(path) as archive:
        assert (archive["a"] == array()).all()


def _frame(kind: str, mode: str = "wb", options: Any = None, **keywords: Any) -> Format:
    """A format of pandas'."""
    to, read = f"to_{kind}", f"read_{kind}"
    return Format(
        to,
        mode,
        lambda file: getattr(frame(), to)(file, **keywords),
        lambda path: _check_frame(getattr(pandas, read)(path)),
        options or {},
    )


def _check_frame(found: Any) -> None:
    pandas.testing.assert_frame_equal(found, frame())


FORMATS = [
    Format("bytes", "wb", _bytes, lambda path: same(path.read_bytes(), BYTES)),
    Format("csv", "w", _csv, _read_csv, {"newline": ""}),
    Format(
        "json", "w", lambda file: json.dump(DATA, file), lambda path: same(json.loads(path.read_text()), DATA)
    ),
    Format(
        "pickle",
        "wb",
        lambda file: pickle.dump(DATA, file),
        lambda path: same(pickle.loads(path.read_bytes()), DATA),
    ),
    Format("gzip", "wb", _gzip, lambda path: same(gzip.decompress(path.read_bytes()), BYTES)),
    Format("gzip text", "wb", _gzip_text, _read_gzip_text),
    Format("bz2", "wb", _bz2, lambda path: same(bz2.decompress(path.read_bytes()), BYTES)),
    Format("lzma", "wb", _lzma, lambda path: same(lzma.decompress(path.read_bytes()), BYTES)),
    Format("zip", "wb", _zip, _read_zip),
    Format("zip update", "w+b", _zip, _read_zip),
    Format("tar", "wb", _tar("w"), _read_tar),
    Format("tar.gz", "wb", _tar("w:gz"), _read_tar),
    Format("tar stream", "wb", _tar("w|xz"), _read_tar),
    Format("print", "w", _printed, lambda path: same(path.read_text(), "one, 2\nthree")),
    Format("copyfileobj", "wb", _copied, lambda path: same(path.read_bytes(), BYTES)),
    Format("ini", "w", _ini, lambda path: same(path.read_text(), "[section]\nkey = value\n\n")),
    Format("xml", "wb", _xml, lambda path: same(path.read_text(), '<root a="b" />')),
    Format(
        "np.save",
        "wb",
        lambda file: numpy.save(file, array()),
        lambda path: same((numpy.load(path) == array()).all(), True),
    ),
    Format("np.savez", "wb", lambda file: numpy.savez_compressed(file, a=array()), _read_npz),
    Format(
        "np.savetxt",
        "w",
        lambda file: numpy.savetxt(file, array()),
        lambda path: same((numpy.loadtxt(path) == array()).all(), True),
    ),
    Format("tofile", "wb", _to_file, lambda path: same(path.read_bytes(), array().tobytes())),
    _frame("csv", "w", {"newline": ""}, index=False),
    Format(
        "to_csv.gz",
        "wb",
        lambda file: frame().to_csv(file, index=False, compression="gzip"),
        lambda path: _check_frame(pandas.read_csv(path, compression="gzip")),
    ),
    _frame("json", "w"),
    _frame("pickle"),
    _frame("parquet"),
    _frame("feather"),
    Format(
        "write_table",
        "wb",
        lambda file: parquet.write_table(table(), file),
        lambda path: same(parquet.read_table(path), table()),
    ),
    Format("ParquetWriter", "wb", _parquet_writer, lambda path: same(parquet.read_table(path), table())),
    Format(
        "write_feather",
        "wb",
        lambda file: feather.write_feather(table(), file),
        lambda path: same(feather.read_table(path), table()),
    ),
    Format("arrow file", "wb", _arrow_stream, lambda path: same(feather.read_table(path), table())),
]
every_format = pytest.mark.parametrize("written", FORMATS, ids=lambda written: written.name.replace(" ", "-"))


class StopError(Exception):
    """The saver breaks off."""


@pytest.fixture
def target(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.write_bytes(OLD)
    return path


@every_format
def test_it_writes_to_the_file_as_to_any_other(target: Path, written: Format) -> None:
    writer = durably.open(target, written.mode, **written.options)
    with writer as file:
        written.write(file)
        assert target.read_bytes() == OLD
    written.check(target)
    assert names(target.parent) == ["file"]
    assert writer.receipt is not None
    assert writer.receipt.size == target.stat().st_size


@every_format
@pytest.mark.parametrize("lacks", [(), ("unnamed",)])
@needs_posix
def test_an_exception_afterwards_keeps_the_old_file(
    target: Path, written: Format, lacks: tuple[str, ...]
) -> None:
    with use(Without(*lacks)), pytest.raises(StopError):
        with durably.open(target, written.mode, **written.options) as file:
            written.write(file)
            raise StopError
    assert target.read_bytes() == OLD
    assert names(target.parent) == ["file"]


@every_format
def test_an_exception_in_the_middle_keeps_the_old_file(target: Path, written: Format) -> None:
    """Raised inside the library, when it calls the file's write for the N-th time."""
    if written.name == "tofile":
        pytest.skip("tofile writes to the descriptor: nothing of Python's is called in the middle")
    for number in (1, 2, 5):
        if _stopped(target, written, number):
            assert target.read_bytes() == OLD, number
        assert names(target.parent) == ["file"]
        target.write_bytes(OLD)


def _stopped(target: Path, written: Format, number: int) -> bool:
    calls = 0

    class Stops(Without):
        def _before(self, name: str, arguments: Any, keywords: Any, function: Any) -> None:
            nonlocal calls
            calls += name == "write"
            if name == "write" and calls == number:
                raise StopError

    try:
        with use(Stops()), durably.open(target, written.mode, **written.options, buffering=512) as file:
            written.write(file)
    except StopError:
        return True
    except (OSError, ValueError, pyarrow.ArrowException):
        return calls >= number  # the library has wrapped it, or has failed again in its clean-up
    assert calls < number, "the library has swallowed the exception, and half a file was committed"
    return False


def test_an_archive_is_gone_on_with(tmp_path: Path) -> None:
    target = tmp_path / "archive.zip"
    with durably.open(target, "wb") as file:
        _zip(file)
    with durably.open(target, "r+b") as file:
        _more_zip(file)
    with zipfile.ZipFile(target) as archive:
        assert archive.namelist() == ["one", "two", "three"]
        assert archive.testzip() is None


def test_gzip_writes_the_targets_name_into_its_header(tmp_path: Path) -> None:
    with (
        durably.open(tmp_path / "data.csv.gz", "wb") as file,
        gzip.GzipFile(fileobj=file, mode="wb") as inner,
    ):
        inner.write(BYTES)
    assert b"data.csv\0" in (tmp_path / "data.csv.gz").read_bytes()[:40]


def test_a_child_process_may_write_to_the_descriptor(target: Path) -> None:
    import subprocess

    with durably.open(target, "wb") as file:
        file.write(b"header\n")
        file.flush()
        subprocess.run([sys.executable, "-c", "print('from the child')"], stdout=file, check=True)
    assert target.read_bytes().splitlines() == [b"header", b"from the child"]


STAGED: list[tuple[str, Callable[[Path], object], Callable[[Path], None]]] = [
    (
        "file.npy",
        lambda path: numpy.save(path, array()),
        lambda path: same((numpy.load(path) == array()).all(), True),
    ),
    ("file.npz", lambda path: numpy.savez(path, a=array()), _read_npz),
    (
        "file.csv.gz",
        lambda path: frame().to_csv(path, index=False),
        lambda path: _check_frame(pandas.read_csv(path)),
    ),
    (
        "file.parquet",
        lambda path: frame().to_parquet(path),
        lambda path: _check_frame(pandas.read_parquet(path)),
    ),
    (
        "file.pq",
        lambda path: parquet.write_table(table(), path),
        lambda path: same(parquet.read_table(path), table()),
    ),
    (
        "file.zip",
        lambda path: shutil.make_archive(
            str(path)[:-4], "zip", os.path.dirname(__file__), os.path.basename(__file__)
        ),
        lambda path: same(zipfile.ZipFile(path).testzip(), None),
    ),
]


@pytest.mark.parametrize(("file_name", "write", "check"), STAGED, ids=[staged[0] for staged in STAGED])
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_savers_that_want_a_file_name(
    tmp_path: Path, file_name: str, write: Callable[[Path], object], check: Callable[[Path], None]
) -> None:
    target = tmp_path / file_name
    target.write_bytes(OLD)
    with pytest.raises(StopError), durably.staged_path(target) as temporary:
        write(temporary)
        raise StopError
    assert target.read_bytes() == OLD
    with durably.staged_path(target) as temporary:
        write(temporary)
        assert target.read_bytes() == OLD
    check(target)
    assert names(tmp_path) == [file_name]
