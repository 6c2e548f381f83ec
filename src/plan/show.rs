//! A plan for people and for programs.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::sealed::{
    CacheMode, Edit, EditValue, Grow, Item, Plan, RetryClass, ServerKind, StepPlan, TaskPlan, Work,
};
use crate::artifact::Datum;
use crate::base::{display_path, secret};
use crate::diagnostic::thousands;
use crate::workflow::Graph;

/// How many names of tasks are shown.
const FIRST: usize = 3;

/// The plan as text for so many columns: params, then steps in order with their tasks, what they wait for and what they set.
pub fn to_text(plan: &Plan, columns: usize) -> String {
    let mut out = String::new();
    let servers: Vec<String> = plan
        .servers
        .iter()
        .map(|(name, server)| server_text(name.as_str(), &server.kind))
        .collect();
    let tasks = plan.tasks.len();
    let _ = writeln!(
        out,
        "{} · {}{} on {}",
        plan.pipeline,
        thousands(tasks),
        match (plan.grows(), tasks) {
            (true, _) => "+ tasks",
            (false, 1) => " task",
            (false, _) => " tasks",
        },
        servers.join(", ")
    );
    if let Some(description) = &plan.description {
        let _ = writeln!(out, "{description}");
    }
    if !plan.params.is_empty() {
        let _ = writeln!(out, "\nparams");
        let width = plan.params.keys().map(String::len).max().unwrap_or(0);
        for (name, param) in &plan.params {
            let value = if param.drawn {
                "random (drawn by each run)".to_owned()
            } else {
                datum_text(&param.value)
            };
            let _ = writeln!(out, "  {name:<width$}  {value}");
        }
    }
    if !plan.limits.is_empty() {
        let limits = plan.limits.iter().map(|(name, n)| format!("{name} {n}"));
        let _ = writeln!(out, "\nlimits  {}", limits.collect::<Vec<_>>().join(", "));
    }
    for (id, outcome) in &plan.given {
        let tasks = outcome.tasks.len();
        let _ = writeln!(out, "\nearlier results of {id} ({tasks} tasks)");
    }
    steps_text(plan, columns, &mut out);
    out
}

fn steps_text(plan: &Plan, columns: usize, out: &mut String) {
    /// What a step does has at least so many columns beside its name, or stands below it.
    const LEAST: usize = 56;
    let _ = writeln!(out, "\nsteps");
    let labels: Vec<String> = plan
        .steps
        .values()
        .map(|step| match fan_text(plan, step) {
            Some(fan) => format!("{} {fan}", step.id),
            None => step.id.0.clone(),
        })
        .collect();
    let width = labels.iter().map(|l| l.chars().count()).max().unwrap_or(0);
    for (step, label) in plan.steps.values().zip(&labels) {
        let work = work_name(plan, step);
        let mut about = vec![work];
        about.extend(after_text(step));
        if plan.servers.len() > 1 {
            about.push(format!("on {}", step.server));
        }
        let beside = width.saturating_add(LEAST) <= columns;
        let indent = if beside { width } else { 2 };
        if beside {
            let _ = writeln!(out, "  {label:<width$}  {}", about.join("  "));
        } else {
            let _ = writeln!(out, "  {label}\n    {}", about.join("  "));
        }
        for line in details(plan, step) {
            let _ = writeln!(out, "  {:<indent$}    {line}", "");
        }
    }
}

/// How many tasks a step has, when that is not one: `× 4`, `one per task of base`.
pub(super) fn fan_text(plan: &Plan, step: &StepPlan) -> Option<String> {
    let combinations = match step.matrix.len() {
        1 => String::new(),
        n => format!(" × {}", thousands(n)),
    };
    match &step.grow {
        Grow::Stream { from, list: None } => {
            Some(format!("(one per task of {from}){combinations}"))
        }
        Grow::Stream {
            list: Some(list), ..
        }
        | Grow::Later { list } => Some(format!(
            "(one per item of {}){combinations}",
            one_line(super::expand::bare(&list.text))
        )),
        Grow::Known => match tasks_of(plan, step) {
            [only] if only.order.is_empty() => None,
            tasks => Some(format!("× {}", thousands(tasks.len()))),
        },
    }
}

