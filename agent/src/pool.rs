//! Threads for what may block: files, tars, watches, freezing. Started when needed, a few kept for the next.

use crate::locks::lock;
use std::collections::VecDeque;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::sync::{Arc, Condvar, Mutex};

/// Idle threads that are kept; each costs its touched stack pages only.
const KEPT: usize = 4;
/// No operation recurses, and buffers are on the heap.
const STACK: usize = 192 * 1024;

type Job = Box<dyn FnOnce() + Send>;

#[derive(Clone)]
pub struct Pool(Arc<Shared>);

struct Shared {
    /// Its threads go before what commands run: the loop may wait for a lock that a worker holds.
    preferred: bool,
    state: Mutex<State>,
    work: Condvar,
}

struct State {
    jobs: VecDeque<Job>,
    idle: usize,
}

impl Pool {
    pub fn new(preferred: bool) -> Pool {
        let state = Mutex::new(State { jobs: VecDeque::new(), idle: 0 });
        Pool(Arc::new(Shared { preferred, state, work: Condvar::new() }))
    }

    /// Runs `job` on a thread of its own. False when no thread could be had; the job is dropped then.
    pub fn run(&self, job: impl FnOnce() + Send + 'static) -> bool {
        let mut state = lock(&self.0.state);
        state.jobs.push_back(Box::new(job));
        if state.idle >= state.jobs.len() {
            self.0.work.notify_one();
            return true;
        }
        let shared = self.0.clone();
        let started = std::thread::Builder::new().stack_size(STACK).spawn(move || serve(&shared));
        if started.is_err() {
            state.jobs.pop_back();
        }
        started.is_ok()
    }
}

fn serve(shared: &Shared) {
    if shared.preferred {
        crate::sys::be_preferred();
    }
    let mut state = lock(&shared.state);
    loop {
        if let Some(job) = state.jobs.pop_front() {
            drop(state);
            // Jobs answer the host for their own panics; this only keeps the thread.
            let _ = catch_unwind(AssertUnwindSafe(job));
            state = lock(&shared.state);
            continue;
        }
        if state.idle >= KEPT {
            return;
        }
        state.idle += 1;
        state = shared.work.wait(state).unwrap_or_else(|poisoned| poisoned.into_inner());
        state.idle -= 1;
    }
}
