//! One plugin with its thread.

use std::collections::VecDeque;
use std::fmt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::sync::mpsc::UnboundedSender;

use super::about::{About, matches};
use super::body::{Body, Sink, bounded};
use super::child::Away;
use super::control::Control;
use super::copied::Copied;
use super::declared::{Declared, Isolation};
use super::fault::Fault;
use super::host::Notice;
use super::loaded::{Loaded, MOST_REPLY};
use super::order::{Answer, Hear, Reply, Watch};
use super::queue::{BATCH, Heard, Item, Order, Queue, Weight, Which, Work};

/// Log lines that may wait to be told, at most: a plugin that logs without end is cut off, and that is told.
const LINES: u64 = 10_000;
/// How long a plugin may take to be loaded and made.
const LOAD: Duration = Duration::from_secs(30);
/// Artifacts that one call may add; together they may be as long as a reply.
const ADDED: usize = 100_000;

/// One plugin.
pub(super) struct Member {
    pub(super) declared: Declared,
    pub(super) about: About,
    queue: Queue,
    services: Arc<Services>,
    control: Control,
    calls: AtomicU64,
    /// How often its process ended.
    deaths: AtomicU64,
    /// What it was loaded from: nobody else removes it as long.
    _library: Option<Copied>,
}

impl fmt::Debug for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Member")
            .field("name", &self.declared.name)
            .finish_non_exhaustive()
    }
}

/// What a plugin's use of the host comes to.
struct Services {
    name: String,
    notices: UnboundedSender<Notice>,
    lines: AtomicU64,
    now: Mutex<Option<Now>>,
}

/// The call under way.
struct Now {
    id: u64,
    cancelled: Arc<AtomicBool>,
    /// What becomes of progress.
    hear: Option<Hear>,
    added: Vec<Value>,
    /// How long all of these are, bytes.
    length: usize,
}

fn lock<T>(held: &Mutex<T>) -> MutexGuard<'_, T> {
    held.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Services {
    fn begin(&self, id: u64, cancelled: Arc<AtomicBool>, hear: Option<Hear>) {
        *lock(&self.now) = Some(Now {
            id,
            cancelled,
            hear,
            added: Vec::new(),
            length: 0,
        });
    }

    /// What the call added; nothing is taken for it any more.
    fn end(&self) -> Vec<Value> {
        let now = lock(&self.now).take();
        now.map(|now| now.added).unwrap_or_default()
    }
}

impl Sink for Services {
    fn log(&self, level: u32, text: String) {
        let count = self.lines.fetch_add(1, Ordering::Relaxed);
        let text = match count {
            n if n < LINES => text,
            LINES => format!("it logged more than {LINES} lines; the rest is left out"),
            _ => return,
        };
        let _ = self.notices.send(Notice::Log {
            plugin: self.name.clone(),
            level,
            text,
        });
    }

    fn progress(&self, call: u64, fraction: f64, note: String) {
        let hear = match &*lock(&self.now) {
            Some(now) if now.id == call => now.hear.clone(),
            _ => None,
        };
        if let Some(hear) = hear
            && fraction.is_finite()
        {
            hear(fraction.clamp(0.0, 1.0), &note);
        }
    }

    fn is_cancelled(&self, call: u64) -> bool {
        match &*lock(&self.now) {
            Some(now) if now.id == call => now.cancelled.load(Ordering::Relaxed),
            _ => true,
        }
    }

    fn add_artifact(&self, call: u64, artifact: Value, length: usize) -> bool {
        match &mut *lock(&self.now) {
            Some(now)
                if now.id == call
                    && now.added.len() < ADDED
                    && length <= MOST_REPLY.saturating_sub(now.length) =>
            {
                now.length += length;
                now.added.push(artifact);
                true
            }
            _ => false,
        }
    }
}

/// A plugin that was asked what it is, and waits on its thread to be made.
pub(super) struct Opened {
    pub(super) about: About,
    go: Sender<Arc<Member>>,
    made: Receiver<Result<(), Fault>>,
    services: Arc<Services>,
    control: Control,
    library: Copied,
}

/// What a plugin's thread needs to begin.
struct Begin {
    file: PathBuf,
    settings: String,
    isolation: Isolation,
    services: Arc<Services>,
    control: Control,
}

