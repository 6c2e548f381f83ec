//! `matrix` and `for_each` as written become combinations and a way to grow.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use indexmap::IndexMap;

use super::eval::{Each, Evaluator, Extra, Here};
use super::expand::{no_list, too_many, whole_step};
use super::sealed::{EditValue, Grow, MAX_TASKS, TemplateText};
use crate::artifact::Datum;
use crate::base::StepId;
use crate::diagnostic::{Diagnostic, Report, SourceMap, Span, codes, thousands};
use crate::spec::{Matrix, Node, NodeKind, Step};
use crate::template::Template;

/// The accessors that give lists of files.
const FILES: &[&str] = &["files", "images", "videos", "audios", "models3d"];

/// One combination of a matrix.
pub(super) type Combination = IndexMap<String, Datum>;

/// How a step fans out.
#[derive(Clone, Debug)]
pub(super) struct Fan {
    /// The combinations of its matrix; one empty combination without one.
    pub(super) matrix: Vec<Arc<Combination>>,
    /// How its tasks become known.
    pub(super) grow: Grow,
    /// The items of its `for_each`, when they are known.
    pub(super) items: Option<Vec<Datum>>,
}

/// What the templates of a step may name.
pub(super) fn here(step: &Step) -> Here {
    let matrix = step.matrix.as_ref().map(keys).unwrap_or_default();
    Here {
        fans_out: !matrix.is_empty() || step.for_each.is_some(),
        matrix,
        item: step.for_each.as_ref().map(each),
    }
}

/// What a `for_each` goes through, where it is nothing but a path.
fn each(node: &Node) -> Each {
    let NodeKind::String(text) = &node.kind else {
        return Each::Value;
    };
    let parsed = Template::parse_expression(text).ok();
    let path = parsed.and_then(|parsed| parsed.path()).unwrap_or_default();
    let path: Vec<&str> = path.iter().map(String::as_str).collect();
    match path.as_slice() {
        ["steps", _] => Each::Task,
        ["steps", _, last] | ["steps", _, "outputs", _, last] if FILES.contains(last) => Each::File,
        _ => Each::Value,
    }
}

/// The keys of a matrix: without any of its own it has those of what it includes.
fn keys(matrix: &Matrix) -> Vec<String> {
    if !matrix.keys.is_empty() {
        return matrix.keys.keys().cloned().collect();
    }
    match matrix.include.first().map(|node| &node.kind) {
        Some(NodeKind::Map(entries)) => entries.iter().map(|(key, _)| key.value.clone()).collect(),
        _ => Vec::new(),
    }
}

/// Reads both. Neither sees `matrix`, `item` or `task`: they make the tasks.
pub(super) fn fan(step: &Step, evaluator: &mut Evaluator<'_>, sources: &SourceMap) -> Option<Fan> {
    let outer = std::mem::take(&mut evaluator.here);
    let combinations = match &step.matrix {
        None => Some(vec![Arc::default()]),
        Some(matrix) => combinations(&step.id.value, matrix, evaluator, sources)
            .map(|all| all.into_iter().map(Arc::new).collect()),
    };
    let grown = match &step.for_each {
        None => Some((Grow::Known, None)),
        Some(node) => for_each(&step.id.value, node, evaluator, sources),
    };
    evaluator.here = outer;
    if let (Some(matrix), Some([])) = (&step.matrix, combinations.as_deref()) {
        let message = "`matrix` has no combinations, so the step is skipped";
        let warning = Diagnostic::warning(&codes::EMPTY_LIST, message).at(matrix.span);
        evaluator.report.push(warning);
    }
    let (grow, items) = grown?;
    Some(Fan {
        matrix: combinations?,
        grow,
        items,
    })
}

