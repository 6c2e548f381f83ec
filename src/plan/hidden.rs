//! Values of `kiln.yaml` that are secrets however they are written: tokens, headers, the key for partner nodes.
//!
//! Where such a value is no `secret()`, a placeholder of its own stands for it in the plan, and the value stays with the inputs of this
//! process. Whoever goes on with a stored plan reads it from `kiln.yaml` again.

use std::path::Path;
use std::sync::Arc;

use super::world::PlanWorld;
use crate::artifact::Datum;
use crate::base::{Inputs, secret};
use crate::spec::Project;
use crate::template::{Engine, Scope, Template};

/// What stands for a value in the plan.
pub(super) fn hidden(name: &str, value: String, inputs: &Inputs) -> String {
    if value.is_empty() || secret::is_in(&value) {
        return value;
    }
    inputs.keep_secret(name, &value);
    secret::placeholder(name)
}

/// Reads again what `kiln.yaml` says itself, for a plan that was made earlier. What cannot be evaluated is missed where it is needed.
pub fn recall_secrets(project: &Project, folder: &Path, inputs: &Arc<Inputs>) {
    let world = PlanWorld::new(Arc::clone(inputs), folder, 0, jiff::Zoned::now());
    let engine = Engine::new(Arc::new(world));
    for (name, node) in project.secrets() {
        let Some(text) = node.as_str() else {
            continue;
        };
        let value = match Template::parse(text) {
            Ok(None) => Some(text.to_owned()),
            Ok(Some(template)) => match engine.eval(&template, &Scope::default()) {
                Ok(Datum::String(value)) => Some(value),
                _ => None,
            },
            Err(_) => None,
        };
        if let Some(value) = value {
            hidden(&name, value, inputs);
        }
    }
}
