//! Which server a step runs on: `--server`, the profile's, the step's, the pipeline's, the project's default, else `embedded`.

use std::collections::BTreeSet;

use indexmap::IndexMap;

use super::Materials;
use super::eval::{Evaluator, Extra};
use super::hidden::hidden;
use super::sealed::{CLOUD_LOST_AFTER_MS, EditValue, HERE, ServerKind, ServerPlan};
use crate::artifact::Datum;
use crate::base::ServerName;
use crate::base::secret::placeholder;
use crate::diagnostic::{Code, Diagnostic, SourceMap, Span, codes, list_of};
use crate::spec::{self, Node, Project, Spanned, is_address};

/// Where a `ComfyUI` listens unless told otherwise.
const LOCAL_URL: &str = "http://127.0.0.1:8188";
/// Where Comfy Cloud is.
const CLOUD_URL: &str = "https://cloud.comfy.org";
/// The variable with the key for Comfy Cloud, unless `api_key` says otherwise.
const CLOUD_KEY: &str = "COMFY_CLOUD_API_KEY";
/// Jobs that an account may run on Comfy Cloud at a time; the least of the plans that have access.
const CLOUD_JOBS: u32 = 3;
/// Jobs kept on a `ComfyUI` at a time, so that its GPU never waits.
const COMFY_JOBS: u32 = 2;

/// The servers that steps asked for so far.
#[derive(Debug, Default)]
pub(super) struct Chosen {
    pub(super) servers: IndexMap<ServerName, ServerPlan>,
    /// Where a server was refused (`None`: on the command line), so that each refusal is told once and not for every step.
    refused: Vec<Option<Span>>,
    /// Declared servers that cannot be used.
    broken: BTreeSet<String>,
}

/// What says where a step runs, the first of them wins.
pub(super) struct Asked<'a> {
    /// `--server`.
    pub(super) flag: Option<&'a str>,
    /// The profile's.
    pub(super) profile: Option<&'a Node>,
    /// The step's own, the pipeline's, the project's default.
    pub(super) written: [Option<&'a Node>; 3],
}

impl Chosen {
    /// The server of a step; `None` when its name was refused.
    pub(super) fn choose(
        &mut self,
        asked: &Asked<'_>,
        materials: &Materials<'_>,
        evaluator: &mut Evaluator<'_>,
        sources: &SourceMap,
    ) -> Option<ServerName> {
        let mut nodes = asked.profile.into_iter();
        let written = nodes.next().or(asked.written.into_iter().flatten().next());
        let written = written.filter(|_| asked.flag.is_none());
        let span = written.map(|node| node.span);
        if self.refused.contains(&span) {
            return None;
        }
        let name = match (asked.flag, written) {
            (Some(flag), _) => Some(flag.to_owned()),
            (None, Some(node)) => evaluator.text_now(node, "`server`", sources),
            (None, None) => Some("embedded".to_owned()),
        };
        let chosen = name.and_then(|name| self.named(&name, span, materials, evaluator, sources));
        if chosen.is_none() {
            self.refused.push(span);
        }
        chosen
    }

    /// Where commands run.
    pub(super) fn here(&mut self) -> ServerName {
        let name = ServerName::from(HERE);
        let plan = || ServerPlan::new(ServerKind::Here, cpus(), None);
        self.servers.entry(name.clone()).or_insert_with(plan);
        name
    }

