"""From a log to the states that a crash could leave.

A state is named by a point and a seed. The point is a position in the log: the power goes before that
record. All that was written before the last flush is there; of what came after, each piece is there
or not, as the seed decides.
"""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING, NamedTuple

from .log import FLUSH, WRITE, ZERO

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from .history import History
    from .log import Entry, Log

CHUNK = 64 << 10
PAGE = 4096
SECTOR = 512
_VECTOR = 512
# How likely a piece is to have reached the disk: nothing, little, half, most, all.
_LIKELIHOODS = (0.0, 0.1, 0.5, 0.9, 1.0)


class Cut(NamedTuple):
    """The name of a state: where the power goes, and the seed of what is lost."""

    point: int
    seed: int


class Plan(NamedTuple):
    """How the log is turned into states.

    ``piece``: what the disk writes as one: 4096 or 512 bytes.
    ``lie``: whether the disk ignores flushes, so that nothing but luck brings a write to it.
    """

    piece: int = PAGE
    lie: bool = False


class Image:
    """The content of a disk; what was never written is zero and takes no room."""

    def __init__(self, chunks: dict[int, bytearray] | None = None) -> None:
        self.chunks: dict[int, bytearray] = {} if chunks is None else chunks

    def write(self, offset: int, data: memoryview) -> None:
        """Overwrite a range."""
        while data:
            index, start = divmod(offset, CHUNK)
            count = min(CHUNK - start, len(data))
            self._chunk(index)[start : start + count] = data[:count]
            data = data[count:]
            offset += count

    def zero(self, offset: int, length: int) -> None:
        """Clear a range."""
        first, last = offset // CHUNK, (offset + length - 1) // CHUNK
        within = [index for index in self.chunks if first <= index <= last]
        for index in within:
            start = max(offset - index * CHUNK, 0)
            end = min(offset + length - index * CHUNK, CHUNK)
            if end - start == CHUNK:
                del self.chunks[index]
            else:
                self._chunk(index)[start:end] = bytes(end - start)

    def _chunk(self, index: int) -> bytearray:
        return self.chunks.setdefault(index, bytearray(CHUNK))

    def runs(self) -> Iterator[tuple[int, list[bytearray]]]:
        """The offset of each range that is not zero, and its content in a few buffers."""
        first, buffers = 0, list[bytearray]()
        for index in sorted(self.chunks):
            if buffers and (index != first + len(buffers) or len(buffers) == _VECTOR):
                yield first * CHUNK, buffers
                buffers = []
            if not buffers:
                first = index
            buffers.append(self.chunks[index])
        if buffers:
            yield first * CHUNK, buffers


class _Branch(Image):
    """A content that differs from another in some chunks, which it copies when it writes them."""

    def __init__(self, base: Image) -> None:
        super().__init__(dict(base.chunks))
        self._own: set[int] = set()

    def _chunk(self, index: int) -> bytearray:
        if index not in self._own:
            self._own.add(index)
            self.chunks[index] = bytearray(self.chunks.get(index, bytes(CHUNK)))
        return self.chunks[index]


class State(NamedTuple):
    """One rebuilt state. Two with the same ``key`` are the same disk."""

    cut: Cut
    key: tuple[int, tuple[int, ...]]
    image: Image


def rebuilt(log: Log, cuts: Iterable[Cut], plan: Plan) -> Iterator[State]:
    """The states of these cuts, in the order of their points."""
    durable = Image()
    pending: list[Entry] = []
    flushed = position = 0
    for cut in sorted(cuts):
        while position < cut.point:
            entry = log.entries[position]
            position += 1
            if entry.kind == FLUSH and not plan.lie:
                for written in pending:
                    _apply(durable, log, written)
                pending.clear()
                flushed = position
            elif entry.kind in (WRITE, ZERO):
                pending.append(entry)
        yield _torn(log, durable, pending, flushed, cut, plan)


def _torn(log: Log, durable: Image, pending: list[Entry], flushed: int, cut: Cut, plan: Plan) -> State:
    random = Random(f"{cut.seed}/{cut.point}")
    likelihood = random.choice(_LIKELIHOODS)
    image = _Branch(durable)
    kept: list[int] = []
    for number, piece in enumerate(_pieces(pending, plan.piece)):
        if random.random() < likelihood:
            kept.append(number)
            _apply(image, log, piece)
    return State(cut, (flushed, tuple(kept)), image)


def _pieces(pending: list[Entry], size: int) -> Iterator[Entry]:
    for entry in pending:
        if entry.kind == ZERO:
            yield entry  # one command
            continue
        for start in range(0, entry.length, size):
            length = min(size, entry.length - start)
            yield entry._replace(offset=entry.offset + start, length=length, at=entry.at + start)


def _apply(image: Image, log: Log, entry: Entry) -> None:
    if entry.kind == ZERO:
        image.zero(entry.offset, entry.length)
    else:
        image.write(entry.offset, log.data(entry))


def sampled(log: Log, history: History, number: int, seed: int) -> list[Cut]:
    """So many cuts: right after a save has returned, before a flush, after one, and anywhere."""
    first, last = history.begin + 1, len(log.entries)
    flushes = [at for at in range(first, last) if log.entries[at].kind == FLUSH]
    random = Random(seed)
    cuts: list[Cut] = []
    for count in range(number):
        places = (history.acknowledged, flushes, [at + 1 for at in flushes], ())[count % 4]
        point = random.choice(places) if places else random.randint(first, last)
        cuts.append(Cut(point, seed + count))
    return cuts


def exhaustive(log: Log, history: History, seed: int, subsets: int = 4) -> list[Cut]:
    """A cut before every record and after the last, each with some subsets of what was pending."""
    points = range(history.begin + 1, len(log.entries) + 1)
    return [Cut(point, seed + count) for point in points for count in range(subsets)]