/// Loads a library on a thread of its own and asks it what it is.
///
/// # Errors
/// A fragment that reads well after the path and a colon.
pub(super) fn open(
    declared: &Declared,
    library: Copied,
    settings: String,
    notices: UnboundedSender<Notice>,
) -> Result<Opened, String> {
    let services = Arc::new(Services {
        name: declared.name.clone(),
        notices,
        lines: AtomicU64::new(0),
        now: Mutex::default(),
    });
    let control = Control::default();
    let begin = Begin {
        file: library.path().to_path_buf(),
        settings,
        isolation: declared.isolation,
        services: Arc::clone(&services),
        control: control.clone(),
    };
    let (tell, told) = channel();
    let (go, gone) = channel();
    let (ready, made) = channel();
    std::thread::Builder::new()
        .name(format!("plugin {}", declared.name))
        .spawn(move || live(&begin, &tell, &gone, &ready))
        .map_err(|error| format!("it gets no thread: {error}"))?;
    let Ok(about) = told.recv_timeout(LOAD) else {
        control.kill();
        let limit = LOAD.as_secs();
        return Err(format!("it did not say what it is within {limit} s"));
    };
    Ok(Opened {
        about: about?,
        go,
        made,
        services,
        control,
        library,
    })
}

impl Opened {
    /// Makes the instance.
    ///
    /// # Errors
    /// What the plugin says, or that it says nothing.
    pub(super) fn make(self, declared: Declared) -> Result<Arc<Member>, Fault> {
        let member = Arc::new(Member {
            declared,
            about: self.about,
            queue: Queue::new(),
            services: self.services,
            control: self.control,
            calls: AtomicU64::new(1),
            deaths: AtomicU64::new(0),
            _library: Some(self.library),
        });
        let _ = self.go.send(Arc::clone(&member));
        let Ok(made) = self.made.recv_timeout(LOAD) else {
            member.control.kill();
            return Err(Fault::Overdue(LOAD));
        };
        made.map(|()| member)
    }
}

/// Either kind of body, before its instance is made.
enum New {
    Here(Box<Loaded>),
    Away(Box<Away>),
}

/// The life of a plugin, on its thread.
fn live(
    begin: &Begin,
    tell: &Sender<Result<About, String>>,
    gone: &Receiver<Arc<Member>>,
    ready: &Sender<Result<(), Fault>>,
) {
    let sink: Arc<dyn Sink> = Arc::<Services>::clone(&begin.services);
    let opened = match begin.isolation {
        Isolation::None => Loaded::open(&begin.file)
            .and_then(|(loaded, json)| Ok((New::Here(Box::new(loaded)), About::read(&json)?))),
        Isolation::Process => {
            let services = (Arc::clone(&sink), begin.control.clone());
            Away::open(&begin.file, &begin.settings, services)
                .map(|(away, about)| (New::Away(Box::new(away)), about))
        }
    };
    let (new, about) = match opened {
        Ok(opened) => opened,
        Err(why) => return drop(tell.send(Err(why))),
    };
    let told = tell.send(Ok(about));
    let member = gone.recv();
    let (Ok(()), Ok(member)) = (told, member) else {
        // Nobody wants it: its config is wrong, or it took too long.
        if let New::Away(away) = new {
            away.end();
        }
        return;
    };
    let made: Result<Box<dyn Body>, Fault> = match new {
        New::Here(mut loaded) => match loaded.create(&begin.settings, sink) {
            Ok(()) => Ok(loaded),
            Err(fault) => Err(fault),
        },
        New::Away(mut away) => match away.create() {
            Ok(()) => Ok(away),
            Err(fault) => {
                away.end();
                Err(fault)
            }
        },
    };
    match made {
        Ok(body) => {
            if ready.send(Ok(())).is_ok() {
                member.work(body);
            }
            member.queue.ended();
        }
        Err(fault) => drop(ready.send(Err(fault))),
    }
}

