//! Packing: the draws of the stream, in bins of a fixed number of tokens.
//!
//! Nothing here is random, and nothing is planned. What goes into a bin follows from the draws that wait and those
//! after them. No draw is made before it is needed, so few draws under old weights are left when new weights come.

mod bin;
mod subset;

use std::collections::VecDeque;

use crate::error::Error;
use crate::packing::bin::{Bin, Draw};
use crate::packing::subset::Subset;
use crate::stream::Stream;
use crate::stream::limits::LINE;

/// Tokens that a bin can hold.
pub(crate) const MAX_TOKENS: u64 = 1 << 20;
/// Draws that can wait.
pub(crate) const MAX_WAITING: u64 = 1 << 10;
/// Bins that a batch can have.
pub(crate) const MAX_BINS: u64 = 1 << 16;

/// A packer of the stream, and where it stands.
#[derive(Debug)]
pub struct Packer {
    capacity: u32,
    bins: usize,
    window: usize,
    /// Position of the next draw. All earlier draws are in a bin or wait.
    head: u64,
    /// Draws that are in no bin yet, oldest first. At most `window`.
    waiting: VecDeque<Draw>,
    subset: Subset,
}

impl Packer {
    /// A packer at the start of the stream, for batches of `bins_per_batch` bins of `capacity` tokens.
    ///
    /// # Errors
    /// Numbers out of bounds, lengths for another number of rows, or a row that no bin can hold.
    pub fn new(
        stream: &Stream,
        lengths: &[i32],
        capacity: u64,
        bins_per_batch: u64,
        window: u64,
    ) -> Result<Self, Error> {
        for (name, value, max) in [
            ("capacity", capacity, MAX_TOKENS),
            ("bins_per_batch", bins_per_batch, MAX_BINS),
            ("window", window, MAX_WAITING),
        ] {
            if value == 0 || value > max {
                return Err(Error::outside(name, value, format_args!("1 to {max}")));
            }
        }
        let capacity = capacity as u32;
        let rows: u64 = stream.cell_sizes().iter().sum();
        if rows != lengths.len() as u64 {
            return Err(Error::new(
                format_args!("`lengths` for {} rows", lengths.len()),
                format_args!("the mixture has {rows}"),
                "give one length for each row",
            ));
        }
        // The two extremes first, which the compiler vectorises. Only if one is out of bounds, look for its row.
        let (shortest, longest) = lengths
            .iter()
            .fold((i32::MAX, i32::MIN), |(shortest, longest), &tokens| {
                (shortest.min(tokens), longest.max(tokens))
            });
        if shortest < 1 || longest > capacity as i32 {
            for (row, &tokens) in (0..).zip(lengths) {
                Draw::new(row, tokens, capacity)?;
            }
        }
        Ok(Self {
            capacity,
            bins: bins_per_batch as usize,
            window: window as usize,
            head: 0,
            waiting: VecDeque::new(),
            subset: Subset::default(),
        })
    }

    /// Position of the next draw.
    #[must_use]
    pub fn head(&self) -> u64 {
        self.head
    }

    /// Rows that were drawn and are in no bin yet, oldest first.
    pub fn waiting(&self) -> impl Iterator<Item = i64> {
        self.waiting.iter().map(|draw| draw.row)
    }

    /// Goes to where these rows waited and `head` was the position of the next draw.
    ///
    /// # Errors
    /// A place where no packer with this window and these lengths can stand.
    pub fn seek(&mut self, lengths: &[i32], head: u64, waiting: &[i64]) -> Result<(), Error> {
        if head > LINE {
            return Err(Error::in_state(
                format_args!("`state[\"head\"]={head}`"),
                format_args!("the stream ends at position {LINE}"),
            ));
        }
        let max = head.min(self.window as u64);
        if waiting.len() as u64 > max {
            return Err(Error::in_state(
                format_args!("`state[\"waiting\"]` with {} rows", waiting.len()),
                format_args!("at most {max} can wait there"),
            ));
        }
        self.waiting = waiting
            .iter()
            .map(|&row| Draw::of(row, lengths, self.capacity))
            .collect::<Result<_, _>>()?;
        self.head = head;
        Ok(())
    }

