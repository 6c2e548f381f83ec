//! What a node's fields hold: the saved values, given their names by the definition of the class.
//!
//! A file keeps the values of fields as a bare list, in the order in which the editor shows the fields. So the definition has to say
//! which inputs have a field at all, which fields come with others (a choice brings inputs of its own, a seed the word for what happens
//! to it after a run), and which are not sent.

use std::collections::HashSet;

use serde_json::Value;

use super::document::{Saved, UiNode};
use crate::catalog::{InputDef, InputType, NodeDef, Section};

/// What the field beside a seed or a choice says.
const CONTROL: [&str; 5] = [
    "fixed",
    "increment",
    "decrement",
    "randomize",
    "increment-wrap",
];

/// What buttons that pick files leave among the values.
const BUTTONS: [&str; 7] = [
    "image",
    "video",
    "audio",
    "upload",
    "upload3dmodel",
    "uploadExtraResources",
    "clear",
];

/// Types that no plain value is written for, but that the editor has a field of its own for.
const FIELDS: [&str; 32] = [
    "COLOR",
    "COLORS",
    "CURVE",
    "RANGE",
    "CHART",
    "GALLERIA",
    "PAINTER",
    "COMPOSITOR",
    "TEXTAREA",
    "MARKDOWN",
    "BOUNDING_BOX",
    "BOUNDING_BOXES",
    "VIDEO_EDIT",
    "DYNAMICGROUP",
    "COMFY_DYNAMICGROUP_V3",
    "LOAD_3D",
    "LOAD_3D_ANIMATION",
    "PREVIEW_3D",
    "AUDIO_RECORD",
    "AUDIO_UI",
    "AUDIOUPLOAD",
    "IMAGEUPLOAD",
    "FILEUPLOAD",
    "WEBCAM",
    "IMAGECROP",
    "IMAGECOMPARE",
    "TREESELECT",
    "MULTISELECT",
    "SELECTBUTTON",
    "SLIDER",
    "KNOB",
    "TOGGLE",
];

/// A field with a value.
#[derive(Clone, Debug)]
pub(super) struct Field<'d> {
    /// The input it is for, dotted inside dynamic ones.
    pub(super) name: String,
    /// What it holds; `None`: nothing is sent.
    pub(super) value: Option<Value>,
    /// Where the value stands, below the node; `None` where it is the definition's own.
    pub(super) place: Option<String>,
    /// The input's definition.
    pub(super) def: Option<&'d InputDef>,
}

/// All fields of a node of a class, in the editor's order.
pub(super) fn fields<'d>(node: &UiNode<'_>, def: &'d NodeDef) -> Vec<Field<'d>> {
    let connected: HashSet<&str> = node.inputs.iter().map(|input| input.name).collect();
    let mut filler = Filler {
        list: without_forced(node.saved.list, def),
        saved: node.saved,
        at: 0,
        connected,
        after_control: false,
        fields: Vec::new(),
    };
    let (required, optional): (Vec<&InputDef>, Vec<&InputDef>) = def
        .inputs
        .iter()
        .partition(|input| input.section == Section::Required);
    for input in &required {
        filler.fill(input, "");
    }
    if required.iter().any(|input| input.upload) && !optional.is_empty() {
        filler.skip_button();
    }
    for input in &optional {
        filler.fill(input, "");
    }
    filler.written_choices(def);
    filler.strangers(def);
    filler.fields
}

/// The fields of a node whose class nobody knows, by the names that the editor makes up for them.
pub(super) fn unnamed<'d>(node: &UiNode<'_>) -> Vec<Field<'d>> {
    let name = |at: usize| match at {
        0 => "UNKNOWN".to_owned(),
        at => format!("UNKNOWN_{at}"),
    };
    let values = node.saved.list.iter().enumerate();
    values
        .map(|(at, value)| Field {
            name: name(at),
            value: Some(value.clone()),
            place: Some(format!("/widgets_values/{at}")),
            def: None,
        })
        .collect()
}

/// Editors used to keep a value for inputs that are always connected. Where the list is as long as that, those values go.
fn without_forced<'a>(list: &'a [Value], def: &NodeDef) -> Vec<&'a Value> {
    let mut forced = Vec::new();
    for input in &def.inputs {
        let shown = input.field.connected || kind(input) == Kind::Field;
        if shown {
            forced.push(input.field.connected);
            if control_of(input, &input.name) {
                forced.push(false);
            }
        }
    }
    if forced.len() == list.len() && forced.contains(&true) {
        let kept = list.iter().zip(&forced).filter(|(_, forced)| !**forced);
        return kept.map(|(value, _)| value).collect();
    }
    list.iter().collect()
}