    fn named(
        &mut self,
        name: &str,
        span: Option<Span>,
        materials: &Materials<'_>,
        evaluator: &mut Evaluator<'_>,
        sources: &SourceMap,
    ) -> Option<ServerName> {
        let project = materials.project;
        if holds_credentials(name) {
            evaluator.report.push(match span {
                Some(span) => with_credentials(&codes::BAD_VALUE).at(span),
                None => with_credentials(&codes::BAD_ARGUMENT),
            });
            return None;
        }
        if is_address(name) {
            let url = name.trim_end_matches('/').to_owned();
            let key = ServerName(
                url.split_once("://")
                    .map_or(url.as_str(), |(_, rest)| rest)
                    .to_owned(),
            );
            let plan = comfy(vec![url], span);
            self.servers.entry(key.clone()).or_insert(plan);
            return Some(key);
        }
        let key = ServerName::from(name);
        if self.servers.contains_key(&key) {
            return Some(key);
        }
        let plan = match project.and_then(|p| p.servers.get(name)) {
            Some(_) if self.broken.contains(name) => return None,
            Some(declared) => {
                let plan = from_spec((name, declared), materials, evaluator, sources);
                if plan.is_none() {
                    self.broken.insert(name.to_owned());
                }
                plan?
            }
            None => match name {
                "embedded" => {
                    ServerPlan::new(ServerKind::Embedded { simulate: false }, cpus(), None)
                }
                "local" => comfy(vec![LOCAL_URL.to_owned()], None),
                "cloud" => cloud(None, None, CLOUD_JOBS, None),
                // Its own error is reported where it is declared.
                _ if project.is_some_and(|p| p.broken_servers.iter().any(|b| b == name)) => {
                    return None;
                }
                _ => {
                    evaluator.report.push(unknown(name, span, project));
                    return None;
                }
            },
        };
        self.servers.insert(key.clone(), plan);
        Some(key)
    }
}

fn unknown(name: &str, span: Option<Span>, project: Option<&Project>) -> Diagnostic {
    let declared = || {
        project
            .into_iter()
            .flat_map(|p| p.servers.keys().map(String::as_str))
    };
    let known = || declared().chain(["local", "cloud", "embedded"]);
    let mut diagnostic = Diagnostic::error(
        &codes::UNKNOWN_SERVER,
        format!("there is no server `{name}`"),
    )
    .suggest(name, known());
    let address = format!("http://{name}");
    if name.contains([':', '.']) && !name.contains("://") && is_address(&address) {
        diagnostic = diagnostic.help(format!("an address begins with its scheme: `{address}`"));
    }
    diagnostic = diagnostic.help(format!(
        "known servers: {}; a URL such as {LOCAL_URL} works too",
        list_of(known(), 12)
    ));
    if let Some(span) = span {
        diagnostic = diagnostic.at(span);
    }
    diagnostic
}

/// Whether an address holds what must not be printed.
fn holds_credentials(text: &str) -> bool {
    let url = url::Url::parse(text).ok().filter(|_| is_address(text));
    url.is_some_and(|url| !url.username().is_empty() || url.password().is_some())
}

fn with_credentials(code: &'static Code) -> Diagnostic {
    let message = "the server's address holds a user name or password";
    Diagnostic::error(code, message).help(
        "declare the server in kiln.yaml with `headers: { Authorization: \"{{ secret('NAME') }}\" }` or `token:`, and leave them out of its address",
    )
}

fn from_spec(
    (called, declared): (&str, &Spanned<spec::ServerSpec>),
    materials: &Materials<'_>,
    evaluator: &mut Evaluator<'_>,
    sources: &SourceMap,
) -> Option<ServerPlan> {
    let server = &declared.value;
    let kind = kind_and_place(&server.kind, evaluator, sources);
    let before = evaluator.report.items.len();
    let max_jobs = max_jobs(server, evaluator, sources);
    let mut text = |node: &Node, what: &str| evaluator.text_now(node, what, sources);
    let inputs = materials.inputs;
    let api_key = match &server.kind {
        spec::ServerKind::Cloud {
            api_key: Some(node),
            ..
        } => text(node, "`api_key`"),
        _ => None,
    };
    let api_key = api_key.map(|value| hidden(&spec::api_key_of(called), value, inputs));
    let token = server.token.as_ref().and_then(|node| text(node, "`token`"));
    let token = token.map(|value| hidden(&spec::token_of(called), value, inputs));
    let ca_cert = server
        .ca_cert
        .as_ref()
        .and_then(|node| text(node, "`ca_cert`"));
    let headers: IndexMap<String, String> = server
        .headers
        .iter()
        .filter_map(|(name, node)| {
            let value = text(node, &format!("the header `{}`", name.value))?;
            let own = spec::header_of(called, &name.value);
            Some((name.value.clone(), hidden(&own, value, inputs)))
        })
        .collect();
    if evaluator.report.items.len() > before {
        return None;
    }
    let span = Some(declared.span);
    let mut plan = match kind? {
        ServerKind::Cloud { url } => {
            cloud(Some(url), api_key, max_jobs.unwrap_or(CLOUD_JOBS), span)
        }
        kind @ ServerKind::Embedded { .. } => {
            ServerPlan::new(kind, max_jobs.unwrap_or_else(cpus), span)
        }
        kind => ServerPlan::new(kind, max_jobs.unwrap_or(COMFY_JOBS), span),
    };
    plan.token = token;
    plan.headers = headers;
    plan.ca_cert = ca_cert.map(|path| materials.project_dir.join(path));
    if let Some(lost_after) = &server.lost_after {
        plan.lost_after_ms = lost_after.value;
    }
    Some(plan)
}

