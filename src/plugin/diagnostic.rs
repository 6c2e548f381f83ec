//! Complaints about plugins: each names the plugin and says what to do.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::declared::Declared;
use super::fault::Fault;
use super::member::Member;
use super::schema::Mismatch;
use crate::base::{ContentHash, display_path};
use crate::diagnostic::{Diagnostic, Span, codes, list_of};

/// Why nothing was loaded from where nothing is.
pub(super) const ABSENT: &str = "there is no such file";
/// Why a folder was not loaded.
pub(super) const FOLDER: &str = "it is a folder";

fn at(built: Diagnostic, span: Option<Span>) -> Diagnostic {
    match span {
        Some(span) => built.at(span),
        None => built,
    }
}

/// A plugin that is not to be had: everything that was tried, and why it failed.
pub(super) fn not_loaded(
    declared: &Declared,
    tried: &[(PathBuf, String)],
    why: Option<&str>,
) -> Diagnostic {
    let name = &declared.name;
    let message = match (tried, why) {
        (_, Some(why)) => format!("the plugin `{name}` could not be loaded: {why}"),
        ([(path, why)], None) => format!(
            "the plugin `{name}` could not be loaded: `{}`: {why}",
            display_path(path)
        ),
        _ => format!("the plugin `{name}` could not be loaded"),
    };
    let mut built = at(
        Diagnostic::error(&codes::PLUGIN_NOT_LOADED, message),
        declared.path_span.or(declared.span),
    );
    if tried.len() > 1 {
        for (path, why) in tried {
            built = built.help(format!("tried `{}`: {why}", display_path(path)));
        }
    }
    let absent = |why: &str| [ABSENT, FOLDER].contains(&why);
    if tried.iter().all(|(_, why)| absent(why)) && why.is_none() {
        const NAMES: &str = "names the library, its name without prefix and ending, or a folder with it or its crate";
        let crate_there = declared.path.join("Cargo.toml").is_file();
        built = built.help(if crate_there {
            let folder = display_path(&declared.path);
            format!("build it first: `cd {folder} && cargo build --release`")
        } else if declared.path_span.is_some() {
            format!("`path` is relative to kiln.yaml, and {NAMES}")
        } else {
            format!("PATH {NAMES}")
        });
    }
    built
}

/// What else can be done where pipelines run that may not need what could not be loaded.
pub fn goes_on_without(built: Diagnostic) -> Diagnostic {
    if built.code.id == codes::PLUGIN_NOT_LOADED.id {
        return built.help("`--no-plugins` goes on without plugins, where nothing needs them");
    }
    built
}

/// A library that is not the one that was pinned, or that a run began with.
pub(super) fn pinned(declared: &Declared, file: &Path, found: ContentHash) -> Option<Diagnostic> {
    let found = found.to_hex();
    let name = &declared.name;
    if let Some(pin) = declared.pin.as_ref().filter(|pin| **pin != found) {
        let message = format!(
            "the plugin `{name}` is not the one that `hash` names: `{}` has another one",
            display_path(file)
        );
        let built = Diagnostic::error(&codes::PLUGIN_CHANGED, message);
        return Some(
            at(built, declared.path_span.or(declared.span))
                .help(format!("`hash` says {pin}"))
                .help(format!("if you trust this file, write `hash: {found}`")),
        );
    }
    let before = declared.hash?.to_hex();
    if before == found {
        return None;
    }
    let message = format!("the plugin `{name}` is another one than when the run began");
    Some(
        at(Diagnostic::error(&codes::PLUGIN_CHANGED, message), declared.span)
            .help("leave `--resume` out: what is done already is not run again, unless the plugin shaped it"),
    )
}

/// A config that does not fit the plugin's schema.
pub(super) fn of_config(declared: &Declared, wrong: &[Mismatch]) -> Vec<Diagnostic> {
    let each = wrong.iter().map(|wrong| {
        let place = place(&wrong.pointer, "config");
        let message = format!(
            "the plugin `{}` does not take this {place}: {}",
            declared.name, wrong.message
        );
        let built = Diagnostic::error(&codes::PLUGIN_CONFIG, message);
        let built = at(built, declared.config_span.or(declared.span));
        match &wrong.near {
            Some(near) => built.help(format!("did you mean `{near}`?")),
            None => built,
        }
        .help(what_it_takes(declared))
    });
    each.collect()
}

/// Where a user finds out what a plugin takes.
pub fn what_it_takes(declared: &Declared) -> String {
    let path = display_path(&declared.path);
    format!("`kiln plugin check {path}` shows what it takes")
}

/// A step that a plugin is said to be for, and that the pipeline does not have.
pub fn no_such_step<'a>(
    plugin: &str,
    (step, span): (&str, Span),
    pipeline: &str,
    steps: impl Iterator<Item = &'a str>,
) -> Diagnostic {
    let message = format!(
        "the plugin `{plugin}` is for the step `{step}`, and `{pipeline}` has none of that name"
    );
    Diagnostic::warning(&codes::PLUGIN_CONFIG, message)
        .at(span)
        .suggest(step, steps)
}

