//! Gram matrices and second-order rounding against direct sums, on inputs that are numerically hard: constant, zero,
//! huge, tiny, and fewer vectors than columns.

use proptest::prelude::*;
use xslim_kernels::gram::{Gram, Source};
use xslim_kernels::rounding::{Options, Rounded, round_weights};

/// Vectors whose columns are each `level + spread * noise`, all times one size.
#[derive(Debug, Clone)]
struct Inputs {
    data: Vec<f32>,
    columns: usize,
}

impl Inputs {
    fn count(&self) -> usize {
        self.data.len() / self.columns
    }

    /// The covariance in two passes over the data.
    fn covariance(&self) -> Vec<Vec<f64>> {
        let (count, columns) = (self.count() as f64, self.columns);
        let rows: Vec<Vec<f64>> =
            self.data.chunks_exact(columns).map(|row| row.iter().map(|x| f64::from(*x)).collect()).collect();
        let mean: Vec<f64> =
            (0..columns).map(|i| rows.iter().map(|row| row[i]).sum::<f64>() / count).collect();
        let product =
            |i: usize, j: usize| rows.iter().map(|row| (row[i] - mean[i]) * (row[j] - mean[j])).sum::<f64>();
        (0..columns).map(|i| (0..columns).map(|j| product(i, j) / count).collect()).collect()
    }

    /// The vectors, added in parts of the given size.
    fn gram(&self, part: usize) -> Gram {
        let mut gram = Gram::new(1, self.columns).unwrap();
        let positions: Vec<usize> = (0..self.count()).collect();
        for chosen in positions.chunks(part) {
            gram.add(Source::Rows(&self.data), chosen).unwrap();
        }
        gram.finish().unwrap();
        gram
    }
}

fn inputs() -> impl Strategy<Value = Inputs> {
    let level = prop_oneof![Just(0.0f32), Just(1.0), Just(1920.0), Just(-3e4)];
    let spread = prop_oneof![Just(0.0f32), Just(1e-3), Just(1.0), Just(50.0)];
    let size = prop_oneof![4 => Just(0), 1 => -36..36i32];
    (1usize..48, 1usize..300, size, any::<u64>()).prop_flat_map(move |(columns, count, size, seed)| {
        let column = (level.clone(), spread.clone());
        proptest::collection::vec(column, columns).prop_map(move |kinds| {
            let mut state = seed | 1;
            let mut noise = move || {
                state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
            };
            let size = 10f32.powi(size);
            let data = (0..count)
                .flat_map(|_| {
                    let common = noise();
                    kinds
                        .iter()
                        .map(|(level, spread)| (level + spread * (common + noise())) * size)
                        .collect::<Vec<_>>()
                })
                .filter(|value| value.is_finite())
                .collect::<Vec<_>>();
            let whole = data.len() / columns * columns;
            Inputs { data: data[..whole].to_vec(), columns }
        })
    })
}

/// Loss of a row by the definition, with damping.
fn loss(covariance: &[Vec<f64>], weights: &[f32], integers: &[i8], scale: f32, damping: f64) -> f64 {
    let errors: Vec<f64> =
        weights.iter().zip(integers).map(|(w, q)| f64::from(*w) - f64::from(*q) * f64::from(scale)).collect();
    let mean = (0..errors.len()).map(|i| covariance[i][i]).sum::<f64>() / errors.len() as f64;
    let mut sum = 0.0;
    for (i, row) in covariance.iter().enumerate() {
        for (j, value) in row.iter().enumerate() {
            sum += errors[i] * errors[j] * (value + if i == j { damping * mean } else { 0.0 });
        }
    }
    sum
}

