//! How long a transfer is tried again, and how long it waits before each time.
//!
//! Only what passes by itself is tried again: a connection that breaks, a server or proxy that fails at answering, a server that has too
//! much to do. Pauses are drawn at random up to a bound that grows (full jitter), so that many transfers do not come back together; a
//! server that says when it wants to be asked again is believed. Bytes that arrive start the count anew.

use std::time::{Duration, Instant};

use super::error::ClientError;

/// Breaks in a row, without a byte between them, after which a transfer is given up.
const TRIES: u32 = 4;
/// How long a server that has too much to do, or that names a time, is asked again.
const BUSY: Duration = Duration::from_mins(15);
/// The longest first pause.
const FIRST: Duration = Duration::from_millis(200);
/// The longest pause, unless the server wants a longer one.
const LONGEST: Duration = Duration::from_secs(20);

/// What a transfer has gone through since its last byte.
#[derive(Debug, Default)]
pub(super) struct Patience {
    breaks: u32,
    busy: u32,
    since: Option<Instant>,
}

impl Patience {
    /// Bytes came that had not come before.
    pub(super) fn progressed(&mut self) {
        *self = Self::default();
    }

    /// How long to wait before the next try; `None` when there is to be none.
    pub(super) fn pause(&mut self, error: &ClientError) -> Option<Duration> {
        let wanted = error.refusal().and_then(|no| no.retry_after);
        let since = *self.since.get_or_insert_with(Instant::now);
        let times = if error.is_busy() {
            self.busy += 1;
            self.busy
        } else if error.is_connection() || error.is_fault() {
            self.breaks += 1;
            if self.breaks >= TRIES {
                return None;
            }
            self.breaks
        } else {
            return None;
        };
        let pause = pause(times, wanted);
        (since.elapsed() + pause <= BUSY).then_some(pause)
    }
}

fn pause(times: u32, wanted: Option<Duration>) -> Duration {
    let grown = 1 << (2 * times.clamp(1, 8) - 2);
    let bound = FIRST.saturating_mul(grown).min(LONGEST);
    let drawn = bound.mul_f64(fastrand::f64());
    match wanted {
        Some(wanted) => wanted + drawn.min(Duration::from_secs(1)),
        None => drawn,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::Refusal;

    fn broken() -> ClientError {
        ClientError::Broken {
            url: String::new(),
            cause: String::new(),
        }
    }

    fn refused(status: u16, retry_after: Option<Duration>) -> ClientError {
        ClientError::Refused(Refusal {
            retry_after,
            ..Refusal::new(String::new(), status, "")
        })
    }

    #[test]
    fn breaks_in_a_row_end_it_and_a_byte_between_them_does_not() {
        let mut patience = Patience::default();
        let pauses = |patience: &mut Patience| {
            let tries = std::iter::from_fn(|| patience.pause(&broken()));
            tries.take(10).count()
        };
        assert_eq!(pauses(&mut patience), 3);
        patience.progressed();
        assert_eq!(pauses(&mut patience), 3);
    }

    #[test]
    fn only_what_passes_is_tried_again() {
        for (status, again) in [
            (429, true),
            (500, true),
            (502, true),
            (503, true),
            (400, false),
            (401, false),
            (403, false),
            (413, false),
        ] {
            let pause = Patience::default().pause(&refused(status, None));
            assert_eq!(pause.is_some(), again, "{status}");
        }
    }

    #[test]
    fn a_busy_server_is_asked_more_often_than_a_broken_one() {
        let mut patience = Patience::default();
        let busy = refused(429, None);
        assert!((0..40).all(|_| patience.pause(&busy).is_some()));
        let longer = refused(429, Some(BUSY));
        assert!(patience.pause(&longer).is_none(), "that is too long");
    }

    #[test]
    fn pauses_are_drawn_below_a_bound_that_grows_and_never_below_what_is_wanted() {
        fastrand::seed(7);
        for _ in 0..200 {
            assert!(pause(1, None) <= Duration::from_millis(200));
            assert!(pause(2, None) <= Duration::from_millis(800));
            assert!(pause(9, None) <= LONGEST);
            let wanted = Duration::from_secs(7);
            let pause = pause(1, Some(wanted));
            assert!(pause >= wanted && pause <= wanted + Duration::from_secs(1));
        }
        let drawn: Vec<_> = (0..20).map(|_| pause(3, None)).collect();
        assert!(drawn.iter().any(|d| *d != drawn[0]), "not all the same");
    }
}
