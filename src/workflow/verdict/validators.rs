//! Checks that node classes bring along themselves. `object_info` does not tell of them, so what is known about `ComfyUI`'s own
//! classes stands here as a table. An input named in such a check is exempt from the server's own bounds and list checks.

use serde_json::{Map, Value};

use super::python;
use super::types::{FileOracle, NodeError};
use super::values::Exception;
use crate::catalog::{InputType, NodeDef};

/// A class's own check.
#[derive(Debug)]
pub(super) struct Validator {
    class: &'static str,
    /// Inputs it takes; a literal must be given for each of them.
    inputs: &'static [&'static str],
    /// It is handed every input, which exempts them all.
    takes_all: bool,
    rule: Rule,
}

#[derive(Debug)]
enum Rule {
    /// Says yes to everything.
    Always,
    /// The one input is a ratio such as `16:9`, from 1:4 to 4:1.
    AspectRatio,
    /// The one input names a file on the server; the word is what the server calls it.
    File {
        what: &'static str,
        /// Whether the input's options are all files of the input folder's top level.
        listed: bool,
    },
}

static VALIDATORS: &[Validator] = &[
    file("LoadImage", "image", "image"),
    file("LoadImageMask", "image", "image"),
    file("LoadImageOutput", "image", "image"),
    file("LoadLatent", "latent", "latent"),
    file("LoadAudio", "audio", "audio"),
    file("LoadVideo", "file", "video"),
    // Its options are what the editor recorded just now.
    Validator {
        class: "WebcamCapture",
        inputs: &["image"],
        takes_all: false,
        rule: Rule::File {
            what: "image",
            listed: false,
        },
    },
    Validator {
        class: "Load3D",
        inputs: &["model_file"],
        takes_all: true,
        rule: Rule::File {
            what: "3D model",
            listed: false,
        },
    },
    // Its options are the user's own, made in the editor.
    Validator {
        class: "CustomCombo",
        inputs: &[],
        takes_all: true,
        rule: Rule::Always,
    },
    Validator {
        class: "FluxProUltraImageNode",
        inputs: &["aspect_ratio"],
        takes_all: false,
        rule: Rule::AspectRatio,
    },
];

const fn file(class: &'static str, input: &'static str, what: &'static str) -> Validator {
    let inputs: &'static [&'static str] = match input.as_bytes() {
        b"image" => &["image"],
        b"latent" => &["latent"],
        b"audio" => &["audio"],
        _ => &["file"],
    };
    Validator {
        class,
        inputs,
        takes_all: false,
        rule: Rule::File { what, listed: true },
    }
}

/// Whether a class takes inputs that it does not declare.
pub fn takes_any_input(class: &str) -> bool {
    Validator::of(class).is_some_and(|validator| validator.takes_all)
}

/// Whether an input must hold a value that is written there, since the class's own check is handed it before anything runs.
pub fn must_be_written(class: &str, input: &str) -> bool {
    Validator::of(class).is_some_and(|validator| validator.inputs.contains(&input))
}

/// What a class's own check says.
#[derive(Debug, Default)]
pub(super) struct Checked {
    pub(super) errors: Vec<NodeError>,
    /// An input whose file may or may not exist.
    pub(super) assumed: Option<String>,
}