    /// The rows of every bin of the next batch.
    ///
    /// # Errors
    /// Those of the stream, or a length that no longer fits. The packer then stays where it was.
    pub fn batch(&mut self, stream: &mut Stream, lengths: &[i32]) -> Result<Vec<Vec<i64>>, Error> {
        let mut bin = Bin {
            capacity: self.capacity,
            window: self.window,
            head: self.head,
            waiting: self.waiting.clone(),
            subset: &mut self.subset,
            stream,
            lengths,
        };
        let batch = (0..self.bins).map(|_| bin.fill()).collect::<Result<_, _>>()?;
        (self.head, self.waiting) = (bin.head, bin.waiting);
        Ok(batch)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_draw_is_in_one_of_the_next_window_bins(
            lengths in prop::collection::vec(1..=300i32, 1..200),
            capacity in 300..1000u64,
            window in 1..40u64,
            bins in 1..4u64,
        ) {
            let mut stream = Stream::new(&[lengths.len() as u64], vec![1.0], 7, false)?;
            let mut packer = Packer::new(&stream, &lengths, capacity, bins, window)?;
            let mut waiting: VecDeque<(usize, i64)> = VecDeque::new();
            let mut drawn = 0;
            for number in (0..60).step_by(bins as usize) {
                let batch = packer.batch(&mut stream, &lengths)?;
                let mut fresh = vec![0; (packer.head() - drawn) as usize];
                stream.fill(drawn, &mut fresh)?;
                drawn = packer.head();
                waiting.extend(fresh.into_iter().map(|row| (number, row)));
                for (number, bin) in (number..).zip(batch) {
                    let tokens: u64 = bin.iter().map(|&row| lengths[row as usize] as u64).sum();
                    prop_assert!(!bin.is_empty() && tokens <= capacity);
                    for row in bin {
                        // A row can wait twice, from two laps. The oldest goes first, or it makes no difference.
                        let index = waiting.iter().position(|&(_, other)| other == row);
                        let (since, _) = waiting.remove(index.expect("a draw that waits")).expect("just found");
                        prop_assert!(number - since < window as usize + bins as usize);
                    }
                }
                prop_assert!(packer.waiting().eq(waiting.iter().map(|&(_, row)| row)));
                prop_assert!(waiting.len() as u64 <= window);
            }
        }

        #[test]
        fn a_bin_with_room_is_closed_only_when_a_window_full_waits_and_none_fits(
            lengths in prop::collection::vec(1..=100i32, 1..50),
            capacity in 100..300u64,
            window in 1..20u64,
        ) {
            let mut stream = Stream::new(&[lengths.len() as u64], vec![1.0], 7, true)?;
            let mut packer = Packer::new(&stream, &lengths, capacity, 1, window)?;
            for _ in 0..30 {
                let bins = packer.batch(&mut stream, &lengths)?;
                let room = capacity - bins[0].iter().map(|&row| lengths[row as usize] as u64).sum::<u64>();
                if room > 0 {
                    prop_assert_eq!(packer.waiting().count() as u64, window);
                    prop_assert!(packer.waiting().all(|row| lengths[row as usize] as u64 > room));
                }
            }
        }

        #[test]
        fn a_packer_goes_on_from_where_another_stood(
            lengths in prop::collection::vec(1..=100i32, 1..50),
            before in 0..20,
            window in 1..20u64,
        ) {
            let mut stream = Stream::new(&[lengths.len() as u64], vec![1.0], 7, false)?;
            let mut packer = Packer::new(&stream, &lengths, 128, 2, window)?;
            for _ in 0..before {
                packer.batch(&mut stream, &lengths)?;
            }
            let mut other = Packer::new(&stream, &lengths, 128, 2, window)?;
            other.seek(&lengths, packer.head(), &packer.waiting().collect::<Vec<_>>())?;
            for _ in 0..10 {
                prop_assert_eq!(packer.batch(&mut stream, &lengths)?, other.batch(&mut stream, &lengths)?);
            }
        }
    }

    #[test]
    fn an_error_leaves_the_packer_where_it_was() -> Result<(), Error> {
        let lengths: Vec<i32> = (1..=20).collect();
        let mut stream = Stream::new(&[20], vec![1.0], 7, false)?;
        let mut packer = Packer::new(&stream, &lengths, 64, 2, 8)?;
        packer.batch(&mut stream, &lengths)?;
        let (head, waiting) = (packer.head(), packer.waiting().collect::<HashSet<_>>());
        assert!(packer.batch(&mut stream, &[0; 20]).is_err());
        assert!(packer.batch(&mut stream, &[]).is_err());
        assert_eq!((packer.head(), packer.waiting().collect()), (head, waiting));
        Ok(())
    }
}
