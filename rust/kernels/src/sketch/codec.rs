//! Sketches as bytes: version, exact scalars, then the filled bins as (gap, count) pairs of LEB128 numbers.
//!
//! The file that holds a sketch has a checksum against damage. Decoding nevertheless refuses bytes that no sketch
//! encodes to, so that no input can produce an inconsistent sketch.

use super::{BINS, Counts, DROPPED_BITS, MOST, NEGATIVE, NON_FINITE, OctaveKey, Sketch};
use crate::error::{KernelError, Result};

/// First byte of an encoded sketch. A change of the grid or of the layout needs a new number.
const VERSION: u8 = 1;

impl Sketch {
    /// Encodes the sketch; equal sketches give equal bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = vec![VERSION];
        bytes.extend(self.min.to_le_bytes());
        bytes.extend(self.max.to_le_bytes());
        for scalar in [self.zeros, self.nan, self.pos_inf, self.neg_inf] {
            write_number(&mut bytes, scalar);
        }
        let mut next = 0;
        for (&key, counts) in &self.octaves {
            for (index, &count) in counts.iter().enumerate().filter(|(_, count)| **count > 0) {
                let cell = u64::from(key) * BINS as u64 + index as u64;
                write_number(&mut bytes, cell - next);
                write_number(&mut bytes, count);
                next = cell + 1;
            }
        }
        bytes
    }

    /// Decodes what [`Sketch::to_bytes`] wrote.
    ///
    /// # Errors
    /// Another version, truncated or inconsistent bytes.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let mut reader = Reader { bytes };
        let version = reader.array::<1>()?[0];
        if version != VERSION {
            return Err(KernelError::CorruptSketch(format!(
                "sketch version {version}, this build reads {VERSION}"
            )));
        }
        let mut sketch = Self::new();
        sketch.min = f32::from_le_bytes(reader.array()?);
        sketch.max = f32::from_le_bytes(reader.array()?);
        sketch.zeros = reader.number()?;
        sketch.nan = reader.number()?;
        sketch.pos_inf = reader.number()?;
        sketch.neg_inf = reader.number()?;
        let mut next = 0u64;
        while !reader.bytes.is_empty() {
            let cell = reader.number()?.checked_add(next).ok_or_else(damaged)?;
            let key = OctaveKey::try_from(cell / BINS as u64).map_err(|_| damaged())?;
            let exponent = key & !NEGATIVE;
            let count = reader.number()?;
            if key >= 2 * NEGATIVE || exponent == 0 || exponent == NON_FINITE || count == 0 {
                return Err(damaged());
            }
            let octave = sketch.octaves.entry(key).or_insert_with(|| Box::new([0; BINS]));
            octave[cell as usize % BINS] = count;
            next = cell + 1;
        }
        sketch.check()?;
        Ok(sketch)
    }

    /// Checks that the total fits and that the extremes lie in the outermost bins that hold values.
    fn check(&self) -> Result<()> {
        let counts = self.octaves.values().flat_map(|counts| counts.iter());
        let special = [self.zeros, self.nan, self.pos_inf, self.neg_inf];
        let total = counts.chain(&special).try_fold(0u64, |total, count| total.checked_add(*count));
        let plausible = match self.outermost() {
            Some((lowest, highest)) => {
                self.min <= self.max
                    && (cell_of(self.min), cell_of(self.max)) == (Some(lowest), Some(highest))
            }
            None => self.min == f32::INFINITY && self.max == f32::NEG_INFINITY,
        };
        if plausible && total.is_some_and(|total| total <= MOST) { Ok(()) } else { Err(damaged()) }
    }

    /// The cells of the smallest and of the largest value that was counted.
    fn outermost(&self) -> Option<(Cell, Cell)> {
        let first = |counts: &Counts| counts.iter().position(|&count| count > 0);
        let last = |counts: &Counts| counts.iter().rposition(|&count| count > 0);
        let negative = || self.octaves.range(NEGATIVE..).map(|(&key, counts)| (key, counts.as_ref()));
        let positive = || self.octaves.range(..NEGATIVE).map(|(&key, counts)| (key, counts.as_ref()));
        let zero = (self.zeros > 0).then_some(Cell::Zero);
        let cell = |(key, counts): (OctaveKey, &Counts), index: fn(&Counts) -> Option<usize>| {
            index(counts).map(|index| Cell::Bin(key, index))
        };
        let lowest = (negative().next_back().and_then(|octave| cell(octave, last)))
            .or(zero)
            .or_else(|| positive().next().and_then(|octave| cell(octave, first)));
        let highest = (positive().next_back().and_then(|octave| cell(octave, last)))
            .or(zero)
            .or_else(|| negative().next().and_then(|octave| cell(octave, first)));
        lowest.zip(highest)
    }
}

/// The counter of a value.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Cell {
    Zero,
    Bin(OctaveKey, usize),
}

/// The cell that counts a value; `None` for NaN and infinity.
fn cell_of(value: f32) -> Option<Cell> {
    let leading = (value.to_bits() >> DROPPED_BITS) as usize;
    let key = OctaveKey::try_from(leading / BINS).ok()?;
    match key & !NEGATIVE {
        0 => Some(Cell::Zero),
        NON_FINITE => None,
        _ => Some(Cell::Bin(key, leading % BINS)),
    }
}

fn damaged() -> KernelError {
    KernelError::CorruptSketch("damaged sketch".into())
}

fn write_number(bytes: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
}

struct Reader<'a> {
    bytes: &'a [u8],
}

impl Reader<'_> {
    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let (head, rest) = self.bytes.split_first_chunk().ok_or_else(damaged)?;
        self.bytes = rest;
        Ok(*head)
    }

    fn number(&mut self) -> Result<u64> {
        let mut number = 0u64;
        for shift in (0..u64::BITS).step_by(7) {
            let byte = self.array::<1>()?[0];
            let digit = u64::from(byte & 0x7f);
            if shift == 63 && digit > 1 {
                break;
            }
            number |= digit << shift;
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err(damaged())
    }
}
