//! Tests of the rounding kernel that use its private parts.

use super::*;
use crate::gram::Source;

fn inputs(vectors: usize, columns: usize) -> Vec<f32> {
    let mut state = 1u64;
    let mut next = || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 40) as f32 / (1u64 << 24) as f32 - 0.5
    };
    let mut data = Vec::new();
    for _ in 0..vectors {
        let common = next();
        data.extend((0..columns).map(|_| common + 0.3 * next()));
    }
    data
}

fn gram_of(data: &[f32], columns: usize) -> Gram {
    let mut gram = Gram::new(1, columns).unwrap();
    let positions: Vec<usize> = (0..data.len() / columns).collect();
    gram.add(Source::Rows(data), &positions).unwrap();
    gram.finish().unwrap();
    gram
}

/// Variance of the output error over the data.
fn output_error(data: &[f32], weights: &[f32], integers: &[i8], scale: f32) -> f64 {
    let columns = weights.len();
    let errors: Vec<f64> = data
        .chunks_exact(columns)
        .map(|vector| {
            (0..columns).map(|i| f64::from((weights[i] - f32::from(integers[i]) * scale) * vector[i])).sum()
        })
        .collect();
    let mean = errors.iter().sum::<f64>() / errors.len() as f64;
    errors.iter().map(|error| (error - mean).powi(2)).sum::<f64>() / errors.len() as f64
}

#[test]
fn feedback_beats_rounding_each_weight_by_itself() {
    let (columns, rows) = (40, 9);
    let data = inputs(500, columns);
    let gram = gram_of(&data, columns);
    let weights: Vec<f32> = inputs(rows * columns, 1);
    let options = Options { bits: 4, damping: 1e-3, factors: &[1.0, 0.9] };
    let rounded = round_weights(&weights, rows, 1, &gram, options).unwrap();
    let (mut by_itself, mut fed_back) = (0.0, 0.0);
    for row in 0..rows {
        let span = row * columns..(row + 1) * columns;
        let (row_weights, scale) = (&weights[span.clone()], rounded.scales[row]);
        let nearest: Vec<i8> =
            row_weights.iter().map(|w| (w / scale).clamp(-7.0, 7.0).round_ties_even() as i8).collect();
        by_itself += output_error(&data, row_weights, &nearest, scale);
        let error = output_error(&data, row_weights, &rounded.integers[span], scale);
        assert!(error <= rounded.losses[row] * 1.001, "{error} {}", rounded.losses[row]);
        fed_back += error;
    }
    assert!(fed_back < 0.3 * by_itself, "{fed_back} {by_itself}");
}

#[test]
fn errors_reach_the_columns_of_later_blocks() {
    let (columns, rows, damping) = (2 * BLOCK + 10, TILE + 3, 0.01);
    let data = inputs(500, columns);
    let gram = gram_of(&data, columns);
    let weights = inputs(rows * columns, 1);
    let options = Options { bits: 5, damping, factors: &[1.0] };
    let rounded = round_weights(&weights, rows, 1, &gram, options).unwrap();
    let covariance = gram.covariance(0);
    let variance = (0..columns).map(|index| covariance.at(index, index)).sum::<f64>() / columns as f64;
    for row in 0..rows {
        let span = row * columns..(row + 1) * columns;
        let (scale, integers) = (rounded.scales[row], &rounded.integers[span.clone()]);
        let error: Vec<f64> = weights[span]
            .iter()
            .zip(integers)
            .map(|(weight, integer)| f64::from(weight - f32::from(*integer) * scale))
            .collect();
        // The pivots add up to this product only if every error was fed back to every later column.
        let product: f64 = (0..columns)
            .flat_map(|i| (0..columns).map(move |j| (i, j)))
            .map(|(i, j)| error[i] * error[j] * covariance.at(i, j))
            .sum();
        let damped = product + damping * variance * error.iter().map(|error| error * error).sum::<f64>();
        assert!((damped / rounded.losses[row] - 1.0).abs() < 1e-3, "{damped} {}", rounded.losses[row]);
    }
}

#[test]
fn uncorrelated_inputs_leave_rounding_to_nearest() {
    // Rows of a Hadamard matrix: covariance is the identity once the constant column is left out.
    let data: Vec<f32> = (0..8u32)
        .flat_map(|i| (1..8u32).map(move |j| if (i & j).count_ones() % 2 == 0 { 1.0 } else { -1.0 }))
        .collect();
    let gram = gram_of(&data, 7);
    let weights = [0.9, -0.31, 0.22, 0.57, -0.78, 0.05, -0.44];
    let options = Options { bits: 8, damping: 0.01, factors: &[1.0] };
    let rounded = round_weights(&weights, 1, 1, &gram, options).unwrap();
    for (weight, integer) in weights.iter().zip(&rounded.integers) {
        assert_eq!(f32::from(*integer), (weight / rounded.scales[0]).round_ties_even());
    }
}

#[test]
fn a_column_without_input_does_not_set_the_scale() {
    let data: Vec<f32> = inputs(64, 3).chunks_exact(3).flat_map(|v| [v[0], 0.0, v[2]]).collect();
    let gram = gram_of(&data, 3);
    let options = Options { bits: 8, damping: 1e-4, factors: &[1.0] };
    let rounded = round_weights(&[0.1, 20.0, -0.05], 1, 1, &gram, options).unwrap();
    assert!(rounded.scales[0] < 0.11 / 127.0, "{:?}", rounded.scales);
    assert_eq!(rounded.integers[1], 127);
}

#[test]
fn groups_are_rounded_as_layers_of_their_own() {
    let data = inputs(100, 8);
    let halves = |start: usize| -> Vec<f32> {
        data.chunks_exact(8).flat_map(|v| v[start..start + 4].to_vec()).collect()
    };
    let positions: Vec<usize> = (0..100).collect();
    let mut both = Gram::new(2, 4).unwrap();
    both.add(Source::Rows(&data), &positions).unwrap();
    both.finish().unwrap();
    let weights = inputs(6, 4);
    let options = Options { bits: 8, damping: 0.01, factors: &[1.0] };
    let together = round_weights(&weights, 6, 2, &both, options).unwrap();
    for group in 0..2 {
        let alone = gram_of(&halves(group * 4), 4);
        let part = round_weights(&weights[group * 12..][..12], 3, 1, &alone, options).unwrap();
        assert_eq!(part.integers, together.integers[group * 12..][..12]);
    }
}

#[test]
fn wrong_shapes_are_refused() {
    let gram = gram_of(&inputs(4, 3), 3);
    let options = Options { bits: 8, damping: 0.01, factors: &[1.0] };
    assert!(round_weights(&[1.0; 4], 1, 1, &gram, options).is_err());
    assert!(round_weights(&[1.0; 3], 1, 1, &gram, Options { bits: 9, ..options }).is_err());
    assert!(round_weights(&[1.0; 3], 1, 1, &gram, Options { factors: &[], ..options }).is_err());
    assert!(round_weights(&[1.0; 3], 1, 1, &Gram::new(1, 3).unwrap(), options).is_err());
    let mut unfinished = gram;
    unfinished.add(Source::Rows(&[1.0, 2.0, 3.0]), &[0]).unwrap();
    assert!(round_weights(&[1.0; 3], 1, 1, &unfinished, options).is_err());
}
