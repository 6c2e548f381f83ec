//! Plugins that a test writes: their bodies are functions, and all around them is as it always is.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};

use serde_json::Value;

use super::about::About;
use super::body::{Body, Sink};
use super::declared::Declared;
use super::fault::Fault;

/// What a plugin does when it is asked for something: for `event`, `preview`, a hook or `end`, with what it is given.
pub(super) type Act = dyn FnMut(&str, &[u8], &dyn Sink) -> Result<Vec<u8>, Fault> + Send;

/// What a plugin was asked for, in order.
pub(crate) type Asked = Arc<Mutex<Vec<(String, Value)>>>;

/// A body that a test wrote.
struct Staged {
    act: Box<Act>,
    sink: Arc<dyn Sink>,
    asked: Asked,
}

impl Staged {
    fn act(&mut self, what: &str, given: &[u8]) -> Result<Vec<u8>, Fault> {
        let json = serde_json::from_slice(given).unwrap_or_default();
        self.asked.lock().unwrap().push((what.to_owned(), json));
        (self.act)(what, given, &*self.sink)
    }
}

impl Body for Staged {
    fn event(&mut self, event: &[u8]) -> Result<(), Fault> {
        self.act("event", event).map(drop)
    }

    fn preview(&mut self, about: &[u8], picture: &[u8]) -> Result<(), Fault> {
        self.act("preview", about).map(drop)?;
        self.act("picture", picture).map(drop)
    }

    fn call(&mut self, _id: u64, hook: &str, request: &[u8]) -> Result<Vec<u8>, Fault> {
        self.act(hook, request)
    }

    fn end(mut self: Box<Self>) {
        let _ = self.act("end", b"");
    }
}

/// A plugin that is to be staged.
pub(crate) struct Part {
    pub(super) declared: Declared,
    pub(super) about: About,
    pub(super) act: Box<Act>,
    pub(crate) asked: Asked,
}

impl Part {
    /// One that hears of everything, has the function `score`, and answers nothing.
    pub(crate) fn new(name: &str) -> Self {
        let about = serde_json::json!({
            "name": name, "version": "1", "events": ["*"], "server_events": ["*"], "previews": true,
            "functions": [{ "name": "score", "about": "" }],
        });
        Self {
            declared: Declared::new(name, "/nowhere".into(), "/".into()),
            about: About::read(about.to_string().as_bytes()).unwrap(),
            act: Box::new(|_, _, _| Ok(Vec::new())),
            asked: Asked::default(),
        }
    }

    /// It hears of one type of messages and of nothing else.
    pub(crate) fn hears_only(&mut self, kind: &str) {
        self.about.events.clear();
        self.about.server_events = vec![kind.to_owned()];
        self.about.previews = false;
    }

    /// As it is, but for what it does.
    pub(super) fn doing(
        mut self,
        act: impl FnMut(&str, &[u8], &dyn Sink) -> Result<Vec<u8>, Fault> + Send + 'static,
    ) -> Self {
        self.act = Box::new(act);
        self
    }

    /// The body, once it is at work.
    pub(super) fn body(act: Box<Act>, asked: Asked, sink: Arc<dyn Sink>) -> Box<dyn Body> {
        Box::new(Staged { act, sink, asked })
    }
}

/// A gate in what a plugin does: whoever waits at it goes on when it is opened, once for each time.
pub(super) fn gate() -> (Sender<()>, Receiver<()>) {
    channel()
}

/// Waits until something is so.
#[track_caller]
pub(crate) fn until(what: &str, good: impl Fn() -> bool) {
    for _ in 0..6000 {
        if good() {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    panic!("waited for {what}");
}
