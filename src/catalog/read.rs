//! Reading `object_info`.

use std::collections::BTreeMap;
use std::sync::Arc;

use indexmap::IndexMap;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::replace::Replacements;
use super::types::{
    Autogrow, AutogrowNames, Bounds, Catalog, Combo, DynamicOption, Field, InputDef, InputType,
    NodeDef, OutputDef, OutputType, Section, Slot,
};
use crate::protocol;

/// Dynamic inputs nest; deeper than this is a mistake.
const DEEPEST: usize = 16;
/// A growing group with more inputs than this is a mistake.
const MOST_GROWN: u64 = 10_000;

/// Why a text is no catalog at all.
#[derive(Debug, thiserror::Error)]
pub enum CatalogError {
    /// It is not JSON.
    #[error("the node list is not valid JSON: {0}")]
    NotJson(#[from] serde_json::Error),
    /// It is JSON, but no object of node classes.
    #[error("the node list holds no node classes")]
    NoClasses,
}

impl Catalog {
    /// The catalog of a parsed `object_info`, with a warning for each node that cannot be used.
    pub fn from_object_info(value: &Value) -> (Self, Vec<String>) {
        let Value::Object(classes) = value else {
            return (
                Self::default(),
                vec!["the node list is not an object".to_owned()],
            );
        };
        let nodes = classes.iter().map(|(class, definition)| {
            let slot = Slot::read(node(class, definition).map(Arc::new));
            (class.clone(), slot)
        });
        let mut catalog = Self {
            nodes: nodes.collect(),
            models: IndexMap::new(),
            replacements: None,
        };
        let warnings = catalog.without_broken();
        (catalog, warnings)
    }

    /// The catalog of an `object_info` text, every definition read at once.
    ///
    /// # Errors
    /// When the text is not an object of classes.
    pub fn from_json(text: &str) -> Result<(Self, Vec<String>), CatalogError> {
        let mut catalog = Self::open(text)?;
        for class in catalog.nodes.keys() {
            catalog.node(class);
        }
        let warnings = catalog.without_broken();
        if catalog.is_empty() && !warnings.is_empty() {
            return Err(CatalogError::NoClasses);
        }
        Ok((catalog, warnings))
    }

    /// The catalog of an `object_info` text, or of what `kiln server catalog` saved, whose definitions are read when they are asked
    /// for: a check needs a few of a thousand. `NaN` and `Infinity` count as `null`, since servers write them.
    ///
    /// # Errors
    /// When the text is not an object of classes.
    pub fn open(text: &str) -> Result<Self, CatalogError> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let mut members: IndexMap<String, Box<RawValue>> = protocol::read(text)?;
        let mut models = IndexMap::new();
        let mut replacements = None;
        let saved = |raw: &RawValue| raw.get().parse::<u64>().is_ok();
        if members.get("kiln_catalog").is_some_and(|raw| saved(raw)) {
            if let Some(listed) = members.get("models") {
                models = serde_json::from_str(listed.get()).unwrap_or_default();
            }
            if let Some(told) = members.get("node_replacements") {
                let told: Option<Value> = serde_json::from_str(told.get()).ok();
                replacements = told
                    .filter(Value::is_object)
                    .map(|t| Replacements::read(&t));
            }
            let Some(info) = members.swap_remove("object_info") else {
                return Err(CatalogError::NoClasses);
            };
            members = serde_json::from_str(info.get())?;
        }
        let is_map = |raw: &RawValue| raw.get().starts_with('{');
        if !members.is_empty() && !members.values().any(|raw| is_map(raw)) {
            return Err(CatalogError::NoClasses);
        }
        let nodes = members.into_iter();
        Ok(Self {
            nodes: nodes
                .map(|(class, raw)| (class, Slot::unread(raw)))
                .collect(),
            models,
            replacements,
        })
    }

    /// Takes out the definitions that could not be read; a sentence for each.
    fn without_broken(&mut self) -> Vec<String> {
        let broken = self.broken();
        self.nodes.retain(|_, slot| slot.broken().is_none());
        broken
    }
}

/// The definition of a class from its JSON text.
pub(super) fn parse(class: &str, raw: &str) -> Result<Arc<NodeDef>, String> {
    let definition: Value = serde_json::from_str(raw).map_err(|error| error.to_string())?;
    node(class, &definition).map(Arc::new)
}

