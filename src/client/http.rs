//! Requests: addresses, redirects, bounded answers, and which error means what.

use std::collections::HashSet;
use std::error::Error as _;
use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use reqwest::header::{CONTENT_TYPE, HeaderMap, LOCATION};
use reqwest::{Method, Response, StatusCode};
use serde_json::Value;
use tokio::sync::{Semaphore, SemaphorePermit, watch};
use url::Url;

use super::access::{Access, Credentials, tls};
use super::error::ClientError;
use super::here::is_loopback;
pub(super) use super::text::Text;
use super::text::flavour;
use crate::base::ServerName;
use crate::protocol::{Dialect, Flavour, tolerant_json};

/// How long making a connection may take.
const CONNECT: Duration = Duration::from_secs(5);
/// How long a server may be silent in the middle of a request. Servers hold their only event loop while they validate or load.
pub(super) const SILENCE: Duration = Duration::from_mins(1);
/// Redirects in a row.
const HOPS: usize = 5;
/// Files on their way to or from one server at a time.
const TRANSFERS: usize = 16;
/// The largest JSON answer but `object_info`.
pub(super) const JSON_LIMIT: usize = 64 << 20;

/// One server as kiln speaks to it. Cheap to clone; clones share connections.
#[derive(Clone)]
pub struct Client {
    inner: Arc<Inner>,
}

struct Inner {
    name: ServerName,
    /// Ends in `/`.
    base: Url,
    credentials: Credentials,
    pools: [OnceLock<reqwest::Client>; 8],
    tls: OnceLock<Arc<rustls::ClientConfig>>,
    dialect: OnceLock<Dialect>,
    presumed: Dialect,
    /// Jobs that were asked to stop.
    cancelled: Mutex<HashSet<String>>,
    /// Wakes whoever follows them.
    cancels: watch::Sender<()>,
    /// Files on their way, at most [`TRANSFERS`].
    transfers: Semaphore,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("name", &self.inner.name)
            .field("url", &self.url())
            .finish_non_exhaustive()
    }
}

/// A request, described so that it can be made again, at the address of a redirect too.
#[derive(Clone)]
pub(super) struct Call {
    pub(super) method: Method,
    pub(super) url: Url,
    pub(super) headers: HeaderMap,
    pub(super) body: Payload,
    pub(super) silence: Duration,
}

#[derive(Clone)]
pub(super) enum Payload {
    None,
    Json(Bytes),
    Raw(Bytes),
    /// Made afresh each time it is sent.
    Form(Arc<dyn Fn() -> reqwest::multipart::Form + Send + Sync>),
    Upload(super::upload::FilePart),
}

impl Call {
    pub(super) fn get(url: Url) -> Self {
        Self {
            method: Method::GET,
            url,
            headers: HeaderMap::new(),
            body: Payload::None,
            silence: SILENCE,
        }
    }

    pub(super) fn post(url: Url, body: Payload) -> Self {
        Self {
            method: Method::POST,
            body,
            ..Self::get(url)
        }
    }

    pub(super) fn within(self, silence: Duration) -> Self {
        Self { silence, ..self }
    }
}

impl Client {
    /// A client for the server at `url`: scheme, host, port and, behind a proxy, a path. Opens nothing yet.
    ///
    /// # Errors
    /// When `url` is no `http` or `https` address.
    pub fn new(name: ServerName, url: &str) -> Result<Self, ClientError> {
        Self::with_access(name, url, Access::default())
    }

    /// [`Client::new`] with what every request to the server's own origin carries, and no request to another.
    ///
    /// # Errors
    /// When `url` is no `http` or `https` address, a header's name is none, or the root certificates cannot be read. A secret without a
    /// value is an error of the requests.
    pub fn with_access(name: ServerName, url: &str, access: Access) -> Result<Self, ClientError> {
        let base = base_url(url)?;
        let presumed = match access.flavour {
            Flavour::Comfy => Dialect::comfy(None).with_jobs(false),
            Flavour::Cloud => Dialect::cloud(),
        };
        let credentials = Credentials::read(access, &show(&base))?;
        Ok(Self {
            inner: Arc::new(Inner {
                name,
                base,
                credentials,
                pools: Default::default(),
                tls: OnceLock::new(),
                dialect: OnceLock::new(),
                presumed,
                cancelled: Mutex::default(),
                cancels: watch::Sender::new(()),
                transfers: Semaphore::new(TRANSFERS),
            }),
        })
    }

