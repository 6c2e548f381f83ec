//! The project file, `kiln.yaml`.

use indexmap::IndexMap;
use serde_json::{Value, json};

use super::reading::{Key, Reading};
use super::{
    Node, NodeKind, PluginSpec, Profile, ServerKind, ServerSpec, Spanned, plugin, profile, schema,
    server,
};
use crate::base::secret;
use crate::diagnostic::FileId;

/// A project as written.
#[derive(Clone, Debug, PartialEq)]
pub struct Project {
    /// The file.
    pub file: FileId,
    /// Declared servers; the span is the name's.
    pub servers: IndexMap<String, Spanned<ServerSpec>>,
    /// Servers that are declared, but not well enough to be used (an error says so).
    pub broken_servers: Vec<String>,
    /// The server for steps that name none; a string, maybe a template.
    pub default_server: Option<Node>,
    /// Where results go, relative to the project; a string, maybe a template.
    pub output_dir: Option<Node>,
    /// The key for partner nodes; a string, maybe a template. A secret, however it is written.
    pub partner_api_key: Option<Node>,
    /// Whether a `.env` beside the project file is read.
    pub dotenv: bool,
    /// Declared plugins, in their order.
    pub plugins: IndexMap<String, PluginSpec>,
    /// Plugins that are declared, but not well enough to be loaded (an error says so).
    pub broken_plugins: Vec<String>,
    /// Settings that `--profile` chooses.
    pub profiles: IndexMap<String, Profile>,
}

/// The values under keys that hold secrets, also of servers that cannot be used.
pub(super) fn secrets_in(root: &Node) -> Vec<&Node> {
    fn entries(node: &Node) -> &[(Spanned<String>, Node)] {
        match &node.kind {
            NodeKind::Map(entries) => entries,
            _ => &[],
        }
    }
    fn of<'n>(node: &'n Node, key: &'static str) -> impl Iterator<Item = &'n Node> {
        let found = entries(node).iter().filter(move |(k, _)| k.value == key);
        found.map(|(_, value)| value)
    }
    let servers = of(root, "servers").flat_map(entries);
    let of_servers = servers.flat_map(|(_, server)| {
        let headers = of(server, "headers").flat_map(entries);
        let shown = of(server, "token").chain(of(server, "api_key"));
        shown.chain(headers.map(|(_, value)| value))
    });
    of_servers.chain(of(root, "partner_api_key")).collect()
}

const KEYS: &[Key] = &[
    Key::new(
        "servers",
        "Servers by name. `local` (127.0.0.1:8188) and `embedded` exist without being declared.",
        server::schema,
    ),
    Key::new(
        "plugins",
        "Plugins by name: libraries that kiln loads, and asks in this order.",
        plugin::schema,
    ),
    Key::new(
        "profiles",
        "Settings that are chosen together, with `--profile NAME`.",
        profile::schema,
    ),
    Key::new(
        "partner_api_key",
        "The key for partner nodes (ComfyUI's `api_key_comfy_org`), sent only with workflows that use them. It is a secret however it is written; better is `\"{{ secret('COMFY_API_KEY') }}\"`.",
        schema::text,
    ),
    Key::new(
        "dotenv",
        "`true`: variables of a file `.env` beside this one count as environment variables that are not set otherwise. Default: `false`.",
        || json!({ "type": "boolean" }),
    ),
    Key::new(
        "default_server",
        "The server for steps that name none. Default: `embedded`.",
        schema::text,
    ),
    Key::new(
        "output_dir",
        "Where results go, relative to this file. Default: `outputs`.",
        schema::text,
    ),
];

impl Project {
    /// The values that are secrets however they are written, each with the name that stands for it where it must not stand itself.
    pub fn secrets(&self) -> Vec<(String, &Node)> {
        let mut found = Vec::new();
        for (name, server) in &self.servers {
            let token = server.value.token.iter();
            found.extend(token.map(|node| (token_of(name), node)));
            if let ServerKind::Cloud { api_key, .. } = &server.value.kind {
                found.extend(api_key.iter().map(|node| (api_key_of(name), node)));
            }
            let headers = server.value.headers.iter();
            found.extend(headers.map(|(header, node)| (header_of(name, &header.value), node)));
        }
        let key = self.partner_api_key.iter();
        found.extend(key.map(|node| (partner_key(), node)));
        found
    }
}

/// What a server's token is called.
pub fn token_of(server: &str) -> String {
    secret::written(&format!("servers.{server}.token"))
}

/// What a server's key is called.
pub fn api_key_of(server: &str) -> String {
    secret::written(&format!("servers.{server}.api_key"))
}

/// What a header's value is called.
pub fn header_of(server: &str, header: &str) -> String {
    secret::written(&format!("servers.{server}.headers.{header}"))
}

/// What the key for partner nodes is called.
pub fn partner_key() -> String {
    secret::written("partner_api_key")
}

/// Reads a project from its file's tree. An empty file is a project with nothing in it.
pub(super) fn read(file: FileId, root: &Node, reading: &mut Reading<'_>) -> Option<Project> {
    let mut project = Project {
        file,
        servers: IndexMap::new(),
        broken_servers: Vec::new(),
        default_server: None,
        output_dir: None,
        partner_api_key: None,
        dotenv: false,
        plugins: IndexMap::new(),
        broken_plugins: Vec::new(),
        profiles: IndexMap::new(),
    };
    if root.is_null() {
        return Some(project);
    }
    let fields = reading.fields(root, "the project file", KEYS, true)?;
    if let Some(servers) = fields.get("servers") {
        for (name, node) in reading.map(servers, "`servers`").unwrap_or_default() {
            match server::read(name, node, reading) {
                Some(spec) => {
                    let spec = Spanned::new(spec, name.span);
                    project.servers.insert(name.value.clone(), spec);
                }
                None => project.broken_servers.push(name.value.clone()),
            }
        }
    }
    project.default_server = fields
        .get("default_server")
        .and_then(|n| reading.text(n, "`default_server`"));
    project.output_dir = fields
        .get("output_dir")
        .and_then(|n| reading.text(n, "`output_dir`"));
    project.partner_api_key = fields
        .get("partner_api_key")
        .and_then(|n| reading.text(n, "`partner_api_key`"));
    project.dotenv = fields
        .get("dotenv")
        .and_then(|n| reading.boolean(n, "`dotenv`"))
        .unwrap_or_default();
    if let Some(plugins) = fields.get("plugins") {
        for (name, node) in reading.map(plugins, "`plugins`").unwrap_or_default() {
            match plugin::read(name, node, reading) {
                Some(spec) => {
                    project.plugins.insert(name.value.clone(), spec);
                }
                None => project.broken_plugins.push(name.value.clone()),
            }
        }
    }
    if let Some(profiles) = fields.get("profiles") {
        for (name, node) in reading.map(profiles, "`profiles`").unwrap_or_default() {
            let profile = profile::read(name, node, reading);
            project.profiles.insert(name.value.clone(), profile);
        }
    }
    Some(project)
}

pub(super) fn schema() -> Value {
    schema::object(
        "A kiln project: servers, plugins, profiles and where results go.",
        KEYS,
        true,
    )
}
