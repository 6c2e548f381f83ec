//! Node definitions as data.

use std::sync::{Arc, OnceLock};

use super::replace::{Replacement, Replacements};
use indexmap::IndexMap;
use serde_json::value::RawValue;
use serde_json::{Map, Number, Value};

/// Node definitions by class.
#[derive(Clone, Debug, Default)]
pub struct Catalog {
    pub(super) nodes: IndexMap<String, Slot>,
    /// Model files by folder, where they are known.
    pub(super) models: IndexMap<String, Vec<String>>,
    /// Classes that stand in for others, where that is known.
    pub(super) replacements: Option<Replacements>,
}

/// What a server puts in the place of a class that it does not have.
#[derive(Clone, Copy, Debug)]
pub struct StandIn<'a> {
    /// What it puts there.
    pub by: &'a Replacement,
    /// Whether the server was asked; else it is what `ComfyUI` itself does since 0.24.
    pub certain: bool,
}

/// A definition, read when it is first asked for.
#[derive(Clone, Debug)]
pub(super) struct Slot {
    raw: Option<Arc<str>>,
    def: OnceLock<Result<Arc<NodeDef>, String>>,
}

impl Slot {
    pub(super) fn read(def: Result<Arc<NodeDef>, String>) -> Self {
        Self {
            raw: None,
            def: OnceLock::from(def),
        }
    }

    pub(super) fn unread(raw: Box<RawValue>) -> Self {
        Self {
            raw: Some(Box::<str>::from(raw).into()),
            def: OnceLock::new(),
        }
    }

    fn get(&self, class: &str) -> Option<&NodeDef> {
        let read = || match &self.raw {
            Some(raw) => super::read::parse(class, raw),
            None => Err("it was never told".to_owned()),
        };
        self.def.get_or_init(read).as_deref().ok()
    }

    /// Why the definition is of no use, if it was looked at.
    pub(super) fn broken(&self) -> Option<&str> {
        let read = self.def.get()?;
        read.as_ref().err().map(String::as_str)
    }
}

impl PartialEq for Catalog {
    fn eq(&self, other: &Self) -> bool {
        let same = |class: &String| self.node(class) == other.node(class);
        self.nodes.len() == other.nodes.len()
            && self.models == other.models
            && self
                .nodes
                .keys()
                .zip(other.nodes.keys())
                .all(|(a, b)| a == b)
            && self.nodes.keys().all(same)
    }
}

impl Catalog {
    /// The definition of a class.
    pub fn node(&self, class: &str) -> Option<&NodeDef> {
        self.nodes.get(class)?.get(class)
    }

