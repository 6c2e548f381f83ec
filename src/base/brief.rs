//! Few threads for work that blocks, or computes, for a short while.
//!
//! Where each piece of such work gets a thread of its own as soon as all others wait for the disk, there are soon as many threads as jobs
//! in flight, each with memory of its own that the system has to clear first. Work that may take long, e.g. waiting for somebody else,
//! belongs elsewhere: it would hold up everything here.

use std::sync::LazyLock;

use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinHandle;

/// So many pieces of work are done at a time: enough for a disk that waits for each of them, and for every processor.
const THREADS: usize = 8;

/// Never dropped: what is under way when the process ends must not keep it from ending.
static POOL: LazyLock<Option<Runtime>> = LazyLock::new(|| {
    let mut pool = Builder::new_current_thread();
    pool.max_blocking_threads(THREADS)
        .thread_name("kiln-brief")
        .build()
        .ok()
});

/// Does work on another thread. To be called in a runtime; what it panics with is in the handle's error.
pub fn brief<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
    match &*POOL {
        Some(pool) => pool.spawn_blocking(work),
        None => tokio::task::spawn_blocking(work),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::sync::{Arc, Mutex};
    use std::thread::ThreadId;

    use super::*;

    #[tokio::test]
    async fn a_thousand_pieces_of_work_share_few_threads_and_none_is_lost() {
        let threads: Arc<Mutex<HashSet<ThreadId>>> = Arc::default();
        let works = (0..1000_u64).map(|at| {
            let threads = Arc::clone(&threads);
            brief(move || {
                threads.lock().unwrap().insert(std::thread::current().id());
                std::thread::yield_now();
                at
            })
        });
        let works: Vec<_> = works.collect();
        let mut sum = 0;
        for work in works {
            sum += work.await.unwrap();
        }
        assert_eq!(sum, 499_500);
        assert!(threads.lock().unwrap().len() <= THREADS);
    }

    #[tokio::test]
    async fn what_panics_is_told_and_harms_no_other_work() {
        assert!(brief(|| panic!("on purpose")).await.unwrap_err().is_panic());
        assert_eq!(brief(|| 7).await.unwrap(), 7);
    }
}
