//! Names of files as the editor fills them in: `%KSampler.seed%` becomes what that field holds, and a date what a server knows under other
//! names.

use std::collections::HashMap;

use serde_json::Value;

use super::convert::Converter;
use super::document::UiNode;
use super::resolve::Source;

/// Classes for whose `filename_prefix` the editor does so.
const SAVING: [&str; 11] = [
    "SaveImage",
    "SaveAnimatedPNG",
    "SaveAnimatedWEBP",
    "SaveWEBM",
    "SaveAudio",
    "SaveGLB",
    "SaveLatent",
    "CLIPSave",
    "VAESave",
    "ModelSave",
    "LoraSave",
];

/// What servers fill in themselves.
const SERVERS: [&str; 8] = [
    "width", "height", "year", "month", "day", "hour", "minute", "second",
];

/// Nodes by a name, each with its frame.
pub(super) type Names<'a> = HashMap<&'a str, (usize, &'a UiNode<'a>)>;

/// Whether the editor fills in names inside a field.
pub(super) fn is_filled(class: &str, field: &str) -> bool {
    field == "filename_prefix" && SAVING.contains(&class)
}

impl<'a> Converter<'a> {
    /// A text with its names filled in, and those that stay as they are.
    pub(super) fn filled(&self, text: &str) -> (String, Vec<String>) {
        let (mut out, mut left) = (String::new(), Vec::new());
        let mut rest = text;
        while let Some(open) = rest.find('%') {
            let after = &rest[open + 1..];
            let Some(close) = after.find('%').filter(|close| *close > 0) else {
                out.push_str(&rest[..=open]);
                rest = after;
                continue;
            };
            let name = &after[..close];
            out.push_str(&rest[..open]);
            if let Some(value) = self.named(name) {
                out.push_str(&value);
            } else {
                if !SERVERS.contains(&name) {
                    left.push(name.to_owned());
                }
                out.push('%');
                out.push_str(name);
                out.push('%');
            }
            rest = &after[close + 1..];
        }
        out.push_str(rest);
        (out, left)
    }

    /// What stands for a name: the value of a node's field, or the parts of a date.
    fn named(&self, name: &str) -> Option<String> {
        let mut parts = name.split('.');
        let (Some(node), Some(field), None) = (parts.next(), parts.next(), parts.next()) else {
            return date(name.strip_prefix("date:")?);
        };
        let (frame, node) = *self.nodes_by_name().get(node)?;
        let mut sockets = node.inputs.iter();
        let socket = sockets.find(|input| input.name == field && input.link.is_some());
        let linked = socket.and_then(|input| match self.source(frame, input) {
            Source::Typed(value, _) => Some(value),
            _ => None,
        });
        let value = match linked {
            Some(value) => value,
            None => self.field(frame, node, field)?.0,
        };
        let text = match value {
            Value::String(text) => text,
            Value::Null => String::new(),
            other => other.to_string(),
        };
        let unsafe_in_names = |c: char| "/?<>\\:*|\"".contains(c) || c.is_ascii_control();
        Some(text.replace(unsafe_in_names, "_"))
    }

    /// Nodes by the name that packs search for, else by their titles; the first of each.
    fn nodes_by_name(&self) -> std::rc::Rc<Names<'a>> {
        if let Some(known) = &self.memory.borrow().by_name {
            return std::rc::Rc::clone(known);
        }
        let (mut named, mut titled) = (Names::new(), Names::new());
        for (at, frame) in self.frames.iter().enumerate() {
            for node in frame.sheet.nodes.values() {
                let properties = node.properties;
                let name = properties.and_then(|all| all.get("Node name for S&R")?.as_str());
                if let Some(name) = name {
                    named.entry(name).or_insert((at, node));
                }
                let shown = self.def(node).and_then(|def| def.display_name.as_deref());
                let title = node.title.or(shown).unwrap_or(node.class);
                titled.entry(title).or_insert((at, node));
            }
        }
        for (title, node) in titled {
            named.entry(title).or_insert(node);
        }
        let named = std::rc::Rc::new(named);
        self.memory.borrow_mut().by_name = Some(std::rc::Rc::clone(&named));
        named
    }
}

/// A date in the server's own words, so that it is that of the run; `None` where it has none for a part.
fn date(form: &str) -> Option<String> {
    const PARTS: [(&str, &str); 7] = [
        ("yyyy", "%year%"),
        ("MM", "%month%"),
        ("dd", "%day%"),
        ("hh", "%hour%"),
        ("HH", "%hour%"),
        ("mm", "%minute%"),
        ("ss", "%second%"),
    ];
    let mut out = String::new();
    let mut rest = form;
    while let Some(first) = rest.chars().next() {
        if !"yMdhHms".contains(first) {
            out.push(first);
            rest = &rest[first.len_utf8()..];
            continue;
        }
        let length = rest.find(|c| c != first).unwrap_or(rest.len());
        let part = &rest[..length];
        let (_, word) = PARTS.iter().find(|(name, _)| *name == part)?;
        out.push_str(word);
        rest = &rest[length..];
    }
    (!form.is_empty()).then_some(out)
}
