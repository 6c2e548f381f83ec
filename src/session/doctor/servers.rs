//! The servers: each that is declared, the default one, and the one of `KILN_SERVER`.

use std::sync::Arc;

use futures_util::future::join_all;
use indexmap::IndexMap;

use super::finding::{Area, Checkup};
use crate::base::ServerName;
use crate::client::{self, ClientError, Connection, Device};
use crate::diagnostic::{Diagnostic, codes, thousands};
use crate::plan::Which;
use crate::protocol::{Flavour, Support};
use crate::report::plural;
use crate::servers::{Endpoint, Servers, StartFailure};
use crate::session::care::{Found, Place, ServerStatus, find, state};

/// A clock that is off by more than this confuses whoever reads times, seconds.
const SKEW: u64 = 30;
/// Less free memory than this is little, in hundredths of all of it.
const LITTLE: u64 = 5;
/// As many waiting jobs are many.
const MANY: usize = 50;

/// Adds servers that the project does not declare but that are meant: the one that is asked for, the default, and `local` where there is
/// nothing else.
pub(super) fn complete(found: &mut Found, place: &Place, checkup: &mut Checkup) {
    let which = match &place.server {
        Some(name) => Which::Named(name),
        None => Which::Default,
    };
    let meant = find(&place.folder(), which);
    for diagnostic in meant.report.items {
        if !found
            .report
            .items
            .iter()
            .any(|known| known.message == diagnostic.message)
        {
            checkup.wrong(Area::Server, "", diagnostic, &meant.sources);
        }
    }
    if place.server.is_some() {
        found.servers.clear();
    }
    for (name, plan) in meant.servers {
        found.servers.entry(name).or_insert(plan);
    }
}

/// Servers that answer, by name.
pub(super) type Started = IndexMap<ServerName, Servers>;

pub(super) async fn examine(found: &Found, checkup: &mut Checkup) -> Started {
    let names = found.servers.keys();
    let asked = names.map(|name| async move { (name, found.start(name).await) });
    let mut started = Started::new();
    for (name, servers) in join_all(asked).await {
        match servers {
            Ok(servers) => {
                for failure in servers.away() {
                    checkup.wrong(
                        Area::Server,
                        name.as_str(),
                        failure.diagnostic(),
                        &found.sources,
                    );
                }
                let up = servers.endpoints().iter();
                for endpoint in up.filter(|e| e.answered() && !e.is_here()) {
                    one(endpoint, checkup).await;
                }
                started.insert(name.clone(), servers);
            }
            Err(failures) => down(found, name, &failures, checkup),
        }
    }
    started
}

/// A server that does not answer. The usual one, which nobody declared, may be absent.
fn down(found: &Found, name: &ServerName, failures: &[StartFailure], checkup: &mut Checkup) {
    let project = found.project.as_ref();
    let declared = project.is_some_and(|project| !project.servers.is_empty());
    let meant = declared || project.is_some_and(|project| project.default_server.is_some());
    for failure in failures {
        let diagnostic = failure.diagnostic();
        if name.as_str() == "local" && !meant && diagnostic.code == &codes::SERVER_UNREACHABLE {
            checkup.note(
                Area::Server,
                "local",
                format!("no ComfyUI answers: {}", failure.cause),
                "start ComfyUI, declare yours in kiln.yaml, or use `embedded`, which needs none",
            );
        } else {
            checkup.wrong(Area::Server, name.as_str(), diagnostic, &found.sources);
        }
    }
}

async fn one(endpoint: &Arc<Endpoint>, checkup: &mut Checkup) {
    let name = endpoint.name.as_str();
    match state(endpoint).await {
        Ok(status) => {
            version(endpoint, &status, checkup);
            memory(name, &status, checkup);
            depth(name, &status, checkup);
        }
        Err(error) => wrong(endpoint, &error, checkup),
    }
    socket(endpoint, checkup).await;
    doorway(endpoint, checkup).await;
    if endpoint.client().has_credentials() && is_open(&endpoint.url) {
        checkup.note(
            Area::Server,
            name,
            "its token or headers go over the network unencrypted",
            "give it an `https://` address",
        );
    }
}

fn wrong(endpoint: &Endpoint, error: &ClientError, checkup: &mut Checkup) {
    let diagnostic = client::diagnostic(&endpoint.name, error, None);
    checkup.wrong(
        Area::Server,
        endpoint.name.as_str(),
        diagnostic,
        &crate::diagnostic::SourceMap::default(),
    );
}

