"""Options are checked before the disk is touched; receipts and guarantees are plain values."""

from __future__ import annotations

import copy
import json
import pickle
from typing import TYPE_CHECKING, Any

import pytest

import durably
from disk import NEW, untouched
from durably import Durability, Guarantees, Receipt
from durably._receipts import Promise
from durably._types import Options, resolve

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

RECEIPT = Receipt("f", 3, True, False, Durability.DURABLE, ("create", "write"), {"unlink": "why"}, ("acl",))
GUARANTEES = Guarantees(
    "f",
    "ext4",
    ("rw",),
    "linux",
    Promise("yes", "one step"),
    Promise("no", "in memory"),
    Promise("unknown", "nobody knows"),
    frozenset({"unnamed"}),
)
ENTRY_POINTS: list[Callable[..., Any]] = [
    lambda path, **options: durably.write_bytes(path, b"", **options),
    lambda path, **options: durably.write_text(path, "", **options),
    lambda path, **options: durably.atomic_write(path, "", **options),
    durably.open,
    durably.AtomicWriter,
    durably.staged_path,
]
ENTRY_POINT_NAMES = ["write_bytes", "write_text", "atomic_write", "open", "AtomicWriter", "staged_path"]
FLAGS = ["overwrite", "make_parents", "allow_in_place"]


@pytest.mark.parametrize("entry_point", ENTRY_POINTS, ids=ENTRY_POINT_NAMES)
@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        (
            {"durability": "full"},
            ValueError,
            "durability must be one of 'none', 'consistent', 'durable', not 'full'",
        ),
        ({"durability": "DURABLE"}, ValueError, "durability"),
        ({"durability": None}, ValueError, "durability"),
        ({"durability": True}, ValueError, "durability"),
        ({"durability": ["none"]}, ValueError, "durability"),
        (
            {"metadata": "keep"},
            ValueError,
            "metadata must be one of 'preserve', 'strict', 'fresh', not 'keep'",
        ),
        ({"metadata": None}, ValueError, "metadata"),
        ({"metadata": []}, ValueError, "metadata"),
        ({"symlinks": "ignore"}, ValueError, "symlinks must be one of 'follow', 'replace', 'refuse'"),
        ({"symlinks": False}, ValueError, "symlinks"),
        *(({flag: 1}, TypeError, f"{flag} must be True or False, not 1") for flag in FLAGS),
        *(({flag: None}, TypeError, flag) for flag in FLAGS),
        *(({flag: "yes"}, TypeError, flag) for flag in FLAGS),
        *(({flag: {}}, TypeError, flag) for flag in FLAGS),
        ({"permissions": "0644"}, TypeError, "permissions must be a mode such as 0o640"),
        ({"permissions": True}, TypeError, "permissions"),
        ({"permissions": 6.0}, TypeError, "permissions"),
        ({"permissions": -1}, ValueError, "permissions must lie between 0 and 0o7777"),
        ({"permissions": 0o10000}, ValueError, "permissions"),
        ({"allow_in_place": True, "overwrite": False}, ValueError, "allow_in_place=True rewrites"),
        ({"durable": True}, TypeError, "durable"),
        ({"fsync": []}, TypeError, "fsync"),
    ],
)
def test_bad_options_are_refused_before_the_disk_is_touched(
    tmp_path: Path,
    entry_point: Callable[..., Any],
    options: dict[str, Any],
    error: type[Exception],
    message: str,
) -> None:
    with untouched(tmp_path), pytest.raises(error, match=message):
        entry_point(tmp_path / "file", **options)


def test_a_number_that_equals_a_checked_flag_is_not_taken_for_it(tmp_path: Path) -> None:
    durably.write_bytes(tmp_path / "file", NEW, overwrite=True)
    with pytest.raises(TypeError, match="overwrite"):
        durably.write_bytes(tmp_path / "file", NEW, overwrite=1)  # type: ignore[arg-type]


@pytest.mark.parametrize("level", Durability)
def test_a_level_may_be_given_by_its_name(tmp_path: Path, level: Durability) -> None:
    by_name = durably.write_bytes(tmp_path / "one", NEW, durability=str(level))  # type: ignore[arg-type]
    by_value = durably.write_bytes(tmp_path / "two", NEW, durability=level)
    assert by_name[1:] == by_value[1:]
    assert type(by_name.durability) is Durability


