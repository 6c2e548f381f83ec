//! When touching has come to an end.

use std::collections::BTreeSet;
use std::time::Duration;

use super::touch::Touch;

/// How long nothing must happen before what happened counts.
const QUIET: Duration = Duration::from_millis(75);
/// How long that is waited for at most.
const MOST: Duration = Duration::from_secs(1);

/// Gathers touches. Times are since the watch began.
#[derive(Debug, Default)]
pub(super) struct Gate {
    touched: BTreeSet<Touch>,
    first: Duration,
    last: Duration,
    /// Nothing gets through until it is opened again.
    held: bool,
}

impl Gate {
    /// Something was touched.
    pub(super) fn touch(&mut self, now: Duration, touch: Touch) {
        if self.touched.is_empty() {
            self.first = now;
        }
        self.last = now;
        self.touched.insert(touch);
    }

    /// When the first of what was touched was.
    pub(super) fn first(&self) -> Duration {
        self.first
    }

    /// When what was touched gets through, if nothing else happens.
    pub(super) fn due(&self) -> Option<Duration> {
        let some = !self.touched.is_empty() && !self.held;
        some.then(|| (self.last + QUIET).min(self.first + MOST))
    }

    /// What gets through now, each thing once.
    pub(super) fn take(&mut self, now: Duration) -> Option<BTreeSet<Touch>> {
        let due = self.due().is_some_and(|due| due <= now);
        due.then(|| std::mem::take(&mut self.touched))
    }

    /// Holds everything back, or no longer.
    pub(super) fn hold(&mut self, held: bool) {
        self.held = held;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn file(name: &str) -> Touch {
        Touch::Entry(name.into())
    }

    /// Plays touches at their times, in steps of a millisecond: what got through, and when.
    fn play(touches: &[(u64, &str)], until: u64) -> Vec<(u64, Vec<Touch>)> {
        let mut gate = Gate::default();
        let mut through = Vec::new();
        for now in 0..=until {
            for (_, name) in touches.iter().filter(|(at, _)| *at == now) {
                gate.touch(ms(now), file(name));
            }
            if let Some(touched) = gate.take(ms(now)) {
                through.push((now, touched.into_iter().collect()));
            }
        }
        through
    }

    #[test]
    fn a_touch_gets_through_after_75_quiet_milliseconds() {
        assert_eq!(play(&[(10, "a")], 500), [(85, vec![file("a")])]);
    }

    #[test]
    fn what_happens_in_a_burst_gets_through_once_and_each_file_of_it_once() {
        let burst = [(0, "b"), (20, "a"), (40, "b"), (60, "b"), (130, "c")];
        let all = vec![file("a"), file("b"), file("c")];
        assert_eq!(play(&burst, 500), [(205, all)]);
    }

    #[test]
    fn who_pauses_for_75_milliseconds_has_ended() {
        let apart = [(0, "a"), (76, "a")];
        let one = || vec![file("a")];
        assert_eq!(play(&apart, 500), [(75, one()), (151, one())]);
    }

    #[test]
    fn endless_touching_gets_through_once_a_second() {
        let touches: Vec<(u64, &str)> = (0..60).map(|n| (n * 50, "log")).collect();
        let through = play(&touches, 4000);
        let times: Vec<u64> = through.iter().map(|(at, _)| *at).collect();
        assert_eq!(times, [1000, 2050, 3025]);
    }

    #[test]
    fn what_is_held_back_gets_through_together_when_it_is_let() {
        let mut gate = Gate::default();
        gate.hold(true);
        gate.touch(ms(0), file("a"));
        gate.touch(ms(900), file("b"));
        assert_eq!((gate.due(), gate.take(ms(5000))), (None, None));
        gate.hold(false);
        let both = BTreeSet::from([file("a"), file("b")]);
        assert_eq!(gate.take(ms(5000)), Some(both));
        assert_eq!(gate.due(), None);
    }
}
