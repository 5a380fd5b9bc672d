//! The one error type of the kernels.

use thiserror::Error;

/// Why a kernel refuses its arguments. The text can be shown to a user.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum KernelError {
    /// An argument outside its documented range.
    #[error("{0}")]
    Argument(String),
    /// Lengths or shapes that do not fit each other.
    #[error("{0}")]
    Shape(String),
    /// A value is NaN or infinite where only finite values are allowed.
    #[error("{0}")]
    NotFinite(String),
    /// Two sketches that hold more values together than one sketch counts.
    #[error("a sketch holds at most {most} values")]
    SketchFull {
        /// The largest number of values that one sketch counts.
        most: u64,
    },
    /// Bytes that are not a sketch of this version.
    #[error("{0}")]
    CorruptSketch(String),
    /// The threads of the pool could not be started.
    #[error("cannot start {threads} threads: {reason}")]
    Threads {
        /// The number of threads asked for.
        threads: usize,
        /// What the operating system said.
        reason: String,
    },
}

/// Shorthand for results of kernels.
pub type Result<T> = std::result::Result<T, KernelError>;