impl Member {
    /// Does what waits, until the end.
    fn work(&self, mut body: Box<dyn Body>) {
        let mut batch = VecDeque::with_capacity(BATCH);
        while let Some(work) = self.queue.take(self.declared.timeout(), &mut batch) {
            let alive = match work {
                Work::Hear => self.hear(&mut *body, &mut batch) && self.queue.done(None),
                Work::Call {
                    id,
                    hook,
                    request,
                    cancelled,
                    hear,
                } => {
                    self.services.begin(id, cancelled, hear);
                    let answer = body.call(id, hook, &request);
                    let added = self.services.end();
                    let answer = answer.and_then(|reply| parsed(&reply, added));
                    let died = self.note_death(answer.as_ref().err());
                    let answer = answer.map_err(|fault| self.meant(fault));
                    self.queue.done(Some(answer)) && self.lives_on(died)
                }
                Work::End => {
                    body.end();
                    return;
                }
            };
            if !alive {
                break;
            }
        }
        // It was given up: what it holds may be in any state, and is left alone. A process can be ended.
        if !self.control.kill() {
            std::mem::forget(body);
        }
    }

    /// Hands over what is to be heard; whether the plugin lives.
    fn hear(&self, body: &mut dyn Body, batch: &mut VecDeque<Heard>) -> bool {
        while let Some(heard) = batch.pop_front() {
            let (hook, went) = match heard {
                Heard::Event(told) => ("event", body.event(&told)),
                Heard::Preview(about, picture) => ("preview", body.preview(&about, &picture)),
            };
            if let Err(fault) = went
                && !self.survives(hook, fault)
            {
                return false;
            }
            if !batch.is_empty() && !self.queue.turn() {
                return false;
            }
        }
        true
    }

    /// It failed at something that nobody waits for; whether it lives.
    fn survives(&self, hook: &'static str, fault: Fault) -> bool {
        let died = self.note_death(Some(&fault));
        let fault = self.meant(fault);
        if self.queue.is_given_up() {
            return false;
        }
        if died.is_none() {
            self.notice(Notice::Failed {
                plugin: self.declared.name.clone(),
                hook,
                fault,
            });
        }
        self.lives_on(died)
    }

    /// Why it is to be given up: its process has ended for the second time.
    fn note_death(&self, fault: Option<&Fault>) -> Option<Fault> {
        let fault = fault.filter(|fault| matches!(fault, Fault::Died(_)))?;
        let before = self.deaths.fetch_add(1, Ordering::Relaxed);
        (before > 0).then(|| fault.clone())
    }

    fn lives_on(&self, died: Option<Fault>) -> bool {
        let Some(fault) = died else {
            return true;
        };
        self.queue.give_up(&fault);
        self.notice(Notice::GivenUp {
            plugin: self.declared.name.clone(),
            fault,
        });
        false
    }

    /// Whatever a call says whose time was over, that is the reason: it noticed, or its process was ended.
    fn meant(&self, fault: Fault) -> Fault {
        self.queue.overdue().map_or(fault, Fault::Overdue)
    }

    fn notice(&self, notice: Notice) {
        let _ = self.services.notices.send(notice);
    }

    /// Whether it hears of a run event of this name.
    pub(super) fn hears(&self, event: &str) -> bool {
        matches(&self.about.events, event)
    }

    /// Whether it hears of a server's message of this type.
    pub(super) fn hears_server(&self, kind: &str) -> bool {
        matches(&self.about.server_events, kind)
    }

    /// Tells it of something.
    pub(super) fn tell(&self, heard: Heard, weight: Weight) {
        self.queue.push(Item::Heard(heard), weight);
    }

    /// From now on somebody calls [`Member::watch`] again and again.
    pub(super) fn is_watched(&self) {
        self.queue.is_watched();
    }

    /// Asks it for something.
    pub(super) fn ask(
        &self,
        hook: &'static str,
        request: Vec<u8>,
        watch: Watch,
        reply: Reply,
    ) -> Asked {
        let asked = Asked {
            id: self.calls.fetch_add(1, Ordering::Relaxed),
            cancelled: Arc::default(),
            begun: Arc::default(),
        };
        let order = Order {
            id: asked.id,
            hook,
            request,
            limit: watch.limit.unwrap_or_else(|| Some(self.declared.timeout())),
            cancelled: Arc::clone(&asked.cancelled),
            begun: Arc::clone(&asked.begun),
            hear: watch.progress,
            reply,
        };
        self.queue.push(Item::Call(order), Weight::Kept);
        asked
    }

