//! Starting and stopping: the listener, the workers, the check of where a request comes from.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::Request;
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::Response;
use axum::serve::ListenerExt;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::answers::empty;
use super::cloud::{self, CloudOptions};
use super::emulate::{self, UnknownVersion};
use super::executor;
use super::files::Folders;
use super::routes;
use super::simulate::Simulation;
use super::state::Server;
use crate::protocol::{Dialect, Version};

/// How long requests that are still being answered may take once the server stops.
const GRACE: Duration = Duration::from_secs(2);

/// How to start.
#[derive(Clone, Debug)]
pub struct Options {
    /// The port on 127.0.0.1; 0 for any.
    pub port: u16,
    /// How many jobs run at a time; `ComfyUI` runs one. 0 counts as 1.
    pub jobs: usize,
    /// Where `input`, `output` and `temp` are. `None`: a temporary folder that goes with the server.
    pub dir: Option<PathBuf>,
    /// Act what cannot be computed.
    pub simulate: Option<Simulate>,
    /// Answer as Comfy Cloud does. `None`: as `ComfyUI`.
    pub cloud: Option<CloudOptions>,
    /// Answer as this version of `ComfyUI` did, where versions differ; not as Comfy Cloud. `None`: as [`Version::REFERENCE`].
    pub emulate: Option<Version>,
}

/// How a rehearsal is played.
#[derive(Clone, Debug, Default)]
pub struct Simulate {
    /// A saved answer to `GET /object_info`: exactly its classes are acted. `None`: the usual ones, and any other as it comes.
    pub catalog: Option<Arc<serde_json::Value>>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            port: 0,
            jobs: 1,
            dir: None,
            simulate: None,
            cloud: None,
            emulate: None,
        }
    }
}

/// Who may well be there.
fn comfyui_port(port: u16) -> &'static str {
    match port {
        8188 => " (ComfyUI may be running there)",
        _ => "",
    }
}

/// The server could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Another program listens there.
    #[error("port {port} is in use{}; choose another with `--port`", comfyui_port(*.port))]
    InUse {
        /// The port.
        port: u16,
    },
    /// The port is not allowed.
    #[error("cannot listen on 127.0.0.1:{port}: {source}")]
    Listen {
        /// The port.
        port: u16,
        /// What the system said.
        source: std::io::Error,
    },
    /// The folders cannot be made.
    #[error("cannot make the server's folders in `{folder}`: {source}")]
    Folders {
        /// Where.
        folder: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// A version that kiln knows nothing of.
    #[error(transparent)]
    Version(#[from] UnknownVersion),
    /// No thread for the worker.
    #[error("cannot start a worker thread: {0}")]
    Worker(std::io::Error),
}

/// A running server. Dropping it stops it too: what executes is waited for, what is being answered is not.
#[derive(Debug)]
pub struct Embedded {
    address: SocketAddr,
    server: Arc<Server>,
    stopping: CancellationToken,
    files: Option<SocketAddr>,
    tasks: Vec<JoinHandle<()>>,
    workers: Vec<std::thread::JoinHandle<()>>,
}

/// Starts a server on 127.0.0.1.
///
/// # Errors
/// [`StartError`].
pub async fn start(options: Options) -> Result<Embedded, StartError> {
    let dialect = match (&options.cloud, options.emulate) {
        (Some(_), _) => Dialect::cloud(),
        (None, version) => emulate::dialect(version)?,
    };
    let folders = Folders::open(options.dir.as_deref()).map_err(|source| StartError::Folders {
        folder: options
            .dir
            .unwrap_or_else(std::env::temp_dir)
            .display()
            .to_string(),
        source,
    })?;
    let simulation = options
        .simulate
        .map(|simulate| Simulation::new(simulate.catalog.as_deref()));
    let port = options.port;
    let listen = |source: std::io::Error| match source.kind() {
        std::io::ErrorKind::AddrInUse => StartError::InUse { port },
        _ => StartError::Listen { port, source },
    };
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, options.port))
        .await
        .map_err(listen)?;
    let address = listener.local_addr().map_err(listen)?;
    let server = Arc::new(Server::speaking(dialect, folders).simulating(simulation));
    let mut embedded = Embedded {
        address,
        server: Arc::clone(&server),
        stopping: CancellationToken::new(),
        files: None,
        tasks: Vec::new(),
        workers: Vec::new(),
    };
    for number in 1..=options.jobs.max(1) {
        let server = Arc::clone(&server);
        let worker = std::thread::Builder::new()
            .name(format!("kiln-embedded-{number}"))
            .spawn(move || executor::work(&server))
            .map_err(StartError::Worker)?;
        embedded.workers.push(worker);
    }
    let app = match options.cloud {
        None => routes::router(server),
        Some(options) => {
            let files = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
                .await
                .map_err(listen)?;
            let address = files.local_addr().map_err(listen)?;
            embedded.files = Some(address);
            let cloud = cloud::open(server, options, &format!("http://{address}"));
            embedded.serve(files, cloud.files);
            cloud.api
        }
    };
    embedded.serve(listener, app);
    Ok(embedded)
}

