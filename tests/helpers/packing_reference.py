"""Packing, written to be read: a Python whole number is a set of sums, bit by bit; the Rust crate must agree with it.

A bin takes the oldest draw that waits, and goes on in the order of the stream while the next AHEAD draws fit together.
Then it takes the fullest subset of the draws that wait, making more until one fills the bin or a window full of them
waits. Of the fullest subsets it takes the one whose newest draw is the oldest, whose second newest is the oldest, ...
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

AHEAD = 8


class ReferencePacker:
    def __init__(self, draw: Callable[[int], int], lengths: NDArray[np.int32], capacity: int, window: int) -> None:
        """`draw` gives the row at a position."""
        self.draw, self.lengths, self.capacity, self.window = draw, lengths, capacity, window
        self.head = 0
        self.waiting: list[int] = []

    def wait_for(self, count: int) -> None:
        while len(self.waiting) < count:
            self.waiting.append(self.draw(self.head))
            self.head += 1

    def fill(self) -> list[int]:
        """The rows of the next bin."""
        self.wait_for(1)
        rows = [self.waiting.pop(0)]
        ahead = min(AHEAD, self.window)
        while room := self.capacity - self.tokens(rows):
            self.wait_for(ahead)
            if self.tokens(self.waiting[:ahead]) <= room:
                rows.append(self.waiting.pop(0))
            elif chosen := self.fullest(room):
                rows += [self.waiting[index] for index in chosen]
                self.waiting = [row for index, row in enumerate(self.waiting) if index not in chosen]
            else:
                break
        return rows

    def tokens(self, rows: list[int]) -> int:
        return sum(int(self.lengths[row]) for row in rows)

    def fullest(self, room: int) -> list[int]:
        """Indices of the draws that wait and fill the room best."""
        sums = [1]  # of the empty subset; then with each draw
        while len(sums) <= self.window and not sums[-1] >> room:
            self.wait_for(len(sums))
            length = self.tokens([self.waiting[len(sums) - 1]])
            sums.append((sums[-1] | sums[-1] << length) & ((2 << room) - 1))
        left = sums.pop().bit_length() - 1
        chosen: list[int] = []
        for index, without in reversed(list(enumerate(sums))):
            if not without >> left & 1:
                chosen.insert(0, index)
                left -= self.tokens([self.waiting[index]])
        return chosen
