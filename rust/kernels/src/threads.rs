//! The pool of threads in which the kernels run.
//!
//! The pool has `XSLIM_THREADS` threads if the variable is set. Otherwise it has one thread for each processor that the
//! process may use, as processor affinity and the quota of its control group say. The Python package takes its number
//! of threads from this module, so that there is one rule. [`set_threads`] changes the number at any time. A forked
//! process builds a pool of its own.

use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use rayon::{ThreadPool, ThreadPoolBuilder};

use crate::error::{KernelError, Result};

/// Environment variable that sets the number of threads.
pub const VARIABLE: &str = "XSLIM_THREADS";

/// Largest number of threads. A larger number is a typing mistake, which would start more threads than any machine has.
pub const MOST: usize = 1024;

#[derive(Default)]
struct State {
    wanted: Option<usize>,
    pool: Option<Pool>,
}

struct Pool {
    /// Number of the process that built the pool. Threads do not survive a fork.
    process: u32,
    threads: usize,
    pool: Arc<ThreadPool>,
}

static STATE: Mutex<State> = Mutex::new(State { wanted: None, pool: None });

/// Returns `XSLIM_THREADS` if it is set, else the number of processors that the process may use.
///
/// # Errors
/// `XSLIM_THREADS` is set to something that is not a whole number from 1 to [`MOST`].
pub fn from_environment() -> Result<usize> {
    static OFFERED: OnceLock<usize> = OnceLock::new();
    let Some(given) = std::env::var_os(VARIABLE) else {
        let offered = || std::thread::available_parallelism().map_or(1, NonZeroUsize::get).min(MOST);
        return Ok(*OFFERED.get_or_init(offered));
    };
    let text = given.to_string_lossy();
    let digits = text.trim_matches([' ', '\t']);
    let plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    match digits.parse() {
        Ok(count) if plain && (1..=MOST).contains(&count) => Ok(count),
        _ => Err(KernelError::Argument(format!("{text:?} is not a positive whole number up to {MOST}"))),
    }
}

fn wanted(state: &State) -> Result<usize> {
    state.wanted.map_or_else(from_environment, Ok)
}

/// Number of threads that the kernels use.
///
/// # Errors
/// `XSLIM_THREADS` is set to something that is not a whole number from 1 to [`MOST`].
pub fn threads() -> Result<usize> {
    wanted(&STATE.lock().unwrap_or_else(PoisonError::into_inner))
}

/// Sets the number of threads of every following kernel call, whatever the environment says.
///
/// # Errors
/// `count` is zero, or above [`MOST`].
pub fn set_threads(count: usize) -> Result<()> {
    if !(1..=MOST).contains(&count) {
        return Err(KernelError::Argument(format!("the number of threads must be positive, up to {MOST}")));
    }
    STATE.lock().unwrap_or_else(PoisonError::into_inner).wanted = Some(count);
    Ok(())
}

/// Runs `work` in the pool and waits for it.
///
/// # Errors
/// The pool cannot be built.
pub fn run<R: Send>(work: impl FnOnce() -> R + Send) -> Result<R> {
    Ok(pool()?.install(work))
}

fn pool() -> Result<Arc<ThreadPool>> {
    let mut state = STATE.lock().unwrap_or_else(PoisonError::into_inner);
    let process = std::process::id();
    let threads = wanted(&state)?;
    if let Some(built) = &state.pool {
        if built.process == process && built.threads == threads {
            return Ok(built.pool.clone());
        }
        if built.process != process {
            // The threads of this pool exist in the parent process only. Dropping the pool would wait for them forever.
            std::mem::forget(state.pool.take());
        }
    }
    let pool = ThreadPoolBuilder::new()
        .num_threads(threads)
        .thread_name(|index| format!("xslim-{index}"))
        .build()
        .map_err(|error| KernelError::Threads { threads, reason: error.to_string() })?;
    let pool = Arc::new(pool);
    state.pool = Some(Pool { process, threads, pool: pool.clone() });
    Ok(pool)
}
