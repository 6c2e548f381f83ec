//! What to do about a change, in whatever state a pipeline is.

/// What a change does to a run that is under way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnBusy {
    /// Its stale jobs are cancelled, and what is affected runs again.
    #[default]
    Restart,
    /// It is let finish; of the changes meanwhile there is one run after it.
    Queue,
}

/// Something happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// What the last plan read is another now, or somebody wants a run.
    Changed,
    /// A plan was made, or nothing came of it.
    Planned {
        /// There is something to run.
        sound: bool,
    },
    /// The run ended.
    Ended,
    /// Somebody wants to stop watching.
    Quit,
}

/// Something to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// Make a plan of what the files say now.
    Plan,
    /// Run the plan that was made last.
    Run,
    /// Stop the run, but for the tasks that the plan made last leaves as they are.
    Restart,
    /// Let the run finish: the plan made last comes after it.
    Wait,
    /// Stop the run, whatever it does.
    Stop,
    /// Stop watching.
    Leave,
}

/// One pipeline's state.
#[derive(Debug, Default)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "planning and running go on side by side, and each may be asked for again"
)]
pub(super) struct Desk {
    on_busy: OnBusy,
    planning: bool,
    running: bool,
    /// The plan made last is to be run, and was not.
    ready: bool,
    /// Something changed since the plan was begun that is made or carried out.
    again: bool,
    leaving: bool,
}

impl Desk {
    pub(super) fn new(on_busy: OnBusy) -> Self {
        Self {
            on_busy,
            ..Self::default()
        }
    }

    /// Whether a run is under way.
    pub(super) fn runs(&self) -> bool {
        self.running
    }

    /// Whether the plan that is being made will be made again.
    pub(super) fn stale(&self) -> bool {
        self.again
    }

    pub(super) fn hear(&mut self, event: Event) -> Option<Order> {
        match event {
            Event::Quit => {
                self.leaving = true;
                let order = if self.running {
                    Order::Stop
                } else {
                    Order::Leave
                };
                Some(order)
            }
            Event::Changed => self.changed(),
            Event::Planned { sound } => self.planned(sound),
            Event::Ended => self.ended(),
        }
    }

    fn changed(&mut self) -> Option<Order> {
        if self.leaving {
            return None;
        }
        if self.planning {
            self.again = true;
            return None;
        }
        Some(self.plan())
    }

    fn plan(&mut self) -> Order {
        self.again = false;
        self.ready = false;
        self.planning = true;
        Order::Plan
    }

    fn planned(&mut self, sound: bool) -> Option<Order> {
        self.planning = false;
        if self.leaving {
            return None;
        }
        if self.again {
            return Some(self.plan());
        }
        if !sound {
            return None;
        }
        if self.running {
            self.ready = true;
            return Some(match self.on_busy {
                OnBusy::Restart => Order::Restart,
                OnBusy::Queue => Order::Wait,
            });
        }
        self.running = true;
        Some(Order::Run)
    }

