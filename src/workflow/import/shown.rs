//! Fields of nodes inside a sheet that show on the node outside: what they hold there.

use std::collections::HashMap;
use std::rc::Rc;

use serde_json::{Map, Value};

use super::convert::Converter;
use super::document::{Sheet, UiNode, list, word};
use super::fields::Field;

/// A value and where it stands.
pub(super) type Shown = Option<(Value, Option<String>)>;

/// Values that a node outside holds for fields of nodes inside, by node and field.
pub(super) type Overrides = HashMap<(String, String), (Value, String)>;

/// What an input of a sheet leads to inside: a field, by the node's id and its name.
pub(super) type Target<'a> = (&'a str, &'a str);

impl<'a> Converter<'a> {
    /// The values that a sheet's inputs have without a connection from outside, by slot. Those without a field have none.
    pub(super) fn shown(&self, frame: usize) -> Rc<Vec<Shown>> {
        if let Some(known) = self.memory.borrow().shown.get(&frame) {
            return known.clone();
        }
        let shown = Rc::new(self.work_out(frame));
        self.memory.borrow_mut().shown.insert(frame, shown.clone());
        shown
    }

    fn work_out(&self, frame: usize) -> Vec<Shown> {
        let sheet = self.frames[frame].sheet;
        let Some((_, host)) = self.frames[frame].host else {
            return Vec::new();
        };
        let targets: Vec<Option<Target<'a>>> = (0..sheet.inputs.len())
            .map(|slot| self.target(frame, slot))
            .collect();
        if sheet.group.is_some() {
            return targets
                .iter()
                .map(|target| target.and_then(|(node, field)| self.inner(frame, node, field)))
                .collect();
        }
        let kept = Kept::of(host, sheet, &targets);
        targets
            .iter()
            .enumerate()
            .map(|(slot, target)| {
                let (node, field) = (*target)?;
                kept.of_slot(slot, sheet.inputs[slot].name)
                    .or_else(|| self.inner(frame, node, field))
            })
            .collect()
    }

