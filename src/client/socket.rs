//! The socket of a connection: one task that drains, decodes and hands on, and does nothing else.
//!
//! A slow reader stalls a server for everybody, so nothing here waits for a job's follower. A lost socket is replaced under a new client id,
//! since servers confuse two sockets of one id; jobs of the old id are told that they will hear no more.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{
    Connector, MaybeTlsStream, WebSocketStream, connect_async_tls_with_config,
};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::error::ClientError;
use super::http::{Client, causes, install_tls, show};
use super::progress::Progress;
use super::refusal::Refusal;
use super::tap::Tap;
use crate::protocol::{Event, Frame, Head, tolerant_json};

/// How patient a socket is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pulse {
    /// How long opening one may take.
    pub(super) connect: Duration,
    /// How long the greeting of a fresh one may take; it proves that the server knows the socket.
    pub(super) greeting: Duration,
    /// How often it is asked for a sign of life, and how long the question itself may take.
    pub(super) ping: Duration,
    /// One without a sign of life for this long is dead. Servers stop answering while they load models.
    pub(super) dead: Duration,
    /// How long its end may take.
    pub(super) close: Duration,
}

impl Default for Pulse {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            greeting: Duration::from_secs(2),
            ping: Duration::from_secs(15),
            dead: Duration::from_mins(1),
            close: Duration::from_secs(1),
        }
    }
}

/// A picture of 4K is one frame of tens of megabytes.
const LARGEST: usize = 256 << 20;
/// The largest picture that is looked at while a job runs.
const LARGEST_PICTURE: usize = 2 << 20;
/// What is read from the socket at a time: it is cleared for every read, and most messages are short.
const READ: usize = 16 << 10;
/// Messages that wait for a job's follower, at most.
const SIGNALS: usize = 4096;
/// How many of them are left for lost sockets.
const RESERVED: usize = 64;
const BACKOFF: [u64; 5] = [250, 500, 1000, 2000, 5000];
const FLAGS: &str = r#"{"type":"feature_flags","data":{"supports_preview_metadata":true}}"#;

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// What a follower hears of its job.
#[derive(Debug)]
pub(super) enum Signal {
    /// A message about the job.
    Event(Event),
    /// A line of a node's progress text.
    Text { node: String, text: String },
    /// The socket is gone: nothing more will come about this job.
    Deaf,
}

/// A job that was announced to the socket.
#[derive(Debug)]
pub(super) struct Registered {
    pub(super) signals: mpsc::Receiver<Signal>,
    pub(super) progress: Progress,
    /// Whether no socket was open when the job was announced.
    pub(super) deaf: bool,
    /// Whether messages may have been missed although one was.
    pub(super) late: bool,
}

/// Who is to hear of what.
#[derive(Debug, Default)]
pub(super) struct Hub {
    state: Mutex<State>,
    tap: OnceLock<Arc<dyn Tap>>,
}

#[derive(Debug, Default)]
struct State {
    client_id: Option<String>,
    listeners: HashMap<String, mpsc::Sender<Signal>>,
    waiting: HashMap<String, Registered>,
    /// The job that the server said it works on: whose are messages without a name.
    current: Option<String>,
    /// Who looks at pictures of which job.
    pictures: HashMap<String, watch::Sender<Option<Picture>>>,
}

/// A picture of what a job is at, encoded.
pub type Picture = Arc<[u8]>;

impl Hub {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets somebody look on from now on.
    pub(super) fn set_tap(&self, tap: Arc<dyn Tap>) {
        let _ = self.tap.set(tap);
    }