    /// Waits until one file more may be on its way to or from the server. It is `None` never: the semaphore is not closed.
    pub(super) async fn place(&self) -> Option<SemaphorePermit<'_>> {
        self.inner.transfers.acquire().await.ok()
    }

    /// The server's name in the project.
    pub fn name(&self) -> &ServerName {
        &self.inner.name
    }

    /// The server's address for people: no user, password, query or final slash.
    pub fn url(&self) -> String {
        show(&self.inner.base)
    }

    pub(super) fn base(&self) -> &Url {
        &self.inner.base
    }

    /// What requests to the server's own origin carry.
    pub(super) fn headers(&self) -> Result<HeaderMap, ClientError> {
        self.inner.credentials.reveal(&self.url())
    }

    /// TLS for a socket; `None` for the usual one.
    pub(super) fn tls(&self) -> Option<Arc<rustls::ClientConfig>> {
        let roots = &self.inner.credentials.roots;
        let own = || Arc::clone(self.inner.tls.get_or_init(|| tls(roots)));
        (!roots.is_empty()).then(own)
    }

    /// Whether the server is shown a token or headers.
    pub fn has_credentials(&self) -> bool {
        !self.inner.credentials.is_empty()
    }

    /// How the server speaks, as it was probed; before that, what every one understands.
    pub fn dialect(&self) -> &Dialect {
        self.inner.dialect.get().unwrap_or(&self.inner.presumed)
    }

    pub(super) fn learn(&self, dialect: Dialect) {
        let _ = self.inner.dialect.set(dialect);
    }

    /// Whether the job was asked to stop.
    pub(super) fn is_cancelled(&self, prompt_id: &str) -> bool {
        self.cancelled().contains(prompt_id)
    }

    pub(super) fn mark_cancelled(&self, prompt_id: &str) {
        self.cancelled().insert(prompt_id.to_owned());
        self.inner.cancels.send_replace(());
    }

    pub(super) fn forget_cancelled(&self, prompt_id: &str) {
        self.cancelled().remove(prompt_id);
    }

    /// Changes whenever a job is asked to stop.
    pub(super) fn cancels(&self) -> watch::Receiver<()> {
        self.inner.cancels.subscribe()
    }

    fn cancelled(&self) -> std::sync::MutexGuard<'_, HashSet<String>> {
        self.inner
            .cancelled
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// The address of `/api/<segments>`, each segment percent-encoded.
    pub(super) fn at(&self, segments: &[&str]) -> Url {
        let mut url = self.below(&["api"]);
        if let Ok(mut path) = url.path_segments_mut() {
            path.extend(segments);
        }
        url
    }

    /// The address of `/<segments>`, each segment percent-encoded.
    pub(super) fn below(&self, segments: &[&str]) -> Url {
        let mut url = self.inner.base.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(segments);
        }
        url
    }

    /// The key that the server knows us by, where it wants one.
    pub(super) fn key(&self) -> Result<Option<String>, ClientError> {
        self.inner.credentials.key(&self.url())
    }

    /// Asks for JSON and bounds it.
    pub(super) async fn json(&self, call: Call, limit: usize) -> Result<Value, ClientError> {
        let text = self.text(call, limit).await?;
        tolerant_json(&text.body).map_err(|error| text.unreadable(&error))
    }

    /// Asks for JSON, unparsed.
    pub(super) async fn text(&self, call: Call, limit: usize) -> Result<Text, ClientError> {
        let text = self.answer(call, limit).await?;
        if text.status.is_success() {
            return Ok(text);
        }
        Err(text.refused())
    }

    /// Sends a request, follows redirects by hand, and gives the head of the answer whatever its status.
    pub(super) async fn send(&self, call: Call) -> Result<Response, ClientError> {
        let mut call = call;
        for _ in 0..=HOPS {
            let response = self.send_once(&call).await?;
            let Some(to) = target(&call.url, &response) else {
                return Ok(response);
            };
            let refuse = |reason| {
                Err(ClientError::Redirect {
                    url: show(&call.url),
                    to: show(&to),
                    reason,
                })
            };
            // Only 307 and 308 promise that a POST stays one; a GET in its place would do nothing and look like success.
            let keeps = matches!(
                response.status(),
                StatusCode::TEMPORARY_REDIRECT | StatusCode::PERMANENT_REDIRECT
            );
            let asks = matches!(call.method, Method::GET | Method::HEAD);
            if !asks && !keeps {
                return refuse("which would turn the request into another one");
            }
            if !asks && to.origin() != call.url.origin() {
                return refuse("which is another server");
            }
            if call.url.scheme() == "https" && to.scheme() == "http" {
                return refuse("which is not encrypted any more");
            }
            call.url = to;
        }
        Err(ClientError::Redirect {
            url: self.url(),
            to: show(&call.url),
            reason: "and on and on",
        })
    }

    async fn send_once(&self, call: &Call) -> Result<Response, ClientError> {
        let mut request = self
            .pool(&call.url)?
            .request(call.method.clone(), call.url.clone());
        let own = call.url.origin() == self.inner.base.origin();
        if own {
            request = request.headers(self.headers()?);
        }
        request = request.headers(call.headers.clone());
        let mut moved = None;
        request = match &call.body {
            Payload::None => request,
            Payload::Json(body) => request
                .header(CONTENT_TYPE, "application/json")
                .body(body.clone()),
            Payload::Raw(body) => request
                .header(CONTENT_TYPE, "application/octet-stream")
                .body(body.clone()),
            Payload::Form(form) => request.multipart(form()),
            Payload::Upload(file) => {
                let (form, counter) = file.form().await?;
                moved = Some(counter);
                request.multipart(form)
            }
        };
        let sending = request.send();
        tokio::pin!(sending);
        let mut before = 0;
        loop {
            if let Ok(answer) = tokio::time::timeout(call.silence, &mut sending).await {
                let mut answer = answer.map_err(|error| failed(&call.url, &error))?;
                if own {
                    answer.extensions_mut().insert(self.dialect().flavour);
                }
                return Ok(answer);
            }
            let now = moved.as_ref().map_or(0, super::upload::Counter::get);
            if now == before {
                return Err(ClientError::Timeout {
                    url: show(&call.url),
                    after: call.silence,
                });
            }
            before = now;
        }
    }

    /// The pool of connections for an address. Loading the system's certificates takes longer than starting a small job, so only `https`
    /// does it; a loopback address is never asked through a proxy. An extra root certificate counts for the server itself only.
    fn pool(&self, url: &Url) -> Result<&reqwest::Client, ClientError> {
        let (secure, local) = (url.scheme() == "https", is_loopback(url));
        let own = url.origin() == self.inner.base.origin();
        let slot = usize::from(secure) * 4 + usize::from(local) * 2 + usize::from(own);
        let slot = &self.inner.pools[slot];
        if let Some(pool) = slot.get() {
            return Ok(pool);
        }
        install_tls();
        let mut builder = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT)
            .tcp_nodelay(true)
            .user_agent(concat!("kiln/", env!("CARGO_PKG_VERSION")));
        if !secure {
            builder = builder.tls_certs_only(std::iter::empty());
        } else if own {
            let roots = self.inner.credentials.roots.iter();
            let roots = roots.filter_map(|root| reqwest::Certificate::from_der(root).ok());
            builder = builder.tls_certs_merge(roots);
        }
        if local {
            builder = builder.no_proxy();
        }
        let pool = builder.build().map_err(|error| ClientError::BadUrl {
            url: show(url),
            reason: causes(&error),
        })?;
        Ok(slot.get_or_init(|| pool))
    }
}

