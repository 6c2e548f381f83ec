//! What servers are and how they are, and the emptying of their memory.

use futures_util::future::join_all;
use serde::Serialize;

use super::reach::{Complaint, Found, Open, Place, find};
use crate::base::ServerName;
use crate::client::{self, ClientError, Device, Memory, System};
use crate::diagnostic::{Report, SourceMap};
use crate::plan::Which;
use crate::protocol::{Flavour, StandIn, Support};
use crate::servers::{Endpoint, StartFailure};

/// One server at one address.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct ServerStatus {
    /// Its name in the project.
    pub server: String,
    /// Its address.
    pub url: String,
    /// Whether it answers as `ComfyUI` does.
    pub reachable: bool,
    /// `comfyui`, `cloud`, `embedded` or `simulated`; null when it does not answer.
    pub kind: Option<&'static str>,
    /// Its version.
    pub version: Option<String>,
    /// How sure kiln is of that version: `verified`, `described`, `older` or `newer`.
    pub support: Option<&'static str>,
    /// Its system.
    pub os: Option<String>,
    /// Its version of Python.
    pub python: Option<String>,
    /// Its version of `PyTorch`.
    pub pytorch: Option<String>,
    /// Bytes of main memory.
    pub ram_total: Option<u64>,
    /// Bytes of main memory that are free.
    pub ram_free: Option<u64>,
    /// Its devices.
    pub devices: Vec<Device>,
    /// How many jobs run.
    pub running: Option<usize>,
    /// How many jobs wait.
    pub waiting: Option<usize>,
    /// Why it does not answer.
    pub problem: Option<String>,
}

/// What was asked to be emptied.
#[expect(
    clippy::struct_excessive_bools,
    reason = "each says something of its own"
)]
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Freed {
    /// The address of the server.
    pub url: String,
    /// Whether it was asked: on some the memory is not ours to empty.
    pub asked: bool,
    /// Whether models are unloaded.
    pub models: bool,
    /// Whether results are forgotten.
    pub results: bool,
    /// Whether a job runs that comes first.
    pub after_job: bool,
}

/// How sure kiln is of a version, as a word.
pub fn support_word(support: Support) -> &'static str {
    match support {
        Support::Verified => "verified",
        Support::Described => "described",
        Support::Older => "older",
        Support::Newer => "newer",
    }
}

/// The state of the server that is named; of all that the project declares when none is.
///
/// # Errors
/// When there is no such server. What does not answer is in the rows, and in the report that comes with them.
pub async fn status(place: &Place) -> Result<(Vec<ServerStatus>, Complaint), Box<Complaint>> {
    let mut found = match &place.server {
        Some(_) => place.find()?,
        None => find(&place.folder(), Which::Declared),
    };
    if found.report.has_errors() {
        return Err(Box::new(Complaint {
            report: found.report,
            sources: found.sources,
        }));
    }
    if found.servers.is_empty() {
        found = place.find()?;
    }
    let asked = found.servers.keys().map(|name| one(&found, name));
    let (mut rows, mut report) = (Vec::new(), Report::default());
    for (row, complaints) in join_all(asked).await {
        rows.extend(row);
        report.extend(complaints.items);
    }
    let sources: SourceMap = found.sources;
    Ok((rows, Complaint { report, sources }))
}

async fn one(found: &Found, name: &ServerName) -> (Vec<ServerStatus>, Report) {
    let mut report = Report::default();
    let servers = match found.start(name).await {
        Ok(servers) => servers,
        Err(failures) => {
            let rows = failures.iter().map(down).collect();
            report.extend(failures.iter().map(StartFailure::diagnostic));
            return (rows, report);
        }
    };
    report.extend(servers.away().iter().map(StartFailure::warning));
    let up = servers.endpoints().iter();
    let up = up.filter(|endpoint| endpoint.answered() && !endpoint.is_here());
    let mut rows = Vec::new();
    let asked = up.map(|endpoint| async move { (endpoint, state(endpoint).await) });
    for (endpoint, state) in join_all(asked).await {
        match state {
            Ok(row) => rows.push(row),
            Err(error) => {
                rows.push(ServerStatus {
                    problem: Some(error.to_string()),
                    ..named(name, &endpoint.url)
                });
                report.push(client::diagnostic(name, &error, None));
            }
        }
    }
    rows.extend(servers.away().iter().map(down));
    servers.shutdown().await;
    (rows, report)
}

fn named(name: &ServerName, url: &str) -> ServerStatus {
    ServerStatus {
        server: name.to_string(),
        url: url.to_owned(),
        ..ServerStatus::default()
    }
}

fn down(failure: &StartFailure) -> ServerStatus {
    ServerStatus {
        problem: Some(failure.cause.to_string()),
        ..named(&failure.name, &failure.url)
    }
}

/// What a server that answers tells.
pub(in crate::session) async fn state(endpoint: &Endpoint) -> Result<ServerStatus, ClientError> {
    let client = endpoint.client();
    let (system, queue) = tokio::join!(client.system(), client.queue());
    let (system, dialect) = (system?, client.dialect());
    // Some servers tell everybody what they are, and nobody what they do.
    let queue = queue.ok();
    let System {
        os,
        python_version,
        pytorch_version,
        ram_total,
        ram_free,
        devices,
        ..
    } = system;
    let info = endpoint.info();
    let kind = match (info.and_then(|info| info.stand_in), dialect.flavour) {
        (Some(StandIn::Embedded), _) => "embedded",
        (Some(StandIn::Simulated), _) => "simulated",
        (None, Flavour::Cloud) => "cloud",
        (None, Flavour::Comfy) => "comfyui",
    };
    Ok(ServerStatus {
        reachable: true,
        kind: Some(kind),
        version: info.map(|info| info.version.clone()),
        support: Some(support_word(dialect.support)),
        os,
        python: python_version.and_then(|text| Some(text.split_whitespace().next()?.to_owned())),
        pytorch: pytorch_version,
        ram_total,
        ram_free,
        devices,
        running: queue.as_ref().map(|queue| queue.running.len()),
        waiting: queue.as_ref().map(|queue| queue.pending.len()),
        ..named(&endpoint.name, &endpoint.url)
    })
}

/// Asks a server to empty its memory.
///
/// # Errors
/// When it cannot be asked.
pub async fn free(open: &Open, what: Memory) -> Result<Vec<Freed>, Box<Complaint>> {
    let mut freed = Vec::new();
    for endpoint in open.endpoints() {
        let client = endpoint.client();
        let asked = client.empty_memory(what).await;
        let asked = asked.map_err(|error| open.wrong(&error))?;
        let running = client.queue().await.map(|queue| queue.running.len());
        freed.push(Freed {
            url: endpoint.url.clone(),
            asked,
            models: what.models,
            results: what.results,
            after_job: running.is_ok_and(|running| running > 0),
        });
    }
    Ok(freed)
}
