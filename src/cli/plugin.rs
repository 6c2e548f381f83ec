//! `kiln plugin`: the plugins of a project, one looked at, and a new one.

mod new;

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use self::new::NewArgs;
use super::args::TextOrJson;
use super::exit::{Exit, complain, tell};
use super::table::{Table, columns};
use crate::base::{StepId, display_path};
use crate::diagnostic::SourceMap;
use crate::plugin::{self, About};
use crate::session::{self, ListedPlugin};

#[derive(Debug, Args)]
pub(crate) struct PluginArgs {
    #[command(subcommand)]
    command: PluginCommand,
}

#[derive(Debug, Subcommand)]
enum PluginCommand {
    /// List the plugins of the project, with what they can do and their hashes
    List(ListArgs),
    /// Load a plugin, and tell what it is and takes
    Check(CheckArgs),
    /// Make a plugin to start from: a crate that builds and passes its test
    New(NewArgs),
    /// The process of a plugin with `isolation: process`
    #[command(hide = true)]
    Host,
}

#[derive(Debug, Args)]
struct ListArgs {
    /// A folder of the project; without it, the current one
    #[arg(long, value_name = "DIR", default_value = ".")]
    project: PathBuf,

    /// Format of stdout
    #[arg(long, value_name = "FORMAT", value_enum, default_value = "text")]
    output: TextOrJson,
}

#[derive(Debug, Args)]
struct CheckArgs {
    /// The library, its name without prefix and ending, or a folder with it or its crate
    #[arg(value_name = "PATH")]
    path: PathBuf,

    /// Format of stdout
    #[arg(long, value_name = "FORMAT", value_enum, default_value = "text")]
    output: TextOrJson,
}

pub(super) fn plugin(args: &PluginArgs) -> Exit {
    match &args.command {
        PluginCommand::List(args) => list(args),
        PluginCommand::Check(args) => check(args),
        PluginCommand::New(args) => new::new(args),
        PluginCommand::Host => match plugin::serve() {
            Ok(()) => Exit::Done,
            Err(error) => {
                complain(&format!("`kiln plugin host` is for kiln itself: {error}"));
                Exit::Internal
            }
        },
    }
}

fn list(args: &ListArgs) -> Exit {
    let here = std::env::current_dir().unwrap_or_else(|_| PathBuf::from("."));
    let listed = session::list_plugins(&here.join(&args.project));
    if args.output == TextOrJson::Text {
        tell(&listed.report, &listed.sources);
    }
    let mut out = io::stdout().lock();
    let _ = match args.output {
        TextOrJson::Json => writeln!(out, "{:#}", to_json(&listed.plugins)),
        TextOrJson::Text if listed.plugins.is_empty() => {
            let why = match &listed.project {
                Some(project) => {
                    format!(
                        "{} declares no plugins",
                        display_path(&project.join("kiln.yaml"))
                    )
                }
                None => "there is no kiln.yaml here, and so no plugins".to_owned(),
            };
            writeln!(out, "{why}; `kiln plugin new NAME` makes one")
        }
        TextOrJson::Text => table(&mut out, &listed.plugins),
    };
    Exit::of_report(&listed.report, &listed.sources)
}

fn table(out: &mut dyn Write, plugins: &[ListedPlugin]) -> io::Result<()> {
    for (nth, one) in plugins.iter().enumerate() {
        if nth > 0 {
            writeln!(out)?;
        }
        let declared = &one.declared;
        let Some(about) = &one.about else {
            writeln!(out, "{}  not loaded", declared.name)?;
            continue;
        };
        writeln!(out, "{}  {} {}", declared.name, about.name, about.version)?;
        let mut rows = Table::default();
        if !about.description.is_empty() {
            rows.row(["", &about.description]);
        }
        rows.row(["can", &about.abilities().join(" · ")]);
        if let Some(steps) = &declared.steps {
            let steps: Vec<&str> = steps.iter().map(StepId::as_str).collect();
            rows.row(["for steps", &steps.join(", ")]);
        }
        if let Some(hash) = declared.hash {
            rows.row(["hash", &hash.to_hex()]);
        }
        rows.write(out, 2, columns())?;
    }
    Ok(())
}