    /// Shows a message to whoever looks on.
    fn show(&self, tap: &Arc<dyn Tap>, text: &str) {
        let head = Head::read(text);
        let (kind, id) = match &head {
            Some(head) => (
                head.kind.as_ref().to_owned(),
                head.prompt_id.as_deref().map(str::to_owned),
            ),
            None => match tolerant_json(text) {
                Ok(message) => {
                    let text = |value: &serde_json::Value| value.as_str().map(str::to_owned);
                    (
                        text(&message["type"]).unwrap_or_default(),
                        text(&message["data"]["prompt_id"]),
                    )
                }
                Err(_) => return,
            },
        };
        // Old servers do not say whose progress it is.
        let id = id.or_else(|| match kind.as_str() {
            "progress" => self.lock().current.clone(),
            _ => None,
        });
        tap.text(text, &kind, id.as_deref());
    }

    /// Keeps what comes about a job until [`Hub::claim`] asks for it. The client id to submit it under.
    pub(super) fn announce(&self, prompt_id: &str, progress: Progress) -> Option<String> {
        let (sender, signals) = mpsc::channel(SIGNALS);
        let mut state = self.lock();
        let client_id = state.client_id.clone();
        let deaf = client_id.is_none();
        state.listeners.insert(prompt_id.to_owned(), sender);
        state.waiting.insert(
            prompt_id.to_owned(),
            Registered {
                signals,
                progress,
                deaf,
                late: false,
            },
        );
        client_id
    }

    /// What came about an announced job so far, and what will come. A job that was not announced belongs to an earlier socket.
    pub(super) fn claim(&self, prompt_id: &str) -> Registered {
        if let Some(registered) = self.lock().waiting.remove(prompt_id) {
            return registered;
        }
        self.announce(prompt_id, Progress::default());
        let mut registered = self.lock().waiting.remove(prompt_id);
        if let Some(registered) = &mut registered {
            registered.deaf = true;
        }
        registered.unwrap_or_else(|| unreachable!("the job was announced two lines above"))
    }

    /// The server calls an announced job by another name.
    pub(super) fn rename(&self, ours: &str, theirs: &str) {
        let mut state = self.lock();
        if let Some(listener) = state.listeners.remove(ours) {
            state.listeners.insert(theirs.to_owned(), listener);
        }
        if let Some(mut registered) = state.waiting.remove(ours) {
            // What was said before its name was known went by unheard.
            registered.late = true;
            state.waiting.insert(theirs.to_owned(), registered);
        }
    }

    pub(super) fn forget(&self, prompt_id: &str) {
        let mut state = self.lock();
        state.listeners.remove(prompt_id);
        state.waiting.remove(prompt_id);
        state.pictures.remove(prompt_id);
    }

    /// The newest picture of what a job is at, from now on until it is forgotten. Without this, none is looked at.
    pub(super) fn pictures(&self, prompt_id: &str) -> watch::Receiver<Option<Picture>> {
        let mut state = self.lock();
        let sender = state.pictures.entry(prompt_id.to_owned());
        sender.or_insert_with(|| watch::channel(None).0).subscribe()
    }

    #[cfg(test)]
    pub(super) fn queued(&self, prompt_id: &str) -> usize {
        self.lock()
            .waiting
            .get(prompt_id)
            .map_or(0, |registered| registered.signals.len())
    }

    /// The id under which the open socket is known; `None` while there is none.
    pub(super) fn session(&self) -> Option<String> {
        self.lock().client_id.clone()
    }

    fn up(&self, client_id: String) {
        self.lock().client_id = Some(client_id);
    }

    fn down(&self) {
        let mut state = self.lock();
        state.client_id = None;
        state.current = None;
        for listener in state.listeners.values() {
            let _ = listener.try_send(Signal::Deaf);
        }
    }

    fn text(&self, text: &str) {
        if let Some(tap) = self.tap.get() {
            self.show(tap, text);
        }
        if let Some(head) = Head::read(text)
            && !self.is_wanted(&head)
        {
            return;
        }
        let Ok(event) = Event::parse(text) else {
            return;
        };
        let mut state = self.lock();
        let id = match event.prompt_id() {
            Some(id) => {
                if matches!(
                    event,
                    Event::ExecutionStart { .. } | Event::Executing { .. }
                ) {
                    state.current = Some(id.to_owned());
                }
                id.to_owned()
            }
            None => match (&event, &state.current) {
                (Event::Progress { .. }, Some(current)) => current.clone(),
                _ => return,
            },
        };
        if let Some(listener) = state.listeners.get(&id) {
            offer(listener, Signal::Event(event));
        }
    }

