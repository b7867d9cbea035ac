//! Where each cell stands in its laps, with its next rows computed ahead.

use crate::stream::order::{Bijection, RUN, SHUFFLED, shuffled};

/// The laps of all cells, with little more than 4 KiB for each at most.
pub struct Laps {
    seed: u64,
    sizes: Vec<u32>,
    lanes: Vec<Lane>,
    ahead: Vec<u32>,
    /// For larger cells: the lap whose rows were computed last, and its order.
    orders: Vec<Option<(u64, Bijection)>>,
}

/// One cell: its next rows are `ahead[at..end]`.
struct Lane {
    at: u32,
    end: u32,
    /// Where this cell's part of `ahead` begins.
    begin: u32,
    /// The cell's first row in the mixture.
    first: i64,
    /// Draws of the cell up to and including `ahead[end - 1]`.
    drawn: u64,
}

impl Laps {
    pub fn new(seed: u64, sizes: &[u32]) -> Self {
        let mut begin = 0;
        let mut first = 0;
        let lanes = sizes
            .iter()
            .map(|&size| {
                let lane = Lane {
                    at: begin,
                    end: begin,
                    begin,
                    first,
                    drawn: 0,
                };
                begin += if size as usize <= SHUFFLED { size } else { RUN as u32 };
                first += i64::from(size);
                lane
            })
            .collect();
        Self {
            seed,
            sizes: sizes.to_vec(),
            lanes,
            ahead: vec![0; begin as usize],
            orders: vec![None; sizes.len()],
        }
    }

    /// Draws of every cell so far.
    pub fn drawn(&self) -> Vec<u64> {
        self.lanes
            .iter()
            .map(|lane| lane.drawn - u64::from(lane.end - lane.at))
            .collect()
    }

    /// Goes to where each cell has given this many rows.
    pub fn seek(&mut self, drawn: &[u64]) {
        for (lane, &drawn) in self.lanes.iter_mut().zip(drawn) {
            lane.at = lane.end;
            lane.drawn = drawn;
        }
    }

    /// Draws the next row of each of these cells, in order.
    pub fn draw(&mut self, cells: &[u16], rows: &mut [i64]) {
        for (row, &cell) in rows.iter_mut().zip(cells) {
            let cell = usize::from(cell);
            if self.lanes[cell].at == self.lanes[cell].end {
                self.look_ahead(cell);
            }
            let lane = &mut self.lanes[cell];
            *row = lane.first + i64::from(self.ahead[lane.at as usize]);
            lane.at += 1;
        }
    }

    /// Computes the next rows of a cell, up to the end of its lap.
    #[cold]
    fn look_ahead(&mut self, cell: usize) {
        let size = self.sizes[cell];
        let lane = &mut self.lanes[cell];
        let (lap, index) = (lane.drawn / u64::from(size), (lane.drawn % u64::from(size)) as u32);
        let begin = lane.begin as usize;
        if size as usize <= SHUFFLED {
            shuffled(self.seed, cell, lap, &mut self.ahead[begin..begin + size as usize]);
            lane.at = lane.begin + index;
            lane.end = lane.begin + size;
        } else {
            let run = self.ahead[begin..].first_chunk_mut().expect("room for a run");
            let order = match &mut self.orders[cell] {
                Some((of, order)) if *of == lap => order,
                other => &mut other.insert((lap, Bijection::new(self.seed, cell, lap, size))).1,
            };
            order.run(index, run);
            lane.at = lane.begin;
            lane.end = lane.begin + (size - index).min(RUN as u32);
        }
        lane.drawn += u64::from(lane.end - lane.at);
    }
}