fn for_each(
    step: &str,
    node: &Node,
    evaluator: &mut Evaluator<'_>,
    sources: &SourceMap,
) -> Option<(Grow, Option<Vec<Datum>>)> {
    let before: Vec<String> = evaluator.used.keys().cloned().collect();
    let extra = Extra {
        salt: format!("{step}/for_each"),
        ..Extra::default()
    };
    let list = match evaluator.expression(node, &extra, sources)? {
        EditValue::Ready(Datum::List(items)) => {
            if items.is_empty() {
                evaluator.report.push(finds_nothing(node));
            }
            return Some((Grow::Known, Some(items)));
        }
        EditValue::Ready(other) => {
            evaluator.report.push(no_list(&other).at(node.span));
            return None;
        }
        EditValue::Later(list) => list,
        _ => {
            let message = "a list in `for_each` that is written out cannot use results";
            let diagnostic = Diagnostic::error(&codes::BAD_EXPRESSION, message).at(node.span);
            let help =
                "write it as one expression: `for_each: \"{{ [steps.a.image, steps.b.image] }}\"`";
            evaluator.report.push(diagnostic.help(help));
            return None;
        }
    };
    let parsed = Template::parse_expression(&list.text).ok()?;
    if parsed.uses().names.contains("task") {
        let message = "`task` has no value in `for_each`, which makes the tasks";
        let diagnostic = Diagnostic::error(&codes::UNDEFINED_NAME, message).at(node.span);
        evaluator.report.push(diagnostic);
        return None;
    }
    // What else of the step uses all of the other step's results must wait for all of them.
    let whole = |from: &str| before.iter().any(|step| step == from);
    let path = parsed.path();
    let path: Vec<&str> = path.iter().flatten().map(String::as_str).collect();
    let grow = match path.as_slice() {
        ["steps", from, rest @ ..] if !whole(from) => {
            stream(&list, from, rest, node.span, evaluator)?
        }
        _ => Grow::Later { list },
    };
    Some((grow, None))
}

/// An empty list skips its step, which is seldom what was meant when nothing but a path decides about it.
fn finds_nothing(node: &Node) -> Diagnostic {
    let message = "`for_each` gives an empty list, so the step is skipped";
    let built = Diagnostic::warning(&codes::EMPTY_LIST, message).at(node.span);
    if node.as_str().is_some_and(|text| text.contains("glob(")) {
        built.help("`glob` starts in the pipeline's folder; hidden files match only a pattern that names the dot")
    } else {
        built
    }
}

fn stream(
    list: &TemplateText,
    from: &str,
    rest: &[&str],
    span: Span,
    evaluator: &mut Evaluator<'_>,
) -> Option<Grow> {
    const SINGLE: &[&str] = &[
        "file", "image", "video", "audio", "model3d", "text", "status",
    ];
    if let [.., last] = rest
        && SINGLE.contains(last)
        && rest.first() != Some(&"data")
    {
        let message = format!(
            "`for_each` must give a list, and `{}` is one value",
            list.text.trim()
        );
        let diagnostic = Diagnostic::error(&codes::WRONG_TYPE, message).at(span);
        evaluator.report.push(if *last == "status" {
            diagnostic.help(format!("`steps.{from}` gives a task for each of its tasks"))
        } else {
            diagnostic.help(format!(
                "write `{}s` for all of them, or `steps.{from}` for a task for each of its tasks",
                list.text.trim().trim_end_matches("}}").trim_end()
            ))
        });
        return None;
    }
    Some(Grow::Stream {
        from: StepId::from(from),
        list: whole_step(list).is_none().then(|| list.clone()),
    })
}

