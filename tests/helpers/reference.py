"""The stream, written to be read: slow Python whole numbers and NumPy's Philox; the Rust crate must agree with it.

Every position has a point on a line of 2^53 points, the weights cut the line into one interval a cell, and the cell of
a position is the interval that its point falls in.
"""

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator
from functools import cache
from itertools import accumulate

import numpy as np

Schedule = list[tuple[int, list[float]]]  # positions, and the weights in force from there on

LINE = 2**53
BLOCK = 256  # positions, and strata of the line
STRATUM = LINE // BLOCK  # a draw is worth so many points in a block
POINTS, ORDERS = 0, 1  # domains: second half of Philox's key
SHIFT, ORDER = 1, 2  # uses of the domain of points, beside the independent points of use 0
MIX = 0x9E6D


@cache
def words(seed: int, domain: int, counter: tuple[int, int, int, int], count: int) -> list[int]:
    """Philox4x64-10 from a counter on, which is counted up in its first word; NumPy counts before it makes a block."""
    number = sum(word << 64 * place for place, word in enumerate(counter)) - 1
    made: list[int] = np.random.Philox(key=seed | domain << 64, counter=number % 2**256).random_raw(count).tolist()
    return made


def splitmix(start: int, index: int) -> int:
    """SplitMix64: the word at an index of the sequence from a start on."""
    word = (start + (index + 1) * 0x9E3779B97F4A7C15) % 2**64
    word = (word ^ word >> 30) * 0xBF58476D1CE4E5B9 % 2**64
    word = (word ^ word >> 27) * 0x94D049BB133111EB % 2**64
    return word ^ word >> 31


def shuffled(items: Iterable[int], source: Iterator[int]) -> list[int]:
    """Fisher-Yates from the end; every word serves four steps."""
    items = list(items)
    for step, last in enumerate(range(len(items) - 1, 0, -1)):
        if step % 4 == 0:
            word = next(source)
        chosen, word = divmod(word * (last + 1), 2**64)
        items[last], items[chosen] = items[chosen], items[last]
    return items


def ends(weights: list[float]) -> list[int]:
    """The end of every cell's interval."""
    sums = np.cumsum(np.asarray(weights, float) / np.max(weights))
    scale = LINE / sums[-1]
    return [min(int(total * scale), LINE) if total < sums[-1] else LINE for total in sums]


def reverse(number: int, bits: int = 45) -> int:
    """The number with its binary digits reversed."""
    return int(format(number, f"0{bits}b")[::-1], 2)


def block_order(keys: list[int], inside: int) -> int:
    """The stratum of a position inside its block: eight rounds of multiplying, adding and folding."""
    stratum = inside
    for number in range(8):
        key = keys[number // 4] >> number % 4 * 16 & 0xFFFF
        stratum = (stratum * (key | 1) + (key >> 8)) % BLOCK
        stratum ^= stratum >> 4
    return stratum


def stratified(seed: int, start: int, position: int) -> int:
    """The point of a position without replacement, under weights that came into force at `start`.

    The first block is a segment of its own, and what follows it is another.
    """
    segment = start if position < start + BLOCK else start + BLOCK
    block, inside = divmod(position - segment, BLOCK)
    shift = words(seed, POINTS, (0, segment, SHIFT, 0), 1)[0] >> 19
    keys = words(seed, POINTS, (0, segment + block * BLOCK, ORDER, 0), 2)
    return block_order(keys, inside) * STRATUM + (reverse(block) ^ shift)


def opening(cuts: list[int], owed: list[int]) -> list[int]:
    """Where the line is cut in the first block under new weights, which settles what cells are owed."""
    moved: list[int] = []
    for begin, end, debt in zip([0, *cuts], cuts, owed, strict=False):
        before = moved[-1] if moved else 0
        if end == LINE:
            moved.append(LINE)
        elif end == begin:  # a weight of 0
            moved.append(before)
        else:
            moved.append(min(max(end + debt, before), LINE))
    return moved


def independent(seed: int, position: int) -> int:
    """The point of a position with replacement."""
    block, inside = divmod(position, BLOCK)
    return splitmix(words(seed, POINTS, (block, 0, 0, 0), 1)[0], inside) >> 11


@cache
def lap_row(seed: int, cell: int, lap: int, index: int, size: int) -> int:
    """The row of a cell that a lap visits at an index."""
    if size <= 1024:
        return shuffled(range(size), iter(words(seed, ORDERS, (0, lap, cell, 0), 256)))[index]
    bits = (size.bit_length() + 1) // 2
    width = -(-size // 2**bits)
    keys = [word >> half & 0xFFFFFFFF for word in words(seed, ORDERS, (0, lap, cell, 0), 4) for half in (0, 32)]

    def mix(key: int, value: int) -> int:
        product = (value ^ key >> 16) * (key | 1) % 2**16
        return (product ^ product >> 7) * MIX % 2**16

    row: int = index
    while True:
        left, right = divmod(row, 2**bits)
        for one, two in zip(keys[::2], keys[1::2], strict=True):
            left = (left + (mix(one, right) * width >> 16)) % width
            right = (right + (mix(two, left) >> (16 - bits))) % 2**bits
        row = left * 2**bits + right
        if row < size:
            return row


def stream(sizes: list[int], schedule: Schedule, seed: int, count: int, *, replacement: bool = False) -> list[int]:
    """The first rows; `schedule` begins at position 0."""
    firsts = np.cumsum([0, *sizes]).tolist()
    updates = dict(schedule)
    start, cuts = 0, ends(updates[0])
    owed = [0] * len(sizes)  # to each cell and all before it together, in points of one block
    first = cuts
    drawn: Counter[int] = Counter()
    before = [0] * len(sizes)  # draws of the cells up to each, before `start`
    rows: list[int] = []
    for position in range(count):
        if position in updates and ends(updates[position]) != cuts:  # the same cuts would change nothing
            now = list(accumulate(drawn[cell] for cell in range(len(sizes))))
            shares = [(position - start) * end // BLOCK for end in cuts]
            owed = [
                debt + share - (later - earlier) * STRATUM
                for debt, share, later, earlier in zip(owed, shares, now, before, strict=True)
            ]
            start, cuts, before = position, ends(updates[position]), now
            first = opening(cuts, owed)
        if replacement:
            point = independent(seed, position)
            cell = bisect_right(cuts, point)
            begin = cuts[cell - 1] if cell else 0
            width = cuts[cell] - begin
            shift = 64 - width.bit_length()  # the interval, scaled to fill a word
            scale = (sizes[cell] << 95) // (width << shift)
            row = (point - begin << shift) * scale >> 95
        else:
            point = stratified(seed, start, position)
            cell = bisect_right(first if position < start + BLOCK else cuts, point)
            lap, index = divmod(drawn[cell], sizes[cell])
            row = lap_row(seed, cell, lap, index, sizes[cell])
        drawn[cell] += 1
        rows.append(firsts[cell] + row)
    return rows