    /// What takes the place of a class that the server does not have, where it has the new one.
    pub fn stand_in(&self, class: &str) -> Option<StandIn<'_>> {
        let certain = self.replacements.is_some();
        let known = self.replacements.as_ref();
        let by = known.unwrap_or_else(|| Replacements::usual()).of(class)?;
        let needed = self.node(class).is_none() && self.node(&by.new_node_id).is_some();
        needed.then_some(StandIn { by, certain })
    }

    /// The definition by which a node of a class is run: that of the class, else of what takes its place.
    pub fn node_or_stand_in(&self, class: &str) -> Option<&NodeDef> {
        self.node(class)
            .or_else(|| self.node(&self.stand_in(class)?.by.new_node_id))
    }

    /// What is known of classes that take the place of others; `None` where nobody asked.
    pub fn replacements(&self) -> Option<&Replacements> {
        self.replacements.as_ref()
    }

    /// The catalog of a server that puts these in the place of others.
    #[must_use]
    pub fn replacing(mut self, replacements: Replacements) -> Self {
        self.replacements = Some(replacements);
        self
    }

    /// All classes, in the server's order, but for those found to be of no use.
    pub fn classes(&self) -> impl Iterator<Item = &str> {
        let slots = self.nodes.iter();
        let usable = slots.filter(|(_, slot)| slot.broken().is_none());
        usable.map(|(class, _)| class.as_str())
    }

    /// All definitions, in the server's order.
    pub fn nodes(&self) -> impl Iterator<Item = &NodeDef> {
        let slots = self.nodes.iter();
        slots.filter_map(|(class, slot)| slot.get(class))
    }

    /// How many classes there are.
    pub fn len(&self) -> usize {
        self.classes().count()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.classes().next().is_none()
    }

    /// A sentence for each definition that was looked at and cannot be used: its class counts as missing.
    pub fn broken(&self) -> Vec<String> {
        let slots = self.nodes.iter();
        let broken = slots.filter_map(|(class, slot)| Some((class, slot.broken()?)));
        broken
            .map(|(class, reason)| format!("node `{class}` is left out: {reason}"))
            .collect()
    }

    /// Adds what only another catalog has: classes, and options of lists.
    pub fn widen(&mut self, other: &Self) {
        if let Some(theirs) = &other.replacements {
            let ours = self.replacements.get_or_insert_default();
            let own = std::mem::replace(ours, theirs.clone());
            ours.extend(own);
        }
        for (class, theirs) in &other.nodes {
            let Some(ours) = self.nodes.get_mut(class) else {
                self.nodes.insert(class.clone(), theirs.clone());
                continue;
            };
            let (Some(def), Some(theirs)) = (ours.get(class), theirs.get(class)) else {
                continue;
            };
            let mut wider = def.clone();
            for input in &mut wider.inputs {
                let same = theirs.inputs.iter().find(|i| i.name == input.name);
                if let (InputType::Combo(ours), Some(InputType::Combo(theirs))) =
                    (&mut input.ty, same.map(|input| &input.ty))
                {
                    let new = theirs.options.iter();
                    let new: Vec<Value> = new
                        .filter(|option| !ours.options.contains(option))
                        .cloned()
                        .collect();
                    ours.options.extend(new);
                }
            }
            if wider != *def {
                ours.def = OnceLock::from(Ok(Arc::new(wider)));
            }
        }
    }

    /// Takes over the definitions of another catalog; those of the other win.
    pub fn merge(&mut self, other: Self) {
        self.nodes.extend(other.nodes);
        self.models.extend(other.models);
        if let Some(theirs) = other.replacements {
            self.replacements.get_or_insert_default().extend(theirs);
        }
    }

    /// The folders that hold a model file of this name, whatever folder of their own it lies in.
    pub fn folders_with(&self, file: &str) -> Vec<&str> {
        let last = |name: &str| {
            let name = name.replace('\\', "/").to_lowercase();
            name.rsplit('/').next().unwrap_or_default().to_owned()
        };
        let wanted = last(file);
        let folders = self.models.iter();
        folders
            .filter(|(_, files)| files.iter().any(|name| last(name) == wanted))
            .map(|(folder, _)| folder.as_str())
            .collect()
    }

    /// The definitions as the server told them, as an `object_info` text; without those that were not read from a text.
    pub fn to_object_info(&self) -> String {
        let mut out = String::from("{");
        for (class, slot) in &self.nodes {
            if let Some(raw) = &slot.raw {
                if out.len() > 1 {
                    out.push(',');
                }
                out.push_str(&Value::from(class.as_str()).to_string());
                out.push(':');
                out.push_str(raw);
            }
        }
        out.push('}');
        out
    }
}

/// A node class.
#[derive(Clone, Debug, PartialEq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "they are the server's own independent flags"
)]
pub struct NodeDef {
    /// The class, as in `class_type`.
    pub name: String,
    /// What the editor shows.
    pub display_name: Option<String>,
    /// The menu it stands in, e.g. `image/upscaling`.
    pub category: Option<String>,
    /// Where it comes from: `nodes`, `comfy_extras.…`, `comfy_api_nodes.…`, `custom_nodes.Pack`.
    pub python_module: Option<String>,
    /// Jobs run for the sake of such nodes.
    pub output_node: bool,
    /// Required, then optional inputs, in the server's order.
    pub inputs: Vec<InputDef>,
    /// Outputs by slot.
    pub outputs: Vec<OutputDef>,
    /// Names of inputs that the server fills in itself.
    pub hidden: Vec<String>,
    /// Declared with the newer node interface.
    pub v3: bool,
    /// The pack wants people to use another class.
    pub deprecated: bool,
    /// May change.
    pub experimental: bool,
    /// For those who develop nodes.
    pub dev_only: bool,
    /// Costs credits.
    pub api_node: bool,
}

impl NodeDef {
    /// The input of this name, if it is declared under exactly this name (a dynamic input's own name, not its parts').
    pub fn input(&self, name: &str) -> Option<&InputDef> {
        self.inputs.iter().find(|input| input.name == name)
    }

