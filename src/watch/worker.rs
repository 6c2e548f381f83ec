//! One watched pipeline: what it hears, and what it does about it.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender};
use tokio::sync::watch;
use tokio::task::{JoinHandle, spawn_blocking};

use super::desk::{Desk, Event, OnBusy, Order};
use super::gate::Gate;
use super::making::{Made, Making, make};
use super::orders::Wish;
use super::say::{About, Sheet, UnderWay};
use super::set::WatchSet;
use super::source::{Owner, Source};
use super::touch::Touch;
use super::voice::{Heard, Voice};
use crate::base::{Input, TaskName};
use crate::diagnostic::Diagnostic;
use crate::plan::Plan;
use crate::run::{Stop, output_set};
use crate::session::{self, Broken, Ended, Request, Signals, Wishes, Would};

/// How soon a server that is away is asked again, at first.
const SOON: Duration = Duration::from_millis(500);
/// And at last.
const LATE: Duration = Duration::from_secs(5);

/// What all pipelines share.
pub(super) struct Common {
    pub(super) source: Mutex<Source>,
    pub(super) wishes: Wishes,
    pub(super) sheet: Sheet,
    pub(super) signals: Signals,
    pub(super) began: Instant,
    pub(super) on_busy: OnBusy,
    /// Somebody may press keys.
    pub(super) keys: bool,
}

/// A run under way.
struct Run {
    handle: JoinHandle<Result<Ended, Broken>>,
    signals: Signals,
    spared: watch::Sender<BTreeSet<TaskName>>,
    heard: Heard,
    plan: Arc<Plan>,
    began: SystemTime,
    /// Everything was to run, and it did not begin yet as far as that was noted.
    forced: bool,
}

impl Run {
    /// Whether a task is under way, and was not asked to stop.
    fn may_spare(&self, task: &TaskName) -> bool {
        let stops = self.heard.is_superseded() && !self.spared.borrow().contains(task);
        !stops && self.heard.is_under_way(task)
    }

    /// Stops it, and everything of it.
    fn stop(&self) {
        self.spared.send_replace(BTreeSet::new());
        self.signals.request();
    }
}

/// One pipeline.
#[expect(
    clippy::struct_excessive_bools,
    reason = "what was pressed, and what is known of the last run, come and go apart"
)]
pub(super) struct Worker {
    owner: Owner,
    common: Arc<Common>,
    request: Request,
    sheet: Sheet,
    /// The seed was typed: it is never drawn anew.
    seeded: bool,
    voice: Voice,
    gate: Gate,
    desk: Desk,
    set: Arc<WatchSet>,
    tell: UnboundedSender<Touch>,
    touches: UnboundedReceiver<Touch>,
    wishes: UnboundedReceiver<Wish>,
    comparing: Option<JoinHandle<Compared>>,
    making: Option<JoinHandle<Made>>,
    running: Option<Run>,
    /// What is to be run next.
    next: Option<Made>,
    /// What changed since the plan that was made last.
    changed: BTreeSet<PathBuf>,
    /// Somebody pressed a key for the next run.
    asked: bool,
    forced: bool,
    /// Something that counts was touched since the run began, if only for a moment.
    stirred: bool,
    /// When the last run failed.
    failed_at: Option<Duration>,
    /// The run that failed last had been stirred.
    failed_for_nothing: bool,
    /// Nothing changed since a run that failed was followed by another one for that.
    doubted: bool,
    /// What the last run read more than its plan is to be looked at; the moment since which that may have changed.
    extended: Option<SystemTime>,
    /// A server that is away is asked again then.
    retry: Option<Instant>,
    pause: Duration,
    told_away: String,
    /// A server is waited for.
    waited: bool,
    /// The tasks of which it was said that a change waits for them.
    told_waiting: Option<Vec<TaskName>>,
    told_watching: bool,
    urgency: Stop,
}

/// What there is to complain about looking at files, and which of them are another now.
type Compared = (Vec<Diagnostic>, Vec<PathBuf>);

/// What a turn brought.
enum Heed {
    Order(Option<Order>),
    Done,
}

