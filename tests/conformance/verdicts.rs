//! `workflow::verdict` against `ComfyUI`'s own validation of some two thousand workflows.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;
use std::time::Instant;

use kiln::catalog::Catalog;
use kiln::workflow::{self, verdict};
use libtest_mimic::{Failed, Trial};
use serde_json::Value;

/// Of a hundred verdicts that are given, how many must be exact. Not all can be: the server walks unordered sets, so that which of two
/// nodes an inner exception is noted under is chance.
const LEAST_PERCENT: usize = 99;
/// Of a hundred verdicts, how many may be left open: some folders only the server can look into (`Verdict::assumed`).
const MOST_OPEN_PERCENT: usize = 1;

/// Errors that are compared by node alone, as their input is not the server's to tell.
const BY_NODE: [&str; 3] = [
    "dependency_cycle",
    "exception_during_validation",
    "missing_node_type",
];

pub(crate) fn trials(fixtures: Option<&Path>) -> Vec<Trial> {
    vec![
        crate::trial(fixtures, "verdicts_are_the_servers_own", compare),
        crate::trial(
            fixtures,
            "answers_are_in_the_servers_own_words",
            compare_words,
        ),
    ]
}

type Told = BTreeSet<(String, String, Option<String>)>;

fn compare(folder: &Path) -> Result<(), Failed> {
    let catalog = std::fs::read_to_string(folder.join("object_info.json"))?;
    let started = Instant::now();
    let (catalog, warnings) = Catalog::from_json(&catalog)?;
    let reading = started.elapsed();
    let cases = std::fs::read_to_string(folder.join("verdicts.jsonl"))?;
    let mut wrong: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let (mut exact, mut right, mut open, mut count) = (0, 0, 0, 0);
    let mut judging = std::time::Duration::ZERO;
    for line in cases.lines() {
        let case: Value = serde_json::from_str(line)?;
        count += 1;
        let text = case["workflow"].to_string();
        let started = Instant::now();
        let answer = answer(&text, &catalog);
        judging += started.elapsed();
        let Some(answer) = answer else {
            open += 1;
            continue;
        };
        let wanted = wanted(&case["verdict"]);
        if answer.0 == wanted.0 {
            right += 1;
        }
        if answer.0 == wanted.0
            && answer.1 == wanted.1
            && wanted.2.is_subset(&answer.2)
            && (case["verdict"]["error"] == "missing_node_type" || wanted.2 == answer.2)
        {
            exact += 1;
        } else {
            let kind = case["mutation"].as_str().unwrap_or("as is").to_owned();
            wrong.entry(kind).or_default().push(format!(
                "{} at {}: wanted {wanted:?}, said {answer:?}",
                case["id"], case["at"]
            ));
        }
    }
    let mut summary = format!(
        "{exact} of {count} verdicts exact, {right} accepted or refused rightly, {open} left open; {} classes ({} left out) read in {reading:?}, judged in {judging:?}\n",
        catalog.len(),
        warnings.len(),
    );
    for (mutation, cases) in &wrong {
        let _ = writeln!(summary, "{mutation}: {}", cases.len());
        for case in cases {
            let _ = writeln!(summary, "    {case}");
        }
    }
    eprintln!("{}", summary.lines().next().unwrap_or_default());
    if exact * 100 < (count - open) * LEAST_PERCENT || open * 100 > count * MOST_OPEN_PERCENT {
        return Err(summary.into());
    }
    Ok(())
}

/// Accepted, output nodes that run, and what is said about nodes.
type Answer = (bool, BTreeSet<String>, Told);

/// `None` where only the server can know.
fn answer(text: &str, catalog: &Catalog) -> Option<Answer> {
    let graph = match workflow::parse(text) {
        Ok(graph) => graph,
        Err(problems) => {
            let told = problems.into_iter().filter_map(|problem| match problem {
                workflow::ParseProblem::MissingClass { node, .. } => {
                    Some((node.0, "missing_node_type".to_owned(), None))
                }
                _ => None,
            });
            return Some((false, BTreeSet::new(), told.collect()));
        }
    };
    let verdict = verdict::judge(&graph, catalog, &verdict::JudgeOptions::default());
    let mut told = Told::new();
    for (id, node) in &verdict.node_errors {
        for error in &node.errors {
            told.insert(key(id.as_str(), error.kind, error.input.as_deref()));
        }
    }
    if let Some(error) = &verdict.error
        && error.kind == "missing_node_type"
    {
        let node = error.extra_info["node_id"].as_str().unwrap_or_default();
        told.insert(key(node, error.kind, None));
    }
    let accepted = verdict.accepted?;
    let runs = verdict.runs.into_iter().map(|id| id.0).collect();
    Some((accepted, runs, told))
}

