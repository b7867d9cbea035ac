"""The stream, written to be read: slow Python whole numbers and NumPy's Philox; the Rust crate must agree with it.

Every position has a point on a line of 2^53 points, the weights cut the line into one interval a cell, and the cell of
a position is the interval that its point falls in.
"""

from bisect import bisect_right
from collections import Counter

import numpy as np

LINE = 2**53
BLOCK = 256  # positions, and strata of the line
STRATUM = LINE // BLOCK
POINTS, ORDERS = 0, 1  # domains: second half of Philox's key
SHIFT, ORDER = 1, 2  # uses of the domain of points, beside the independent points of use 0
MIX = 0x9E6D


def words(seed, domain, a, b, c, count):
    """Philox4x64-10 at the counters (0, a, b, c), (1, a, b, c), ...; NumPy counts up before it makes a block."""
    counter = (a << 64 | b << 128 | c << 192) - 1
    return np.random.Philox(key=seed | domain << 64, counter=counter % 2**256).random_raw(count).tolist()


def shuffled(items, source):
    """Fisher-Yates from the end; every word serves four steps."""
    items = list(items)
    for step, last in enumerate(range(len(items) - 1, 0, -1)):
        if step % 4 == 0:
            word = next(source)
        chosen, word = divmod(word * (last + 1), 2**64)
        items[last], items[chosen] = items[chosen], items[last]
    return items


def ends(weights):
    """The end of every cell's interval."""
    sums = np.cumsum(np.asarray(weights, float) / np.max(weights))
    return [int(share * LINE) for share in sums / sums[-1]]


def reverse(number, bits=45):
    """The number with its binary digits reversed."""
    return int(format(number, f"0{bits}b")[::-1], 2)


def block_order(keys, inside):
    """The stratum of a position inside its block: eight rounds of multiplying, adding and folding."""
    stratum = inside
    for number in range(8):
        key = keys[number // 4] >> number % 4 * 16 & 0xFFFF
        stratum = (stratum * (key | 1) + (key >> 8)) % BLOCK
        stratum ^= stratum >> 4
    return stratum


def stratified(seed, start, position):
    """The point of a position without replacement, in the segment that starts at `start`."""
    block, inside = divmod(position - start, BLOCK)
    shift = words(seed, POINTS, start, SHIFT, 0, 1)[0] >> 19
    keys = words(seed, POINTS, start + block * BLOCK, ORDER, 0, 2)
    return block_order(keys, inside) * STRATUM + (reverse(block) ^ shift)


def independent(seed, position):
    """The point of a position with replacement."""
    return words(seed, POINTS, 0, 0, 0, position + 1)[position] >> 11


def lap_row(seed, cell, lap, index, size):
    """The row of a cell that a lap visits at an index."""
    if size <= 256:
        return shuffled(range(size), iter(words(seed, ORDERS, lap, cell, 0, 64)))[index]
    bits = size.bit_length() // 2
    width = -(-size // 2**bits)
    keys = [word >> half & 0xFFFFFFFF for word in words(seed, ORDERS, lap, cell, 0, 4) for half in (0, 32)]

    def mix(key, value):
        product = (value ^ key >> 16) * (key | 1) % 2**16
        return (product ^ product >> 7) * MIX % 2**16

    row = index
    while True:
        left, right = divmod(row, 2**bits)
        for one, two in zip(keys[::2], keys[1::2], strict=True):
            left = (left + (mix(one, right) * width >> 16)) % width
            right = (right + (mix(two, left) >> (16 - bits))) % 2**bits
        row = left * 2**bits + right
        if row < size:
            return row


def stream(sizes, schedule, seed, count, *, replacement=False):
    """The first rows; `schedule` is a list of (position, weights), the first at position 0."""
    firsts = np.cumsum([0, *sizes]).tolist()
    drawn = Counter()
    rows = []
    for position in range(count):
        start, weights = [update for update in schedule if update[0] <= position][-1]
        cuts = ends(weights)
        point = independent(seed, position) if replacement else stratified(seed, start, position)
        cell = bisect_right(cuts, point)
        if replacement:
            begin = cuts[cell - 1] if cell else 0
            width = cuts[cell] - begin
            shift = 64 - width.bit_length()  # the interval, scaled to fill a word
            scale = (sizes[cell] << 95) // (width << shift)
            row = (point - begin << shift) * scale >> 95
        else:
            lap, index = divmod(drawn[cell], sizes[cell])
            row = lap_row(seed, cell, lap, index, sizes[cell])
        drawn[cell] += 1
        rows.append(firsts[cell] + row)
    return rows