/// A place in a value, in words.
pub(super) fn place(pointer: &str, whole: &str) -> String {
    let inside = pointer.trim_start_matches('/').replace('/', ".");
    if inside.is_empty() {
        format!("`{whole}`")
    } else {
        format!("`{whole}.{inside}`")
    }
}

/// Functions and filters that two plugins have: those of the one that is declared first are used.
pub(super) fn twice(members: &[Arc<Member>], new: &Arc<Member>) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    for (what, of) in [("function", true), ("filter", false)] {
        let list = |member: &Member| {
            let about = &member.about;
            let list = if of { &about.functions } else { &about.filters };
            list.iter().map(|one| one.name.clone()).collect::<Vec<_>>()
        };
        for name in list(new) {
            if let Some(first) = members.iter().find(|member| list(member).contains(&name)) {
                let message = format!(
                    "the plugins `{}` and `{}` both have a {what} `{name}`: that of `{}` is used",
                    first.declared.name, new.declared.name, first.declared.name
                );
                let built = Diagnostic::warning(&codes::PLUGIN_CONFIG, message);
                found.push(at(built, new.declared.span).help(
                    "the plugin that is declared first wins; change their order for the other one",
                ));
            }
        }
    }
    found
}

/// A step asks for a plugin that there is not, or that provides no step.
pub fn step_unknown<'a>(
    name: &str,
    span: Span,
    known: impl Iterator<Item = &'a str> + Clone,
    there: bool,
) -> Diagnostic {
    if there {
        let message = format!("the plugin `{name}` provides no step");
        return Diagnostic::error(&codes::UNKNOWN_PLUGIN, message)
            .at(span)
            .help("`kiln plugin list` shows what each plugin can do");
    }
    let message = format!("there is no plugin `{name}`");
    let built = Diagnostic::error(&codes::UNKNOWN_PLUGIN, message)
        .at(span)
        .suggest(name, known.clone());
    match known.clone().next() {
        Some(_) => built.help(format!("declared plugins: {}", list_of(known, 12))),
        None => built.help("declare it under `plugins:` in kiln.yaml"),
    }
}

/// A step needs a plugin that could not be loaded, which its declaration lets pass.
pub fn step_without(name: &str, span: Span) -> Diagnostic {
    let message = format!("the step needs the plugin `{name}`, which could not be loaded");
    Diagnostic::error(&codes::UNKNOWN_PLUGIN, message).at(span)
}

/// A step needs a plugin, and `--no-plugins` was typed.
pub fn switched_off(name: &str, span: Span) -> Diagnostic {
    let message = format!("the step needs the plugin `{name}`, and plugins are switched off");
    Diagnostic::error(&codes::PLUGINS_OFF, message)
        .at(span)
        .help("leave `--no-plugins` (or `KILN_NO_PLUGINS`) out")
}

/// A run goes on that began with plugins, and `--no-plugins` was typed.
pub fn switched_off_since(names: &[&str]) -> Diagnostic {
    let message = format!(
        "the run began with the plugin{} {}, and plugins are switched off",
        if names.len() == 1 { "" } else { "s" },
        list_of(names.iter().copied(), 8)
    );
    Diagnostic::error(&codes::PLUGINS_OFF, message).help(
        "leave `--no-plugins` (or `KILN_NO_PLUGINS`) out, or begin a new run without `--resume`",
    )
}

/// A plugin failed at something.
pub fn failed(declared: &Declared, what: &str, fault: &Fault, warn: bool) -> Diagnostic {
    let message = format!("plugin `{}`, {what}: {fault}", declared.name);
    let built = if warn {
        Diagnostic::warning(&codes::PLUGIN_FAILED, message)
    } else {
        Diagnostic::error(&codes::PLUGIN_FAILED, message)
    };
    match fault {
        Fault::Overdue(_) => built.help(format!(
            "give it more time with `plugins.{}.timeout` in kiln.yaml, if it only is slow",
            declared.name
        )),
        Fault::Died(_) => built.help("its process is started once more; the author of the plugin can make use of what it printed"),
        Fault::GivenUp => built.help("the first complaint about it says why"),
        Fault::Panicked(_) | Fault::TooLarge(_) | Fault::NotText | Fault::Status(_) | Fault::Wrong(_) => {
            built.help("that is a mistake in the plugin: tell its author")
        }
        Fault::Said(_) | Fault::Cancelled | Fault::Left(_) => built,
    }
}

/// A plugin is asked nothing any more.
pub fn given_up(declared: &Declared, fault: &Fault, warn: bool) -> Diagnostic {
    let name = &declared.name;
    let message = format!("the plugin `{name}` is given up: {fault}");
    let built = if warn {
        Diagnostic::warning(&codes::PLUGIN_GIVEN_UP, message)
    } else {
        Diagnostic::error(&codes::PLUGIN_GIVEN_UP, message)
    };
    let built = at(built, declared.span);
    match fault {
        Fault::Died(_) => {
            return built.help("its process was started once more, and ended again: it is asked nothing any more in this run");
        }
        Fault::Left(_) => {
            return built.help("it did not keep up with what happened; whoever stops a run waits a few seconds for its plugins");
        }
        _ => {}
    }
    built.help(format!(
        "give it more time with `plugins.{name}.timeout`, or let it run in a process of its own, where it can be ended: `isolation: process`"
    ))
}
