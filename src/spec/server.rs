//! One entry under `servers:`.

use serde_json::{Value, json};

use super::needs::templated;
use super::reading::{Fields, Key, Reading};
use super::{Node, NodeKind, Spanned, duration, schema};
use crate::diagnostic::{Diagnostic, Span, codes, did_you_mean};

/// A server as written.
#[derive(Clone, Debug, PartialEq)]
pub struct ServerSpec {
    /// What it is.
    pub kind: ServerKind,
    /// Jobs kept queued or running at a time; an integer of at least 1, or a template.
    pub max_jobs: Option<Node>,
    /// A bearer token; a string, maybe a template. A secret, however it is written.
    pub token: Option<Node>,
    /// Headers of every request; strings, maybe templates. Secrets, however they are written.
    pub headers: Vec<(Spanned<String>, Node)>,
    /// A file with a root certificate to trust beside the system's, relative to the project file; a string, maybe a template.
    pub ca_cert: Option<Node>,
    /// How long a server that does not answer keeps its jobs, milliseconds.
    pub lost_after: Option<Spanned<u64>>,
}

/// What a server is.
#[derive(Clone, Debug, PartialEq)]
pub enum ServerKind {
    /// `ComfyUI` at one address, or at several equal ones.
    Comfy {
        /// Its addresses, at least one; strings, maybe templates.
        urls: Vec<Node>,
    },
    /// Comfy Cloud.
    Cloud {
        /// Its address, when it is another than Comfy's; a string, maybe a template.
        url: Option<Node>,
        /// The key; a string, maybe a template. A secret, however it is written.
        api_key: Option<Node>,
    },
    /// kiln's own server.
    Embedded {
        /// Whether classes that it does not have are painted as marked stand-ins.
        simulate: bool,
    },
}

const KINDS: &[&str] = &["comfy", "cloud", "embedded"];

/// Names of servers and profiles.
pub(super) const NAME: &str = "^[A-Za-z0-9][A-Za-z0-9_-]*$";

const KEYS: &[Key] = &[
    Key::new(
        "url",
        "The address of a ComfyUI server, such as `http://127.0.0.1:8188`.",
        schema::text,
    ),
    Key::new(
        "urls",
        "The addresses of equal ComfyUI servers: a pool. Each task goes to the one that has the least to do.",
        || json!({ "type": "array", "minItems": 1, "uniqueItems": true, "items": schema::text() }),
    ),
    Key::new(
        "kind",
        "`comfy`: a ComfyUI server, local or remote (the default). `cloud`: Comfy Cloud. `embedded`: kiln's own server, inside the kiln process.",
        || json!({ "enum": KINDS }),
    ),
    Key::new(
        "max_jobs",
        "The most jobs kept queued or running at a time, on each server of a pool. Default: 2, for `cloud` 3, for `embedded` the number of CPUs.",
        || schema::or_template(&json!({ "type": "integer", "minimum": 1 })),
    ),
    Key::new(
        "api_key",
        "Only for `cloud`: the key of your account. It is a secret however it is written; better is `\"{{ secret('NAME') }}\"`. Default: the variable `COMFY_CLOUD_API_KEY`.",
        schema::text,
    ),
    Key::new(
        "token",
        "A bearer token that every request carries. It is a secret however it is written; better is `\"{{ secret('NAME') }}\"`.",
        schema::text,
    ),
    Key::new(
        "headers",
        "Headers that every request carries. Their values are secrets however they are written.",
        || {
            json!({
                "type": "object",
                "propertyNames": { "pattern": "^[A-Za-z0-9!#$%&'*+.^_`|~-]+$" },
                "additionalProperties": schema::described(schema::text(), "The header's value."),
            })
        },
    ),
    Key::new(
        "ca_cert",
        "A file with a root certificate (PEM) to trust beside the system's, relative to this file.",
        schema::text,
    ),
    Key::new(
        "simulate",
        "Only for `embedded`: paint a clearly marked stand-in picture for every class of node that it does not have, to rehearse a pipeline.",
        || json!({ "type": "boolean" }),
    ),
    Key::new(
        "lost_after",
        "How long a server that does not answer keeps its jobs before they are run elsewhere, such as `10m`. Default: 2m.",
        duration::schema,
    ),
];

/// Keys that say how a server in the net is reached.
const REMOTE: &[&str] = &[
    "url",
    "urls",
    "api_key",
    "token",
    "headers",
    "ca_cert",
    "lost_after",
];

