//! A node class: its declaration and its work, side by side, so that neither is changed without the other.
//!
//! The declarations are facts about `ComfyUI` 0.33.0 (names, types, bounds, defaults, options); the two generations of declarations differ in
//! small ways that clients can see, so each input is written as that server gives it.

use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex};

use kiln_pixels::{Image, Mask};
use serde_json::{Map, Value as Json, json};

use super::super::cache::Made;
use super::super::files::{Folders, is_full};
use super::super::naming::Counters;
use super::super::simulate::Stand;
use super::{files, images, text};

/// What travels along a link, or stands in a widget.
#[derive(Clone, Debug)]
pub(crate) enum Value {
    /// `IMAGE`.
    Image(Arc<Image>),
    /// `MASK`.
    Mask(Arc<Mask>),
    /// `STRING`, `INT`, `FLOAT`, `BOOLEAN`, a choice.
    Plain(Json),
    /// In a rehearsal, whatever else there is.
    Stand(Arc<Stand>),
}

impl Value {
    /// Memory that it takes, in bytes.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Self::Image(image) => size_of_val(image.data()),
            Self::Mask(mask) => size_of_val(mask.data()),
            Self::Plain(Json::String(text)) => text.len(),
            Self::Plain(_) => 64,
            Self::Stand(stand) => stand.bytes(),
        }
    }

    /// How an error message shows it: pixels by their shape.
    pub(crate) fn describe(&self) -> Json {
        match self {
            Self::Image(_) | Self::Mask(_) | Self::Stand(_) => Json::String(text::tensor(self)),
            Self::Plain(value) => value.clone(),
        }
    }
}

impl From<Image> for Value {
    fn from(image: Image) -> Self {
        Self::Image(Arc::new(image))
    }
}

impl From<Mask> for Value {
    fn from(mask: Mask) -> Self {
        Self::Mask(Arc::new(mask))
    }
}

/// A node failed. Type and message go into `execution_error`.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub(crate) struct NodeError {
    /// The word for programs, in the manner of Python's exceptions.
    pub(crate) exception: &'static str,
    /// The words for people.
    pub(crate) message: String,
}

impl NodeError {
    /// An error of a kind.
    pub(crate) fn new(exception: &'static str, message: impl Into<String>) -> Self {
        Self {
            exception,
            message: message.into(),
        }
    }
}

impl NodeError {
    /// A result could not be written in a folder.
    pub(crate) fn unwritten(folder: &Path, name: &str, error: &io::Error) -> Self {
        let folder = folder.display();
        let message = if is_full(error) {
            format!("no space left on the disk: `{name}` cannot be written in {folder}")
        } else {
            format!("`{name}` cannot be written in {folder}: {error}")
        };
        Self::new("OSError", message)
    }
}

impl From<kiln_pixels::Error> for NodeError {
    fn from(error: kiln_pixels::Error) -> Self {
        let exception = match error {
            kiln_pixels::Error::Decode(_) | kiln_pixels::Error::NoFrames => {
                "PIL.UnidentifiedImageError"
            }
            kiln_pixels::Error::UnknownOption { .. } | kiln_pixels::Error::Parameter { .. } => {
                "ValueError"
            }
            _ => "RuntimeError",
        };
        Self::new(exception, error.to_string())
    }
}

/// What a node may reach beside its inputs.
#[derive(Debug)]
pub(crate) struct Context<'a> {
    /// Where files are.
    pub(crate) folders: &'a Folders,
    /// The names taken so far.
    pub(crate) counters: &'a Mutex<Counters>,
    /// The text chunks of saved pictures: `prompt` and the members of `extra_pnginfo`.
    pub(crate) chunks: &'a [(String, String)],
    /// Sets this server's previews apart from another's in the same folder.
    pub(crate) preview_tag: &'a str,
}

/// One call of a node.
#[derive(Debug)]
pub(crate) struct Call<'a> {
    /// Declared inputs by name; links are resolved.
    pub(crate) inputs: &'a [(&'a str, Value)],
    /// Everything else.
    pub(crate) context: &'a Context<'a>,
}