    /// Whether somebody is to hear of a message. Most are about other people's jobs, or about the length of the queue.
    fn is_wanted(&self, head: &Head<'_>) -> bool {
        let Some(id) = head.prompt_id.as_deref() else {
            return head.kind == "progress";
        };
        let mut state = self.lock();
        if matches!(&*head.kind, "execution_start" | "executing")
            && state.current.as_deref() != Some(id)
        {
            state.current = Some(id.to_owned());
        }
        state.listeners.contains_key(id)
    }

    fn binary(&self, bytes: &bytes::Bytes) {
        if let Some(tap) = self.tap.get() {
            let current = self.lock().current.clone();
            tap.binary(bytes, current.as_deref());
        }
        match bytes.first_chunk() {
            Some([0, 0, 0, 3]) => self.progress_text(bytes),
            Some([0, 0, 0, 1 | 4]) => self.picture(bytes),
            _ => {}
        }
    }

    /// Copies a picture for whoever looks at those of its job: one takes the place of the other, so none of them waits.
    fn picture(&self, bytes: &[u8]) {
        if bytes.len() > LARGEST_PICTURE || self.lock().pictures.is_empty() {
            return;
        }
        let (id, image) = match Frame::parse(bytes) {
            Ok(Frame::Preview { image, .. }) => (None, image),
            Ok(Frame::PreviewWithMetadata { metadata, image }) => {
                let id = metadata.get("prompt_id");
                let Some(id) = id.and_then(serde_json::Value::as_str) else {
                    return;
                };
                (Some(id.to_owned()), image)
            }
            _ => return,
        };
        let state = self.lock();
        let id = id.as_ref().or(state.current.as_ref());
        if let Some(looking) = id.and_then(|id| state.pictures.get(id)) {
            looking.send_replace(Some(image.into()));
        }
    }

    fn progress_text(&self, bytes: &[u8]) {
        let Ok(Frame::Text { node, text }) = Frame::parse(bytes) else {
            return;
        };
        let state = self.lock();
        let listener = state
            .current
            .as_ref()
            .and_then(|current| state.listeners.get(current));
        if let Some(listener) = listener {
            offer(listener, Signal::Text { node, text });
        }
    }
}

/// A follower that does not keep up misses messages, for which it has the server's records; of the loss of its socket it always learns.
fn offer(listener: &mpsc::Sender<Signal>, signal: Signal) {
    if listener.capacity() > RESERVED {
        let _ = listener.try_send(signal);
    }
}

/// Opens the socket and keeps it open until `stop`. The first attempt's result goes to `first`.
pub(super) async fn keep_open(
    client: Client,
    (hub, pulse): (Arc<Hub>, Pulse),
    first: oneshot::Sender<Result<(), ClientError>>,
    stop: CancellationToken,
) {
    let mut first = Some(first);
    let mut failures = 0;
    while !stop.is_cancelled() {
        let client_id = Uuid::new_v4().simple().to_string();
        let opened = tokio::select! {
            opened = open(&client, &client_id, pulse) => opened,
            () = stop.cancelled() => return,
        };
        match opened {
            Ok((socket, greeting)) => {
                failures = 0;
                hub.up(client_id);
                if let Some(Message::Text(text)) = greeting {
                    hub.text(&text);
                }
                if let Some(first) = first.take() {
                    let _ = first.send(Ok(()));
                }
                drain(socket, (&hub, pulse), &stop).await;
                hub.down();
            }
            Err(error) => {
                if let Some(first) = first.take() {
                    let _ = first.send(Err(error));
                }
                failures += 1;
            }
        }
        let pause = BACKOFF[failures.min(BACKOFF.len() - 1)];
        tokio::select! {
            () = tokio::time::sleep(Duration::from_millis(pause)) => {}
            () = stop.cancelled() => return,
        }
    }
}

