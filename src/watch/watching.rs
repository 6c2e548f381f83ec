//! All watched pipelines, the keyboard, and the end.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::task::JoinSet;

use super::desk::OnBusy;
use super::keys::Keys;
use super::open::open;
use super::orders::{Key, Wish};
use super::say::Sheet;
use super::source::Source;
use super::voice::{Newest, Voice, Voices};
use super::worker::{Common, Worker};
use crate::report::tty::restore;
use crate::session::{Broken, Request, Signals, Wishes};

/// What is watched, and how.
#[expect(
    missing_debug_implementations,
    reason = "reporters are made by a function, which shows nothing"
)]
pub struct Options {
    /// The pipelines, each with the label of its lines.
    pub pipelines: Vec<(Request, Option<String>)>,
    /// How runs are carried out.
    pub wishes: Wishes,
    /// What a change does to a run that is under way.
    pub on_busy: OnBusy,
    /// Look at the files again and again, instead of being told by the system.
    pub poll: bool,
    /// Who tells.
    pub voices: Voices,
    /// Asks for the columns of the terminal; `None`: it is none.
    pub columns: Option<fn() -> usize>,
}

/// Runs pipelines, and again what changed of them, until somebody wants it to end; the exit code.
///
/// # Errors
/// When the fault is kiln's own, or the system refuses what asynchronous work needs.
pub fn watch(options: Options) -> Result<u8, Broken> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Broken::new(&error))?;
    let ended = runtime.block_on(all(options));
    // A plan may be in the making, and a key be waited for.
    runtime.shutdown_timeout(Duration::from_millis(200));
    ended
}

async fn all(options: Options) -> Result<u8, Broken> {
    let signals = Signals::listen(restore);
    let mut keys = Keys::listen();
    let (source, trouble) = Source::start(options.poll);
    let newest = Newest::default();
    let sheet = Sheet {
        columns: options.columns,
        taken: 0,
    };
    let voice = Voice::new(Arc::clone(&options.voices), None, Arc::clone(&newest));
    if let Some(trouble) = trouble {
        voice.warn(trouble);
    }
    let common = Arc::new(Common {
        source: Mutex::new(source),
        wishes: options.wishes,
        sheet,
        signals: signals.clone(),
        began: Instant::now(),
        on_busy: options.on_busy,
        keys: keys.is_some(),
    });
    let mut workers = JoinSet::new();
    let mut wishes = Vec::new();
    for (owner, (request, label)) in options.pipelines.into_iter().enumerate() {
        let (tell, heard) = unbounded_channel();
        wishes.push(tell);
        let voice = Voice::new(Arc::clone(&options.voices), label, Arc::clone(&newest));
        workers.spawn(Worker::new(owner, Arc::clone(&common), request, voice, heard).work());
    }
    let mut board = Board {
        wishes,
        newest,
        sheet,
        voice: Arc::new(voice),
        paused: false,
        quits: 0,
    };
    loop {
        tokio::select! {
            ended = workers.join_next() => match ended {
                None => break,
                Some(Ok(ended)) => ended?,
                Some(Err(error)) => std::panic::resume_unwind(error.into_panic()),
            },
            key = pressed(&mut keys) => board.press(key),
        }
    }
    Ok(if board.quits > 0 {
        0
    } else {
        signals.exit_code()
    })
}

async fn pressed(keys: &mut Option<Keys>) -> Key {
    if let Some(listening) = keys {
        if let Some(key) = listening.pressed.recv().await {
            return key;
        }
        // The terminal is gone.
        *keys = None;
    }
    std::future::pending().await
}

/// What keys do.
struct Board {
    wishes: Vec<UnboundedSender<Wish>>,
    newest: Newest,
    sheet: Sheet,
    voice: Arc<Voice>,
    paused: bool,
    quits: usize,
}

impl Board {
    fn press(&mut self, key: Key) {
        match key {
            Key::Run => self.wish(Wish::Run),
            Key::Force => self.wish(Wish::Force),
            Key::Pause => {
                self.paused = !self.paused;
                self.wish(Wish::Pause(self.paused));
                self.voice.say(&self.sheet.paused(self.paused));
            }
            Key::Open => self.open(),
            Key::Quit => {
                self.quits += 1;
                let wish = if self.quits == 1 {
                    Wish::Quit
                } else {
                    Wish::Leave
                };
                self.wish(wish);
            }
        }
    }

    fn wish(&self, wish: Wish) {
        for worker in &self.wishes {
            // One that has ended wants nothing.
            let _ = worker.send(wish);
        }
    }

    fn open(&self) {
        let newest: Option<PathBuf> = {
            let newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
            newest.newest()
        };
        let Some(path) = newest else {
            self.voice.say(&self.sheet.nothing_to_open());
            return;
        };
        let (voice, sheet) = (Arc::clone(&self.voice), self.sheet);
        std::thread::spawn(move || {
            if let Err(why) = open(&path) {
                voice.say(&sheet.not_opened(&why));
            }
        });
    }
}
