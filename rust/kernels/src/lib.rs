//! Numeric kernels of XSlim.
