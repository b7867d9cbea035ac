//! What the stream promises, for any mixture.

use hbo_sampler_rs::stream::Stream;
use proptest::prelude::*;

/// A mixture with a schedule of a few updates.
#[derive(Clone, Debug)]
struct Mixture {
    sizes: Vec<u64>,
    updates: Vec<(u64, Vec<f64>)>,
    seed: u64,
    replacement: bool,
}

impl Mixture {
    fn stream(&self) -> Stream {
        let mut stream =
            Stream::new(&self.sizes, self.updates[0].1.clone(), self.seed, self.replacement).expect("a mixture");
        for (position, weights) in &self.updates[1..] {
            stream.reweight(*position, weights.clone()).expect("weights");
        }
        stream
    }

    fn cell(&self, row: i64) -> usize {
        let mut end = 0;
        self.sizes
            .iter()
            .position(|&size| {
                end += size;
                row.cast_unsigned() < end
            })
            .expect("a row of the mixture")
    }
}

fn mixtures() -> impl Strategy<Value = Mixture> {
    (1..7_usize).prop_flat_map(|cells| {
        let size = prop_oneof![1..20_u64, 1000..1100_u64, 1..1_000_000_u64];
        let weight = prop_oneof![3 => 0.01..1.0, 1 => Just(0.0)];
        let weights = prop::collection::vec(weight, cells).prop_map(|mut weights| {
            weights[0] += 0.1;
            weights
        });
        let updates = prop::collection::vec((1..400_u64, weights), 1..5);
        (prop::collection::vec(size, cells), updates, any::<u64>(), any::<bool>()).prop_map(
            |(sizes, mut updates, seed, replacement)| {
                updates[0].0 = 0;
                for index in 1..updates.len() {
                    updates[index].0 += updates[index - 1].0;
                }
                Mixture {
                    sizes,
                    updates,
                    seed,
                    replacement,
                }
            },
        )
    })
}

fn rows(stream: &mut Stream, position: u64, count: usize) -> Vec<i64> {
    let mut rows = vec![0; count];
    stream.fill(position, &mut rows).expect("rows");
    rows
}

proptest! {
    #[test]
    fn any_split_gives_the_same_rows(mixture in mixtures(), parts in prop::collection::vec((0..1800_u64, 0..600_usize), 1..12)) {
        let all = rows(&mut mixture.stream(), 0, 2400);
        let mut stream = mixture.stream();
        for (position, count) in parts {
            let part = rows(&mut stream, position, count);
            prop_assert_eq!(&part, &all[position as usize..position as usize + count]);
            let mut restored = Stream::restore(stream.state()).expect("its own state");
            prop_assert_eq!(rows(&mut restored, position, count), part);
            prop_assert_eq!(restored.state(), stream.state());
        }
    }

    #[test]
    fn weights_may_change_while_drawing(mixture in mixtures()) {
        let all = rows(&mut mixture.stream(), 0, 2400);
        let mut stream =
            Stream::new(&mixture.sizes, mixture.updates[0].1.clone(), mixture.seed, mixture.replacement).expect("a mixture");
        let mut drawn = Vec::new();
        for (position, weights) in &mixture.updates[1..] {
            let count = *position as usize - drawn.len();
            drawn.extend(rows(&mut stream, drawn.len() as u64, count));
            // What was drawn ahead of new weights is forgotten.
            rows(&mut stream, *position, 100);
            stream.reweight(*position, weights.clone()).expect("weights");
        }
        drawn.extend(rows(&mut stream, drawn.len() as u64, 2400 - drawn.len()));
        prop_assert_eq!(drawn, all);
        prop_assert_eq!(stream.state(), mixture.stream().state());
    }

    #[test]
    fn laps_cover_and_counts_count(mixture in mixtures(), position in 0..1800_u64, count in 0..600_u64) {
        let mut stream = mixture.stream();
        let all = rows(&mut stream, 0, 2400);
        let mut counts = vec![0; mixture.sizes.len()];
        for &row in &all[position as usize..(position + count) as usize] {
            counts[mixture.cell(row)] += 1;
        }
        prop_assert_eq!(stream.counts(position, count).expect("counts"), counts);

        let mut drawn = vec![Vec::new(); mixture.sizes.len()];
        for &row in &all {
            drawn[mixture.cell(row)].push(row);
        }
        for (cell, rows) in drawn.iter().enumerate().filter(|_| !mixture.replacement) {
            for lap in rows.chunks(mixture.sizes[cell] as usize) {
                let mut lap = lap.to_vec();
                lap.sort_unstable();
                prop_assert!(lap.is_sorted_by(|one, next| one < next));
            }
        }
    }
}

