"""The requests that a save makes, beside those of the bare client; and the figures of docs/stores.md."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

import store_figures
from store_fixtures import only

pytest.importorskip("fsspec")

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from servers import Server

pytestmark = [
    pytest.mark.timeout(300),
    # Clients leave connections and event loops to the garbage collector.
    pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture(params=store_figures.CLIENTS, scope="module")
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    yield from only(request.param)


def test_a_store_is_asked_for_the_same_as_by_the_bare_client(server: Server) -> None:
    fs = store_figures.connected(server)
    for size in store_figures.sizes(store_figures.CLIENTS[server.name][1]).values():
        bare, ours = store_figures.requests(server, fs, size)
        assert [method for method, _, _ in map(_parts, ours)] == [
            method for method, _, _ in map(_parts, bare)
        ]
        assert bare


def _parts(request: str) -> tuple[str, str, str]:
    return request.partition(" ")


def test_the_page_shows_the_recorded_figures() -> None:
    data = json.loads(store_figures.DATA.read_text(encoding="utf-8"))
    text = store_figures.PAGE.read_text(encoding="utf-8")
    assert store_figures.page(text, data) == text


def test_the_recorded_figures_are_those_that_were_to_be_reached() -> None:
    data = json.loads(store_figures.DATA.read_text(encoding="utf-8"))
    for store in data["requests"].values():
        assert all(one["bare"] == one["durably"] for one in store.values())
    for tally in data["faults"].values():
        assert (tally["truncated"], tally["leaked"], tally["untrue"]) == (0, 0, 0)
        assert tally["cuts"] == sum(tally.get(said, 0) for said in ("saved", "failed", "unknown"))


def test_a_record_is_counted(tmp_path: Path) -> None:
    record = tmp_path / "record"
    fault = {"store": "s3", "said": "failed, leftover named", "truncated": False, "leaked": 2, "untrue": True}
    record.write_text(json.dumps(fault) + "\n" + json.dumps({**fault, "said": "saved", "leaked": 0}) + "\n")
    assert store_figures.faults(record) == {
        "s3": {"cuts": 2, "failed": 1, "saved": 1, "truncated": 0, "leaked": 2, "untrue": 2}
    }