impl Validator {
    /// The check of a class, if it has one.
    pub(super) fn of(class: &str) -> Option<&'static Self> {
        VALIDATORS.iter().find(|v| v.class == class)
    }

    /// Whether an input is exempt from bounds and list checks.
    pub(super) fn exempts(&self, input: &str) -> bool {
        self.takes_all || self.inputs.contains(&input)
    }

    /// Runs the check on a node's coerced inputs.
    pub(super) fn run(
        &self,
        def: &NodeDef,
        inputs: &Map<String, Value>,
        files: &dyn FileOracle,
    ) -> Result<Checked, Exception> {
        for name in self.inputs {
            if inputs.get(*name).is_none_or(super::judge::is_link_shaped) {
                return Err(Exception {
                    kind: "TypeError",
                    text: format!(
                        "{}.{}() missing 1 required positional argument: '{name}'",
                        def.name,
                        if def.v3 {
                            "validate_inputs"
                        } else {
                            "VALIDATE_INPUTS"
                        },
                    ),
                });
            }
        }
        match &self.rule {
            Rule::Always => Ok(Checked::default()),
            Rule::AspectRatio => Ok(self.aspect_ratio(inputs)),
            Rule::File { what, listed } => self.file(def, inputs, files, what, *listed),
        }
    }

    fn aspect_ratio(&self, inputs: &Map<String, Value>) -> Checked {
        let name = self.inputs.first().copied().unwrap_or_default();
        let text = inputs.get(name).and_then(Value::as_str).unwrap_or_default();
        let parts: Option<Vec<f64>> = text
            .split(':')
            .map(|part| part.trim().parse().ok())
            .collect();
        let reason = match parts.as_deref() {
            Some([width, height]) if *width > 0.0 && *height > 0.0 => (!(0.25..=4.0)
                .contains(&(width / height)))
            .then(|| format!("Aspect ratio {text} must be between 1:4 and 4:1")),
            _ => Some(format!("Aspect ratio {text} must be of the form 16:9")),
        };
        Checked {
            errors: reason.iter().map(|reason| custom(name, reason)).collect(),
            assumed: None,
        }
    }

    fn file(
        &self,
        def: &NodeDef,
        inputs: &Map<String, Value>,
        files: &dyn FileOracle,
        what: &str,
        listed: bool,
    ) -> Result<Checked, Exception> {
        let name = self.inputs.first().copied().unwrap_or_default();
        let value = inputs.get(name).unwrap_or(&Value::Null);
        let Value::String(path) = value else {
            return Err(Exception {
                kind: "AttributeError",
                text: format!(
                    "'{}' object has no attribute 'endswith'",
                    python::type_name(value)
                ),
            });
        };
        let answer = files
            .exists(self.class, name, path)
            .or_else(|| known(def, name, path, listed));
        match answer {
            Some(true) => Ok(Checked::default()),
            None => Ok(Checked {
                assumed: Some(name.to_owned()),
                ..Checked::default()
            }),
            Some(false) => {
                let reason = format!("Invalid {what} file: {path}");
                let handed = def
                    .open_inputs(inputs)
                    .into_iter()
                    .filter(|open| {
                        self.inputs.contains(&open.name.as_str())
                            || self.takes_all
                                && inputs
                                    .get(&open.name)
                                    .is_some_and(|v| !super::judge::is_link_shaped(v))
                    })
                    .map(|open| custom(&open.name, &reason));
                Ok(Checked {
                    errors: handed.collect(),
                    assumed: None,
                })
            }
        }
    }
}

fn custom(input: &str, reason: &str) -> NodeError {
    NodeError::new(
        "custom_validation_failed",
        "Custom validation failed for node",
        format!("{input} - {reason}"),
        Some(input),
        Map::new(),
    )
}

/// Whether a file exists, as far as the catalog tells. What earlier jobs may have left in the output and temp folders does not
/// count, since nothing that is only there belongs to the workflow.
fn known(def: &NodeDef, input: &str, path: &str, listed: bool) -> Option<bool> {
    let folders = ["[input]", "[output]", "[temp]"];
    let (bare, folder) = folders
        .iter()
        .find_map(|f| path.strip_suffix(f).map(|bare| (bare.trim_end(), *f)))
        .unwrap_or((path, "[input]"));
    let options = match def.input(input).map(|i| &i.ty) {
        Some(InputType::Combo(combo)) => combo.options.as_slice(),
        _ => &[],
    };
    let is_option = |name: &str| options.iter().any(|o| o.as_str() == Some(name));
    if is_option(path) || folder == "[input]" && is_option(bare) {
        return Some(true);
    }
    if leaves_its_folder(bare) {
        return Some(false);
    }
    let in_list_if_anywhere = folder != "[input]" || !bare.contains(['/', '\\']);
    (listed && in_list_if_anywhere).then_some(false)
}

fn leaves_its_folder(path: &str) -> bool {
    let path = path.replace('\\', "/");
    let mut depth = 0_i32;
    path.starts_with('/')
        || path.as_bytes().get(1) == Some(&b':')
        || path.split('/').any(|part| {
            depth += match part {
                ".." => -1,
                "" | "." => 0,
                _ => 1,
            };
            depth < 0
        })
}