impl Worker {
    pub(super) fn new(
        owner: Owner,
        common: Arc<Common>,
        mut request: Request,
        voice: Voice,
        wishes: UnboundedReceiver<Wish>,
    ) -> Self {
        let (tell, touches) = tokio::sync::mpsc::unbounded_channel();
        let sheet = common.sheet.beside(voice.label());
        let seeded = request.seed.is_some();
        request.seed.get_or_insert_with(drawn);
        Self {
            owner,
            desk: Desk::new(common.on_busy),
            common,
            request,
            sheet,
            seeded,
            voice,
            gate: Gate::default(),
            set: Arc::default(),
            tell,
            touches,
            wishes,
            comparing: None,
            making: None,
            running: None,
            next: None,
            changed: BTreeSet::new(),
            asked: false,
            forced: false,
            stirred: false,
            failed_at: None,
            failed_for_nothing: false,
            doubted: false,
            extended: None,
            retry: None,
            pause: SOON,
            told_away: String::new(),
            waited: false,
            told_waiting: None,
            told_watching: false,
            urgency: Stop::None,
        }
    }

    /// Watches until somebody wants it to end.
    ///
    /// # Errors
    /// When the fault is kiln's own.
    pub(super) async fn work(mut self) -> Result<(), Broken> {
        let mut order = self.desk.hear(Event::Changed);
        loop {
            while let Some(now) = order.take() {
                match now {
                    Order::Plan => self.plan(),
                    Order::Run => self.run(),
                    Order::Restart => self.restart(),
                    Order::Wait => self.wait(),
                    Order::Stop => {}
                    Order::Leave => return Ok(()),
                }
            }
            match self.turn().await? {
                Heed::Order(next) => order = next,
                Heed::Done => return Ok(()),
            }
        }
    }

    /// Waits for whatever happens next.
    async fn turn(&mut self) -> Result<Heed, Broken> {
        // What was read is only known once the plan is made: until then nothing can be compared.
        if self.making.is_none() && self.comparing.is_none() {
            self.look_at_more();
        }
        let free = self.making.is_none() && self.comparing.is_none();
        let due = self.gate.due().filter(|_| free);
        let due = due.map(|due| self.common.began + due);
        let retry = self.retry.filter(|_| self.making.is_none());
        let urgent = self.urgency;
        let signals = self.common.signals.clone();
        let order = tokio::select! {
            biased;
            () = signals.at_least(next(urgent)), if urgent < Stop::Leave => self.signalled(),
            Some(wish) = self.wishes.recv() => self.wished(wish),
            ended = ended(&mut self.running) => {
                let (ended, run) = ended?;
                return Ok(self.ended(&ended, &run));
            }
            made = done(&mut self.making) => self.planned(made),
            changed = done(&mut self.comparing) => self.compared(changed),
            Some(touch) = self.touches.recv() => {
                self.gate.touch(self.common.began.elapsed(), touch);
                None
            }
            () = until(due) => self.compare(),
            () = until(retry) => {
                self.retry = None;
                self.desk.hear(Event::Changed)
            }
        };
        Ok(Heed::Order(order))
    }

    fn signalled(&mut self) -> Option<Order> {
        self.urgency = next(self.urgency);
        if let Some(run) = &self.running {
            run.spared.send_replace(BTreeSet::new());
            run.signals.follow(&self.common.signals, self.urgency);
        }
        self.desk.hear(Event::Quit)
    }

    fn wished(&mut self, wish: Wish) -> Option<Order> {
        match wish {
            Wish::Pause(held) => {
                self.gate.hold(held);
                None
            }
            Wish::Run if self.desk.runs() => {
                self.voice.say(&self.sheet.running());
                None
            }
            Wish::Run | Wish::Force => {
                self.asked = true;
                self.doubted = false;
                if wish == Wish::Force {
                    self.note_forced();
                    self.forced = true;
                    if !self.seeded {
                        self.request.seed = Some(drawn());
                    }
                }
                self.desk.hear(Event::Changed)
            }
            Wish::Quit => {
                if let Some(run) = &self.running {
                    run.stop();
                }
                self.desk.hear(Event::Quit)
            }
            Wish::Leave => {
                if let Some(run) = &self.running {
                    run.signals.follow(&run.signals, Stop::Leave);
                }
                self.desk.hear(Event::Quit)
            }
        }
    }

    /// Finds out whether what was touched is another now.
    fn compare(&mut self) -> Option<Order> {
        let first = self.gate.first();
        let touched = self.gate.take(self.common.began.elapsed())?;
        self.stirred |= self.desk.runs();
        self.failed_for_nothing |= self.failed_at.take().is_some_and(|end| first <= end);
        let (set, common) = (Arc::clone(&self.set), Arc::clone(&self.common));
        let (owner, tell) = (self.owner, self.tell.clone());
        self.comparing = Some(spawn_blocking(move || {
            // A link may lead elsewhere by now, a folder be another one: what happens from here on is told, and what happened is compared.
            let troubles = super::making::arm(&common.source, owner, &set, &tell);
            (troubles, set.changed(&touched))
        }));
        None
    }