/// All combinations of a matrix, the first key slowest; `None` when an error was reported.
fn combinations(
    step: &str,
    matrix: &Matrix,
    evaluator: &mut Evaluator<'_>,
    sources: &SourceMap,
) -> Option<Vec<Combination>> {
    let mut lists: Vec<(&str, Vec<Datum>)> = Vec::new();
    let mut sound = true;
    for (key, (span, node)) in &matrix.keys {
        match values((step, key), *span, node, evaluator, sources) {
            Values::Known(values) => lists.push((key, values)),
            // Only a check goes on without it; what uses the matrix is not known, then.
            Values::Undecided => return Some(vec![Combination::new()]),
            Values::Wrong => sound = false,
        }
    }
    let entries = |name: &str, nodes: &[Node], evaluator: &mut Evaluator<'_>| {
        let place = |at: usize| format!("{step}/{name}/{at}");
        let each = nodes.iter().enumerate();
        each.map(|(at, node)| entry(place(at), node, evaluator, sources))
            .collect::<Vec<Option<Combination>>>()
    };
    let exclude = entries("exclude", &matrix.exclude, evaluator);
    let include = entries("include", &matrix.include, evaluator);
    sound &= exclude.iter().chain(&include).all(Option::is_some);
    if !sound {
        return None;
    }
    if let Some(diagnostic) = too_large(step, matrix, &lists) {
        evaluator.report.push(diagnostic);
        return None;
    }
    let mut all = if lists.is_empty() {
        Vec::new()
    } else {
        product(&lists)
    };
    let full = all.len();
    leave_out(&mut all, exclude.iter().flatten());
    if full > 0 && all.is_empty() && include.is_empty() {
        let message = "`exclude` leaves out every combination of the matrix";
        let diagnostic = Diagnostic::error(&codes::BAD_MATRIX, message).at(matrix.span);
        evaluator.report.push(diagnostic);
        return None;
    }
    let include: Vec<Combination> = include.into_iter().flatten().collect();
    add(&mut all, matrix, &include, evaluator.report).then_some(all)
}

/// Adds what `include` says, each combination in the order of the matrix's own keys, however it is written; false when one is there already.
fn add(
    all: &mut Vec<Combination>,
    matrix: &Matrix,
    include: &[Combination],
    report: &mut Report,
) -> bool {
    let mut sound = true;
    let keys = keys(matrix);
    let mut known: HashSet<String> = if include.is_empty() {
        HashSet::new()
    } else {
        all.iter().filter_map(|c| identity(c, &keys)).collect()
    };
    for (node, combination) in matrix.include.iter().zip(include) {
        let ordered: Combination = keys
            .iter()
            .filter_map(|key| Some((key.clone(), combination.get(key)?.clone())))
            .collect();
        if identity(&ordered, &keys).is_some_and(|it| !known.insert(it)) {
            let message = "this combination is in the matrix already";
            let diagnostic = Diagnostic::error(&codes::BAD_MATRIX, message).at(node.span);
            report.push(diagnostic.help("each combination is one task: leave it out of `include`"));
            sound = false;
        }
        all.push(ordered);
    }
    sound
}

/// Takes out every combination that has all values of one of `exclude`. Those that name the same keys are looked up together: a matrix
/// may have as many of them as combinations.
fn leave_out<'a>(all: &mut Vec<Combination>, exclude: impl Iterator<Item = &'a Combination>) {
    let mut by_keys: HashMap<Vec<String>, HashSet<String>> = HashMap::new();
    for partial in exclude {
        let mut keys: Vec<String> = partial.keys().cloned().collect();
        keys.sort_unstable();
        if let Some(values) = identity(partial, &keys) {
            by_keys.entry(keys).or_default().insert(values);
        }
    }
    all.retain(|combination| {
        by_keys.iter().all(|(keys, values)| {
            identity(combination, keys).is_none_or(|values_here| !values.contains(&values_here))
        })
    });
}

/// The values that a combination has for some keys, as one text; `None` when it lacks one of them.
fn identity(combination: &Combination, keys: &[String]) -> Option<String> {
    let values = keys
        .iter()
        .map(|key| Some(combination.get(key)?.identity()));
    Some(values.collect::<Option<Vec<_>>>()?.join(","))
}

/// More combinations than a plan may have tasks are not even made.
fn too_large(step: &str, matrix: &Matrix, lists: &[(&str, Vec<Datum>)]) -> Option<Diagnostic> {
    let size = lists.iter().fold(1_usize, |size, (_, values)| {
        size.saturating_mul(values.len())
    });
    if size <= MAX_TASKS {
        return None;
    }
    let lengths: Vec<String> = lists
        .iter()
        .map(|(key, values)| format!("`{key}` has {} values", thousands(values.len())))
        .collect();
    let what = format!("they multiply: {}", lengths.join(", "));
    let id = StepId::from(step);
    Some(too_many(&id, size, 0, &what, Some(matrix.span)))
}

