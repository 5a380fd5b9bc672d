//! The pool of threads in which the kernels run.
//!
//! Its size is `XSLIM_THREADS` where that is set to a positive integer, else what the machine offers.
//! [`set_threads`] changes it at any time. A process that was forked builds its own pool.

use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, PoisonError};

use rayon::{ThreadPool, ThreadPoolBuilder};

use crate::error::{KernelError, Result};

/// Environment variable that sets the number of threads.
pub const VARIABLE: &str = "XSLIM_THREADS";

#[derive(Default)]
struct State {
    wanted: Option<usize>,
    /// The pool and the process that built it: threads do not survive a fork.
    pool: Option<(u32, Arc<ThreadPool>)>,
}

static STATE: Mutex<State> = Mutex::new(State { wanted: None, pool: None });

fn from_environment() -> Result<usize> {
    match std::env::var(VARIABLE) {
        Ok(text) => text.trim().parse::<NonZeroUsize>().map(NonZeroUsize::get).map_err(|_| {
            KernelError::Argument(format!("{VARIABLE} must be a positive integer, not {text:?}"))
        }),
        Err(_) => Ok(std::thread::available_parallelism().map_or(1, NonZeroUsize::get)),
    }
}

fn wanted(state: &mut State) -> Result<usize> {
    match state.wanted {
        Some(count) => Ok(count),
        None => Ok(*state.wanted.insert(from_environment()?)),
    }
}

/// Number of threads that the kernels use.
///
/// # Errors
/// `XSLIM_THREADS` is set to something that is not a positive integer.
pub fn threads() -> Result<usize> {
    wanted(&mut STATE.lock().unwrap_or_else(PoisonError::into_inner))
}

/// Sets the number of threads of every following kernel call.
///
/// # Errors
/// `count` is zero.
pub fn set_threads(count: usize) -> Result<()> {
    if count == 0 {
        return Err(KernelError::Argument("the number of threads must be positive".into()));
    }
    let mut state = STATE.lock().unwrap_or_else(PoisonError::into_inner);
    if state.wanted.replace(count) != Some(count) {
        state.pool = None;
    }
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
    match &state.pool {
        Some((owner, pool)) if *owner == process => return Ok(pool.clone()),
        // Joining threads that stayed in the parent process would never end.
        Some(_) => std::mem::forget(state.pool.take()),
        None => {}
    }
    let threads = wanted(&mut state)?;
    let pool = ThreadPoolBuilder::new()
        .num_threads(threads)
        .thread_name(|index| format!("xslim-{index}"))
        .build()
        .map_err(|error| KernelError::Threads { threads, reason: error.to_string() })?;
    let pool = Arc::new(pool);
    state.pool = Some((process, pool.clone()));
    Ok(pool)
}