/// Weights of a few cells, all above 0, and for how many positions each of them is in force.
fn changes(most: u64) -> impl Strategy<Value = Vec<(u64, Vec<f64>)>> {
    (2..8_usize).prop_flat_map(move |cells| {
        let count = prop_oneof![1..40_u64, 1..=most, (1..=most / 256).prop_map(|blocks| blocks * 256)];
        prop::collection::vec((count, prop::collection::vec(0.001..1.0, cells)), 1..60)
    })
}

/// For every change: the shares of the cells, what they were owed before it, and what they are owed at its end.
fn debts(changes: &[(u64, Vec<f64>)], seed: u64) -> Vec<[Vec<f64>; 3]> {
    let cells = changes[0].1.len();
    let mut stream = Stream::new(&vec![1000; cells], vec![1.0; cells], seed, false).expect("a mixture");
    let mut position = 0;
    let mut owed = vec![0.0; cells];
    changes
        .iter()
        .map(|(count, weights)| {
            stream.reweight(position, weights.clone()).expect("weights");
            let shares = stream.weights(position).expect("weights");
            let drawn = stream.counts(position, *count).expect("counts");
            position += count;
            let before = owed.clone();
            for ((owed, drawn), share) in owed.iter_mut().zip(drawn).zip(&shares) {
                *owed += *count as f64 * share - drawn as f64;
            }
            [shares, before, owed.clone()]
        })
        .collect()
}

/// Shares are floats here, and integers in the stream.
const ROUNDING: f64 = 1e-6;

proptest! {
    #[test]
    fn the_first_block_settles_what_is_owed(changes in changes(2000), seed: u64) {
        for ((count, _), [shares, before, after]) in changes.iter().zip(debts(&changes, seed)) {
            let (whole, blocks) = (count % 256 == 0, count / 256);
            if whole && shares.iter().zip(before).all(|(share, owed)| 256.0 * share + owed > ROUNDING) {
                let bound = 1.0 + f64::from((blocks - 1).count_ones()) + ROUNDING;
                prop_assert!(after.iter().all(|owed| owed.abs() < bound));
            }
        }
    }

    #[test]
    fn frequent_changes_let_no_cell_run_ahead(changes in changes(256), seed: u64) {
        let debts = debts(&vec![changes.as_slice(); 20].concat(), seed);
        for cell in 0..changes[0].1.len() {
            let largest = debts.iter().map(|[shares, ..]| shares[cell]).fold(0.0, f64::max);
            prop_assert!(debts.iter().all(|[_, _, owed]| -owed[cell] < 256.0 * largest + 1.0 + ROUNDING));
        }
    }
}

#[test]
fn a_long_schedule_is_bounded_and_exact() {
    let weights = |turn| (0..4096).map(|cell| 1.0 + (cell % (turn + 2)) as f64).collect();
    let mut stream = Stream::new(&vec![1000; 4096], weights(0), 1, false).expect("a mixture");
    for turn in 1..=300 {
        stream.reweight(turn * 1000, weights(turn)).expect("weights");
    }
    // 2^19 weights are kept, 128 updates of 4096 cells; a state has 2^16.
    let state = stream.state();
    assert_eq!(state.updates.len(), 16);
    assert_eq!(state.updates[0].0, 285_000);
    assert!(stream.fill(173_000, &mut [0; 2]).is_ok());
    assert!(stream.fill(172_999, &mut [0; 2]).is_err());
    let mut restored = Stream::restore(state).expect("its own state");
    assert_eq!(rows(&mut restored, 285_000, 2000), rows(&mut stream, 285_000, 2000));
    assert!(restored.fill(284_999, &mut [0; 2]).is_err());
    assert_eq!(rows(&mut restored, 400_000, 2000), rows(&mut stream, 400_000, 2000));
}

#[test]
fn weights_that_change_no_point_leave_the_stream_alone() {
    let mut stream = Stream::new(&[100, 200], vec![1.0, 3.0], 1, false).expect("a mixture");
    let before = rows(&mut stream, 0, 1000);
    stream.reweight(77, vec![2.0, 6.0]).expect("weights");
    assert_eq!(rows(&mut stream, 0, 1000), before);
    assert_eq!(stream.state().updates.len(), 1);
    stream.reweight(77, vec![3.0, 1.0]).expect("weights");
    assert_ne!(rows(&mut stream, 77, 900), before[77..977]);
    stream.reweight(77, vec![1.0, 3.0]).expect("weights");
    let mut restored = Stream::restore(stream.state()).expect("its own state");
    assert_eq!(stream.state().updates.len(), 2);
    assert_eq!(rows(&mut restored, 0, 1000), rows(&mut stream, 0, 1000));
}