fn to_json(plugins: &[ListedPlugin]) -> Value {
    plugins
        .iter()
        .map(|one| {
            let declared = &one.declared;
            json!({
                "name": declared.name,
                "path": declared.path,
                "hash": declared.hash,
                "on_error": declared.on_error,
                "isolation": declared.isolation,
                "steps": declared.steps,
                "loaded": one.about.as_ref().map(about_json),
            })
        })
        .collect()
}

fn about_json(about: &About) -> Value {
    let callables = |list: &[plugin::Callable]| -> Vec<Value> {
        let each = list.iter();
        each.map(|one| json!({ "name": one.name, "about": one.about }))
            .collect()
    };
    json!({
        "name": about.name,
        "version": about.version,
        "description": about.description,
        "config": about.config,
        "step": about.step.as_ref().map(|step| json!({ "with": step.with, "outputs": step.outputs })),
        "functions": callables(&about.functions),
        "filters": callables(&about.filters),
        "before_submit": about.before_submit,
        "after_download": about.after_download,
        "events": about.events,
        "server_events": about.server_events,
        "previews": about.previews,
    })
}

fn check(args: &CheckArgs) -> Exit {
    let (file, hash, about) = match session::look_at_plugin(&args.path) {
        Ok(found) => found,
        Err(report) => {
            tell(&report, &SourceMap::default());
            return Exit::of_report(&report, &SourceMap::default());
        }
    };
    let mut out = io::stdout().lock();
    let _ = match args.output {
        TextOrJson::Json => {
            let mut all = about_json(&about);
            all["file"] = json!(file);
            all["hash"] = json!(hash);
            writeln!(out, "{all:#}")
        }
        TextOrJson::Text => details(&mut out, &file, &hash.to_hex(), &about),
    };
    Exit::Done
}

fn details(out: &mut dyn Write, file: &Path, hash: &str, about: &About) -> io::Result<()> {
    writeln!(out, "{} {}", about.name, about.version)?;
    let mut rows = Table::default();
    if !about.description.is_empty() {
        rows.row(["", &about.description]);
    }
    rows.row(["file", &display_path(file)]);
    rows.row(["hash", hash]);
    rows.row(["can", &about.abilities().join(" · ")]);
    rows.write(out, 2, columns())?;
    let mut keys = Vec::new();
    if let Some(config) = &about.config {
        keys.push(("config", config));
    }
    if let Some(step) = &about.step {
        keys.push(("with", &step.with));
    }
    for (what, schema) in keys {
        writeln!(out, "\n{what}")?;
        takes(schema).write(out, 2, columns())?;
    }
    for (what, list) in [("functions", &about.functions), ("filters", &about.filters)] {
        if !list.is_empty() {
            writeln!(out, "\n{what}")?;
            let mut rows = Table::default();
            for one in list {
                rows.row([&one.name, &one.about]);
            }
            rows.write(out, 2, columns())?;
        }
    }
    Ok(())
}

/// The properties that a schema names.
fn takes(schema: &Value) -> Table {
    let mut rows = Table::default();
    let properties = schema["properties"].as_object();
    let required = schema["required"].as_array();
    for (name, property) in properties.into_iter().flatten() {
        let needed = required.is_some_and(|names| names.iter().any(|one| one == name.as_str()));
        let kind = match &property["type"] {
            Value::String(kind) => kind.clone(),
            _ if property.get("enum").is_some() => "one of several".to_owned(),
            _ => "any".to_owned(),
        };
        let kind = match property.get("default") {
            Some(default) => format!("{kind}, default {default}"),
            None if needed => format!("{kind}, required"),
            None => kind,
        };
        let about = property["description"].as_str().unwrap_or_default();
        rows.row([name.as_str(), &kind, about]);
    }
    if properties.is_none_or(serde_json::Map::is_empty) {
        rows.row(["anything"]);
    }
    rows
}