    /// The inputs that a node with these values has: dynamic ones opened into their dotted parts.
    ///
    /// A dynamic choice whose value is none of its options declares nothing at all, not even itself: the server does not look at
    /// it before the node runs.
    pub fn open_inputs(&self, values: &Map<String, Value>) -> Vec<OpenInput<'_>> {
        let mut out = Vec::with_capacity(self.inputs.len());
        for input in &self.inputs {
            open(input, "", values, &mut out);
        }
        out
    }

    /// The definition behind an input's full (dotted) name in a node with these values.
    pub fn open_input(&self, name: &str, values: &Map<String, Value>) -> Option<OpenInput<'_>> {
        self.open_inputs(values)
            .into_iter()
            .find(|open| open.name == name)
    }
}

/// One input of a particular node: a plain input, or a part of a dynamic one under its dotted name.
#[derive(Clone, Debug)]
pub struct OpenInput<'a> {
    /// The full name, e.g. `resize_type.multiplier`.
    pub name: String,
    /// Whether the node cannot run without it.
    pub section: Section,
    /// What it takes.
    pub def: &'a InputDef,
}

fn open<'a>(
    def: &'a InputDef,
    prefix: &str,
    values: &Map<String, Value>,
    out: &mut Vec<OpenInput<'a>>,
) {
    let name = join(prefix, &def.name);
    let section = def.section;
    match &def.ty {
        InputType::DynamicCombo(options) => {
            let Some(value) = values.get(&name) else {
                return;
            };
            if let Some(option) = options.iter().find(|o| o.key == *value) {
                for input in &option.inputs {
                    open(input, &name, values, out);
                }
                out.push(OpenInput { name, section, def });
            }
        }
        InputType::DynamicSlot { slot, inputs } => {
            if !values.contains_key(&name) {
                return;
            }
            for input in inputs {
                open(input, &name, values, out);
            }
            out.push(OpenInput {
                name,
                section,
                def: slot,
            });
        }
        InputType::Autogrow(grow) => {
            for (index, part) in grow.names.all().enumerate() {
                let section = if index < grow.min && grow.template.section == Section::Required {
                    Section::Required
                } else {
                    Section::Optional
                };
                out.push(OpenInput {
                    name: join(&name, &part),
                    section,
                    def: &grow.template,
                });
            }
        }
        _ => out.push(OpenInput { name, section, def }),
    }
}

fn join(prefix: &str, name: &str) -> String {
    if prefix.is_empty() {
        name.to_owned()
    } else {
        format!("{prefix}.{name}")
    }
}

/// Whether a node can run without an input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Section {
    /// It cannot.
    Required,
    /// It can.
    Optional,
}

/// An input.
#[derive(Clone, Debug, PartialEq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "they are the server's own independent flags"
)]
pub struct InputDef {
    /// Its name; without the dotted path of the dynamic input it may be part of.
    pub name: String,
    /// Required or optional.
    pub section: Section,
    /// What it takes.
    pub ty: InputType,
    /// The bounds that the server holds values to, whatever the type.
    pub bounds: Bounds,
    /// What the editor puts in; the server itself never applies it to a required input.
    pub default: Option<Value>,
    /// What the server says about it: `[type, options]` as JSON text, for answers in its own words.
    pub config: Box<str>,
    /// Options that only the editor looks at and that tell what the value means: a file to upload, a text with several lines.
    pub upload: bool,
    /// The editor makes its value, whatever the type: nothing is linked to it.
    pub widget: bool,
    /// The node is given the link itself instead of a value.
    pub raw_link: bool,
    /// A text with several lines.
    pub multiline: bool,
    /// What only the editor looks at: whether and how it shows a field for the input.
    pub field: Field,
}

/// What the editor makes of an input: such things decide what a file that it saved means.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Field {
    /// The input is always connected, never filled in.
    pub connected: bool,
    /// The field is that of another type.
    pub widget: Option<Box<str>>,
    /// Whether a field beside it says how the value changes after each run; `None`: the name decides.
    pub control: Option<bool>,
    /// Choices `{a|b}` inside the text are drawn before it is sent.
    pub choices: bool,
}