    /// Watches what was read in the middle of a run, and finds out whether it was another by its end.
    fn look_at_more(&mut self) {
        let Some(since) = self.extended.take() else {
            return;
        };
        let (set, common) = (Arc::clone(&self.set), Arc::clone(&self.common));
        let (owner, tell) = (self.owner, self.tell.clone());
        self.comparing = Some(spawn_blocking(move || {
            let troubles = super::making::arm(&common.source, owner, &set, &tell);
            (troubles, set.changed_since(since))
        }));
    }

    fn compared(&mut self, (troubles, changed): Compared) -> Option<Order> {
        for trouble in troubles {
            self.voice.warn(trouble);
        }
        let for_nothing = std::mem::take(&mut self.failed_for_nothing);
        if changed.is_empty() {
            if !for_nothing || self.doubted {
                return None;
            }
            self.doubted = true;
        } else {
            self.doubted = false;
        }
        self.changed.extend(changed);
        self.desk.hear(Event::Changed)
    }

    /// Begins to make a plan of what the files say now.
    fn plan(&mut self) {
        self.retry = None;
        self.note_forced();
        let making = Making {
            request: Request {
                force: self.forced,
                ..self.request.clone()
            },
            owner: self.owner,
            set: Arc::clone(&self.set),
            tell: self.tell.clone(),
            running: self.running.as_ref().map(|run| Arc::clone(&run.plan)),
        };
        let common = Arc::clone(&self.common);
        self.making = Some(spawn_blocking(move || make(making, &common.source)));
    }

    fn planned(&mut self, mut made: Made) -> Option<Order> {
        self.set = Arc::clone(&made.set);
        for trouble in std::mem::take(&mut made.troubles) {
            self.voice.warn(trouble);
        }
        if !made.late.is_empty() {
            self.doubted = false;
            self.changed.extend(std::mem::take(&mut made.late));
            self.desk.hear(Event::Changed);
        }
        if let Some(run) = &self.running {
            made.spared.retain(|task| run.may_spare(task));
        }
        // What runs already is just what is wanted.
        let wanted = self.running.as_ref();
        let same = made.same && wanted.is_some_and(|run| !run.heard.is_superseded());
        let sound = made.plan.is_some() && !same;
        if !self.desk.stale() {
            if let Some(plan) = &made.plan {
                self.voice.leads_to(output_set(plan).join("latest"));
            }
            if same {
                self.tell_same();
            } else {
                self.tell_plan(&made);
            }
            self.changed.clear();
            self.asked = false;
            self.next = sound.then_some(made);
        }
        self.desk.hear(Event::Planned { sound })
    }

    /// Says that what changed changes nothing.
    fn tell_same(&self) {
        let changed: Vec<PathBuf> = self.changed.iter().cloned().collect();
        if !changed.is_empty() {
            self.voice.say(&self.sheet.same(&changed));
        }
    }

    /// Says what changed and what comes of it.
    fn tell_plan(&mut self, made: &Made) {
        let sheet = self.sheet;
        let first = !std::mem::replace(&mut self.told_watching, true);
        if first {
            let keys = self.common.keys && self.owner == 0;
            self.voice.say(&sheet.watching(made.set.files(), keys));
        }
        let changed: Vec<PathBuf> = self.changed.iter().cloned().collect();
        let Some(plan) = &made.plan else {
            if !self.desk.runs() {
                self.voice.fresh();
            }
            self.voice
                .complain(&made.loaded.report, &made.loaded.sources);
            self.voice.say(&sheet.wrong(&changed));
            return;
        };
        let work = |would| matches!(would, Would::Run | Would::Open);
        if first && !made.fates.iter().any(|fate| work(fate.would)) {
            self.voice.say(&sheet.up_to_date(made.fates.len()));
        } else if !first && (self.asked || !changed.is_empty()) {
            let about = About {
                changed: &changed,
                fates: &made.fates,
                spared: &made.spared,
                plan,
            };
            self.voice.say(&sheet.changed(&about));
        }
    }

    /// Runs what was planned last.
    fn run(&mut self) {
        let Some(Made {
            loaded,
            plan: Some(plan),
            forced,
            ..
        }) = self.next.take()
        else {
            unreachable!("a run follows from a plan");
        };
        (self.stirred, self.failed_at) = (false, None);
        self.told_waiting = None;
        let back = self.waited.then(|| self.sheet.back());
        let (reporter, heard) = self.voice.begin(back);
        let signals = Signals::unheard();
        let (spared, left) = watch::channel(BTreeSet::new());
        let (wishes, own) = (self.common.wishes.clone(), signals.clone());
        let handle = tokio::spawn(async move {
            session::run_loaded(loaded, &wishes, reporter, &own, left).await
        });
        self.running = Some(Run {
            handle,
            signals,
            spared,
            heard,
            plan,
            began: SystemTime::now(),
            forced,
        });
    }

