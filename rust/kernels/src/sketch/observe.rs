//! Observing tensors: the hot loop of calibration.
//!
//! A tensor is cut into tasks that run in parallel, and a task into blocks that stay in the first-level cache. For
//! each block, one vectorised scan finds the extremes and one loop counts the values. The counters are 16-bit, so
//! that those of the octaves in use stay in that cache as well, and belong to one thread. After a task, the octaves
//! that hold new values are added to the sketch. All arithmetic is on integers, so neither the division into tasks
//! nor their order changes the result.

use std::cell::RefCell;
use std::sync::{Mutex, PoisonError};

use multiversion::multiversion;
use rayon::prelude::*;

use super::{BINS, DROPPED_BITS, NEGATIVE, NON_FINITE, OctaveKey, Sketch};
use crate::error::Result;
use crate::threads;
use crate::values::{Values, ordered};

/// Number of elements per task: as many as a 16-bit counter can count, and enough to make the time for adding the
/// counters to the sketch small.
const TASK: usize = 15 * BLOCK;
const _: () = assert!(TASK <= u16::MAX as usize);
/// Elements of a block: 16 KB of float32.
const BLOCK: usize = 1 << 12;
/// Number of elements below which waking the threads takes longer than counting.
const SMALL: usize = 1 << 14;
/// All bins of all octaves, NaN and infinities included.
const CELLS: usize = 1 << (u32::BITS - DROPPED_BITS);

/// Number of counters that are looked at together.
const LINE: usize = 32;

type Counters = [u16; CELLS];

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::new(Scratch::new());
}

/// Counters and conversion buffer of one thread; the counters are zero between tasks.
struct Scratch {
    counts: Box<Counters>,
    block: Box<[f32; BLOCK]>,
}

impl Scratch {
    fn new() -> Self {
        let counts = vec![0; CELLS].into_boxed_slice();
        let block = vec![0.0; BLOCK].into_boxed_slice();
        // The lengths are those of the arrays.
        match (counts.try_into(), block.try_into()) {
            (Ok(counts), Ok(block)) => Self { counts, block },
            _ => unreachable!("boxed slices of the arrays' own lengths"),
        }
    }

    fn octave(&mut self, key: OctaveKey) -> &mut [u16] {
        &mut self.counts[usize::from(key) * BINS..][..BINS]
    }
}