    /// The field that an input of a sheet shows: that of the first link which leads to one. Sheets inside of sheets share their fields,
    /// so each is looked for once.
    fn target(&self, frame: usize, slot: usize) -> Option<Target<'a>> {
        let key = (frame, slot);
        if let Some(known) = self.memory.borrow().targets.get(&key) {
            return *known;
        }
        let target = self.find_target(frame, slot);
        self.memory.borrow_mut().targets.insert(key, target);
        target
    }

    fn find_target(&self, frame: usize, slot: usize) -> Option<Target<'a>> {
        let sheet = self.frames[frame].sheet;
        let links = links_of(sheet, slot);
        links.into_iter().find_map(|link| {
            let link = sheet.links.get(link)?;
            let node = sheet.nodes.get(&link.target)?;
            let input = node.inputs.get(link.target_slot)?;
            let field = input.field.unwrap_or(input.name);
            match self.frames[frame].inside.get(node.id.as_str()) {
                Some(inner) => {
                    let slot = self.frames[*inner].sheet.index.inputs.get(input.name)?;
                    self.target(*inner, *slot)?;
                    Some((node.id.as_str(), input.name))
                }
                None if input.field.is_some() || self.has_field(node, field) => {
                    Some((node.id.as_str(), field))
                }
                None => None,
            }
        })
    }

    /// What a field inside holds by itself.
    fn inner(&self, frame: usize, node: &str, field: &str) -> Shown {
        let inside = &self.frames[frame];
        let node = inside.sheet.nodes.get(node)?;
        if let Some(inner) = inside.inside.get(node.id.as_str()) {
            let slot = *self.frames[*inner].sheet.index.inputs.get(field)?;
            return self.shown(*inner).get(slot).cloned().flatten();
        }
        self.field(frame, node, field)
    }

    fn has_field(&self, node: &UiNode<'_>, name: &str) -> bool {
        let def = self.def(node);
        def.and_then(|def| def.input(name))
            .is_some_and(super::fields::has_field)
    }

    /// Values for fields inside that no input of the sheet stands for: those of groups, and those of older files.
    pub(super) fn overrides(&self, frame: usize) -> Rc<Overrides> {
        if let Some(known) = self.memory.borrow().overrides.get(&frame) {
            return Rc::clone(known);
        }
        let overrides = Rc::new(self.find_overrides(frame));
        let mut memory = self.memory.borrow_mut();
        memory.overrides.insert(frame, Rc::clone(&overrides));
        overrides
    }

    fn find_overrides(&self, frame: usize) -> Overrides {
        let sheet = self.frames[frame].sheet;
        let Some((_, host)) = self.frames[frame].host else {
            return Overrides::new();
        };
        match sheet.group {
            Some(config) => self.of_group(frame, host, config),
            None => of_proxies(host),
        }
    }

    /// A group shows all fields of its nodes, one node after the other.
    fn of_group(&self, frame: usize, host: &UiNode<'_>, config: &Map<String, Value>) -> Overrides {
        let mut overrides = Overrides::new();
        let mut at = 0;
        for node in self.frames[frame].sheet.nodes.values() {
            let hidden = |field: &str| {
                let config = config.get(&node.id).and_then(|node| node.get("input"));
                let visible = config.and_then(|inputs| inputs.get(field)?.get("visible"));
                visible == Some(&Value::Bool(false))
            };
            let linked_inside = |field: &str| {
                let input = node.inputs.iter().find(|input| input.field == Some(field));
                let link = input.and_then(|input| input.link.as_ref());
                link.is_some_and(|link| link.starts_with("inside"))
            };
            let own = node.saved.list;
            let fields = self.own_fields(node);
            for (place, field) in fields.iter().enumerate() {
                if linked_inside(&field.name) || hidden(&field.name) {
                    continue;
                }
                if let Some(value) = host.saved.list.get(at).filter(|value| !value.is_null()) {
                    let pointer = format!("{}/widgets_values/{at}", host.pointer);
                    let key = (node.id.clone(), field.name.clone());
                    overrides.insert(key, (value.clone(), pointer));
                }
                at += 1 + controls_after(&fields, place, own);
            }
        }
        overrides
    }
}

/// How many values of the list lie between a field and the next one: words for what happens after a run.
fn controls_after(fields: &[Field<'_>], place: usize, own: &[Value]) -> usize {
    let index = |field: &Field<'_>| -> Option<usize> {
        let place = field.place.as_ref()?;
        place.rsplit('/').next()?.parse().ok()
    };
    let here = index(&fields[place]);
    let next = fields.get(place + 1).map_or(Some(own.len()), index);
    match (here, next) {
        (Some(here), Some(next)) => next.saturating_sub(here + 1),
        _ => 0,
    }
}

/// The links that start at an input of a sheet, in the order in which they were drawn.
fn links_of<'a>(sheet: &'a Sheet<'a>, slot: usize) -> Vec<&'a str> {
    let starts_here = |id: &str| {
        let link = sheet.links.get(id);
        link.is_some_and(|link| link.origin == sheet.input_node && link.origin_slot == slot)
    };
    let listed = sheet
        .inputs
        .get(slot)
        .into_iter()
        .flat_map(|port| &port.links);
    let listed: Vec<&str> = listed
        .map(String::as_str)
        .filter(|id| starts_here(id))
        .collect();
    if !listed.is_empty() {
        return listed;
    }
    let found = sheet.index.from_input.get(&slot);
    found.into_iter().flatten().map(String::as_str).collect()
}

/// What the node outside keeps for its fields.
struct Kept<'a> {
    by_slot: HashMap<usize, (Value, Option<String>)>,
    named: Option<&'a Map<String, Value>>,
    pointer: &'a str,
}

