//! Filling one bin.
//!
//! A bin begins with the oldest draw that waits, and goes on in the order of the stream while the next `AHEAD` draws
//! all fit. Then it adds the fullest subset of the draws that wait; more are drawn until a subset fills the bin or
//! `window` draws wait. So every draw is in one of the next `window` bins, and a bin with room left is closed only if
//! `window` draws wait and none of them fits.

use std::collections::VecDeque;

use crate::error::Error;
use crate::packing::subset::Subset;
use crate::stream::Stream;

/// The last room of a bin is filled from at least this many draws. Twice as many take four times the work, and fill no
/// more.
const AHEAD: usize = 8;

/// A row that was drawn.
#[derive(Clone, Copy, Debug)]
pub struct Draw {
    pub row: i64,
    pub tokens: u32,
}

impl Draw {
    /// A draw of a row with this many tokens, if a bin can hold it.
    pub fn new(row: i64, tokens: i32, capacity: u32) -> Result<Self, Error> {
        match u32::try_from(tokens) {
            Ok(tokens) if (1..=capacity).contains(&tokens) => Ok(Self { row, tokens }),
            Ok(tokens) if tokens > capacity => Err(Error::new(
                format_args!("`lengths[{row}]={tokens}`"),
                format_args!("a bin holds {capacity} tokens"),
                "drop or truncate such rows, or give a larger `capacity`",
            )),
            _ => Err(Error::new(
                format_args!("`lengths[{row}]={tokens}`"),
                "a row needs at least 1 token to be packed",
                "drop such rows",
            )),
        }
    }

    /// A draw of a row of the mixture that these lengths belong to.
    pub fn of(row: i64, lengths: &[i32], capacity: u32) -> Result<Self, Error> {
        match usize::try_from(row).ok().and_then(|row| lengths.get(row)) {
            Some(&tokens) => Self::new(row, tokens, capacity),
            None => Err(Error::new(
                format_args!("row {row}"),
                format_args!("there are `lengths` for {} rows", lengths.len()),
                "use the mixture, the lengths and the state of one run",
            )),
        }
    }
}

/// What is needed to fill one bin after another.
pub struct Bin<'a> {
    pub capacity: u32,
    pub window: usize,
    pub head: u64,
    pub waiting: VecDeque<Draw>,
    pub subset: &'a mut Subset,
    pub stream: &'a mut Stream,
    pub lengths: &'a [i32],
}

impl Bin<'_> {
    /// The rows of the next bin.
    pub fn fill(&mut self) -> Result<Vec<i64>, Error> {
        let mut rows = Vec::new();
        let mut room = self.capacity;
        self.draw(1)?;
        self.add_oldest(&mut rows, &mut room);
        let ahead = AHEAD.min(self.window);
        while room > 0 {
            self.draw(ahead)?;
            let next: u64 = self.waiting.iter().take(ahead).map(|draw| u64::from(draw.tokens)).sum();
            if next <= u64::from(room) {
                self.add_oldest(&mut rows, &mut room);
            } else if self.choose(room)? {
                self.add_chosen(&mut rows, &mut room);
            } else {
                break;
            }
        }
        Ok(rows)
    }

    /// Draws until `count` draws wait.
    fn draw(&mut self, count: usize) -> Result<(), Error> {
        let mut rows = [0; AHEAD];
        let rows = &mut rows[..count.saturating_sub(self.waiting.len())];
        if !rows.is_empty() {
            self.stream.fill(self.head, rows)?;
            self.head += rows.len() as u64;
            for &mut row in rows {
                self.waiting.push_back(Draw::of(row, self.lengths, self.capacity)?);
            }
        }
        Ok(())
    }

    fn add_oldest(&mut self, rows: &mut Vec<i64>, room: &mut u32) {
        if let Some(draw) = self.waiting.pop_front() {
            rows.push(draw.row);
            *room -= draw.tokens;
        }
    }

    /// Looks for the fullest subset, and returns whether it has any draws.
    fn choose(&mut self, room: u32) -> Result<bool, Error> {
        self.subset.empty(room);
        for index in 0..self.window {
            self.draw(index + 1)?;
            self.subset.add(index, self.waiting[index].tokens);
            if self.subset.fills() {
                break;
            }
        }
        self.subset.choose();
        Ok(!self.subset.chosen.is_empty())
    }

    fn add_chosen(&mut self, rows: &mut Vec<i64>, room: &mut u32) {
        for &index in &self.subset.chosen {
            rows.push(self.waiting[index].row);
            *room -= self.waiting[index].tokens;
        }
        let (mut index, mut chosen) = (0, self.subset.chosen.iter().copied().peekable());
        self.waiting.retain(|_| {
            index += 1;
            chosen.next_if_eq(&(index - 1)).is_none()
        });
    }
}