fn version(endpoint: &Endpoint, status: &ServerStatus, checkup: &mut Checkup) {
    let name = endpoint.name.as_str();
    let version = status.version.as_deref().unwrap_or("unknown");
    let dialect = endpoint.client().dialect();
    let what = match (status.kind, dialect.flavour) {
        (Some("embedded" | "simulated"), _) => "kiln's own server, as ComfyUI",
        (_, Flavour::Cloud) => "Comfy Cloud",
        (_, Flavour::Comfy) => "ComfyUI",
    };
    let is = format!("{what} {version} answers at {}", endpoint.url);
    match dialect.support {
        Support::Verified => {
            checkup.ok(
                Area::Server,
                name,
                format!("{is}; kiln was tried with this version"),
            );
        }
        Support::Described => checkup.ok(
            Area::Server,
            name,
            format!("{is}; kiln knows this version from its description"),
        ),
        Support::Older => checkup.note(
            Area::Server,
            name,
            format!("{is}; it is older than any version that kiln was tried with"),
            format!(
                "update it to {} or younger",
                crate::protocol::Version::REFERENCE
            ),
        ),
        // Comfy Cloud has versions of its own.
        Support::Newer if dialect.flavour == Flavour::Cloud => {
            checkup.ok(Area::Server, name, is);
        }
        Support::Newer => checkup.note(
            Area::Server,
            name,
            format!(
                "{is}; kiln knows versions up to {}",
                crate::protocol::Version::NEWEST
            ),
            "it will most likely do; is there a newer kiln?",
        ),
    }
}

fn memory(name: &str, status: &ServerStatus, checkup: &mut Checkup) {
    let little = |free: u64, total: u64| free < total / 100 * LITTLE;
    let scarce = |what: &str| format!("{what} is almost full");
    let fix = "`kiln server free` unloads models, after the job that runs";
    for Device {
        name: device,
        vram_free,
        vram_total,
        ..
    } in &status.devices
    {
        match (vram_free, vram_total) {
            (Some(free), Some(total)) if little(*free, *total) => {
                checkup.note(Area::Server, name, scarce(device), fix);
            }
            (Some(free), Some(total)) => checkup.ok(
                Area::Server,
                name,
                format!(
                    "{device}: {} of {} MB free",
                    megabytes(*free),
                    megabytes(*total)
                ),
            ),
            _ => {}
        }
    }
    if let (Some(free), Some(total)) = (status.ram_free, status.ram_total)
        && little(free, total)
    {
        checkup.note(Area::Server, name, scarce("its main memory"), fix);
    }
}

fn megabytes(bytes: u64) -> String {
    thousands(bytes / 1_000_000)
}

fn depth(name: &str, status: &ServerStatus, checkup: &mut Checkup) {
    let (Some(running), Some(waiting)) = (status.running, status.waiting) else {
        checkup.note(Area::Server, name, "it does not tell its queue", "");
        return;
    };
    let queue = format!("{} running, {waiting} waiting", plural(running, "job"));
    if waiting >= MANY {
        let fix = "new jobs wait behind them; `kiln server queue` tells whose they are";
        checkup.note(Area::Server, name, queue, fix);
    } else if running == 0 && waiting > 0 {
        checkup.note(
            Area::Server,
            name,
            format!("{queue}: nothing runs although jobs wait"),
            "look again in a moment; if it stays so, its worker died: restart ComfyUI",
        );
    } else {
        checkup.ok(Area::Server, name, queue);
    }
}

async fn socket(endpoint: &Arc<Endpoint>, checkup: &mut Checkup) {
    let name = endpoint.name.as_str();
    let connection: Result<Arc<Connection>, ClientError> = endpoint.connection().await;
    let connection = match connection {
        Ok(connection) => connection,
        Err(error) => return wrong(endpoint, &error, checkup),
    };
    match connection.socket_error() {
        None => checkup.ok(Area::Server, name, "its WebSocket opens"),
        Some(error) => {
            let message = format!("its WebSocket does not open: {error}");
            let diagnostic = Diagnostic::error(&codes::SERVER_REFUSED, message)
                .help("jobs run all the same, but their progress is not told and their ends are known later")
                .help("a proxy in front of it must pass on WebSockets (`Upgrade` and `Connection` headers)");
            checkup.wrong(
                Area::Server,
                name,
                diagnostic,
                &crate::diagnostic::SourceMap::default(),
            );
        }
    }
}

async fn doorway(endpoint: &Arc<Endpoint>, checkup: &mut Checkup) {
    let name = endpoint.name.as_str();
    // What does not answer here was told before.
    let Ok(door) = endpoint.client().doorway().await else {
        return;
    };
    if let Some(proxy) = door.proxy
        && endpoint.client().dialect().flavour == Flavour::Comfy
    {
        checkup.note(
            Area::Server,
            name,
            format!("a proxy stands in front of it: {proxy}"),
            "it must pass on WebSockets, take uploads as large as your files, and wait as long as ComfyUI thinks",
        );
    }
    if let Some(ahead) = door.ahead
        && ahead.unsigned_abs() > SKEW
    {
        let way = if ahead > 0 { "ahead of" } else { "behind" };
        checkup.note(
            Area::Server,
            name,
            format!(
                "its clock is {} seconds {way} this machine's",
                ahead.unsigned_abs()
            ),
            "ages and times of jobs are off by as much; set both clocks by NTP",
        );
    }
}

/// Whether what is sent to an address can be read on its way.
fn is_open(url: &str) -> bool {
    let Ok(url) = url::Url::parse(url) else {
        return false;
    };
    let near = url
        .host_str()
        .is_some_and(|host| host == "localhost" || host.starts_with("127.") || host == "[::1]");
    url.scheme() == "http" && !near
}