impl Call<'_> {
    /// An input.
    ///
    /// # Errors
    /// When it is absent, which only an input that the server's validation did not see can be.
    pub(crate) fn value(&self, name: &str) -> Result<&Value, NodeError> {
        self.optional(name)
            .ok_or_else(|| NodeError::new("TypeError", format!("the input `{name}` is missing")))
    }

    /// An input that may be absent.
    pub(crate) fn optional(&self, name: &str) -> Option<&Value> {
        self.inputs
            .iter()
            .find(|(input, _)| *input == name)
            .map(|(_, value)| value)
    }

    /// An `IMAGE`.
    pub(crate) fn image(&self, name: &str) -> Result<&Arc<Image>, NodeError> {
        match self.value(name)? {
            Value::Image(image) => Ok(image),
            _ => Err(wrong(name, "an IMAGE")),
        }
    }

    /// A `MASK`.
    pub(crate) fn mask(&self, name: &str) -> Result<&Arc<Mask>, NodeError> {
        match self.value(name)? {
            Value::Mask(mask) => Ok(mask),
            _ => Err(wrong(name, "a MASK")),
        }
    }

    /// An `INT` that is a size, a position or a count.
    pub(crate) fn size(&self, name: &str) -> Result<usize, NodeError> {
        match self.value(name)? {
            Value::Plain(value) => value
                .as_u64()
                .and_then(|value| usize::try_from(value).ok())
                .ok_or_else(|| wrong(name, "an INT")),
            _ => Err(wrong(name, "an INT")),
        }
    }

    /// A `FLOAT`.
    pub(crate) fn float(&self, name: &str) -> Result<f64, NodeError> {
        match self.value(name)? {
            Value::Plain(value) => value.as_f64().ok_or_else(|| wrong(name, "a FLOAT")),
            _ => Err(wrong(name, "a FLOAT")),
        }
    }

    /// A `BOOLEAN`.
    pub(crate) fn flag(&self, name: &str) -> Result<bool, NodeError> {
        match self.value(name)? {
            Value::Plain(value) => value.as_bool().ok_or_else(|| wrong(name, "a BOOLEAN")),
            _ => Err(wrong(name, "a BOOLEAN")),
        }
    }

    /// A `STRING` or a choice.
    pub(crate) fn text(&self, name: &str) -> Result<&str, NodeError> {
        match self.value(name)? {
            Value::Plain(value) => value.as_str().ok_or_else(|| wrong(name, "a STRING")),
            _ => Err(wrong(name, "a STRING")),
        }
    }
}

fn wrong(name: &str, expected: &str) -> NodeError {
    NodeError::new("TypeError", format!("the input `{name}` is not {expected}"))
}

/// Which of `ComfyUI`'s two ways of declaring nodes a class is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Style {
    /// The older: bare types and lists as choices.
    First,
    /// The newer: every input has options, choices are `COMBO`.
    Third,
}

/// A node class.
#[derive(Debug)]
pub(crate) struct Class {
    /// `class_type`.
    pub(crate) name: &'static str,
    /// For people.
    pub(crate) display_name: &'static str,
    /// The menu that editors put it in.
    pub(crate) category: &'static str,
    /// Where `ComfyUI` keeps it.
    pub(crate) module: &'static str,
    /// How it is declared.
    pub(crate) style: Style,
    /// Whether it ends a graph.
    pub(crate) output_node: bool,
    /// `{"required": …, "optional": …, "hidden": …}`.
    pub(crate) inputs: fn() -> Json,
    /// Type and name of each output.
    pub(crate) outputs: &'static [(&'static str, &'static str)],
    /// The input that names a file whose content counts.
    pub(crate) reads: Option<&'static str>,
    /// The work.
    pub(crate) run: fn(&Call<'_>) -> Result<Made, NodeError>,
}

/// What most classes share, for the others to differ from: a core node that makes one picture.
pub(super) const CORE: Class = Class {
    name: "",
    display_name: "",
    category: "",
    module: "nodes",
    style: Style::First,
    output_node: false,
    inputs: || json!({}),
    outputs: &[("IMAGE", "IMAGE")],
    reads: None,
    run: |_| Ok(Made::of([])),
};

impl Class {
    /// Its entry in `/object_info`; `pictures` are the names that a `reads` input offers.
    pub(crate) fn info(&self, pictures: &[String]) -> Json {
        let mut input = (self.inputs)();
        if let Some(reads) = self.reads {
            input["required"][reads][0] = json!(pictures);
        }
        let order: Map<String, Json> = input
            .as_object()
            .into_iter()
            .flatten()
            .map(|(section, inputs)| {
                let names: Vec<&String> =
                    inputs.as_object().into_iter().flat_map(Map::keys).collect();
                (section.clone(), json!(names))
            })
            .collect();
        let (types, names): (Vec<_>, Vec<_>) = self.outputs.iter().copied().unzip();
        let mut info = json!({
            "input": input,
            "input_order": order,
            "is_input_list": false,
            "output": types,
            "output_is_list": vec![false; types.len()],
            "output_name": names,
            "name": self.name,
            "display_name": self.display_name,
            "description": "",
            "python_module": self.module,
            "category": self.category,
            "output_node": self.output_node,
            "has_intermediate_output": false,
            "search_aliases": [],
        });
        if self.style == Style::Third {
            for flag in ["deprecated", "experimental", "dev_only", "api_node"] {
                info[flag] = json!(false);
            }
            info["output_tooltips"] = json!(vec![Json::Null; types.len()]);
            info["output_matchtypes"] = Json::Null;
            info["price_badge"] = Json::Null;
        }
        info
    }
}

/// A class that only tests can name: it breaks the rule that nodes do not panic.
#[cfg(test)]
static PANICS: Class = Class {
    name: "Panics",
    output_node: true,
    outputs: &[],
    run: |_| panic!("on purpose"),
    ..CORE
};

/// All classes.
pub(crate) fn classes() -> impl Iterator<Item = &'static Class> {
    files::CLASSES
        .iter()
        .chain(images::CLASSES)
        .chain(text::CLASSES)
}

/// A class by its name.
pub(crate) fn class(name: &str) -> Option<&'static Class> {
    #[cfg(test)]
    if name == PANICS.name {
        return Some(&PANICS);
    }
    classes().find(|class| class.name == name)
}