    /// A run of everything that has begun is not asked for any more.
    fn note_forced(&mut self) {
        if let Some(run) = &mut self.running
            && run.forced
            && run.heard.has_begun()
        {
            run.forced = false;
            self.forced = false;
        }
    }

    /// Stops what is stale of the run.
    fn restart(&mut self) {
        if let (Some(run), Some(next)) = (&self.running, &self.next) {
            run.heard.supersede();
            run.spared.send_replace(next.spared.clone());
            run.signals.request();
            let under_way = run.heard.under_way(|task| next.spared.contains(task));
            if !under_way.is_empty() {
                self.tell_waiting(&under_way);
            }
        }
    }

    /// Says what the change waits for.
    fn wait(&mut self) {
        if let Some(run) = &self.running {
            let under_way = run.heard.under_way(|_| true);
            self.tell_waiting(&under_way);
        }
    }

    /// Says what a change waits for, unless the last one waited for the same.
    fn tell_waiting(&mut self, under_way: &[UnderWay]) {
        let names: Vec<TaskName> = under_way.iter().map(|task| task.task.clone()).collect();
        if self.told_waiting.as_ref() != Some(&names) {
            self.voice.say(&self.sheet.waits(under_way));
            self.told_waiting = Some(names);
        }
    }

    fn ended(&mut self, ended: &Ended, run: &Run) -> Heed {
        if run.forced && run.heard.has_begun() {
            self.forced = false;
        }
        if !ended.read.is_empty() {
            self.extend(&ended.read, run.began);
        }
        if !ended.away.is_empty() {
            let line = self.sheet.away(&ended.away);
            if line != self.told_away {
                self.voice.say(&line);
                self.told_away = line;
            }
            self.waited = true;
            self.wait_for_server();
        } else if ended.code == 5 && run.heard.only_unreachable() {
            self.wait_for_server();
        } else {
            if let Some(line) = run.heard.take_back() {
                self.voice.say(&line);
            }
            self.waited = false;
            self.told_away.clear();
            self.pause = SOON;
        }
        self.doubted &= ended.code != 0;
        let mut order = self.desk.hear(Event::Ended);
        // A task that found a file in the middle of being saved failed for nothing, also when the file is the same again.
        if order.is_none() && matches!(ended.code, 3 | 4) {
            if std::mem::take(&mut self.stirred) && !std::mem::replace(&mut self.doubted, true) {
                order = self.desk.hear(Event::Changed);
            } else {
                self.failed_at = Some(self.common.began.elapsed());
            }
        }
        match (order, self.urgency) {
            (None, Stop::Cancel | Stop::Leave) => Heed::Done,
            (order, _) => Heed::Order(order),
        }
    }

    /// Adds what was read in the middle of a run to what is watched.
    fn extend(&mut self, read: &[Input], since: SystemTime) {
        self.set = Arc::new(self.set.and(read));
        self.extended = Some(since);
    }

    fn wait_for_server(&mut self) {
        self.retry = Some(Instant::now() + self.pause);
        self.pause = (self.pause * 2).min(LATE);
    }
}

/// A seed for the whole watch: what is drawn from it is not drawn anew with every change.
fn drawn() -> u64 {
    u64::from(fastrand::u32(..))
}

fn next(urgency: Stop) -> Stop {
    match urgency {
        Stop::None => Stop::Cancel,
        Stop::Cancel | Stop::Leave => Stop::Leave,
    }
}

async fn until(when: Option<Instant>) {
    match when {
        Some(when) => tokio::time::sleep_until(when.into()).await,
        None => std::future::pending().await,
    }
}

/// The end of what is under way, if anything is.
async fn done<T>(under_way: &mut Option<JoinHandle<T>>) -> T {
    let Some(handle) = under_way else {
        return std::future::pending().await;
    };
    let ended = handle.await;
    *under_way = None;
    match ended {
        Ok(ended) => ended,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}

async fn ended(running: &mut Option<Run>) -> Result<(Ended, Run), Broken> {
    let Some(run) = running else {
        return std::future::pending().await;
    };
    let ended = (&mut run.handle).await;
    let run = running
        .take()
        .unwrap_or_else(|| unreachable!("it ran just now"));
    match ended {
        Ok(ended) => ended.map(|ended| (ended, run)),
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}