/// Observes many tensors in one call; a sketch may occur more than once.
///
/// If `parallel` is set, all threads of the pool observe, else the calling thread alone. The calling thread alone is
/// better for callers that keep every core busy: they would only wait for the pool.
///
/// # Errors
/// The pool of threads cannot be built.
pub fn observe_many(pairs: &[(&Mutex<Sketch>, Values<'_>)], parallel: bool) -> Result<()> {
    let observe = |(sketch, values): (&Mutex<Sketch>, Values<'_>)| {
        SCRATCH.with_borrow_mut(|scratch| {
            let extremes = count(values, scratch);
            let mut sketch = sketch.lock().unwrap_or_else(PoisonError::into_inner);
            sketch.absorb(scratch, values, extremes);
        });
    };
    let tasks = || {
        pairs.iter().flat_map(|(sketch, values)| {
            let (sketch, values) = (*sketch, *values);
            (0..values.len())
                .step_by(TASK)
                .map(move |start| (sketch, values.range(start, values.len().min(start + TASK))))
        })
    };
    if !parallel || pairs.iter().map(|(_, values)| values.len()).sum::<usize>() <= SMALL {
        tasks().for_each(observe);
        return Ok(());
    }
    let tasks: Vec<_> = tasks().collect();
    threads::run(|| tasks.into_par_iter().for_each(observe))
}

impl Sketch {
    /// Observes a tensor on the calling thread.
    pub fn observe(&mut self, values: Values<'_>) {
        SCRATCH.with_borrow_mut(|scratch| {
            for start in (0..values.len()).step_by(TASK) {
                let task = values.range(start, values.len().min(start + TASK));
                let extremes = count(task, scratch);
                self.absorb(scratch, task, extremes);
            }
        });
    }

    /// Adds the counters of one task and clears them.
    fn absorb(&mut self, scratch: &mut Scratch, values: Values<'_>, extremes: Extremes) {
        if values.is_empty() {
            return;
        }
        let mut remaining = values.len() as u64;
        let (min, max) = match extremes.finite() {
            Some(range) => range,
            None => {
                remaining -= self.count_non_finite(values, &mut *scratch.block);
                for key in [NON_FINITE, NON_FINITE | NEGATIVE] {
                    scratch.octave(key).fill(0);
                }
                finite_range(values, &mut *scratch.block)
            }
        };
        // Adding zero turns -0.0 into 0.0.
        self.min = self.min.min(min + 0.0);
        self.max = self.max.max(max + 0.0);
        for key in [0, NEGATIVE] {
            let counts = scratch.octave(key);
            let zeros = total(counts);
            if zeros > 0 {
                counts.fill(0);
            }
            self.zeros += zeros;
            remaining -= zeros;
        }
        let top = (min.abs().max(max.abs()).to_bits() >> (f32::MANTISSA_DIGITS - 1)) as OctaveKey;
        for exponent in (1..=top).rev() {
            if remaining == 0 {
                break;
            }
            for key in [exponent, exponent | NEGATIVE] {
                let counts = scratch.octave(key);
                let sum = total(counts);
                if sum > 0 {
                    take_counts(counts, self.octave(key));
                    remaining -= sum;
                }
            }
        }
    }

    fn count_non_finite(&mut self, values: Values<'_>, buffer: &mut [f32]) -> u64 {
        let mut total = 0;
        for_blocks(values, buffer, |block| {
            for &value in block.iter().filter(|value| !value.is_finite()) {
                total += 1;
                if value.is_nan() {
                    self.nan += 1;
                } else if value > 0.0 {
                    self.pos_inf += 1;
                } else {
                    self.neg_inf += 1;
                }
            }
        });
        total
    }
}

/// Sum of the counters of one octave.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx2", "aarch64+neon",))]
fn total(counts: &[u16]) -> u64 {
    let mut sum = 0;
    for count in counts {
        // All counters of a task together count at most TASK values.
        sum += u32::from(*count);
    }
    u64::from(sum)
}

/// Adds the counters of one octave to its bins and clears them. Most octaves hold few values: lines of counters
/// without a value are skipped.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx2", "aarch64+neon",))]
fn take_counts(from: &mut [u16], to: &mut [u64; BINS]) {
    let lines = from.as_chunks_mut::<LINE>().0.iter_mut();
    for (from, to) in lines.zip(to.as_chunks_mut::<LINE>().0) {
        let mut bits = 0;
        for count in &*from {
            bits |= *count;
        }
        if bits == 0 {
            continue;
        }
        for (to, from) in to.iter_mut().zip(from.iter_mut()) {
            *to += u64::from(*from);
            *from = 0;
        }
    }
}

fn finite_range(values: Values<'_>, buffer: &mut [f32]) -> (f32, f32) {
    let mut range = (f32::INFINITY, f32::NEG_INFINITY);
    for_blocks(values, buffer, |block| {
        for &value in block.iter().filter(|value| value.is_finite()) {
            range = (range.0.min(value), range.1.max(value));
        }
    });
    range
}

fn for_blocks(values: Values<'_>, buffer: &mut [f32], mut visit: impl FnMut(&[f32])) {
    for start in (0..values.len()).step_by(BLOCK) {
        visit(values.range(start, values.len().min(start + BLOCK)).as_f32(buffer));
    }
}

fn count(values: Values<'_>, scratch: &mut Scratch) -> Extremes {
    let Scratch { counts, block } = scratch;
    let mut extremes = Extremes::default();
    for_blocks(values, &mut **block, |block| {
        let zeros = extremes.scan(block);
        if zeros > block.len() / 16 {
            tally_with_zeros(block, counts);
        } else {
            tally(block, counts);
        }
    });
    extremes
}

fn tally(block: &[f32], counts: &mut Counters) {
    for value in block {
        counts[(value.to_bits() >> DROPPED_BITS) as usize] += 1;
    }
}

/// Does what [`tally`] does for blocks with many zeros. Zeros are spread over the first bins of their octave, all of
/// which count as zero: additions to one counter would each wait for the addition before.
fn tally_with_zeros(block: &[f32], counts: &mut Counters) {
    const SPREAD: usize = 8;
    const MAGNITUDE: u32 = u32::MAX >> 1;
    let mut add = |lane: usize, value: f32| {
        let bits = value.to_bits();
        let lane = if bits & MAGNITUDE == 0 { lane } else { 0 };
        counts[(bits >> DROPPED_BITS) as usize | lane] += 1;
    };
    let (groups, rest) = block.as_chunks::<SPREAD>();
    for group in groups {
        for (lane, value) in group.iter().enumerate() {
            add(lane, *value);
        }
    }
    for value in rest {
        add(0, *value);
    }
}

/// Extremes as integers that order like the floats: finite ones lie between the infinities, NaN beyond.
#[derive(Debug, Clone, Copy)]
struct Extremes {
    min: i32,
    max: i32,
}

impl Default for Extremes {
    fn default() -> Self {
        Self { min: i32::MAX, max: i32::MIN }
    }
}

impl Extremes {
    /// Adds a block and returns the number of zeros in it.
    fn scan(&mut self, block: &[f32]) -> usize {
        let (min, max, zeros) = scan(block);
        self.min = self.min.min(min);
        self.max = self.max.max(max);
        zeros as usize
    }

    /// The extremes, unless one of the values is NaN or infinite.
    fn finite(self) -> Option<(f32, f32)> {
        let float = |key: i32| f32::from_bits(ordered(key as u32) as u32);
        let (min, max) = (float(self.min), float(self.max));
        (min.is_finite() && max.is_finite()).then_some((min, max))
    }
}

/// Ordered extremes and number of zeros. A plain loop: closures would not be compiled for the SIMD targets.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx2", "aarch64+neon",))]
fn scan(block: &[f32]) -> (i32, i32, u32) {
    let (mut min, mut max, mut zeros) = (i32::MAX, i32::MIN, 0);
    for value in block {
        let key = ordered(value.to_bits());
        min = if key < min { key } else { min };
        max = if key > max { key } else { max };
        zeros += u32::from(*value == 0.0);
    }
    (min, max, zeros)
}