/// How an input shows in the editor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Only as a socket.
    Socket,
    /// As a field.
    Field,
    /// As a field that is not saved, and always sends the same.
    Fixed,
    /// As a choice with inputs of its own.
    Choice,
    /// As a socket that brings inputs of its own.
    Slot,
}

fn kind(def: &InputDef) -> Kind {
    if def.field.connected {
        return Kind::Socket;
    }
    match &def.ty {
        InputType::DynamicCombo(_) => Kind::Choice,
        InputType::DynamicSlot { .. } => Kind::Slot,
        InputType::Int
        | InputType::Float
        | InputType::String
        | InputType::Boolean
        | InputType::Combo(_) => Kind::Field,
        InputType::Named(name) if name == "IMAGECOMPARE" => Kind::Fixed,
        InputType::Named(name) if FIELDS.contains(&name.as_str()) => Kind::Field,
        _ if def.field.widget.is_some() => Kind::Field,
        _ => Kind::Socket,
    }
}

/// Whether an input of this definition has a field.
pub(super) fn has_field(def: &InputDef) -> bool {
    !matches!(kind(def), Kind::Socket | Kind::Slot)
}

/// Whether the field that says what happens after a run stands behind this one.
fn control_of(def: &InputDef, name: &str) -> bool {
    let number = matches!(def.ty, InputType::Int)
        || matches!(def.field.widget.as_deref(), Some("INT" | "FLOAT"));
    match def.field.control {
        Some(control) => {
            control && (number || matches!(def.ty, InputType::Combo(_) | InputType::Float))
        }
        None => number && matches!(name, "seed" | "noise_seed"),
    }
}

struct Filler<'a, 'd> {
    list: Vec<&'a Value>,
    saved: Saved<'a>,
    at: usize,
    connected: HashSet<&'a str>,
    after_control: bool,
    fields: Vec<Field<'d>>,
}