fn product(lists: &[(&str, Vec<Datum>)]) -> Vec<Combination> {
    let mut all = vec![Combination::new()];
    for (key, values) in lists {
        all = all
            .iter()
            .flat_map(|combination| {
                values.iter().map(|value| {
                    let mut longer = combination.clone();
                    longer.insert((*key).to_owned(), value.clone());
                    longer
                })
            })
            .collect();
    }
    all
}

enum Values {
    Known(Vec<Datum>),
    Undecided,
    Wrong,
}

fn values(
    (step, key): (&str, &str),
    span: Span,
    node: &Node,
    evaluator: &mut Evaluator<'_>,
    sources: &SourceMap,
) -> Values {
    let extra = Extra {
        salt: format!("{step}/matrix/{key}"),
        ..Extra::default()
    };
    let values = match evaluator.value(node, &extra, sources) {
        None => return Values::Wrong,
        Some(EditValue::Ready(Datum::List(values))) => values,
        Some(EditValue::Ready(other)) => {
            let message = format!(
                "the matrix key `{key}` must have a list of values, and this gives {}",
                other.describe()
            );
            let diagnostic = Diagnostic::error(&codes::BAD_MATRIX, message).at(node.span);
            evaluator.report.push(match other {
                Datum::Number(_) => diagnostic.help("count with `range(…)`"),
                _ => diagnostic,
            });
            return Values::Wrong;
        }
        Some(later) => return undecided(&later, node, evaluator),
    };
    let mut seen = HashSet::with_capacity(values.len());
    for (at, value) in values.iter().enumerate() {
        if !seen.insert(value.identity()) {
            let shown = match value {
                Datum::String(text) => text.clone(),
                other => other.to_json().to_string(),
            };
            let message = format!("the matrix key `{key}` has the value `{shown}` twice");
            let place = match &node.kind {
                NodeKind::List(items) => items.get(at).map_or(node.span, |item| item.span),
                _ => node.span,
            };
            let diagnostic = Diagnostic::error(&codes::BAD_MATRIX, message).at(place);
            let help =
                "each combination is one task; `{{ … | unique }}` leaves repeated values out";
            evaluator
                .report
                .push(diagnostic.also(span, "of this key").help(help));
            return Values::Wrong;
        }
    }
    Values::Known(values)
}

/// A value that waits for a param is waited for; one that waits for results never comes.
fn undecided(later: &EditValue, node: &Node, evaluator: &mut Evaluator<'_>) -> Values {
    let waits_for_results = match later {
        EditValue::Later(template) => !template.steps.is_empty() || mentions_run(template),
        _ => true,
    };
    if !waits_for_results {
        return Values::Undecided;
    }
    let message =
        "a matrix is decided before anything runs, so it cannot use results or names of a task";
    let diagnostic = Diagnostic::error(&codes::TEMPLATE_FAILED, message).at(node.span);
    evaluator
        .report
        .push(diagnostic.help("`for_each` takes a list that is only known later"));
    Values::Wrong
}

fn mentions_run(template: &TemplateText) -> bool {
    Template::parse_expression(&template.text).is_ok_and(|parsed| {
        let names = &parsed.uses().names;
        names.contains("run") || names.contains("task")
    })
}

fn entry(
    salt: String,
    node: &Node,
    evaluator: &mut Evaluator<'_>,
    sources: &SourceMap,
) -> Option<Combination> {
    let extra = Extra {
        salt,
        ..Extra::default()
    };
    let value = evaluator.value(node, &extra, sources)?;
    if let EditValue::Ready(Datum::Map(combination)) = value {
        return Some(combination);
    }
    let message =
        "a matrix is decided before anything runs, so it cannot use results or names of a task";
    let diagnostic = Diagnostic::error(&codes::TEMPLATE_FAILED, message);
    evaluator.report.push(diagnostic.at(node.span));
    None
}
