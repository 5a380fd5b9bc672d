//! Numeric kernels of XSlim: pure Rust, no Python.
//!
//! | module | what |
//! |---|---|
//! | [`sketch`] | exactly mergeable histogram of a tensor's values |
//! | [`threshold`] | scale and zero point from a sketch: minmax, percentile, mse, kl |
//! | [`weights`] | symmetric quantisation of weights per channel |
//! | [`balance`] | rounding whose errors cancel where inputs are alike |
//! | [`channels`] | smallest and largest value of every channel |
//! | [`fake_quant`] | the arithmetic of QuantizeLinear and DequantizeLinear |
//! | [`gram`] | second moments of the inputs of a layer |
//! | [`rounding`] | weights rounded with error feedback |
//! | [`metrics`] | signal, noise and correlation sums of two tensors in one pass |
//! | [`resize`] | antialiased resizing of 8-bit images |
//! | [`threads`] | the pool in which the kernels run |
//!
//! Every kernel gives the same bits whatever the number of threads and whichever SIMD version the
//! machine selects: counts are integers, and floating-point sums run over fixed chunks that are added in
//! a fixed order.

pub mod balance;
pub mod channels;
pub mod error;
pub mod fake_quant;
pub mod gram;
pub mod metrics;
pub mod resize;
pub mod rounding;
pub mod sketch;
pub mod threads;
pub mod threshold;
pub mod values;
mod vectors;
pub mod weights;

pub use error::KernelError;
