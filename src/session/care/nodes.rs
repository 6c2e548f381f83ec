//! The node classes of a server.

use serde::Serialize;
use serde_json::{Number, Value};

use super::reach::{Complaint, Open};
use crate::catalog::{Catalog, InputDef, InputType, NodeDef, OutputType, Section};
use crate::diagnostic::did_you_mean;

/// A class in a list.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct NodeRow {
    /// The class.
    pub class: String,
    /// What the editor calls it.
    pub title: Option<String>,
    /// The menu it stands in.
    pub category: Option<String>,
    /// Where it comes from: `nodes`, `comfy_extras.…`, `custom_nodes.…`.
    pub module: Option<String>,
    /// The types of its outputs.
    pub outputs: Vec<String>,
    /// Jobs are run for the sake of such nodes.
    pub output_node: bool,
    /// It costs credits.
    pub partner: bool,
    /// Another class is to be used.
    pub deprecated: bool,
}

/// A class with all that it takes and gives.
#[expect(
    clippy::struct_excessive_bools,
    reason = "each says something of its own"
)]
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct NodeDetail {
    /// The class.
    pub class: String,
    /// What the editor calls it.
    pub title: Option<String>,
    /// The menu it stands in.
    pub category: Option<String>,
    /// Where it comes from.
    pub module: Option<String>,
    /// Jobs are run for the sake of such nodes.
    pub output_node: bool,
    /// It costs credits.
    pub partner: bool,
    /// Another class is to be used.
    pub deprecated: bool,
    /// May change.
    pub experimental: bool,
    /// What it takes; inputs that a choice brings stand under their dotted names.
    pub inputs: Vec<InputRow>,
    /// What it gives.
    pub outputs: Vec<OutputRow>,
}

/// An input.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct InputRow {
    /// Its name, dotted inside a dynamic one.
    pub name: String,
    /// Its type.
    #[serde(rename = "type")]
    pub kind: String,
    /// Whether a node needs it.
    pub required: bool,
    /// What the editor puts in.
    pub default: Option<Value>,
    /// Smallest value.
    pub min: Option<Number>,
    /// Biggest value.
    pub max: Option<Number>,
    /// The editor's step.
    pub step: Option<Number>,
    /// What may be chosen.
    pub options: Option<Vec<Value>>,
    /// The choice of another input that brings this one.
    pub only_with: Option<Value>,
    /// Of a group that grows: how many there must be, and how many there may be.
    pub count: Option<(usize, usize)>,
}

/// An output.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct OutputRow {
    /// Its name.
    pub name: String,
    /// Its type.
    #[serde(rename = "type")]
    pub kind: String,
    /// It gives a list.
    pub list: bool,
}

/// The classes whose name, title or menu holds `pattern`, whatever its case; `*` in it stands for anything. All without one.
///
/// # Errors
/// When the server cannot be asked.
pub async fn nodes(open: &Open, pattern: Option<&str>) -> Result<Vec<NodeRow>, Box<Complaint>> {
    let catalog = whole(open).await?;
    let matches = pattern.map(Matcher::new);
    let found = catalog.nodes().filter(|node| {
        matches.as_ref().is_none_or(|pattern| {
            let title = node.display_name.as_deref().unwrap_or_default();
            let category = node.category.as_deref().unwrap_or_default();
            [&*node.name, title, category]
                .iter()
                .any(|text| pattern.is_in(text))
        })
    });
    let mut rows: Vec<NodeRow> = found.map(row).collect();
    rows.sort_by(|a, b| a.class.cmp(&b.class));
    Ok(rows)
}

/// One class by its exact name; `None` when there is none.
///
/// # Errors
/// When the server cannot be asked.
pub async fn node(open: &Open, class: &str) -> Result<Option<NodeDetail>, Box<Complaint>> {
    if class.is_empty() || class.contains(['*', '/']) {
        return Ok(None);
    }
    let catalog = open.first().catalog(&[class]).await;
    let catalog = catalog.map_err(|error| open.wrong(&error))?;
    Ok(catalog.node(class).map(detail))
}

/// What to say of a pattern that nothing matches.
///
/// # Errors
/// When the server cannot be asked.
pub(super) async fn whole(open: &Open) -> Result<std::sync::Arc<Catalog>, Box<Complaint>> {
    let catalog = open.first().whole_catalog().await;
    catalog.map_err(|error| open.wrong(&error))
}

