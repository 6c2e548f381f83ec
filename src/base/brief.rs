//! Few threads for work that blocks, or computes, for a short while.
//!
//! Where each piece of such work gets a thread of its own as soon as all others wait for the disk, there are soon as many threads as jobs
//! in flight, each with memory of its own that the system has to clear first. Work that may wait for somebody else, such as a plugin, has
//! threads of its own: it would hold up everything here. Work that takes long by itself belongs to neither.

use std::sync::LazyLock;

use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinHandle;

/// So many pieces of work are done at a time: enough for a disk that waits for each of them, and for every processor.
const THREADS: usize = 8;

/// As many wait for plugins, each of which does one thing at a time.
const WAITING: usize = 16;

/// Never dropped: what is under way when the process ends must not keep it from ending.
static BRIEF: LazyLock<Option<Runtime>> = LazyLock::new(|| pool(THREADS, "kiln-brief"));
static PATIENT: LazyLock<Option<Runtime>> = LazyLock::new(|| pool(WAITING, "kiln-patient"));

fn pool(threads: usize, name: &str) -> Option<Runtime> {
    let mut pool = Builder::new_current_thread();
    pool.max_blocking_threads(threads)
        .thread_name(name)
        .build()
        .ok()
}

/// Does work on another thread. To be called in a runtime; what it panics with is in the handle's error.
pub fn brief<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
    spawn(&BRIEF, work)
}

/// As [`brief`], for work that may wait for somebody else's code.
pub fn patient<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
    spawn(&PATIENT, work)
}

fn spawn<T: Send + 'static>(
    pool: &LazyLock<Option<Runtime>>,
    work: impl FnOnce() -> T + Send + 'static,
) -> JoinHandle<T> {
    match &**pool {
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
    async fn work_that_waits_for_somebody_holds_up_no_other() {
        let (go, gone) = std::sync::mpsc::channel::<()>();
        let gone = Arc::new(Mutex::new(gone));
        let waiting = (0..2 * WAITING).map(|_| {
            let gone = Arc::clone(&gone);
            patient(move || gone.lock().unwrap().recv().is_ok())
        });
        let waiting: Vec<_> = waiting.collect();
        assert_eq!(brief(|| 7).await.unwrap(), 7);
        for _ in &waiting {
            go.send(()).unwrap();
        }
        for work in waiting {
            assert!(work.await.unwrap());
        }
    }

    #[tokio::test]
    async fn what_panics_is_told_and_harms_no_other_work() {
        assert!(brief(|| panic!("on purpose")).await.unwrap_err().is_panic());
        assert_eq!(brief(|| 7).await.unwrap(), 7);
    }
}
