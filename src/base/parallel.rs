//! The same work for many things at once, in their order.

use std::num::NonZero;
use std::panic::resume_unwind;

/// Fewer things than this are done one after the other: a thread costs more than it brings.
const FEW: usize = 64;
/// More threads than this only wait for the same disk.
const THREADS: usize = 8;

/// What `work` makes of each thing. A thread keeps a run of neighbours, so that what it remembers of one serves the next.
pub fn parallel<T: Send, R: Send>(things: Vec<T>, work: impl Fn(T) -> R + Sync) -> Vec<R> {
    let threads = std::thread::available_parallelism().map_or(1, NonZero::get);
    in_threads(things, threads.min(THREADS), work)
}

fn in_threads<T: Send, R: Send>(
    things: Vec<T>,
    threads: usize,
    work: impl Fn(T) -> R + Sync,
) -> Vec<R> {
    if things.len() < FEW || threads < 2 {
        return things.into_iter().map(work).collect();
    }
    let length = things.len().div_ceil(threads);
    let mut parts: Vec<Vec<T>> = Vec::with_capacity(threads);
    let mut rest = things;
    while rest.len() > length {
        let tail = rest.split_off(length);
        parts.push(std::mem::replace(&mut rest, tail));
    }
    let work = &work;
    let mut all = Vec::with_capacity(parts.len() * length + rest.len());
    std::thread::scope(|scope| {
        let others: Vec<_> = parts
            .into_iter()
            .map(|part| scope.spawn(move || part.into_iter().map(work).collect::<Vec<R>>()))
            .collect();
        let last: Vec<R> = rest.into_iter().map(work).collect();
        for other in others {
            match other.join() {
                Ok(part) => all.extend(part),
                Err(panic) => resume_unwind(panic),
            }
        }
        all.extend(last);
    });
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_is_that_of_the_things_however_many_threads_there_are() {
        for count in [0, 1, FEW - 1, FEW, FEW + 1, 1000] {
            for threads in [1, 2, 3, 7, 64] {
                let things: Vec<usize> = (0..count).collect();
                let twice: Vec<usize> = things.iter().map(|thing| thing * 2).collect();
                assert_eq!(in_threads(things, threads, |thing| thing * 2), twice);
            }
        }
    }

    #[test]
    fn several_threads_take_part() {
        let things: Vec<usize> = (0..FEW).collect();
        let ids = in_threads(things, 4, |_| std::thread::current().id());
        let distinct: std::collections::HashSet<_> = ids.into_iter().collect();
        assert_eq!(distinct.len(), 4);
    }
}