impl InputDef {
    /// The declared type as the server names it; `COMBO` for every combo.
    pub fn type_name(&self) -> &str {
        match &self.ty {
            InputType::Int => "INT",
            InputType::Float => "FLOAT",
            InputType::String => "STRING",
            InputType::Boolean => "BOOLEAN",
            InputType::Combo(_) => "COMBO",
            InputType::Named(name) => name,
            InputType::Union { text, .. } => text,
            InputType::Any => "*",
            InputType::Autogrow(_) => "COMFY_AUTOGROW_V3",
            InputType::DynamicCombo(_) => "COMFY_DYNAMICCOMBO_V3",
            InputType::DynamicSlot { .. } => "COMFY_DYNAMICSLOT_V3",
            InputType::MatchType { .. } => "COMFY_MATCHTYPE_V3",
        }
    }
}

/// What values must lie between.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Bounds {
    /// Smallest value.
    pub min: Option<Number>,
    /// Biggest value; up to 2^64 − 1 for seeds.
    pub max: Option<Number>,
    /// The editor's step; the server ignores it.
    pub step: Option<Number>,
}

/// What an input takes.
#[derive(Clone, Debug, PartialEq)]
pub enum InputType {
    /// A whole number.
    Int,
    /// A number.
    Float,
    /// A text.
    String,
    /// True or false.
    Boolean,
    /// One of a list (or several of it).
    Combo(Combo),
    /// A link from an output of this type (or an editor's own value: `COLOR`, `CURVE`, …).
    Named(String),
    /// A link from an output of any of these types.
    Union {
        /// The types.
        types: Vec<String>,
        /// As the server writes them: `FLOAT,INT`.
        text: String,
    },
    /// Anything.
    Any,
    /// As many inputs of one kind as are given.
    Autogrow(Box<Autogrow>),
    /// A choice that brings inputs of its own.
    DynamicCombo(Vec<DynamicOption>),
    /// A link that brings inputs of its own.
    DynamicSlot {
        /// The link.
        slot: Box<InputDef>,
        /// The inputs it brings.
        inputs: Vec<InputDef>,
    },
    /// A link of any of some types, which all inputs and outputs with the same id share.
    MatchType {
        /// The id.
        template_id: String,
        /// The types, `IMAGE,MASK` or `*`.
        allowed: String,
    },
}

/// A choice.
#[derive(Clone, Debug, PartialEq)]
pub struct Combo {
    /// What may be chosen; empty where the server does not tell (remote lists).
    pub options: Vec<Value>,
    /// Several may be chosen.
    pub multiselect: bool,
    /// The list comes from elsewhere, when the editor asks for it.
    pub remote: bool,
    /// The list itself stands where others have the word `COMBO`.
    pub old_style: bool,
}

/// An option of a dynamic combo.
#[derive(Clone, Debug, PartialEq)]
pub struct DynamicOption {
    /// The value that chooses it.
    pub key: Value,
    /// What it brings.
    pub inputs: Vec<InputDef>,
}

/// A growing group of inputs.
#[derive(Clone, Debug, PartialEq)]
pub struct Autogrow {
    /// What each takes; its section tells whether the first ones are required at all.
    pub template: InputDef,
    /// How they are named.
    pub names: AutogrowNames,
    /// How many must be given.
    pub min: usize,
}

/// Names of a growing group's inputs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AutogrowNames {
    /// `image0`, `image1`, …
    Prefix {
        /// What stands before the number.
        prefix: String,
        /// How many there may be.
        max: usize,
    },
    /// Exactly these.
    List(Vec<String>),
}

impl AutogrowNames {
    /// The names in order.
    pub fn all(&self) -> Box<dyn Iterator<Item = String> + '_> {
        match self {
            Self::Prefix { prefix, max } => {
                Box::new((0..*max).map(move |i| format!("{prefix}{i}")))
            }
            Self::List(names) => Box::new(names.iter().cloned()),
        }
    }
}

/// An output.
#[derive(Clone, Debug, PartialEq)]
pub struct OutputDef {
    /// What the editor shows.
    pub name: String,
    /// What it gives.
    pub ty: OutputType,
    /// It gives a list, and what follows runs once for each item.
    pub is_list: bool,
    /// The id whose inputs decide its type.
    pub match_type: Option<String>,
}

/// What an output gives.
#[derive(Clone, Debug, PartialEq)]
pub enum OutputType {
    /// A type by name.
    Named(String),
    /// One of a list, as old nodes write it.
    List(Vec<Value>),
}
