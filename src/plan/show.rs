//! A plan for people and for programs.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::sealed::{Edit, EditValue, Plan, ServerKind};
use crate::artifact::Datum;
use crate::base::display_path;
use crate::workflow::Graph;

/// The plan as text: params, then tasks in order with what they wait for and what they set.
pub fn to_text(plan: &Plan) -> String {
    let mut out = String::new();
    let servers: Vec<String> = plan
        .servers
        .iter()
        .map(|(name, server)| server_text(name.as_str(), &server.kind))
        .collect();
    let tasks = plan.tasks.len();
    let _ = writeln!(
        out,
        "{} · {tasks} {} on {}",
        plan.pipeline,
        if tasks == 1 { "task" } else { "tasks" },
        servers.join(", ")
    );
    if let Some(description) = &plan.description {
        let _ = writeln!(out, "{description}");
    }
    if !plan.params.is_empty() {
        let _ = writeln!(out, "\nparams");
        let width = plan.params.keys().map(String::len).max().unwrap_or(0);
        for (name, param) in &plan.params {
            let drawn = if param.drawn { "  (drawn)" } else { "" };
            let _ = writeln!(out, "  {name:<width$}  {}{drawn}", datum_text(&param.value));
        }
    }
    let _ = writeln!(out, "\ntasks");
    let width = plan
        .tasks
        .iter()
        .map(|t| t.name.as_str().chars().count())
        .max()
        .unwrap_or(0);
    for task in &plan.tasks {
        let step = &plan.steps[&task.step];
        let after: Vec<&str> = step.needs.iter().map(|need| need.step.as_str()).collect();
        let work = step.workflow();
        let file = work.map_or("", |work| plan.sources.file(work.file).name.as_str());
        let after = if after.is_empty() {
            String::new()
        } else {
            format!("  after {}", after.join(", "))
        };
        let on = if plan.servers.len() > 1 {
            format!("  on {}", step.server)
        } else {
            String::new()
        };
        let _ = writeln!(out, "  {:<width$}  {file}{after}{on}", task.name);
        for edit in work.into_iter().flat_map(|work| &work.edits) {
            let _ = writeln!(
                out,
                "  {:<width$}    {}",
                "",
                edit_text(work.map(|work| &work.graph), edit)
            );
        }
        if let Some(save_as) = &step.save_as {
            let _ = writeln!(out, "  {:<width$}    save_as {}", "", save_as.text);
        }
    }
    out
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
        "tasks": plan.tasks.iter().map(|task| {
            let step = &plan.steps[&task.step];
            json!({
                "task": task.name,
                "step": task.step,
                "server": step.server,
                "workflow": step.workflow().map(|work| plan.sources.file(work.file).name.clone()),
                "needs": step.needs.iter().map(|need| &need.step).collect::<Vec<_>>(),
                "set": step.workflow().map_or(Vec::new(), |work| {
                    work.edits.iter().map(|edit| edit_json(&work.graph, edit)).collect()
                }),
                "outputs": step.outputs,
                "save_as": step.save_as.as_ref().map(|t| &t.text),
            })
        }).collect::<Vec<_>>(),
    })
}

fn server_text(name: &str, kind: &ServerKind) -> String {
    match kind {
        ServerKind::Here => name.to_owned(),
        ServerKind::Embedded { .. } if name == "embedded" => name.to_owned(),
        ServerKind::Embedded { .. } => format!("{name} (embedded)"),
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
            .map_or("?", crate::workflow::Node::label)
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
    let value = match &edit.value {
        EditValue::Ready(datum) => json!({ "value": datum.to_json() }),
        EditValue::Later(template) => json!({ "template": template.text, "steps": template.steps }),
        EditValue::List(_) | EditValue::Map(_) => json!({ "template": null }),
        EditValue::Link { node, slot } => json!({ "link": [node, slot] }),
    };
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
        Datum::String(text) => format!("{text:?}"),
        other => other.to_json().to_string(),
    };
    if text.chars().count() > LONG {
        let short: String = text.chars().take(LONG).collect();
        format!("{short}…")
    } else {
        text
    }
}