/// The known tasks of a step; they stand together.
fn tasks_of<'a>(plan: &'a Plan, step: &StepPlan) -> &'a [TaskPlan] {
    let Some(first) = plan.tasks.iter().position(|task| task.step == step.id) else {
        return &[];
    };
    let rest = &plan.tasks[first..];
    let end = rest.iter().position(|task| task.step != step.id);
    &rest[..end.unwrap_or(rest.len())]
}

/// The workflow file, or the command's beginning.
pub(super) fn work_name(plan: &Plan, step: &StepPlan) -> String {
    match &step.work {
        Work::Workflow(work) => plan.sources.file(work.file).name.clone(),
        Work::Plugin(work) => format!("plugin {}", work.plugin),
        Work::Command(command) => {
            let words = command.args.iter().map(|arg| match arg {
                EditValue::Ready(Datum::String(text)) => text.clone(),
                EditValue::Ready(other) => datum_text(other),
                EditValue::Later(template) => template.text.clone(),
                _ => "…".to_owned(),
            });
            shortened(&one_line(&words.collect::<Vec<_>>().join(" ")), 60)
        }
    }
}

fn after_text(step: &StepPlan) -> Option<String> {
    let after: Vec<String> = step
        .needs
        .iter()
        .map(|need| {
            if need.optional {
                format!("{} (however it ends)", need.step)
            } else {
                need.step.0.clone()
            }
        })
        .collect();
    (!after.is_empty()).then(|| format!("after {}", after.join(", ")))
}

/// What a plugin is given, a line for each key.
fn with_text(with: &EditValue) -> Vec<String> {
    let text = |value: &EditValue| match value {
        EditValue::Ready(datum) => datum_text(datum),
        EditValue::Later(template) => one_line(&template.text),
        _ => "…".to_owned(),
    };
    match with {
        EditValue::Map(entries) => entries
            .iter()
            .map(|(key, value)| format!("{key} = {}", shortened(&text(value), 60)))
            .collect(),
        EditValue::Ready(Datum::Map(entries)) => entries
            .iter()
            .map(|(key, value)| format!("{key} = {}", shortened(&datum_text(value), 60)))
            .collect(),
        _ => Vec::new(),
    }
}

/// What else is to be said of a step, a line each.
fn details(plan: &Plan, step: &StepPlan) -> Vec<String> {
    let mut lines = Vec::new();
    let tasks = tasks_of(plan, step);
    if tasks.len() > 1 || tasks.first().is_some_and(|task| !task.order.is_empty()) {
        let names = tasks.iter().take(FIRST).map(|task| task.name.as_str());
        let more = match tasks.len().saturating_sub(FIRST) {
            0 => String::new(),
            more => format!(" and {} more", thousands(more)),
        };
        lines.push(format!("{}{more}", names.collect::<Vec<_>>().join(", ")));
    }
    let skipped = tasks.iter().filter(|task| task.skip).count();
    match (&step.when, skipped) {
        (Some(when), _) => lines.push(format!(
            "when {}",
            one_line(super::expand::bare(&when.text))
        )),
        (None, 0) => {}
        (None, n) if n == tasks.len() => lines.push("skipped: `when` is false".to_owned()),
        (None, n) => lines.push(format!("{} skipped: `when` is false", thousands(n))),
    }
    if let Some(work) = step.workflow() {
        lines.extend(
            work.edits
                .iter()
                .map(|edit| edit_text(Some(&work.graph), edit)),
        );
        for (id, _) in &work.bypassed {
            let node = work.graph.nodes.get(id);
            lines.push(format!(
                "{} bypassed",
                node.map_or("?", |node| node.label())
            ));
        }
    }
    if let Work::Plugin(work) = &step.work {
        lines.extend(with_text(&work.with));
    }
    if !step.shaped_by.is_empty() {
        lines.push(format!("shaped by {}", step.shaped_by.join(", ")));
    }
    if let Some(save_as) = &step.save_as {
        lines.push(format!("save_as {}", save_as.text));
    }
    if !step.claims.is_empty() {
        let claims = step.claims.iter().map(|(name, n)| format!("{name} {n}"));
        lines.push(format!("claims {}", claims.collect::<Vec<_>>().join(", ")));
    }
    lines.extend(policy_lines(step));
    lines
}