/// The one TLS implementation of the process; installing it twice is harmless.
pub(super) fn install_tls() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        let _ = rustls::crypto::ring::default_provider().install_default();
    });
}

/// Reads a whole body as text, at most `limit` bytes, waiting at most `silence` for each KiB.
pub(super) async fn read_text(
    mut response: Response,
    limit: usize,
    silence: Duration,
) -> Result<Text, ClientError> {
    let body = read_bytes(&mut response, limit, silence).await?;
    Ok(Text {
        status: response.status(),
        media_type: media_type(response.headers()),
        flavour: flavour(&response),
        url: show(response.url()),
        headers: std::mem::take(response.headers_mut()),
        body: String::from_utf8(body)
            .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned()),
    })
}

/// Reads a whole body, at most `limit` bytes, waiting at most `silence` for each KiB.
pub(super) async fn read_bytes(
    response: &mut Response,
    limit: usize,
    silence: Duration,
) -> Result<Vec<u8>, ClientError> {
    let url = response.url().clone();
    let too_large = || ClientError::TooLarge {
        url: show(&url),
        limit,
    };
    let promised = response.content_length().unwrap_or(0);
    if promised > limit as u64 {
        return Err(too_large());
    }
    let mut body = Vec::with_capacity(usize::try_from(promised.min(1 << 20)).unwrap_or(0));
    let mut pace = Pace::of(silence);
    while let Some(piece) = next_piece(response, &url, &mut pace).await? {
        if body.len() + piece.len() > limit {
            return Err(too_large());
        }
        body.extend_from_slice(&piece);
    }
    Ok(body)
}

/// As much of a body must come before the server counts as silent: a byte now and then is no answer.
pub(super) const LEAST: usize = 1024;

/// How a body comes. Only time in which it is waited for counts.
pub(super) struct Pace {
    silence: Duration,
    left: Duration,
    since: usize,
}