fn wanted(verdict: &Value) -> Answer {
    let mut told = Told::new();
    for (id, errors) in verdict["node_errors"].as_object().into_iter().flatten() {
        for error in errors.as_array().into_iter().flatten() {
            told.insert(key(
                id,
                error[0].as_str().unwrap_or_default(),
                error[1].as_str(),
            ));
        }
    }
    if verdict["error"] == "missing_node_type" {
        let node = verdict["node"].as_str().unwrap_or_default();
        told.insert(key(node, "missing_node_type", None));
    }
    let runs = verdict["good_outputs"].as_array().into_iter().flatten();
    (
        verdict["ok"] == true,
        runs.filter_map(Value::as_str).map(str::to_owned).collect(),
        told,
    )
}

fn key(node: &str, kind: &str, input: Option<&str>) -> (String, String, Option<String>) {
    let input = input.filter(|_| !BY_NODE.contains(&kind));
    (node.to_owned(), kind.to_owned(), input.map(str::to_owned))
}

/// The recorded answers to `POST /prompt`, word for word, but for tracebacks.
fn compare_words(folder: &Path) -> Result<(), Failed> {
    let catalog = std::fs::read_to_string(folder.join("object_info.json"))?;
    let (catalog, _) = Catalog::from_json(&catalog)?;
    let mut wrong = String::new();
    let mut count = 0;
    for entry in std::fs::read_dir(folder.join("transcripts"))? {
        let path = entry?.path();
        if path.extension().is_none_or(|e| e != "json") {
            continue;
        }
        let transcript = std::fs::read_to_string(&path)?.replace("NaN", "null");
        let Ok(transcript) = serde_json::from_str::<Value>(&transcript) else {
            continue;
        };
        let body = &transcript["request"]["body"];
        let mut recorded = transcript["response"]["body"].clone();
        let Some(graph) = comparable(body, &recorded, &catalog) else {
            continue;
        };
        let targets: Option<Vec<kiln::base::NodeId>> =
            serde_json::from_value(body["partial_execution_targets"].clone())?;
        let options = verdict::JudgeOptions {
            targets: targets.as_deref(),
            ..verdict::JudgeOptions::default()
        };
        let mut answer = verdict::judge(&graph, &catalog, &options).to_response();
        for value in [&mut answer, &mut recorded] {
            if let Value::Object(members) = value {
                members.retain(|name, _| matches!(name.as_str(), "error" | "node_errors"));
            }
            without_chance(value);
        }
        count += 1;
        if answer != recorded {
            let _ = writeln!(
                wrong,
                "{}:\n  wanted {recorded}\n  said   {answer}",
                path.display()
            );
        }
    }
    eprintln!("{count} answers compared");
    if wrong.is_empty() && count > 0 {
        Ok(())
    } else {
        Err(wrong.into())
    }
}

/// The graph of a transcript whose answer hangs on nothing but the catalog: no files, no classes of test packs.
fn comparable(body: &Value, recorded: &Value, catalog: &Catalog) -> Option<workflow::Graph> {
    recorded.get("node_errors")?;
    let graph = workflow::from_request(body.get("prompt")?.clone()).ok()?;
    let unknown = graph
        .nodes
        .values()
        .any(|node| catalog.node(&node.class_type).is_none());
    let by_class = recorded["error"]["type"] == "missing_node_type";
    let by_file = graph
        .nodes
        .values()
        .filter_map(|node| catalog.node(&node.class_type))
        .any(|def| def.name.contains("Load"));
    let without_inputs = body["prompt"]
        .as_object()?
        .values()
        .any(|node| node.get("inputs").is_none());
    (unknown == by_class && !by_file && !without_inputs).then_some(graph)
}

/// Drops what differs from run to run of the server; dependent outputs hang on the order in which it takes outputs from a set.
fn without_chance(value: &mut Value) {
    match value {
        Value::Object(members) => {
            members.retain(|name, _| !matches!(name.as_str(), "traceback" | "dependent_outputs"));
            members.values_mut().for_each(without_chance);
        }
        Value::Array(items) => items.iter_mut().for_each(without_chance),
        _ => {}
    }
}