/// Reads a server; `None` when it cannot be used.
pub(super) fn read(
    name: &Spanned<String>,
    node: &Node,
    reading: &mut Reading<'_>,
) -> Option<ServerSpec> {
    server_name(name, reading);
    let owner = format!("the server `{}`", name.value);
    let fields = reading.fields(node, &owner, KEYS, false)?;
    let max_jobs = fields
        .get("max_jobs")
        .filter(|n| n.has_template() || reading.count(n, "`max_jobs`").is_some())
        .cloned();
    let kind = match fields.get("kind") {
        Some(node) => kind(node, reading),
        None => Some("comfy"),
    };
    let simulate = fields
        .get("simulate")
        .and_then(|n| reading.boolean(n, "`simulate`"));
    let text = |key: &str, reading: &mut Reading<'_>| {
        let node = fields.get(key)?;
        reading.text(node, &format!("`{key}`"))
    };
    let (token, ca_cert) = (text("token", reading), text("ca_cert", reading));
    let headers = headers(&fields, reading);
    let lost_after = fields
        .get("lost_after")
        .and_then(|n| duration::read(n, "`lost_after`", reading));
    let urls = urls(&fields, reading);
    let kind = kind?;
    let alien: &[&str] = match kind {
        "embedded" => REMOTE,
        "cloud" => &["urls", "token", "simulate"],
        _ => &["api_key", "simulate"],
    };
    misplaced(&fields, alien, (kind, &owner), reading)?;
    let kind = if kind == "embedded" {
        ServerKind::Embedded {
            simulate: simulate.unwrap_or_default(),
        }
    } else if kind == "cloud" {
        ServerKind::Cloud {
            url: urls.and_then(|urls| urls.into_iter().next()),
            api_key: text("api_key", reading),
        }
    } else {
        if fields.get("url").is_none() && fields.get("urls").is_none() {
            let example = "url: http://127.0.0.1:8188";
            reading.missing(&fields, name.span, &owner, "url", example);
        }
        ServerKind::Comfy { urls: urls? }
    };
    Some(ServerSpec {
        kind,
        max_jobs,
        token,
        headers,
        ca_cert,
        lost_after,
    })
}

/// Complains about keys that a server of its kind cannot have.
fn misplaced(
    fields: &Fields<'_>,
    keys: &[&str],
    (kind, owner): (&str, &str),
    reading: &mut Reading<'_>,
) -> Option<()> {
    let mut good = Some(());
    for (key, _) in keys.iter().filter_map(|key| fields.entry(key)) {
        good = None;
        let help = match (&*key.value, kind) {
            ("simulate", _) => "`simulate` is for `kind: embedded`".to_owned(),
            ("api_key", "comfy") => {
                "`api_key` is for `kind: cloud`; another server is shown a `token` or `headers`"
                    .to_owned()
            }
            ("token", "cloud") => "Comfy Cloud is shown an `api_key`".to_owned(),
            (key, kind) => format!("leave `{key}` out, or leave `kind: {kind}` out"),
        };
        let why = match kind {
            "embedded" => "is embedded, and",
            "cloud" => "is Comfy Cloud, and",
            _ => "is a ComfyUI, and",
        };
        reading.push(
            Diagnostic::error(
                &codes::BAD_VALUE,
                format!("{owner} {why} cannot have `{}`", key.value),
            )
            .at(key.span)
            .help(help),
        );
    }
    good
}

/// The addresses of `url` or `urls`.
fn urls(fields: &Fields<'_>, reading: &mut Reading<'_>) -> Option<Vec<Node>> {
    let one = fields.entry("url");
    let Some((key, node)) = fields.entry("urls") else {
        let url = reading.text(one?.1, "`url`")?;
        return good_address(&url, reading).then(|| vec![url]);
    };
    if let Some((other, _)) = one {
        reading.push(
            Diagnostic::error(&codes::BAD_VALUE, "a server has `url` or `urls`, not both")
                .at(key.span)
                .also(other.span, "the other one")
                .help("put all addresses into `urls`"),
        );
        return None;
    }
    let NodeKind::List(items) = &node.kind else {
        let mut diagnostic = Diagnostic::error(
            &codes::WRONG_TYPE,
            format!("`urls` must be a list, and this is {}", node.describe()),
        )
        .at(node.span);
        if let Some(url) = node.as_str() {
            diagnostic = diagnostic.help(format!("one address is written `url: {url}`"));
        }
        reading.push(diagnostic);
        return None;
    };
    if items.is_empty() {
        reading.push(
            Diagnostic::error(&codes::BAD_VALUE, "`urls` has no address")
                .at(node.span)
                .help(
                    "list the servers of the pool: `urls: [http://gpu-1:8188, http://gpu-2:8188]`",
                ),
        );
        return None;
    }
    pool(items, reading)
}

/// The addresses of a pool, each once.
fn pool(items: &[Node], reading: &mut Reading<'_>) -> Option<Vec<Node>> {
    let mut urls: Vec<Node> = Vec::with_capacity(items.len());
    let mut good = true;
    for item in items {
        let Some(url) = reading.text(item, "an address in `urls`") else {
            good = false;
            continue;
        };
        if !good_address(&url, reading) {
            good = false;
            continue;
        }
        let same = |other: &&Node| {
            let plain = |node: &Node| node.as_str().map(|t| t.trim_end_matches('/').to_owned());
            plain(other) == plain(&url)
        };
        if let Some(first) = urls.iter().find(same) {
            good = false;
            reading.push(
                Diagnostic::error(&codes::BAD_VALUE, "the address is in the pool twice")
                    .at(url.span)
                    .also(first.span, "first here")
                    .help("a server that can take more jobs at a time has a larger `max_jobs`"),
            );
        } else {
            urls.push(url);
        }
    }
    good.then_some(urls)
}