/// Connects, introduces itself and waits for the greeting, which the server sends once it knows the socket.
async fn open(
    client: &Client,
    client_id: &str,
    pulse: Pulse,
) -> Result<(Socket, Option<Message>), ClientError> {
    install_tls();
    let rules = client.dialect().socket;
    let mut url = client.below(rules.path);
    let scheme = if url.scheme() == "https" { "wss" } else { "ws" };
    let _ = url.set_scheme(scheme);
    url.query_pairs_mut().append_pair("clientId", client_id);
    if let Some(key) = client.key()?.filter(|_| rules.key_in_query) {
        url.query_pairs_mut().append_pair("token", &key);
    }
    let bad = |error: &Error| refused(client, error);
    let mut request = url
        .as_str()
        .into_client_request()
        .map_err(|error| bad(&error))?;
    for (name, value) in &client.headers()? {
        request.headers_mut().append(name, value.clone());
    }
    let config = WebSocketConfig::default()
        .read_buffer_size(READ)
        .max_message_size(Some(LARGEST))
        .max_frame_size(Some(LARGEST));
    let timed_out = || ClientError::Timeout {
        url: client.url(),
        after: pulse.connect,
    };
    let (mut socket, _) = timeout(
        pulse.connect,
        connect_async_tls_with_config(
            request,
            Some(config),
            true,
            client.tls().map(Connector::Rustls),
        ),
    )
    .await
    .map_err(|_| timed_out())?
    .map_err(|error| bad(&error))?;
    timeout(pulse.connect, socket.send(Message::text(FLAGS)))
        .await
        .map_err(|_| timed_out())?
        .map_err(|error| bad(&error))?;
    match timeout(pulse.greeting, socket.next()).await {
        Ok(Some(Err(error))) => Err(bad(&error)),
        Ok(None) => Err(bad(&Error::ConnectionClosed)),
        // The greeting tells only the length of the queue; a server without one is good too.
        Ok(Some(Ok(greeting))) => Ok((socket, Some(greeting))),
        Err(_) => Ok((socket, None)),
    }
}

fn refused(client: &Client, error: &Error) -> ClientError {
    let url = show(client.base());
    match error {
        Error::Http(response) => ClientError::Refused(Refusal::new(
            url,
            response.status().as_u16(),
            "the WebSocket was not accepted",
        )),
        Error::Io(io) => ClientError::Unreachable {
            url,
            cause: causes(io),
        },
        error => ClientError::Broken {
            url,
            cause: causes(error),
        },
    }
}

/// Reads until the socket ends, dies or is not wanted any more.
async fn drain(mut socket: Socket, (hub, pulse): (&Hub, Pulse), stop: &CancellationToken) {
    let mut ping = interval(pulse.ping);
    ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ping.tick().await;
    let mut seen = Instant::now();
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => {
                let _ = timeout(pulse.close, socket.close(None)).await;
                return;
            }
            message = socket.next() => {
                seen = Instant::now();
                match message {
                    Some(Ok(Message::Text(text))) => hub.text(&text),
                    Some(Ok(Message::Binary(bytes))) => hub.binary(&bytes),
                    Some(Ok(Message::Close(_)) | Err(_)) | None => return,
                    Some(Ok(_)) => {}
                }
            }
            _ = ping.tick() => {
                let sent = timeout(pulse.ping, socket.send(Message::Ping(bytes::Bytes::new()))).await;
                if seen.elapsed() > pulse.dead || !matches!(sent, Ok(Ok(()))) {
                    return;
                }
            }
        }
    }
}
