//! Which server a step runs on: `--server`, the step's, the pipeline's, the project's default, else `embedded`.

use std::collections::BTreeSet;

use indexmap::IndexMap;

use super::eval::{Evaluator, Extra};
use super::sealed::{EditValue, ServerKind, ServerPlan};
use crate::artifact::Datum;
use crate::base::ServerName;
use crate::diagnostic::{Diagnostic, SourceMap, Span, codes, list_of};
use crate::spec::{self, Node, Project};

/// Where a `ComfyUI` listens unless told otherwise.
const LOCAL_URL: &str = "http://127.0.0.1:8188";
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

impl Chosen {
    /// The server of a step; `None` when its name was refused.
    pub(super) fn choose(
        &mut self,
        flag: Option<&str>,
        written: [Option<&Node>; 3],
        project: Option<&Project>,
        evaluator: &mut Evaluator<'_>,
        sources: &SourceMap,
    ) -> Option<ServerName> {
        let written = written.into_iter().flatten().next();
        let written = written.filter(|_| flag.is_none());
        let span = written.map(|node| node.span);
        if self.refused.contains(&span) {
            return None;
        }
        let name = match (flag, written) {
            (Some(flag), _) => Some(flag.to_owned()),
            (None, Some(node)) => evaluator.text_now(node, "`server`", sources),
            (None, None) => Some("embedded".to_owned()),
        };
        let chosen = name.and_then(|name| self.named(&name, span, project, evaluator, sources));
        if chosen.is_none() {
            self.refused.push(span);
        }
        chosen
    }

    fn named(
        &mut self,
        name: &str,
        span: Option<Span>,
        project: Option<&Project>,
        evaluator: &mut Evaluator<'_>,
        sources: &SourceMap,
    ) -> Option<ServerName> {
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
                let plan = from_spec(&declared.value, declared.span, evaluator, sources);
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
    let known = || declared().chain(["local", "embedded"]);
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

/// Whether a text is the address of a server, and no server's name.
fn is_address(text: &str) -> bool {
    (text.starts_with("http://") || text.starts_with("https://"))
        && url::Url::parse(text).is_ok_and(|url| url.host().is_some())
}

fn from_spec(
    server: &spec::ServerSpec,
    span: Span,
    evaluator: &mut Evaluator<'_>,
    sources: &SourceMap,
) -> Option<ServerPlan> {
    let kind = match &server.kind {
        spec::ServerKind::Embedded { simulate } => ServerKind::Embedded {
            simulate: *simulate,
        },
        spec::ServerKind::Comfy { urls } => {
            let node = urls.first()?;
            let text = evaluator.text_now(node, "`url`", sources)?;
            if !is_address(&text) {
                evaluator.report.push(
                    Diagnostic::error(&codes::BAD_VALUE, format!("`{text}` is no server address"))
                        .at(node.span)
                        .help(format!("write it with its scheme, e.g. {LOCAL_URL}")),
                );
                return None;
            }
            ServerKind::Comfy {
                urls: vec![text.trim_end_matches('/').to_owned()],
            }
        }
    };
    let max_jobs = match &server.max_jobs {
        None if matches!(kind, ServerKind::Embedded { .. }) => cpus(),
        None => COMFY_JOBS,
        Some(node) => match evaluator.value(node, &Extra::default(), sources)? {
            EditValue::Ready(Datum::Number(n))
                if n.as_u64().is_some_and(|n| (1..=10_000).contains(&n)) =>
            {
                n.as_u64().and_then(|n| u32::try_from(n).ok()).unwrap_or(1)
            }
            _ => {
                evaluator.report.push(
                    Diagnostic::error(
                        &codes::BAD_VALUE,
                        "`max_jobs` must be a whole number from 1 to 10000",
                    )
                    .at(node.span),
                );
                return None;
            }
        },
    };
    Some(ServerPlan::new(kind, max_jobs, Some(span)))
}

/// `ComfyUI` at its usual settings.
fn comfy(urls: Vec<String>, span: Option<Span>) -> ServerPlan {
    ServerPlan::new(ServerKind::Comfy { urls }, COMFY_JOBS, span)
}

fn cpus() -> u32 {
    std::thread::available_parallelism().map_or(1, |n| u32::try_from(n.get()).unwrap_or(1))
}