fn node(class: &str, definition: &Value) -> Result<NodeDef, String> {
    let Value::Object(members) = definition else {
        return Err("its definition is not an object".to_owned());
    };
    let text = |name: &str| members.get(name).and_then(Value::as_str).map(str::to_owned);
    let flag = |name: &str| members.get(name).and_then(Value::as_bool).unwrap_or(false);
    let empty = Map::new();
    let declared = match members.get("input") {
        None | Some(Value::Null) => &empty,
        Some(Value::Object(declared)) => declared,
        Some(_) => return Err("its `input` is not an object".to_owned()),
    };
    let hidden = match declared.get("hidden") {
        Some(Value::Object(hidden)) => hidden.keys().cloned().collect(),
        _ => Vec::new(),
    };
    Ok(NodeDef {
        name: class.to_owned(),
        display_name: text("display_name").filter(|name| !name.is_empty()),
        category: text("category"),
        python_module: text("python_module"),
        output_node: flag("output_node"),
        inputs: sections(declared, 0)?,
        outputs: outputs(members)?,
        hidden,
        v3: members.contains_key("dev_only") || members.contains_key("output_matchtypes"),
        deprecated: flag("deprecated"),
        dev_only: flag("dev_only"),
        experimental: flag("experimental"),
        api_node: flag("api_node"),
    })
}

/// Required, then optional inputs.
fn sections(declared: &Map<String, Value>, depth: usize) -> Result<Vec<InputDef>, String> {
    if depth > DEEPEST {
        return Err("its dynamic inputs nest too deep".to_owned());
    }
    let mut out = Vec::new();
    for (key, section) in [
        ("required", Section::Required),
        ("optional", Section::Optional),
    ] {
        match declared.get(key) {
            None | Some(Value::Null) => {}
            Some(Value::Object(inputs)) => {
                for (name, spec) in inputs {
                    out.push(
                        input(name, section, spec, depth)
                            .map_err(|reason| format!("input `{name}`: {reason}"))?,
                    );
                }
            }
            Some(_) => return Err(format!("its `{key}` inputs are not an object")),
        }
    }
    Ok(out)
}

fn input(name: &str, section: Section, spec: &Value, depth: usize) -> Result<InputDef, String> {
    let empty = Map::new();
    let (ty, options) = match spec {
        Value::Array(parts) => match parts.as_slice() {
            [] => return Err("its type is missing".to_owned()),
            [ty] => (ty, &empty),
            [ty, options, ..] => (ty, options.as_object().unwrap_or(&empty)),
        },
        // Some packs write only the type.
        Value::String(_) => (spec, &empty),
        _ => return Err("its type is neither a name nor a list".to_owned()),
    };
    let number = |name: &str| options.get(name).and_then(Value::as_number).cloned();
    let flag = |name: &str| options.get(name).and_then(Value::as_bool).unwrap_or(false);
    Ok(InputDef {
        name: name.to_owned(),
        section,
        ty: input_type(ty, options, depth)?,
        bounds: Bounds {
            min: number("min"),
            max: number("max"),
            step: number("step"),
        },
        default: options.get("default").cloned(),
        config: config(spec, ty),
        upload: [
            "image_upload",
            "audio_upload",
            "video_upload",
            "file_upload",
        ]
        .into_iter()
        .any(flag),
        widget: options.contains_key("widgetType") || flag("socketless"),
        raw_link: flag("rawLink"),
        multiline: flag("multiline"),
        field: field(options),
    })
}

fn field(options: &Map<String, Value>) -> Field {
    let flag = |name: &str| options.get(name).and_then(Value::as_bool);
    Field {
        connected: flag("forceInput") == Some(true) || flag("defaultInput") == Some(true),
        widget: options
            .get("widgetType")
            .and_then(Value::as_str)
            .map(Into::into),
        // A word such as `fixed` is what it starts with.
        control: match options.get("control_after_generate") {
            None | Some(Value::Null) => None,
            Some(Value::Bool(control)) => Some(*control),
            Some(Value::String(word)) => Some(!word.is_empty()),
            Some(_) => Some(true),
        },
        choices: flag("dynamicPrompts") == Some(true),
    }
}

/// The spec as an answer repeats it: always a type and an object.
fn config(spec: &Value, ty: &Value) -> Box<str> {
    match spec {
        Value::Array(parts) if parts.len() > 1 => spec.to_string().into(),
        _ => format!("[{ty},{{}}]").into(),
    }
}

fn input_type(ty: &Value, options: &Map<String, Value>, depth: usize) -> Result<InputType, String> {
    let flag = |name: &str| options.get(name).and_then(Value::as_bool).unwrap_or(false);
    let name = match ty {
        Value::Array(list) => {
            return Ok(InputType::Combo(Combo {
                options: list.clone(),
                multiselect: flag("multiselect"),
                remote: false,
                old_style: true,
            }));
        }
        Value::String(name) => name.as_str(),
        _ => return Err("its type is neither a name nor a list".to_owned()),
    };
    Ok(match name {
        "INT" => InputType::Int,
        "FLOAT" => InputType::Float,
        "STRING" => InputType::String,
        "BOOLEAN" => InputType::Boolean,
        "*" => InputType::Any,
        "COMBO" => InputType::Combo(Combo {
            options: match options.get("options") {
                Some(Value::Array(list)) => list.clone(),
                _ => Vec::new(),
            },
            multiselect: flag("multiselect"),
            remote: options.contains_key("remote"),
            old_style: false,
        }),
        "COMFY_AUTOGROW_V3" => InputType::Autogrow(Box::new(autogrow(options, depth)?)),
        "COMFY_DYNAMICCOMBO_V3" => InputType::DynamicCombo(dynamic_options(options, depth)?),
        "COMFY_DYNAMICSLOT_V3" => dynamic_slot(options, depth)?,
        "COMFY_MATCHTYPE_V3" => {
            let template = |name: &str| {
                options
                    .get("template")
                    .and_then(|template| template.get(name))
                    .and_then(Value::as_str)
            };
            InputType::MatchType {
                template_id: template("template_id").unwrap_or_default().to_owned(),
                allowed: template("allowed_types").unwrap_or("*").to_owned(),
            }
        }
        union if union.contains(',') => InputType::Union {
            types: union.split(',').map(|t| t.trim().to_owned()).collect(),
            text: union.to_owned(),
        },
        other => InputType::Named(other.to_owned()),
    })
}