/// Complains about an address that is none. What a template gives is looked at when it is known.
fn good_address(node: &Node, reading: &mut Reading<'_>) -> bool {
    let Some(text) = node.as_str().filter(|_| !node.has_template()) else {
        return true;
    };
    let good = is_address(text);
    if !good {
        reading.push(no_address(text, node.span));
    }
    good
}

/// Whether a text is the address of a server, and no server's name.
pub fn is_address(text: &str) -> bool {
    (text.starts_with("http://") || text.starts_with("https://"))
        && url::Url::parse(text).is_ok_and(|url| url.host().is_some())
}

/// What is said of a text that is no address of a server.
pub fn no_address(text: &str, span: Span) -> Diagnostic {
    let with_scheme = format!("http://{text}");
    let meant = !text.contains("://") && text.contains([':', '.']) && is_address(&with_scheme);
    let message = format!("`{text}` is no server address");
    Diagnostic::error(&codes::BAD_VALUE, message)
        .at(span)
        .help(if meant {
            format!("an address begins with its scheme: `{with_scheme}`")
        } else {
            "write it with its scheme, e.g. http://127.0.0.1:8188".to_owned()
        })
}

fn headers(fields: &Fields<'_>, reading: &mut Reading<'_>) -> Vec<(Spanned<String>, Node)> {
    let Some(node) = fields.get("headers") else {
        return Vec::new();
    };
    let mut headers: Vec<(Spanned<String>, Node)> = Vec::new();
    for (name, value) in reading.map(node, "`headers`").unwrap_or_default() {
        let allowed = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+.^_`|~-".contains(c);
        let taken = name.value.eq_ignore_ascii_case("authorization");
        if templated(name, "the name of a header", reading) {
            continue;
        }
        let wrong = if name.value.is_empty() || !name.value.chars().all(allowed) {
            Some((
                format!("`{}` cannot be the name of a header", name.value),
                "names of headers consist of letters, digits and `-`",
            ))
        } else if taken && fields.get("token").is_some() {
            Some((
                "`token` already is the header `Authorization`".to_owned(),
                "keep one of them",
            ))
        } else {
            None
        };
        if let Some((why, help)) = wrong {
            let diagnostic = Diagnostic::error(&codes::BAD_NAME, why);
            reading.push(diagnostic.at(name.span).help(help));
        } else if let Some(value) = reading.text(value, &format!("the header `{}`", name.value)) {
            headers.push((name.clone(), value));
        }
    }
    headers
}

fn kind(node: &Node, reading: &mut Reading<'_>) -> Option<&'static str> {
    let written = reading.string(node, "`kind`")?;
    let known = KINDS.iter().copied();
    if let Some(kind) = known.clone().find(|k| *k == written.value) {
        return Some(kind);
    }
    let help = match did_you_mean(&written.value, known) {
        Some(near) => format!("did you mean `{near}`?"),
        None => "a server is `comfy`, `cloud` or `embedded`".to_owned(),
    };
    reading.push(
        Diagnostic::error(
            &codes::BAD_VALUE,
            format!("there is no server kind `{}`", written.value),
        )
        .at(written.span)
        .help(help),
    );
    None
}

/// A server's name must never look like an address: `--server` takes both.
fn server_name(name: &Spanned<String>, reading: &mut Reading<'_>) {
    if !plain_name(&name.value) {
        reading.push(
            Diagnostic::error(
                &codes::BAD_NAME,
                format!("`{}` cannot be the name of a server", name.value),
            )
            .at(name.span)
            .help("names of servers consist of letters, digits, `-` and `_`"),
        );
    }
}

/// Letters, digits, `-` and `_`, the first a letter or digit.
pub(super) fn plain_name(name: &str) -> bool {
    let mut chars = name.chars();
    chars.next().is_some_and(|c| c.is_ascii_alphanumeric())
        && chars.all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'))
}

pub(super) fn schema() -> Value {
    let mut schema = schema::object("A server that runs jobs.", KEYS, false);
    let only = |key: &str| json!({ "required": [key] });
    let remote: Vec<Value> = REMOTE.iter().map(|key| only(key)).collect();
    let none_of = |keys: &[&str]| {
        let keys: Vec<Value> = keys.iter().map(|key| only(key)).collect();
        json!({ "anyOf": keys })
    };
    let comfy = json!({ "kind": { "const": "comfy" } });
    schema["oneOf"] = json!([
        { "required": ["url"], "properties": comfy, "not": none_of(&["urls", "api_key", "simulate"]) },
        { "required": ["urls"], "properties": comfy, "not": none_of(&["url", "api_key", "simulate"]) },
        {
            "required": ["kind"],
            "properties": { "kind": { "const": "cloud" } },
            "not": none_of(&["urls", "token", "simulate"]),
        },
        {
            "required": ["kind"],
            "properties": { "kind": { "const": "embedded" } },
            "not": { "anyOf": remote },
        },
    ]);
    json!({
        "type": "object",
        "propertyNames": { "pattern": NAME },
        "additionalProperties": schema,
    })
}