    fn ended(&mut self) -> Option<Order> {
        self.running = false;
        if self.leaving {
            return Some(Order::Leave);
        }
        if self.planning {
            return None;
        }
        if self.again {
            return Some(self.plan());
        }
        if std::mem::take(&mut self.ready) {
            self.running = true;
            return Some(Order::Run);
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOUND: Event = Event::Planned { sound: true };
    const WRONG: Event = Event::Planned { sound: false };

    fn play(on_busy: OnBusy, events: &[Event]) -> Vec<Option<Order>> {
        let mut desk = Desk::new(on_busy);
        events.iter().map(|event| desk.hear(*event)).collect()
    }

    #[test]
    fn a_change_is_planned_and_run() {
        for policy in [OnBusy::Restart, OnBusy::Queue] {
            let orders = play(policy, &[Event::Changed, SOUND, Event::Ended]);
            assert_eq!(orders, [Some(Order::Plan), Some(Order::Run), None]);
        }
    }

    #[test]
    fn an_invalid_file_runs_nothing_until_it_is_valid_again() {
        let events = [Event::Changed, WRONG, Event::Changed, SOUND];
        let orders = play(OnBusy::Restart, &events);
        let plan = Some(Order::Plan);
        assert_eq!(orders, [plan, None, plan, Some(Order::Run)]);
    }

    #[test]
    fn a_change_in_the_middle_of_a_run_restarts_what_is_stale() {
        let events = [
            Event::Changed,
            SOUND,
            Event::Changed,
            SOUND,
            Event::Ended,
            Event::Ended,
        ];
        let orders = play(OnBusy::Restart, &events);
        let (plan, run) = (Some(Order::Plan), Some(Order::Run));
        assert_eq!(orders, [plan, run, plan, Some(Order::Restart), run, None]);
    }

    #[test]
    fn an_invalid_file_stops_nothing_that_runs() {
        let events = [Event::Changed, SOUND, Event::Changed, WRONG, Event::Ended];
        let orders = play(OnBusy::Restart, &events);
        let plan = Some(Order::Plan);
        assert_eq!(orders, [plan, Some(Order::Run), plan, None, None]);
    }

    #[test]
    fn a_file_that_became_invalid_while_its_run_is_stopped_runs_nothing() {
        let events = [
            Event::Changed,
            SOUND,
            Event::Changed,
            SOUND,
            Event::Changed,
            Event::Ended,
            WRONG,
        ];
        let orders = play(OnBusy::Restart, &events);
        let (plan, run) = (Some(Order::Plan), Some(Order::Run));
        let restart = Some(Order::Restart);
        assert_eq!(orders, [plan, run, plan, restart, plan, None, None]);
    }

    #[test]
    fn what_changes_while_a_plan_is_made_makes_one_more_plan() {
        let events = [
            Event::Changed,
            Event::Changed,
            Event::Changed,
            SOUND,
            SOUND,
            Event::Ended,
        ];
        let orders = play(OnBusy::Restart, &events);
        let (plan, run) = (Some(Order::Plan), Some(Order::Run));
        assert_eq!(orders, [plan, None, None, plan, run, None]);
    }

    #[test]
    fn queued_changes_wait_for_the_run_and_are_one_run() {
        let events = [
            Event::Changed,
            SOUND,
            Event::Changed,
            Event::Changed,
            SOUND,
            SOUND,
            Event::Changed,
            Event::Ended,
            SOUND,
            Event::Ended,
        ];
        let orders = play(OnBusy::Queue, &events);
        let (plan, run, wait) = (Some(Order::Plan), Some(Order::Run), Some(Order::Wait));
        assert_eq!(
            orders,
            [plan, run, plan, None, plan, wait, plan, None, run, None]
        );
    }

    #[test]
    fn a_queued_change_that_is_wrong_is_known_at_once_and_takes_the_place_of_one_that_was_right() {
        let events = [
            Event::Changed,
            SOUND,
            Event::Changed,
            SOUND,
            Event::Changed,
            WRONG,
            Event::Ended,
        ];
        let orders = play(OnBusy::Queue, &events);
        let (plan, run, wait) = (Some(Order::Plan), Some(Order::Run), Some(Order::Wait));
        assert_eq!(orders, [plan, run, plan, wait, plan, None, None]);
    }

    #[test]
    fn who_quits_waits_for_the_run_and_starts_nothing() {
        let idle = play(OnBusy::Restart, &[Event::Quit]);
        assert_eq!(idle, [Some(Order::Leave)]);
        let events = [
            Event::Changed,
            SOUND,
            Event::Quit,
            Event::Changed,
            Event::Ended,
        ];
        let orders = play(OnBusy::Restart, &events);
        let expected = [
            Some(Order::Plan),
            Some(Order::Run),
            Some(Order::Stop),
            None,
            Some(Order::Leave),
        ];
        assert_eq!(orders, expected);
    }

    /// Whatever happens in whatever order: no two plans and no two runs at a time, nothing starts after the wish to quit, and a change is
    /// never forgotten.
    #[test]
    fn no_order_of_events_breaks_it() {
        for seed in 0..20_000 {
            let mut random = fastrand::Rng::with_seed(seed);
            let on_busy = *random.choice(&[OnBusy::Restart, OnBusy::Queue]).unwrap();
            let mut desk = Desk::new(on_busy);
            let (mut planning, mut running, mut quit) = (None, None, false);
            let (mut version, mut ran) = (0, 0);
            let mut planned = 0;
            for step in 0..40 {
                let last = step >= 30;
                let event = match random.u8(0..8) {
                    0 if !last => {
                        version += 1;
                        Event::Changed
                    }
                    1..4 if planning.is_some() => {
                        planned = planning.take().unwrap();
                        SOUND
                    }
                    4..7 if running.is_some() => {
                        ran = running.take().unwrap();
                        Event::Ended
                    }
                    7 if !last && random.u8(0..20) == 0 => {
                        quit = true;
                        Event::Quit
                    }
                    _ => continue,
                };
                match desk.hear(event) {
                    Some(Order::Plan) => {
                        assert!(planning.is_none() && !quit);
                        planning = Some(version);
                    }
                    Some(Order::Run) => {
                        assert!(running.is_none() && !quit);
                        running = Some(planned);
                    }
                    Some(Order::Restart | Order::Wait | Order::Stop) => assert!(running.is_some()),
                    Some(Order::Leave) => assert!(running.is_none() && quit),
                    None => {}
                }
            }
            while !quit && (planning.is_some() || running.is_some()) {
                let event = if let Some(of) = planning.take() {
                    planned = of;
                    SOUND
                } else {
                    ran = running.take().unwrap();
                    Event::Ended
                };
                match desk.hear(event) {
                    Some(Order::Plan) => planning = Some(version),
                    Some(Order::Run) => running = Some(planned),
                    _ => {}
                }
            }
            assert!(quit || ran == version, "seed {seed}: {ran} of {version}");
        }
    }
}