impl Pace {
    /// At most `silence` is waited for each KiB.
    pub(super) fn of(silence: Duration) -> Self {
        Self {
            silence,
            left: silence,
            since: 0,
        }
    }

    fn came(&mut self, bytes: usize, waited: Duration) {
        self.since += bytes;
        if self.since >= LEAST {
            *self = Self::of(self.silence);
        } else {
            self.left = self.left.saturating_sub(waited);
        }
    }
}

/// The next piece of a body.
pub(super) async fn next_piece(
    response: &mut Response,
    url: &Url,
    pace: &mut Pace,
) -> Result<Option<Bytes>, ClientError> {
    let asked = Instant::now();
    match tokio::time::timeout(pace.left, response.chunk()).await {
        Ok(piece) => {
            let piece = piece.map_err(|error| failed(url, &error))?;
            let bytes = piece.as_ref().map_or(0, Bytes::len);
            pace.came(bytes, asked.elapsed());
            Ok(piece)
        }
        Err(_) => Err(ClientError::Timeout {
            url: show(url),
            after: pace.silence,
        }),
    }
}

pub(super) fn media_type(headers: &HeaderMap) -> String {
    headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split(';').next())
        .unwrap_or_default()
        .trim()
        .to_ascii_lowercase()
}

/// Where a redirect leads.
fn target(from: &Url, response: &Response) -> Option<Url> {
    if !matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308) {
        return None;
    }
    let to = response.headers().get(LOCATION)?.to_str().ok()?;
    let to = from.join(to).ok()?;
    matches!(to.scheme(), "http" | "https").then_some(to)
}

fn failed(url: &Url, error: &reqwest::Error) -> ClientError {
    if let Some(unreadable) = source::<Unreadable>(error) {
        return ClientError::Unreadable {
            path: unreadable.path.clone(),
            cause: unreadable.cause.clone(),
        };
    }
    let cause = causes(error);
    if error.is_connect() {
        ClientError::Unreachable {
            url: url.origin().ascii_serialization(),
            cause,
        }
    } else {
        ClientError::Broken {
            url: show(url),
            cause,
        }
    }
}

/// A file failed in the middle of being sent; travels inside the transport's error.
#[derive(Debug, thiserror::Error)]
#[error("{cause}")]
pub(super) struct Unreadable {
    pub(super) path: PathBuf,
    pub(super) cause: String,
}

fn source<T: std::error::Error + 'static>(error: &reqwest::Error) -> Option<&T> {
    let mut at = error.source();
    while let Some(cause) = at {
        if let Some(found) = cause.downcast_ref() {
            return Some(found);
        }
        at = match cause.downcast_ref::<std::io::Error>() {
            Some(io) => io.get_ref().map(|inner| inner as _),
            None => cause.source(),
        };
    }
    None
}

/// The innermost cause that says something: the outer ones only say that a request failed.
pub(super) fn causes(error: &(dyn std::error::Error + 'static)) -> String {
    let mut at = error;
    while let Some(inner) = at.source() {
        at = inner;
    }
    if let Some(io) = at.downcast_ref::<std::io::Error>() {
        match io.kind() {
            std::io::ErrorKind::ConnectionRefused => return "connection refused".to_owned(),
            std::io::ErrorKind::ConnectionReset => return "connection reset".to_owned(),
            std::io::ErrorKind::TimedOut => return "timed out".to_owned(),
            _ => {}
        }
    }
    let text = at.to_string();
    if text.contains("deadline has elapsed") || text.contains("timed out") {
        return format!("no connection within {} seconds", CONNECT.as_secs());
    }
    text
}

fn base_url(text: &str) -> Result<Url, ClientError> {
    let bad = |reason: &str| ClientError::BadUrl {
        url: Url::parse(text).map_or_else(|_| text.to_owned(), |url| show(&url)),
        reason: reason.to_owned(),
    };
    let mut url = Url::parse(text.trim()).map_err(|error| bad(&error.to_string()))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(bad("it begins with neither `http://` nor `https://`"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(bad("it holds a user name or password"));
    }
    url.set_query(None);
    url.set_fragment(None);
    if !url.path().ends_with('/') {
        let path = format!("{}/", url.path());
        url.set_path(&path);
    }
    Ok(url)
}

/// An address for people and logs: no user, password or query, and no final slash.
pub(super) fn show(url: &Url) -> String {
    let mut url = url.clone();
    let _ = url.set_username("");
    let _ = url.set_password(None);
    url.set_query(None);
    url.set_fragment(None);
    url.as_str().trim_end_matches('/').to_owned()
}
