//! What the random tests do with any input: it must give an error, or a stream that works, and never a panic.

use hbo_sampler_rs::packing::Packer;
use hbo_sampler_rs::stream::{State, Stream};

/// One thing to do with a stream.
pub type Use = (u64, u64, Vec<f64>);

/// Makes a stream, and draws, counts and changes weights at the given positions.
pub fn mixture(sizes: &[u64], weights: Vec<f64>, seed: u64, replacement: bool, uses: &[Use]) {
    if let Ok(mut stream) = Stream::new(sizes, weights, seed, replacement) {
        for (position, count, weights) in uses {
            draw_and_reweight(&mut stream, *position, *count, weights);
        }
    }
}

/// Restores a state, and goes on from its first position and from another.
pub fn state(state: State, position: u64, weights: &[f64]) {
    let first = state.updates.first().map_or(0, |update| update.0);
    if let Ok(mut stream) = Stream::restore(state) {
        for at in [first, position] {
            draw_and_reweight(&mut stream, at, 300, weights);
        }
    }
}

/// Sends a packer to a place, and packs there.
pub fn packer(lengths: &[i32], capacity: u64, bins: u64, window: u64, head: u64, waiting: &[i64]) {
    let Ok(mut stream) = Stream::new(&[lengths.len() as u64], vec![1.0], 7, false) else {
        return;
    };
    let Ok(mut packer) = Packer::new(&stream, lengths, capacity, bins, window) else {
        return;
    };
    let place = |packer: &Packer| (packer.head(), packer.waiting().collect::<Vec<_>>());
    if packer.seek(lengths, head, waiting).is_ok() {
        assert_eq!(place(&packer), (head, waiting.to_vec()));
    }
    // Many large bins take long because they were asked for. To tell that from a hang, only moderate ones are packed.
    let moderate = bins.saturating_mul(capacity.max(window)) <= 1 << 20;
    for _ in 0..if moderate { 3 } else { 0 } {
        let before = place(&packer);
        match packer.batch(&mut stream, lengths) {
            Ok(batch) => assert_eq!(batch.len() as u64, bins),
            Err(_) => assert_eq!(place(&packer), before),
        }
    }
}

/// Every row drawn is one of the mixture, and an error changes nothing.
fn draw_and_reweight(stream: &mut Stream, position: u64, count: u64, weights: &[f64]) {
    let rows: u64 = stream.cell_sizes().iter().sum();
    let mut drawn = vec![-1; (count % 700) as usize];
    if stream.fill(position, &mut drawn).is_ok() {
        assert!(drawn.iter().all(|&row| (0..rows as i64).contains(&row)));
    }
    // With replacement, counting takes as long as drawing.
    if (!stream.replacement() || count < 5000)
        && let Ok(counts) = stream.counts(position, count)
    {
        assert_eq!(counts.iter().sum::<u64>(), count);
    }
    let before = stream.state();
    if stream.reweight(position, weights.to_vec()).is_err() {
        assert_eq!(stream.state(), before);
    }
    if let Ok(weights) = stream.weights(position) {
        assert!((weights.iter().sum::<f64>() - 1.0).abs() < 1e-9);
    }
    let _ = stream.fill(position, &mut drawn);
    let state = stream.state();
    assert_eq!(Stream::restore(state.clone()).expect("its own state").state(), state);
}