fn policy_lines(step: &StepPlan) -> Vec<String> {
    let mut lines = Vec::new();
    if step.retry.attempts > 1 {
        let classes: Vec<String> = step.retry.classes.iter().map(|c| class_name(*c)).collect();
        let mut line = format!(
            "up to {} attempts for {}",
            step.retry.attempts,
            classes.join(", ")
        );
        if let Some(until) = &step.retry.until {
            let _ = write!(
                line,
                ", until {}",
                one_line(super::expand::bare(&until.text))
            );
        }
        lines.push(line);
    }
    if let Some(timeout) = step.timeout_ms {
        lines.push(format!("timeout {}", duration(timeout)));
    }
    if let Some(timeout) = step.stall_timeout_ms {
        lines.push(format!("stall timeout {}", duration(timeout)));
    }
    match step.cache {
        CacheMode::On => {}
        CacheMode::Off => lines.push("never from the cache".to_owned()),
        CacheMode::Strict => {
            lines.push("from the cache only of the same server and models".to_owned());
        }
    }
    if step.allow_partial {
        lines.push("runs without the outputs that its server refuses".to_owned());
    }
    if step.force {
        lines.push("afresh".to_owned());
    }
    lines
}

fn class_name(class: RetryClass) -> String {
    let name = serde_json::to_value(class).unwrap_or_default();
    name.as_str().unwrap_or_default().to_owned()
}

