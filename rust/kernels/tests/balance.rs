//! Balanced rounding against its definition: make the move that lowers the cost most, until no move lowers it.

use proptest::prelude::*;
use xslim_kernels::KernelError;
use xslim_kernels::balance::balance;
use xslim_kernels::weights::Layout;

const LARGEST: i8 = 7;

fn cost(errors: &[f64]) -> f64 {
    errors.iter().map(|e| e * e).sum::<f64>() + errors.iter().sum::<f64>().powi(2)
}

/// Tries every value's other neighbour and takes the best move, until none lowers the cost.
fn naive(weights: &[f64], integers: &mut [i8]) {
    let error = |q: i8, w: f64| f64::from(q) - w;
    let direction = integers.iter().zip(weights).map(|(q, w)| error(*q, *w)).sum::<f64>().signum();
    let mut moved = vec![false; weights.len()];
    loop {
        let errors: Vec<f64> = integers.iter().zip(weights).map(|(q, w)| error(*q, *w)).collect();
        let mut best: Option<(f64, usize)> = None;
        for index in 0..weights.len() {
            let other = integers[index] - direction as i8;
            if moved[index] || errors[index] * direction <= 0.0 || other.abs() > LARGEST {
                continue;
            }
            let mut changed = errors.clone();
            changed[index] -= direction;
            let found = cost(&changed);
            if found < cost(&errors) && best.is_none_or(|(least, _)| found < least) {
                best = Some((found, index));
            }
        }
        let Some((_, index)) = best else { return };
        integers[index] -= direction as i8;
        moved[index] = true;
    }
}

/// Weights in multiples of 1/8, so that every sum is exact, and within the range of the integers.
fn eighths(size: usize) -> impl Strategy<Value = Vec<f32>> {
    prop::collection::vec((-56i8..=56).prop_map(|v| f32::from(v) / 8.0), size)
}

proptest! {
    #[test]
    fn moves_are_those_of_the_definition(weights in (1usize..40).prop_flat_map(eighths)) {
        let mut found: Vec<i8> = weights.iter().map(|w| w.round_ties_even() as i8).collect();
        let mut expected = found.clone();
        let layout = Layout { outer: 1, channels: 1, inner: weights.len() };
        balance(&weights, &mut found, &[1.0], layout, 1, LARGEST).unwrap();
        naive(&weights.iter().copied().map(f64::from).collect::<Vec<_>>(), &mut expected);
        prop_assert_eq!(found, expected);
    }

    #[test]
    fn channels_do_not_meet_wherever_they_lie(
        (kernels, channels, weights) in
            (1usize..5, 1usize..20).prop_flat_map(|(k, c)| (Just(k), Just(c), eighths(k * 9 * c))),
    ) {
        let rows: Vec<i8> = weights.iter().map(|w| w.round_ties_even() as i8).collect();
        let scales = vec![1.0; channels];
        let mut together = rows.clone();
        let layout = Layout { outer: 1, channels, inner: kernels * 9 };
        balance(&weights, &mut together, &scales, layout, 9, LARGEST).unwrap();
        for (channel, (weights, rows)) in weights.chunks(kernels * 9).zip(rows.chunks(kernels * 9)).enumerate() {
            let mut alone = rows.to_vec();
            let layout = Layout { outer: kernels, channels: 1, inner: 9 };
            balance(weights, &mut alone, &[1.0], layout, 9, LARGEST).unwrap();
            prop_assert_eq!(&together[channel * kernels * 9..][..kernels * 9], &alone[..]);
        }
    }
}

#[test]
fn lengths_that_do_not_fit_are_refused() {
    let layout = Layout { outer: 1, channels: 1, inner: 4 };
    for (weights, scales, taps) in [(3, 1, 1), (4, 2, 1), (4, 1, 3), (4, 1, 0)] {
        let mut integers = vec![0; weights];
        let result = balance(&vec![0.0; weights], &mut integers, &vec![1.0; scales], layout, taps, LARGEST);
        assert!(matches!(result, Err(KernelError::Shape(_))));
    }
}
