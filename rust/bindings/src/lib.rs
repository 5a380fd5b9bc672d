//! `xslim._native`: registration only; every wrapper lives in the module named after its kernel.

use pyo3::prelude::*;

mod boundary;
mod channels;
mod errors;
mod fake_quant;
mod gram;
mod metrics;
mod resize;
mod rounding;
mod sketch;
mod threads;
mod threshold;
mod weights;

#[pymodule]
mod _native {
    #[pymodule_export]
    use crate::boundary::data_address;
    #[pymodule_export]
    use crate::channels::channel_ranges;
    #[pymodule_export]
    use crate::errors::{
        ArgumentError, CorruptSketchError, DtypeError, NonFiniteError, ShapeError, SketchFullError,
        ThreadsError,
    };
    #[pymodule_export]
    use crate::fake_quant::{fake_quantize, quantize};
    #[pymodule_export]
    use crate::gram::Gram;
    #[pymodule_export]
    use crate::metrics::{ErrorMetrics, error_sums};
    #[pymodule_export]
    use crate::resize::resize_antialiased;
    #[pymodule_export]
    use crate::rounding::round_weights;
    #[pymodule_export]
    use crate::sketch::{Sketch, observe_many};
    #[pymodule_export]
    use crate::threads::{set_threads, threads, threads_wanted};
    #[pymodule_export]
    use crate::threshold::{range_params, search};
    #[pymodule_export]
    use crate::weights::quantize_per_channel;
}