def test_the_levels_are_strings() -> None:
    assert [str(level) for level in Durability] == ["none", "consistent", "durable"]
    assert Durability.DURABLE == "durable"  # type: ignore[comparison-overlap] # a StrEnum is a str
    assert json.dumps(Durability.NONE) == '"none"'


def test_the_defaults() -> None:
    options = Options()
    assert (options.durability, options.overwrite, options.metadata) == ("durable", True, "preserve")
    assert (options.symlinks, options.permissions) == ("follow", None)
    assert (options.make_parents, options.allow_in_place) == (False, False)


@pytest.mark.parametrize("permissions", [0, 0o640, 0o7777])
def test_every_mode_is_taken(permissions: int) -> None:
    assert resolve({"permissions": permissions}).permissions == permissions


# Receipts.


def test_a_receipt_is_read_by_name() -> None:
    assert repr(RECEIPT) == (
        "Receipt(path='f', size=3, replaced=True, in_place=False, "
        "durability=<Durability.DURABLE: 'durable'>, steps=('create', 'write'), "
        "skipped={'unlink': 'why'}, lost=('acl',))"
    )
    assert RECEIPT._fields == (
        "path",
        "size",
        "replaced",
        "in_place",
        "durability",
        "steps",
        "skipped",
        "lost",
    )


@pytest.mark.parametrize("value", [RECEIPT, GUARANTEES], ids=["receipt", "guarantees"])
def test_equality(value: Any) -> None:
    other = copy.deepcopy(value)
    assert other == value
    assert other is not value
    assert value != "f"
    with pytest.raises(TypeError, match="unhashable"):
        hash(value)


def test_inequality() -> None:
    assert RECEIPT._replace(size=4) != RECEIPT
    other = copy.copy(GUARANTEES)
    other.file_system = "xfs"
    assert other != GUARANTEES


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("value", [RECEIPT, GUARANTEES], ids=["receipt", "guarantees"])
def test_pickling(value: Any, protocol: int) -> None:
    if protocol < 2 and value is GUARANTEES:
        pytest.skip("objects with slots need pickle protocol 2, the default has been 4 since Python 3.8")
    other = pickle.loads(pickle.dumps(value, protocol))
    assert (type(other), other) == (type(value), value)
    assert repr(other) == repr(value)


def test_a_receipt_can_be_written_as_json() -> None:
    written = json.loads(json.dumps(RECEIPT._asdict()))
    assert written == {
        "path": "f",
        "size": 3,
        "replaced": True,
        "in_place": False,
        "durability": "durable",
        "steps": ["create", "write"],
        "skipped": {"unlink": "why"},
        "lost": ["acl"],
    }


def test_a_saves_receipt_tells_what_was_done(tmp_path: Path) -> None:
    target = tmp_path / "file"
    first = durably.write_bytes(target, NEW)
    second = durably.write_bytes(str(target), b"", durability="none")
    assert (first.path, first.size, first.replaced, first.in_place, first.lost) == (
        str(target),
        len(NEW),
        False,
        False,
        (),
    )
    assert (second.size, second.replaced, second.durability) == (0, True, "none")
    assert "write" in first.steps
    assert first.steps.index("fsync") < first.steps.index("rename")
    assert "fsync" not in second.steps


def test_receipts_of_two_saves_share_nothing(tmp_path: Path) -> None:
    one, two = (durably.write_bytes(tmp_path / "file", NEW) for _ in range(2))
    one.skipped["x"] = "y"
    assert "x" not in two.skipped


# Promises.


@pytest.mark.parametrize("way", [copy.copy, copy.deepcopy, lambda value: pickle.loads(pickle.dumps(value))])
def test_a_promise_keeps_its_reason(way: Callable[[Promise], Promise]) -> None:
    other = way(GUARANTEES.crash)
    assert (other, other.reason, type(other)) == ("no", "in memory", Promise)
    assert json.dumps(other) == '"no"'


def test_guarantees_are_read_by_name() -> None:
    assert repr(GUARANTEES) == (
        "Guarantees(path='f', file_system='ext4', options=('rw',), routine='linux', readers='yes', "
        "crash='no', durable='unknown', supports=frozenset({'unnamed'}))"
    )
