//! The WebSocket clients: who is connected, who gets a message, the handshake.
//!
//! A message is serialised once and handed to each socket's own queue, so that a client who does not read delays nobody; one whose queue is
//! full is disconnected. The newest socket of a client id gets the id's messages. Unlike `ComfyUI`'s, an older one that closes takes nothing
//! from it.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use axum::extract::ws::{Message, Utf8Bytes, WebSocket};
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::state::lock;

/// How many bytes may wait for one client.
const QUEUE: usize = 64 * 1024 * 1024;

/// The largest message taken from a client, in bytes.
pub(super) const INBOUND_LIMIT: usize = 4 * 1024 * 1024;

/// How much is read from a client at a time, in bytes: it is cleared for every read, and clients say little.
pub(super) const INBOUND_READ: usize = 4 * 1024;

/// Who gets a message.
#[derive(Clone, Copy, Debug)]
pub(super) enum To<'a> {
    /// Every client.
    Everyone,
    /// The client that submitted the job; nobody when it is not connected or there is none.
    Owner(Option<&'a str>),
    /// The client that submitted the job, or everyone when the job has none.
    OwnerOrEveryone(Option<&'a str>),
}

/// All connected clients.
#[derive(Debug)]
pub(super) struct Sockets {
    /// Everything is told to everyone.
    broadcast: bool,
    /// Files are assets.
    assets: bool,
    clients: Mutex<HashMap<String, Client>>,
    connections: AtomicU64,
    closing: CancellationToken,
}

#[derive(Debug)]
struct Client {
    connection: u64,
    queue: mpsc::UnboundedSender<Message>,
    waiting: Arc<AtomicUsize>,
}

impl Client {
    /// Queues a message. Not when too much waits already, or nobody listens any more.
    fn push(&self, message: Message) -> bool {
        let length = length(&message);
        self.waiting.fetch_add(length, Ordering::Relaxed) + length <= QUEUE
            && self.queue.send(message).is_ok()
    }
}

/// A registered connection's end of the queue.
#[derive(Debug)]
pub(super) struct Registered {
    sid: String,
    connection: u64,
    queue: mpsc::UnboundedReceiver<Message>,
    waiting: Arc<AtomicUsize>,
}

impl Registered {
    fn taken(&self, message: &Message) {
        self.waiting.fetch_sub(length(message), Ordering::Relaxed);
    }
}

impl Sockets {
    /// No client yet. With `broadcast`, who submitted a job does not matter; with `assets`, clients are told that files are assets.
    pub(super) fn new(broadcast: bool, assets: bool) -> Self {
        Self {
            broadcast,
            assets,
            clients: Mutex::default(),
            connections: AtomicU64::default(),
            closing: CancellationToken::new(),
        }
    }

    /// Sends `{"type": kind, "data": data}`.
    pub(super) fn send(&self, to: To<'_>, kind: &str, data: &Value) {
        let mut clients = lock(&self.clients);
        let target = match to {
            _ if self.broadcast => None,
            To::Everyone | To::OwnerOrEveryone(None) => None,
            To::Owner(None) => return,
            To::Owner(Some(sid)) | To::OwnerOrEveryone(Some(sid)) => {
                if !clients.contains_key(sid) {
                    return;
                }
                Some(sid)
            }
        };
        if clients.is_empty() {
            return;
        }
        let message = text(kind, data);
        match target {
            Some(sid) => {
                if let Some(client) = clients.get(sid)
                    && !client.push(message)
                {
                    clients.remove(sid);
                }
            }
            None => {
                clients.retain(|_, client| client.push(message.clone()));
            }
        }
    }

    /// Sends a preview with what it is of: binary message 4.
    pub(super) fn preview(&self, to: To<'_>, about: &Value, image: &[u8]) {
        let sid = match to {
            _ if self.broadcast => None,
            To::Owner(Some(sid)) | To::OwnerOrEveryone(Some(sid)) => Some(sid),
            _ => return,
        };
        let about = about.to_string();
        let length = u32::try_from(about.len()).unwrap_or(u32::MAX);
        let mut bytes = Vec::with_capacity(8 + about.len() + image.len());
        bytes.extend(4_u32.to_be_bytes());
        bytes.extend(length.to_be_bytes());
        bytes.extend(about.as_bytes());
        bytes.extend(image);
        let message = Message::Binary(bytes.into());
        lock(&self.clients)
            .retain(|id, client| sid.is_some_and(|sid| sid != id) || client.push(message.clone()));
    }

    /// Takes a client in; `first` messages are queued before any other.
    pub(super) fn register(
        &self,
        sid: String,
        first: impl IntoIterator<Item = Message>,
    ) -> Registered {
        let connection = self.connections.fetch_add(1, Ordering::Relaxed);
        let (sender, queue) = mpsc::unbounded_channel();
        let waiting = Arc::<AtomicUsize>::default();
        let client = Client {
            connection,
            queue: sender,
            waiting: Arc::clone(&waiting),
        };
        for message in first {
            client.push(message);
        }
        lock(&self.clients).insert(sid.clone(), client);
        Registered {
            sid,
            connection,
            queue,
            waiting,
        }
    }

    fn leave(&self, sid: &str, connection: u64) {
        let mut clients = lock(&self.clients);
        if clients
            .get(sid)
            .is_some_and(|client| client.connection == connection)
        {
            clients.remove(sid);
        }
    }

    /// Closes all sockets, now and from now on.
    pub(super) fn close(&self) {
        self.closing.cancel();
    }

    /// Talks to one client until either side ends it.
    pub(super) async fn serve(&self, socket: WebSocket, mut client: Registered) {
        let (mut out, mut inbound) = socket.split();
        let mut greeted = false;
        // A replaced socket's queue ends, but the connection stays, as ComfyUI's does.
        let mut replaced = false;
        loop {
            let sent = tokio::select! {
                () = self.closing.cancelled() => {
                    let _ = out.send(Message::Close(None)).await;
                    break;
                }
                message = client.queue.recv(), if !replaced => {
                    if let Some(message) = message {
                        send_all(&mut out, message, &mut client).await
                    } else if self.overflowed(&client) {
                        break;
                    } else {
                        replaced = true;
                        Ok(())
                    }
                }
                message = inbound.next() => match message {
                    Some(Ok(Message::Text(message))) => match reply(&message, &mut greeted, self.assets) {
                        Some(reply) => out.send(reply).await,
                        None => Ok(()),
                    },
                    Some(Ok(Message::Close(_)) | Err(_)) | None => break,
                    // axum answers pings itself.
                    Some(Ok(_)) => out.flush().await,
                },
            };
            if sent.is_err() {
                break;
            }
        }
        self.leave(&client.sid, client.connection);
    }

    /// Whether the client was thrown out (nobody holds its id) rather than replaced by a newer socket.
    fn overflowed(&self, client: &Registered) -> bool {
        !lock(&self.clients).contains_key(&client.sid)
    }
}

/// Sends what waits in one go, so that a burst becomes few packets.
async fn send_all(
    out: &mut (impl SinkExt<Message, Error = axum::Error> + Unpin),
    first: Message,
    client: &mut Registered,
) -> Result<(), axum::Error> {
    client.taken(&first);
    out.feed(first).await?;
    while let Ok(next) = client.queue.try_recv() {
        client.taken(&next);
        out.feed(next).await?;
    }
    out.flush().await
}

/// The answer to the first JSON message of a client, if that is its feature flags.
fn reply(message: &str, greeted: &mut bool, assets: bool) -> Option<Message> {
    if *greeted {
        return None;
    }
    let message: Value = serde_json::from_str(message).ok()?;
    *greeted = true;
    (message.get("type").and_then(Value::as_str) == Some("feature_flags"))
        .then(|| text("feature_flags", &features(assets)))
}

/// What the server can do; also `GET /features`.
pub(super) fn features(assets: bool) -> Value {
    json!({
        "supports_preview_metadata": true,
        "supports_model_type_tags": true,
        "max_upload_size": super::answers::BODY_LIMIT,
        "node_replacements": false,
        "assets": assets,
    })
}

fn length(message: &Message) -> usize {
    match message {
        Message::Text(text) => text.len(),
        Message::Binary(bytes) | Message::Ping(bytes) | Message::Pong(bytes) => bytes.len(),
        Message::Close(_) => 0,
    }
}

/// A text frame.
pub(super) fn text(kind: &str, data: &Value) -> Message {
    let json = json!({ "type": kind, "data": data }).to_string();
    Message::Text(Utf8Bytes::from(json))
}

/// The data of a `status` message; `sid` only in a client's first.
pub(super) fn status(remaining: usize, sid: Option<&str>) -> Value {
    let mut data = json!({ "status": { "exec_info": { "queue_remaining": remaining } } });
    if let Some(sid) = sid {
        data["sid"] = json!(sid);
    }
    data
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(client: &mut Registered) -> Vec<String> {
        let mut kinds = Vec::new();
        while let Ok(Message::Text(message)) = client.queue.try_recv() {
            let message: Value = serde_json::from_str(&message).unwrap();
            kinds.push(message["type"].as_str().unwrap().to_owned());
        }
        kinds
    }

    #[test]
    fn only_the_owner_hears_of_its_job_and_everyone_of_the_rest() {
        let sockets = Sockets::new(false, false);
        let mut a = sockets.register("a".into(), []);
        let mut b = sockets.register("b".into(), []);
        sockets.send(To::Owner(Some("a")), "mine", &json!({}));
        sockets.send(To::Owner(None), "nobody", &json!({}));
        sockets.send(To::Owner(Some("gone")), "dropped", &json!({}));
        sockets.send(To::OwnerOrEveryone(Some("gone")), "dropped", &json!({}));
        sockets.send(To::OwnerOrEveryone(None), "ours", &json!({}));
        sockets.send(To::Everyone, "all", &json!({}));
        assert_eq!(kinds(&mut a), ["mine", "ours", "all"]);
        assert_eq!(kinds(&mut b), ["ours", "all"]);
    }

    #[test]
    fn the_newest_socket_of_an_id_gets_its_messages_even_after_the_old_one_left() {
        let sockets = Sockets::new(false, false);
        let mut old = sockets.register("a".into(), []);
        let mut new = sockets.register("a".into(), []);
        sockets.send(To::Everyone, "one", &json!({}));
        sockets.leave("a", old.connection);
        sockets.send(To::Everyone, "two", &json!({}));
        assert!(kinds(&mut old).is_empty());
        assert_eq!(kinds(&mut new), ["one", "two"]);
    }

    #[test]
    fn a_client_that_does_not_read_is_let_go_and_delays_nobody() {
        let sockets = Sockets::new(false, false);
        let mut stuck = sockets.register("stuck".into(), []);
        let mut fine = sockets.register("fine".into(), []);
        let large = json!("x".repeat(QUEUE / 4));
        for _ in 0..6 {
            sockets.send(To::Everyone, "large", &large);
            while let Ok(message) = fine.queue.try_recv() {
                fine.taken(&message);
            }
        }
        assert!(sockets.overflowed(&stuck));
        assert!(!sockets.overflowed(&fine));
        assert_eq!(kinds(&mut stuck).len(), 3);
    }

    #[test]
    fn flags_are_answered_once_and_only_as_the_first_json_message() {
        let flags = r#"{"type":"feature_flags","data":{"supports_preview_metadata":true}}"#;
        let mut greeted = false;
        assert!(reply("not json", &mut greeted, false).is_none());
        assert!(reply(flags, &mut greeted, false).is_some());
        assert!(reply(flags, &mut greeted, false).is_none());
        let mut greeted = false;
        assert!(reply(r#"{"type":"other"}"#, &mut greeted, false).is_none());
        assert!(reply(flags, &mut greeted, false).is_none());
    }
}