fn autogrow(options: &Map<String, Value>, depth: usize) -> Result<Autogrow, String> {
    let Some(Value::Object(template)) = options.get("template") else {
        return Err("its `template` is missing".to_owned());
    };
    let Some(Value::Object(declared)) = template.get("input") else {
        return Err("its template has no `input`".to_owned());
    };
    let Some(grown) = sections(declared, depth + 1)?.into_iter().next() else {
        return Err("its template is empty".to_owned());
    };
    let count = |name: &str| template.get(name).and_then(Value::as_u64);
    let names = match template.get("names") {
        Some(Value::Array(names)) => AutogrowNames::List(
            names
                .iter()
                .filter_map(Value::as_str)
                .map(str::to_owned)
                .collect(),
        ),
        _ => AutogrowNames::Prefix {
            prefix: template
                .get("prefix")
                .and_then(Value::as_str)
                .unwrap_or_default()
                .to_owned(),
            max: usize::try_from(count("max").unwrap_or(100).min(MOST_GROWN)).unwrap_or(100),
        },
    };
    Ok(Autogrow {
        template: grown,
        names,
        min: usize::try_from(count("min").unwrap_or(1).min(MOST_GROWN)).unwrap_or(1),
    })
}

fn dynamic_options(
    options: &Map<String, Value>,
    depth: usize,
) -> Result<Vec<DynamicOption>, String> {
    let Some(Value::Array(list)) = options.get("options") else {
        return Err("its `options` are missing".to_owned());
    };
    list.iter()
        .map(|option| {
            let empty = Map::new();
            let declared = option
                .get("inputs")
                .and_then(Value::as_object)
                .unwrap_or(&empty);
            Ok(DynamicOption {
                key: option.get("key").cloned().unwrap_or_default(),
                inputs: sections(declared, depth + 1)?,
            })
        })
        .collect()
}

fn dynamic_slot(options: &Map<String, Value>, depth: usize) -> Result<InputType, String> {
    let slot = match options.get("slot").or_else(|| options.get("slotType")) {
        Some(spec @ (Value::Array(_) | Value::String(_))) => {
            input("slot", Section::Optional, spec, depth + 1)?
        }
        _ => input("slot", Section::Optional, &Value::from("*"), depth + 1)?,
    };
    let inputs = match options.get("inputs") {
        Some(Value::Object(declared)) => sections(declared, depth + 1)?,
        _ => Vec::new(),
    };
    Ok(InputType::DynamicSlot {
        slot: Box::new(slot),
        inputs,
    })
}

fn outputs(members: &Map<String, Value>) -> Result<Vec<OutputDef>, String> {
    let list = |name: &str| members.get(name).and_then(Value::as_array);
    let types = match members.get("output") {
        None | Some(Value::Null) => return Ok(Vec::new()),
        Some(Value::Array(types)) => types,
        Some(_) => return Err("its `output` is not a list".to_owned()),
    };
    let matched: BTreeMap<usize, &str> = list("output_matchtypes")
        .map(|ids| {
            ids.iter()
                .enumerate()
                .filter_map(|(i, id)| Some((i, id.as_str()?)))
                .collect()
        })
        .unwrap_or_default();
    types
        .iter()
        .enumerate()
        .map(|(slot, ty)| {
            let ty = match ty {
                Value::String(name) => OutputType::Named(name.clone()),
                Value::Array(list) => OutputType::List(list.clone()),
                _ => return Err(format!("the type of output {slot} is not a name")),
            };
            let name = list("output_name")
                .and_then(|names| names.get(slot))
                .and_then(Value::as_str);
            let name = match (name, &ty) {
                (Some(name), _) => name.to_owned(),
                (None, OutputType::Named(ty)) => ty.clone(),
                (None, OutputType::List(_)) => "COMBO".to_owned(),
            };
            Ok(OutputDef {
                name,
                ty,
                is_list: list("output_is_list")
                    .and_then(|flags| flags.get(slot))
                    .and_then(Value::as_bool)
                    .unwrap_or(false),
                match_type: matched.get(&slot).map(|id| (*id).to_owned()),
            })
        })
        .collect()
}
