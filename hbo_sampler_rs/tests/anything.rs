//! Whatever a caller gives: an error or a sampler that works; never a panic, and no memory beyond what was given.

use hbo_sampler_rs::{Packer, Sampler, State};
use proptest::prelude::*;

const END: u64 = 1 << 53;

/// Every kind of float that there is.
fn weights() -> impl Strategy<Value = Vec<f64>> {
    let weight = prop_oneof![
        4 => 0.0..10.0,
        1 => any::<f64>(),
        1 => prop::sample::select(vec![0.0, -0.0, f64::NAN, f64::INFINITY, f64::MAX, 1e308, f64::MIN_POSITIVE, 5e-324, -1.0]),
    ];
    prop::collection::vec(weight, 0..6)
}

/// Numbers of any size, the edges of what is allowed among them.
fn numbers() -> impl Strategy<Value = u64> {
    let edge = prop::sample::select(vec![
        0,
        1,
        63,
        64,
        1024,
        1025,
        1 << 31,
        (1 << 31) + 1,
        END - 1,
        END,
        END + 1,
        u64::MAX,
    ]);
    prop_oneof![4 => 0..5000_u64, 1 => any::<u64>(), 2 => edge]
}

/// Cells that mostly match the weights.
fn cells() -> impl Strategy<Value = (Vec<u64>, Vec<f64>)> {
    weights().prop_flat_map(|weights| {
        let size = prop_oneof![4 => 1..3000_u64, 1 => numbers()];
        let cells = weights.len();
        (
            prop::collection::vec(size, cells.saturating_sub(usize::from(cells == 5))..=cells),
            Just(weights),
        )
    })
}

/// Draws and changes weights anywhere; every row that comes is one of the mixture.
fn use_it(sampler: &mut Sampler, position: u64, count: u64, weights: &[f64]) -> Result<(), TestCaseError> {
    let rows: u64 = sampler.cell_sizes().iter().sum();
    let mut drawn = vec![-1; (count % 700) as usize];
    if sampler.fill(position, &mut drawn).is_ok() {
        prop_assert!(drawn.iter().all(|&row| (0..rows as i64).contains(&row)));
    }
    // With replacement, counting draws each row.
    if (!sampler.replacement() || count < 5000)
        && let Ok(counts) = sampler.counts(position, count)
    {
        prop_assert_eq!(counts.iter().sum::<u64>(), count);
    }
    let before = sampler.state();
    if sampler.reweight(position, weights.to_vec()).is_err() {
        prop_assert_eq!(sampler.state(), before);
    }
    if let Ok(weights) = sampler.weights(position) {
        prop_assert!((weights.iter().sum::<f64>() - 1.0).abs() < 1e-9);
    }
    let _ = sampler.fill(position, &mut drawn);
    let state = sampler.state();
    prop_assert_eq!(Sampler::restore(state.clone()).expect("its own state").state(), state);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn a_mixture((sizes, weights) in cells(), seed in any::<u64>(), replacement in any::<bool>(), uses in prop::collection::vec((numbers(), numbers(), self::weights()), 1..6)) {
        if let Ok(mut sampler) = Sampler::new(&sizes, weights, seed, replacement) {
            for (position, count, weights) in uses {
                use_it(&mut sampler, position, count, &weights)?;
            }
        }
    }

    #[test]
    fn a_state(
        (cell_sizes, weights) in cells(),
        replacement in any::<bool>(),
        later in prop::collection::vec((numbers(), self::weights()), 0..3),
        shares in prop::collection::vec(numbers(), 0..6),
        honest in prop::bool::weighted(0.8),
        position in numbers(),
    ) {
        // Draws that sum to the first position are rare by chance.
        let mut drawn = if replacement { Vec::new() } else { shares };
        if honest {
            drawn.resize(if replacement { 0 } else { cell_sizes.len() }, 3);
        }
        let first = if honest { drawn.iter().fold(0_u64, |sum, &count| sum.saturating_add(count)) } else { position };
        let updates = std::iter::once((first, weights.clone())).chain(later).collect();
        let state = State { seed: 1, replacement, cell_sizes, updates, drawn };
        if let Ok(mut sampler) = Sampler::restore(state) {
            for at in [first, position] {
                use_it(&mut sampler, at, 300, &weights)?;
            }
        }
    }

    #[test]
    fn a_packer(
        lengths in prop::collection::vec(prop_oneof![9 => 1..200_i32, 1 => any::<i32>()], 1..50),
        capacity in prop_oneof![4 => 1..500_u64, 1 => numbers()],
        bins in prop_oneof![4 => 1..5_u64, 1 => Just(0), 1 => (1_u64 << 16) + 1..],
        window in prop_oneof![4 => 1..80_u64, 1 => numbers()],
        head in numbers(),
        waiting in prop::collection::vec(prop_oneof![4 => 0..50_i64, 1 => any::<i64>()], 0..90),
    ) {
        let mut sampler = Sampler::new(&[lengths.len() as u64], vec![1.0], 7, false)?;
        if let Ok(mut packer) = Packer::new(&sampler, &lengths, capacity, bins, window) {
            if packer.seek(&lengths, head, &waiting).is_ok() {
                prop_assert_eq!((packer.head(), packer.waiting().collect::<Vec<_>>()), (head, waiting));
            }
            for _ in 0..3 {
                let before = (packer.head(), packer.waiting().collect::<Vec<_>>());
                if let Ok(batch) = packer.batch(&mut sampler, &lengths) {
                    prop_assert_eq!(batch.len() as u64, bins);
                } else {
                    prop_assert_eq!((packer.head(), packer.waiting().collect::<Vec<_>>()), before);
                }
            }
        }
    }
}