impl<'a> Kept<'a> {
    fn of(host: &'a UiNode<'a>, sheet: &Sheet<'_>, targets: &[Option<Target<'_>>]) -> Self {
        let mut by_slot = HashMap::new();
        let mut by_target: HashMap<Target<'_>, usize> = HashMap::new();
        for (slot, target) in targets.iter().enumerate() {
            if let Some(target) = target {
                by_target.entry(*target).or_insert(slot);
            }
        }
        let slot_of = |node: &str, field: &str| match node {
            "-1" => sheet.index.inputs.get(field).copied(),
            _ => by_target.get(&(node, field)).copied(),
        };
        let proxies = proxies(host);
        let order: Vec<Option<usize>> = if proxies.is_empty() {
            let shown = (0..targets.len()).filter(|slot| targets[*slot].is_some());
            shown.map(Some).collect()
        } else {
            let shown = proxies.iter();
            shown.map(|(node, field)| slot_of(node, field)).collect()
        };
        for (at, (slot, value)) in order.iter().zip(host.saved.list).enumerate() {
            if let (Some(slot), false) = (slot, value.is_null()) {
                let place = format!("{}/widgets_values/{at}", host.pointer);
                by_slot.insert(*slot, (value.clone(), Some(place)));
            }
        }
        for (at, (node, field), value) in set_aside(host) {
            if let Some(slot) = slot_of(&node, &field) {
                let place = format!(
                    "{}/properties/proxyWidgetErrorQuarantine/{at}/hostValue",
                    host.pointer
                );
                by_slot.insert(slot, (value.clone(), Some(place)));
            }
        }
        Self {
            by_slot,
            named: host.saved.named.or(host.saved.map),
            pointer: &host.pointer,
        }
    }

    fn of_slot(&self, slot: usize, name: &str) -> Shown {
        let named = self.named.and_then(|named| named.get(name));
        match named {
            Some(value) if !value.is_null() => {
                let list = super::super::pointer(["widgets_values_named", name]);
                Some((value.clone(), Some(format!("{}{list}", self.pointer))))
            }
            _ => self.by_slot.get(&slot).cloned(),
        }
    }
}

/// How older files name the fields that a node shows: the node inside, and the field.
fn proxies(host: &UiNode<'_>) -> Vec<(String, String)> {
    let property = host.properties.and_then(|all| all.get("proxyWidgets"));
    let entries = list(property).iter().filter_map(entry);
    entries
        .filter(|(_, field)| !field.starts_with("$$"))
        .collect()
}

fn entry(value: &Value) -> Option<(String, String)> {
    let node = value.get(0).and_then(word)?;
    let field = value.get(1).and_then(Value::as_str)?;
    // Names may carry the id of a node further in.
    let field = match field.split_once(": ") {
        Some((id, rest)) if id.chars().all(|c| c.is_ascii_digit()) => rest,
        _ => field,
    };
    Some((node, field.to_owned()))
}

/// Values of fields that the editor could not place when it brought an older file up to date.
fn set_aside<'a>(host: &UiNode<'a>) -> Vec<(usize, (String, String), &'a Value)> {
    let property = host
        .properties
        .and_then(|all| all.get("proxyWidgetErrorQuarantine"));
    let entries = list(property).iter().enumerate();
    entries
        .filter_map(|(at, one)| {
            let value = one.get("hostValue").filter(|value| !value.is_null())?;
            Some((at, entry(one.get("originalEntry")?)?, value))
        })
        .collect()
}

/// Values that an older file keeps for fields inside.
fn of_proxies(host: &UiNode<'_>) -> Overrides {
    let proxies = proxies(host);
    let values = proxies.into_iter().zip(host.saved.list).enumerate();
    values
        .filter(|(_, ((node, _), value))| node != "-1" && !value.is_null())
        .map(|(at, (key, value))| {
            let place = format!("{}/widgets_values/{at}", host.pointer);
            (key, (value.clone(), place))
        })
        .collect()
}