    /// Ends its process if it is at this call, so that the call fails, or gives it up.
    pub(super) fn abandon(&self, call: u64, fault: &Fault) {
        self.end(Which::Call(call), fault);
    }

    fn end(&self, which: Which, fault: &Fault) {
        self.queue.end(which, fault, || {
            let killed = self.control.kill();
            if !killed {
                // Before anybody hears of what comes of it.
                self.notice(Notice::GivenUp {
                    plugin: self.declared.name.clone(),
                    fault: fault.clone(),
                });
            }
            killed
        });
    }

    /// Looks whether it is in time, and has it hear what it was told. A plugin in this process asks by itself whether anybody waits; a process is told.
    pub(super) fn watch(&self, now: Instant) {
        let hung = self.queue.watch(now, |call| self.control.cancel(call));
        if let Some(hung) = hung {
            self.end(Which::Hung(hung), &Fault::Overdue(hung.limit));
        }
    }

    /// Gives it up if it has something to do: there is no time left for that.
    pub(super) fn give_up_rest(&self) {
        let left = self.queue.left();
        if left > 0 && !self.queue.is_closed() {
            let fault = Fault::Left(left);
            self.queue.give_up(&fault);
            self.control.kill();
            self.notice(Notice::GivenUp {
                plugin: self.declared.name.clone(),
                fault,
            });
        }
    }

    /// Whether it is asked nothing any more.
    pub(super) fn is_given_up(&self) -> bool {
        self.queue.is_closed()
    }

    /// Whether the run should wait for it.
    pub(super) fn is_full(&self) -> bool {
        self.queue.is_full()
    }

    /// Waits until the run need not wait for it.
    pub(super) async fn room(&self) {
        self.queue.room().await;
    }

    /// Waits until it has done everything.
    pub(super) async fn idle(&self) {
        self.queue.idle().await;
    }

    /// Ends it after what waits.
    pub(super) fn close(&self) {
        if !self.queue.is_closed() {
            self.queue.close();
        }
    }

    /// Waits until it has ended.
    pub(super) async fn gone(&self) {
        self.queue.gone().await;
    }

    /// Log lines may come again: an earlier run's do not count.
    pub(super) fn forget_lines(&self) {
        self.services.lines.store(0, Ordering::Relaxed);
    }
}

/// A call that was asked for.
pub(super) struct Asked {
    pub(super) id: u64,
    /// Cancels it.
    pub(super) cancelled: Arc<AtomicBool>,
    /// When its turn came.
    pub(super) begun: Arc<OnceLock<Instant>>,
}

fn parsed(reply: &[u8], added: Vec<Value>) -> Result<Answer, Fault> {
    if reply.is_empty() {
        return Ok(Answer {
            reply: Value::Null,
            added,
        });
    }
    let text = std::str::from_utf8(reply).map_err(|_| Fault::NotText)?;
    let reply = serde_json::from_str(text)
        .map_err(|error| Fault::Wrong(bounded(&format!("is no JSON: {error}"))))?;
    Ok(Answer { reply, added })
}

#[cfg(test)]
impl Member {
    /// One whose body a test wrote, at work.
    pub(super) fn staged(part: super::staged::Part, notices: UnboundedSender<Notice>) -> Arc<Self> {
        let super::staged::Part {
            declared,
            about,
            act,
            asked,
        } = part;
        let services = Arc::new(Services {
            name: declared.name.clone(),
            notices,
            lines: AtomicU64::new(0),
            now: Mutex::default(),
        });
        let member = Arc::new(Self {
            declared,
            about,
            queue: Queue::new(),
            services,
            control: Control::default(),
            calls: AtomicU64::new(1),
            deaths: AtomicU64::new(0),
            _library: None,
        });
        let worker = Arc::clone(&member);
        std::thread::spawn(move || {
            let sink: Arc<dyn Sink> = Arc::<Services>::clone(&worker.services);
            worker.work(super::staged::Part::body(act, asked, sink));
            worker.queue.ended();
        });
        member
    }
}

#[cfg(test)]
mod tests;