/// Milliseconds as people write them: `1h30m`, `2s`, `500ms`.
fn duration(milliseconds: u64) -> String {
    let mut rest = milliseconds;
    let mut out = String::new();
    for (unit, size) in [("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)] {
        let count = rest / size;
        rest %= size;
        if count > 0 {
            let _ = write!(out, "{count}{unit}");
        }
    }
    if out.is_empty() { "0s".to_owned() } else { out }
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn shortened(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    let short: String = text.chars().take(most).collect();
    format!("{short}…")
}

/// The plan as JSON.
pub fn to_json(plan: &Plan) -> Value {
    let params: serde_json::Map<String, Value> = plan
        .params
        .iter()
        .map(|(name, param)| {
            (
                name.clone(),
                json!({ "value": param.value.to_json(), "drawn": param.drawn }),
            )
        })
        .collect();
    let servers: serde_json::Map<String, Value> = plan
        .servers
        .iter()
        .map(|(name, server)| {
            let kind = match &server.kind {
                ServerKind::Comfy { urls } => {
                    json!({ "kind": "comfy", "urls": urls, "max_jobs": server.max_jobs })
                }
                ServerKind::Cloud { url } => {
                    json!({ "kind": "cloud", "url": url, "max_jobs": server.max_jobs })
                }
                ServerKind::Embedded { .. } => {
                    json!({ "kind": "embedded", "max_jobs": server.max_jobs })
                }
                ServerKind::Here => json!({ "kind": "here", "max_jobs": server.max_jobs }),
            };
            (name.0.clone(), kind)
        })
        .collect();
    json!({
        "pipeline": plan.pipeline,
        "description": plan.description,
        "seed": plan.seed,
        "output_dir": plan.output_dir,
        "max_parallel": plan.max_parallel,
        "params": params,
        "servers": servers,
        "limits": plan.limits,
        "given": plan.given.keys().collect::<Vec<_>>(),
        "steps": plan.steps.values().map(|step| step_json(plan, step)).collect::<Vec<_>>(),
        "tasks": plan.tasks.iter().map(|task| {
            let mut about = json!({ "task": task.name, "step": task.step });
            if !task.matrix.is_empty() {
                about["matrix"] = Datum::Map(task.matrix.as_ref().clone()).to_json();
            }
            match &task.item {
                Some(Item::Value(value)) => about["item"] = value.to_json(),
                Some(Item::Given(outcome)) => about["item"] = json!({ "task": outcome.name }),
                Some(Item::Task(_)) | None => {}
            }
            if task.skip {
                about["skip"] = json!(true);
            }
            about
        }).collect::<Vec<_>>(),
    })
}

fn step_json(plan: &Plan, step: &StepPlan) -> Value {
    let grow = match &step.grow {
        Grow::Known => json!("known"),
        Grow::Later { list } => json!({ "for_each": list.text }),
        Grow::Stream { from, list } => {
            json!({ "stream": from, "for_each": list.as_ref().map(|list| &list.text) })
        }
    };
    let mut about = json!({
        "step": step.id,
        "server": step.server,
        "tasks": tasks_of(plan, step).len(),
        "grow": grow,
        "needs": step.needs.iter().map(|need| &need.step).collect::<Vec<_>>(),
        "optional": step.needs.iter().filter(|n| n.optional).map(|n| &n.step).collect::<Vec<_>>(),
        "outputs": step.outputs,
        "save_as": step.save_as.as_ref().map(|t| &t.text),
        "when": step.when.as_ref().map(|t| &t.text),
        "claims": step.claims,
        "retry": {
            "attempts": step.retry.attempts,
            "delay_ms": step.retry.delay_ms,
            "max_delay_ms": step.retry.max_delay_ms,
            "for": step.retry.classes,
            "until": step.retry.until.as_ref().map(|t| &t.text),
        },
        "timeout_ms": step.timeout_ms,
        "stall_timeout_ms": step.stall_timeout_ms,
        "cache": step.cache,
        "allow_partial": step.allow_partial,
        "force": step.force,
    });
    match &step.work {
        Work::Workflow(work) => {
            about["workflow"] = json!(plan.sources.file(work.file).name);
            about["set"] = work
                .edits
                .iter()
                .map(|edit| edit_json(&work.graph, edit))
                .collect();
            about["bypass"] = work.bypassed.iter().map(|(id, _)| json!(id)).collect();
        }
        Work::Plugin(work) => {
            about["plugin"] = json!(work.plugin);
            about["with"] = value_json(&work.with);
        }
        Work::Command(command) => {
            about["command"] = command.args.iter().map(value_json).collect();
            about["collect"] = json!(command.collect);
        }
    }
    about
}

fn value_json(value: &EditValue) -> Value {
    match value {
        EditValue::Ready(datum) => json!({ "value": datum.to_json() }),
        EditValue::Later(template) => json!({ "template": template.text, "steps": template.steps }),
        EditValue::List(items) => {
            json!({ "list": items.iter().map(value_json).collect::<Vec<_>>() })
        }
        EditValue::Map(_) => json!({ "template": null }),
        EditValue::Link { node, slot } => json!({ "link": [node, slot] }),
    }
}

fn server_text(name: &str, kind: &ServerKind) -> String {
    match kind {
        ServerKind::Here => name.to_owned(),
        ServerKind::Embedded { .. } if name == "embedded" => name.to_owned(),
        ServerKind::Embedded { .. } => format!("{name} (embedded)"),
        ServerKind::Cloud { url } => format!("{name} ({url})"),
        ServerKind::Comfy { urls } => match urls.as_slice() {
            [url] if url.ends_with(name) => url.clone(),
            [url] => format!("{name} ({url})"),
            pool => format!("{name} ({} servers)", pool.len()),
        },
    }
}

fn edit_text(graph: Option<&Graph>, edit: &Edit) -> String {
    let label = |id| {
        graph
            .and_then(|graph| graph.nodes.get(id))
            .map_or("?", |node| node.label())
    };
    let input = format!("{}.{}", label(&edit.node), edit.input);
    match &edit.value {
        EditValue::Ready(Datum::Null) => format!("{input} removed"),
        EditValue::Ready(datum) => format!("{input} = {}", datum_text(datum)),
        EditValue::Later(template) => format!("{input} = {}", template.text),
        EditValue::List(_) | EditValue::Map(_) => format!("{input} = (from results)"),
        EditValue::Link { node, slot } => format!("{input} ← {}[{slot}]", label(node)),
    }
}

fn edit_json(graph: &Graph, edit: &Edit) -> Value {
    let node = graph.nodes.get(&edit.node);
    let value = value_json(&edit.value);
    let mut about = json!({
        "node": edit.node,
        "class_type": node.map(|n| &n.class_type),
        "title": node.and_then(|n| n.title()),
        "input": edit.input,
    });
    if let (Some(about), Value::Object(value)) = (about.as_object_mut(), value) {
        about.extend(value);
    }
    about
}

/// A value on one line.
fn datum_text(datum: &Datum) -> String {
    const LONG: usize = 80;
    let text = match datum {
        Datum::File(file) => display_path(&file.path),
        Datum::String(text) => format!("{:?}", secret::shown(text)),
        other => other.to_json().to_string(),
    };
    shortened(&text, LONG)
}