fn kind_and_place(
    kind: &spec::ServerKind,
    evaluator: &mut Evaluator<'_>,
    sources: &SourceMap,
) -> Option<ServerKind> {
    match kind {
        spec::ServerKind::Embedded { simulate } => Some(ServerKind::Embedded {
            simulate: *simulate,
        }),
        spec::ServerKind::Comfy { urls } => {
            // All of them are looked at, so that each mistake is told.
            let urls: Vec<Option<String>> = urls
                .iter()
                .map(|node| address(node, evaluator, sources))
                .collect();
            let urls: Option<Vec<String>> = urls.into_iter().collect();
            urls.map(|urls| ServerKind::Comfy { urls })
        }
        spec::ServerKind::Cloud { url, .. } => match url {
            Some(node) => address(node, evaluator, sources).map(|url| ServerKind::Cloud { url }),
            None => Some(ServerKind::Cloud {
                url: CLOUD_URL.to_owned(),
            }),
        },
    }
}

fn address(node: &Node, evaluator: &mut Evaluator<'_>, sources: &SourceMap) -> Option<String> {
    let text = evaluator.text_now(node, "`url`", sources)?;
    if holds_credentials(&text) {
        let built = with_credentials(&codes::BAD_VALUE).at(node.span);
        evaluator.report.push(built);
        return None;
    }
    if is_address(&text) {
        return Some(text.trim_end_matches('/').to_owned());
    }
    evaluator.report.push(spec::no_address(&text, node.span));
    None
}

fn max_jobs(
    server: &spec::ServerSpec,
    evaluator: &mut Evaluator<'_>,
    sources: &SourceMap,
) -> Option<u32> {
    let node = server.max_jobs.as_ref()?;
    match evaluator.value(node, &Extra::default(), sources)? {
        EditValue::Ready(Datum::Number(n))
            if n.as_u64().is_some_and(|n| (1..=10_000).contains(&n)) =>
        {
            n.as_u64().and_then(|n| u32::try_from(n).ok())
        }
        _ => {
            evaluator.report.push(
                Diagnostic::error(
                    &codes::BAD_VALUE,
                    "`max_jobs` must be a whole number from 1 to 10000",
                )
                .at(node.span),
            );
            None
        }
    }
}

/// Comfy Cloud, with its usual address and key unless others are given.
fn cloud(
    url: Option<String>,
    api_key: Option<String>,
    max_jobs: u32,
    span: Option<Span>,
) -> ServerPlan {
    let url = url.unwrap_or_else(|| CLOUD_URL.to_owned());
    ServerPlan {
        api_key: Some(api_key.unwrap_or_else(|| placeholder(CLOUD_KEY))),
        lost_after_ms: CLOUD_LOST_AFTER_MS,
        ..ServerPlan::new(ServerKind::Cloud { url }, max_jobs, span)
    }
}

/// `ComfyUI` at its usual settings.
fn comfy(urls: Vec<String>, span: Option<Span>) -> ServerPlan {
    ServerPlan::new(ServerKind::Comfy { urls }, COMFY_JOBS, span)
}

fn cpus() -> u32 {
    std::thread::available_parallelism().map_or(1, |n| u32::try_from(n.get()).unwrap_or(1))
}