fn is_sound(rounded: &Rounded) -> bool {
    rounded.scales.iter().all(|scale| scale.is_finite() && *scale > 0.0)
        && rounded.losses.iter().all(|loss| loss.is_finite() && *loss >= 0.0)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    #[test]
    fn the_covariance_is_that_of_two_passes(inputs in inputs(), part in 1usize..400) {
        prop_assume!(inputs.count() > 0);
        let (gram, expected) = (inputs.gram(part), inputs.covariance());
        let (covariance, unit) = (gram.covariance(0), gram.unit());
        let largest = (0..inputs.columns).map(|i| expected[i][i]).fold(0.0, f64::max);
        for (i, row) in expected.iter().enumerate() {
            for (j, value) in row.iter().enumerate() {
                let bound = 1e-4 * (expected[i][i] * expected[j][j]).sqrt() + 1e-9 * largest;
                let found = covariance.at(i, j) * unit;
                prop_assert!((found - value).abs() <= bound, "{i} {j}: {found} {value}");
            }
            let column = inputs.data.iter().skip(i).step_by(inputs.columns);
            if column.clone().all(|value| *value == inputs.data[i]) {
                prop_assert_eq!(covariance.at(i, i), 0.0);
            }
        }
    }

    #[test]
    fn the_parts_in_which_vectors_come_do_not_matter(inputs in inputs(), part in 1usize..400) {
        prop_assume!(inputs.count() > 0);
        let (whole, parts) = (inputs.gram(inputs.count()), inputs.gram(part));
        prop_assert_eq!(whole.unit(), parts.unit());
        for i in 0..inputs.columns {
            for j in 0..=i {
                prop_assert_eq!(whole.covariance(0).at(i, j), parts.covariance(0).at(i, j));
            }
        }
    }

    #[test]
    fn every_layer_can_be_rounded(
        inputs in inputs(),
        rows in 1usize..12,
        weight in prop_oneof![Just(1.0f32), Just(0.0), Just(1e-38), Just(1e30), Just(3e38)],
        seed in any::<u32>(),
    ) {
        prop_assume!(inputs.count() > 0);
        let gram = inputs.gram(64);
        let weights: Vec<f32> = (0..rows * inputs.columns)
            .map(|i| ((i as u32).wrapping_mul(2654435761).wrapping_add(seed) >> 8) as f32 / (1 << 24) as f32)
            .map(|x| (2.0 * x - 1.0) * weight)
            .collect();
        let options = Options { bits: 8, damping: 0.01, factors: &[1.0, 0.9] };
        let rounded = round_weights(&weights, rows, 1, &gram, options).unwrap();
        prop_assert!(is_sound(&rounded), "{:?} {:?}", rounded.scales, rounded.losses);
        let covariance = inputs.covariance();
        let largest = (0..inputs.columns).map(|i| covariance[i][i]).fold(0.0, f64::max);
        let parts = weights.chunks_exact(inputs.columns).zip(rounded.integers.chunks_exact(inputs.columns));
        for ((row, integers), (scale, found)) in parts.zip(rounded.scales.iter().zip(&rounded.losses)) {
            prop_assert!(integers.iter().all(|integer| *integer != i8::MIN));
            if weight == 1.0 && largest > 0.0 {
                let expected = loss(&covariance, row, integers, *scale, options.damping);
                // A weight that is a multiple of its scale has the error of float32 alone.
                let float = 2f64.powi(-22) * inputs.columns as f64;
                let bound = 0.02 * expected + float * float * largest;
                prop_assert!((found - expected).abs() < bound, "{found} {expected}");
            }
        }
    }
}

#[test]
fn constant_inputs_leave_rounding_to_nearest() {
    let weights: Vec<f32> = (0..24).map(|i| (i as f32 * 0.7).sin()).collect();
    for (count, value) in [(1, 3.7f32), (1, 0.0), (20, 1e30), (20, 1e-40), (300, -77.7)] {
        let inputs = Inputs { data: vec![value; count * 24], columns: 24 };
        let options = Options { bits: 8, damping: 0.01, factors: &[1.0] };
        let rounded = round_weights(&weights, 1, 1, &inputs.gram(7), options).unwrap();
        assert!(is_sound(&rounded));
        for (weight, integer) in weights.iter().zip(&rounded.integers) {
            assert_eq!(f32::from(*integer), (weight / rounded.scales[0]).round_ties_even());
        }
    }
}

#[test]
fn values_too_far_apart_are_no_sums() {
    let mut gram = Gram::new(1, 2).unwrap();
    gram.add(Source::Rows(&[f32::MAX, 0.0, -f32::MAX, 1.0, f32::MAX, 2.0, f32::MAX, 2.0]), &[0, 1, 2, 3])
        .unwrap();
    gram.finish().unwrap();
    assert!(!gram.is_finite());
    let options = Options { bits: 8, damping: 0.01, factors: &[1.0] };
    assert!(round_weights(&[1.0, 2.0], 1, 1, &gram, options).is_err());
}