impl<'d> Filler<'_, 'd> {
    fn fill(&mut self, def: &'d InputDef, prefix: &str) {
        let name = if prefix.is_empty() {
            def.name.clone()
        } else {
            format!("{prefix}.{}", def.name)
        };
        match kind(def) {
            Kind::Socket => {}
            Kind::Fixed => self.push(name, Some(Value::from(vec!["", ""])), None, def),
            Kind::Field => self.field(name, def),
            Kind::Choice => {
                let InputType::DynamicCombo(options) = &def.ty else {
                    return;
                };
                let (value, place) = self.take(&name, def);
                let chosen = value.clone();
                self.push(name.clone(), value, place, def);
                let option = options
                    .iter()
                    .find(|option| Some(&option.key) == chosen.as_ref());
                for input in option.iter().flat_map(|option| &option.inputs) {
                    self.fill(input, &name);
                }
            }
            Kind::Slot => {
                let InputType::DynamicSlot { inputs, .. } = &def.ty else {
                    return;
                };
                if self.connected.contains(name.as_str()) {
                    for input in inputs {
                        self.fill(input, &name);
                    }
                }
            }
        }
    }

    fn field(&mut self, name: String, def: &'d InputDef) {
        if def.type_name() == "LOAD_3D" {
            while self.skip_button() {}
        }
        let (value, place) = self.take(&name, def);
        let control = control_of(def, &name);
        self.push(name, value, place, def);
        if control {
            self.skip_control();
            if matches!(def.ty, InputType::Combo(_)) {
                self.skip_filter();
            }
        }
        self.after_control = matches!(def.ty, InputType::Int | InputType::Combo(_)) && !control;
    }

    fn push(
        &mut self,
        name: String,
        value: Option<Value>,
        place: Option<String>,
        def: &'d InputDef,
    ) {
        let value = match (&def.ty, value) {
            (InputType::Combo(combo), Some(Value::String(text))) => {
                Some(as_listed(text, &combo.options))
            }
            (_, value) => value,
        };
        self.fields.push(Field {
            name,
            value,
            place,
            def: Some(def),
        });
    }

    /// The value of the next field, and where it stands.
    fn take(&mut self, name: &str, def: &InputDef) -> (Option<Value>, Option<String>) {
        if let Some(map) = self.saved.map {
            return match map.get(name) {
                Some(value) => (Some(value.clone()), Some(place("widgets_values", name))),
                None => (usual(def), None),
            };
        }
        if self.after_control && self.is_word(&CONTROL) && !fits(self.list[self.at], def) {
            self.at += 1;
        }
        self.after_control = false;
        let here = self.at;
        let listed = self.list.get(here).copied();
        self.at += 1;
        if let Some(value) = self.saved.named.and_then(|named| named.get(name)) {
            return (
                Some(value.clone()),
                Some(place("widgets_values_named", name)),
            );
        }
        match listed {
            None | Some(Value::Null) => (usual(def), None),
            Some(value) => (Some(value.clone()), Some(format!("/widgets_values/{here}"))),
        }
    }

    fn is_word(&self, words: &[&str]) -> bool {
        let word = self.list.get(self.at).and_then(|value| value.as_str());
        word.is_some_and(|word| words.contains(&word))
    }

    fn skip_control(&mut self) {
        let old = matches!(self.list.get(self.at), Some(Value::Bool(_) | Value::Null));
        if old || self.is_word(&CONTROL) {
            self.at += 1;
        }
    }

    fn skip_filter(&mut self) {
        if self.is_word(&[""]) {
            self.at += 1;
        }
    }

    fn skip_button(&mut self) -> bool {
        let is_button = self.is_word(&BUTTONS);
        self.at += usize::from(is_button);
        is_button
    }

    /// The choices of a node that lets people write them: they are sent beside the chosen one.
    fn written_choices(&mut self, def: &NodeDef) {
        if def.name != "CustomCombo" {
            return;
        }
        for (at, value) in self.list.iter().enumerate().skip(self.at) {
            let name = match at {
                1 => "index".to_owned(),
                at => format!("option{}", at - 1),
            };
            self.fields.push(Field {
                name,
                value: Some((*value).clone()),
                place: Some(format!("/widgets_values/{at}")),
                def: None,
            });
        }
    }

    /// Values that a pack keeps by name for inputs that it declares only while the editor runs.
    fn strangers(&mut self, def: &NodeDef) {
        let fields = self.fields.iter().map(|field| field.name.clone());
        let inputs = def.inputs.iter().map(|input| input.name.clone());
        let names: HashSet<String> = fields.chain(inputs).collect();
        for (name, value) in self.saved.map.into_iter().flatten() {
            let known = names.contains(name);
            let preview = name.to_lowercase().contains("preview");
            if !known && !preview && !matches!(value, Value::Null | Value::Object(_)) {
                self.fields.push(Field {
                    name: name.clone(),
                    value: Some(value.clone()),
                    place: Some(place("widgets_values", name)),
                    def: None,
                });
            }
        }
    }
}

fn place(list: &str, name: &str) -> String {
    super::super::pointer([list, name])
}

/// What the editor puts into a field that nobody touched.
fn usual(def: &InputDef) -> Option<Value> {
    if let Some(default) = &def.default {
        return Some(default.clone());
    }
    match &def.ty {
        InputType::Int | InputType::Float => Some(Value::from(0)),
        InputType::String => Some(Value::from("")),
        InputType::Boolean => Some(Value::Bool(false)),
        InputType::Combo(combo) => combo.options.first().cloned(),
        InputType::DynamicCombo(options) => options.first().map(|option| option.key.clone()),
        InputType::Named(name) => match name.as_str() {
            "COLORS" | "BOUNDING_BOXES" => Some(Value::Array(Vec::new())),
            "AUDIO_RECORD" => Some(Value::from("")),
            _ => None,
        },
        _ => None,
    }
}

/// Whether a field could hold a value at all.
fn fits(value: &Value, def: &InputDef) -> bool {
    match &def.ty {
        InputType::Int | InputType::Float => value.is_number(),
        InputType::Boolean => value.is_boolean(),
        InputType::Combo(combo) => combo.options.is_empty() || combo.options.contains(value),
        InputType::DynamicCombo(options) => options.iter().any(|option| option.key == *value),
        _ => true,
    }
}

/// The option that is meant where only case or the kind of slashes differ.
fn as_listed(text: String, options: &[Value]) -> Value {
    let plain = |text: &str| text.replace('\\', "/").to_lowercase();
    if !options.iter().any(|option| option.as_str() == Some(&text)) {
        let wanted = plain(&text);
        let mut near = options.iter().filter(|option| {
            option
                .as_str()
                .is_some_and(|option| plain(option) == wanted)
        });
        if let (Some(only), None) = (near.next(), near.next()) {
            return only.clone();
        }
    }
    Value::String(text)
}
