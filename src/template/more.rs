//! Functions and filters that are handed in from outside: those of plugins.

use std::sync::Arc;

use indexmap::IndexMap;
use minijinja::value::{Kwargs, Rest, Value};
use minijinja::{Environment, Error};

use super::error::{TemplateErrorKind, failed, raise};
use super::value::{Files, from_outside_datum, to_datum};
use super::world::World;
use crate::artifact::Datum;
use crate::base::secret;

/// The names of what is handed in.
#[derive(Clone, Debug, Default)]
pub(super) struct More {
    pub(super) functions: Vec<String>,
    pub(super) filters: Vec<String>,
}

impl More {
    pub(super) fn of(world: &dyn World) -> Self {
        Self {
            functions: world.functions(),
            filters: world.filters(),
        }
    }

    /// Adds everything that has no name of kiln's own.
    pub(super) fn add(&self, env: &mut Environment<'static>, world: &Arc<dyn World>) {
        for name in &self.functions {
            let (world, name, shown) = (Arc::clone(world), name.clone(), name.clone());
            env.add_function(shown, move |args: Rest<Value>, named: Kwargs| {
                call(&*world, false, &name, &args, &named)
            });
        }
        for name in &self.filters {
            let (world, name, shown) = (Arc::clone(world), name.clone(), name.clone());
            env.add_filter(shown, move |args: Rest<Value>, named: Kwargs| {
                call(&*world, true, &name, &args, &named)
            });
        }
    }
}

fn call(
    world: &dyn World,
    filter: bool,
    name: &str,
    args: &[Value],
    named: &Kwargs,
) -> Result<Value, Error> {
    let open = |value: &Value| {
        let datum = to_datum(value, Files::Refused)?;
        if holds_secret(&datum) {
            return Err(raise(
                TemplateErrorKind::Failed,
                format!("a secret cannot be given to `{name}`, which a plugin provides"),
                Some("put it into the plugin's `config` in kiln.yaml".to_owned()),
            ));
        }
        Ok(datum)
    };
    let list = args.iter().map(open).collect::<Result<Vec<_>, _>>()?;
    let mut pairs = IndexMap::new();
    for key in named.args() {
        pairs.insert(key.to_owned(), open(&named.get::<Value>(key)?)?);
    }
    let answer = world
        .call(filter, name, &list, &pairs)
        .map_err(|why| failed(format!("`{name}`: {why}")))?;
    Ok(from_outside_datum(&answer))
}

fn holds_secret(datum: &Datum) -> bool {
    match datum {
        Datum::String(text) => secret::is_in(text),
        Datum::List(items) => items.iter().any(holds_secret),
        Datum::Map(entries) => entries
            .iter()
            .any(|(key, value)| secret::is_in(key) || holds_secret(value)),
        _ => false,
    }
}