impl Embedded {
    /// Where it listens: `http://127.0.0.1:8188`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Where Comfy Cloud's stand-in hands out files.
    pub fn files_url(&self) -> Option<String> {
        self.files.map(|address| format!("http://{address}"))
    }

    fn serve(&mut self, listener: TcpListener, app: axum::Router) {
        let app = app.layer(axum::middleware::from_fn(guard));
        let stopping = self.stopping.clone();
        self.tasks.push(tokio::spawn(async move {
            // Messages are small and wait for nothing; a socket that cannot be told so is only slower.
            let listener = listener.tap_io(|stream| drop(stream.set_nodelay(true)));
            let _ = axum::serve(listener, app)
                .with_graceful_shutdown(stopping.cancelled_owned())
                .await;
        }));
    }

    /// The folder with `input`, `output` and `temp`.
    pub fn folder(&self) -> PathBuf {
        self.server.folders.root().to_path_buf()
    }

    /// Stops taking requests, closes the sockets, interrupts what runs and waits for all of it.
    pub async fn shutdown(mut self) {
        self.stop();
        for mut task in std::mem::take(&mut self.tasks) {
            if tokio::time::timeout(GRACE, &mut task).await.is_err() {
                task.abort();
            }
        }
        // Dropping waits for a node that is being computed, which must not hold up the runtime.
        let _ = tokio::task::spawn_blocking(move || drop(self)).await;
    }

    fn stop(&self) {
        self.stopping.cancel();
        self.server.sockets.close();
        self.server.board.stop();
    }
}

impl Drop for Embedded {
    fn drop(&mut self) {
        self.stop();
        for worker in self.workers.drain(..) {
            // A worker has nothing to say, not even of a panic.
            let _ = worker.join();
        }
        self.server.folders.discard();
    }
}

/// Refuses what a foreign web page sends, and answers `OPTIONS`.
async fn guard(request: Request, next: Next) -> Response {
    if foreign(request.headers()) {
        return empty(StatusCode::FORBIDDEN);
    }
    if request.method() == Method::OPTIONS {
        return empty(StatusCode::OK);
    }
    next.run(request).await
}

/// Whether a browser says that the request comes from another site: `Origin` must be the `Host` when that is loopback, with equal ports if
/// both are given.
fn foreign(headers: &HeaderMap) -> bool {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    if text(header::HeaderName::from_static("sec-fetch-site")) == Some("cross-site") {
        return true;
    }
    let (Some(host), Some(origin)) = (text(header::HOST), text(header::ORIGIN)) else {
        return false;
    };
    let parse = |text: &str| {
        let url = url::Url::parse(text).ok()?;
        Some((url.host()?.to_owned(), url.port()))
    };
    let (Some(host), Some(origin)) = (parse(&format!("http://{host}")), parse(origin)) else {
        return false;
    };
    let loopback = match &host.0 {
        url::Host::Domain(name) => name == "localhost",
        url::Host::Ipv4(ip) => ip.is_loopback(),
        url::Host::Ipv6(ip) => ip.is_loopback(),
    };
    let ports_differ = matches!((host.1, origin.1), (Some(a), Some(b)) if a != b);
    loopback && (host.0 != origin.0 || ports_differ)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_foreign_page_is_told_from_a_client() {
        let is_foreign = |pairs: &[(&'static str, &str)]| {
            let headers = pairs
                .iter()
                .map(|(name, value)| {
                    (
                        header::HeaderName::from_static(name),
                        value.parse().unwrap(),
                    )
                })
                .collect();
            foreign(&headers)
        };
        let host = ("host", "127.0.0.1:8189");
        assert!(!is_foreign(&[host]));
        assert!(is_foreign(&[host, ("origin", "http://evil.example")]));
        assert!(is_foreign(&[host, ("origin", "http://localhost:8189")]));
        assert!(is_foreign(&[host, ("origin", "http://127.0.0.1:9")]));
        assert!(is_foreign(&[host, ("sec-fetch-site", "cross-site")]));
        assert!(!is_foreign(&[host, ("origin", "http://127.0.0.1:8189")]));
        assert!(!is_foreign(&[host, ("origin", "http://127.0.0.1")]));
        assert!(!is_foreign(&[host, ("origin", "null")]));
        assert!(!is_foreign(&[
            ("host", "10.0.0.5:8189"),
            ("origin", "http://evil.example")
        ]));
    }
}