impl Open {
    /// What is wrong when no class matches a pattern, with the class that may have been meant.
    ///
    /// # Errors
    /// Always; when the server cannot be asked, that.
    pub async fn no_node(&self, pattern: &str) -> Box<Complaint> {
        let catalog = match whole(self).await {
            Ok(catalog) => catalog,
            Err(complaint) => return complaint,
        };
        let message = format!("`{}` has no node class like `{pattern}`", self.name);
        match did_you_mean(pattern, catalog.classes()) {
            Some(near) => Complaint::typed(message, format!("did you mean `{near}`?")),
            None => Complaint::typed(
                message,
                "is its node pack installed? `kiln server install node URL` asks ComfyUI-Manager for it",
            ),
        }
    }
}

/// A text to look for, `*` in it for anything.
struct Matcher(Vec<String>);

impl Matcher {
    fn new(pattern: &str) -> Self {
        Self(
            pattern
                .to_lowercase()
                .split('*')
                .map(str::to_owned)
                .collect(),
        )
    }

    fn is_in(&self, text: &str) -> bool {
        let text = text.to_lowercase();
        let mut rest = text.as_str();
        self.0.iter().all(|part| match rest.find(part.as_str()) {
            Some(at) => {
                rest = &rest[at + part.len()..];
                true
            }
            None => false,
        })
    }
}

fn row(node: &NodeDef) -> NodeRow {
    NodeRow {
        class: node.name.clone(),
        title: node.display_name.clone(),
        category: node.category.clone(),
        module: node.python_module.clone(),
        outputs: node.outputs.iter().map(|out| type_of(&out.ty)).collect(),
        output_node: node.output_node,
        partner: node.api_node,
        deprecated: node.deprecated,
    }
}

fn detail(node: &NodeDef) -> NodeDetail {
    let mut inputs = Vec::new();
    for input in &node.inputs {
        add(input, "", None, &mut inputs);
    }
    NodeDetail {
        class: node.name.clone(),
        title: node.display_name.clone(),
        category: node.category.clone(),
        module: node.python_module.clone(),
        output_node: node.output_node,
        partner: node.api_node,
        deprecated: node.deprecated,
        experimental: node.experimental,
        inputs,
        outputs: node
            .outputs
            .iter()
            .map(|out| OutputRow {
                name: out.name.clone(),
                kind: type_of(&out.ty),
                list: out.is_list,
            })
            .collect(),
    }
}

fn type_of(ty: &OutputType) -> String {
    match ty {
        OutputType::Named(name) => name.clone(),
        OutputType::List(_) => "COMBO".to_owned(),
    }
}

/// Adds an input and those that it brings.
fn add(input: &InputDef, prefix: &str, only_with: Option<&Value>, rows: &mut Vec<InputRow>) {
    let name = if prefix.is_empty() {
        input.name.clone()
    } else {
        format!("{prefix}.{}", input.name)
    };
    let own = InputRow {
        kind: input.type_name().to_owned(),
        required: input.section == Section::Required,
        default: input.default.clone(),
        min: input.bounds.min.clone(),
        max: input.bounds.max.clone(),
        step: input.bounds.step.clone(),
        only_with: only_with.cloned(),
        name: name.clone(),
        ..InputRow::default()
    };
    match &input.ty {
        InputType::Combo(combo) => rows.push(InputRow {
            options: (!combo.remote).then(|| combo.options.clone()),
            ..own
        }),
        InputType::DynamicCombo(options) => {
            rows.push(InputRow {
                kind: "COMBO".to_owned(),
                options: Some(options.iter().map(|option| option.key.clone()).collect()),
                ..own
            });
            for option in options {
                for input in &option.inputs {
                    add(input, &name, Some(&option.key), rows);
                }
            }
        }
        InputType::DynamicSlot { slot, inputs } => {
            rows.push(InputRow {
                kind: slot.type_name().to_owned(),
                ..own
            });
            for input in inputs {
                add(input, &name, None, rows);
            }
        }
        InputType::Autogrow(grow) => {
            let names: Vec<String> = grow.names.all().collect();
            rows.push(InputRow {
                kind: grow.template.type_name().to_owned(),
                name: format!("{name}.{}…", names.first().map_or("", String::as_str)),
                count: Some((grow.min, names.len())),
                ..own
            });
        }
        InputType::MatchType { allowed, .. } => rows.push(InputRow {
            kind: allowed.clone(),
            ..own
        }),
        _ => rows.push(own),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_is_found_anywhere_whatever_its_case() {
        let is_in = |pattern: &str, text: &str| Matcher::new(pattern).is_in(text);
        assert!(is_in("sampler", "KSamplerAdvanced"));
        assert!(is_in("load*image", "LoadImageMask"));
        assert!(!is_in("image*load", "LoadImage"));
        assert!(is_in("", "anything") && is_in("*", "anything"));
    }
}
