//! What one step makes against what another one takes: the kinds of files, and how many there are.
//!
//! Only what is certain is said: of a class whose results nobody here knows, and of an expression that is more than a path, nothing is
//! said at all.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use crate::artifact::{Datum, Kind};
use crate::base::{NodeId, ServerName, StepId};
use crate::catalog::Catalog;
use crate::diagnostic::{Diagnostic, Origin, codes, list_of};
use crate::plan::{EditValue, Grow, Item, Plan, StepPlan, TemplateText, Work, WorkflowStep};
use crate::template::Template;
use crate::workflow;

mod fits;
mod masks;

/// Classes whose results are known: what each saves.
const SAVES: &[(&str, Kind)] = &[
    ("SaveImage", Kind::Image),
    ("SaveImageWebsocket", Kind::Image),
    ("SaveAnimatedPNG", Kind::Image),
    ("SaveAnimatedWEBP", Kind::Image),
    ("SaveVideo", Kind::Video),
    ("SaveWEBM", Kind::Video),
    ("SaveAudio", Kind::Audio),
    ("SaveAudioMP3", Kind::Audio),
    ("SaveAudioOpus", Kind::Audio),
    ("SaveGLB", Kind::Model3d),
    ("SaveLatent", Kind::Other),
    ("SaveText", Kind::Text),
];
/// Classes that only show something: what they leave counts when nothing is saved.
const SHOWS: &[(&str, Kind)] = &[
    ("PreviewImage", Kind::Image),
    ("MaskPreview", Kind::Image),
    ("PreviewAudio", Kind::Audio),
    ("PreviewAny", Kind::Text),
];

type CatalogOf<'a> = &'a dyn Fn(&ServerName) -> Option<Arc<Catalog>>;

/// Everything to be said about what steps hand to each other.
pub(super) fn across(plan: &Plan, catalog_of: CatalogOf<'_>) -> Vec<Diagnostic> {
    let mut out = Vec::new();
    for step in plan.steps.values() {
        match &step.work {
            Work::Workflow(work) => {
                let catalog = catalog_of(&step.server);
                for place in places(work) {
                    of_place(
                        plan,
                        step,
                        work,
                        &place,
                        catalog.as_deref(),
                        catalog_of,
                        &mut out,
                    );
                }
            }
            Work::Command(command) => {
                let values = command.args.iter().chain(command.env.values());
                for value in values.chain(&command.stdin) {
                    of_value(plan, step, value, catalog_of, &mut out);
                }
            }
            Work::Plugin(plugin) => of_value(plan, step, &plugin.with, catalog_of, &mut out),
        }
    }
    out
}

/// What is wrong with a value itself, wherever it goes to.
fn of_value(
    plan: &Plan,
    step: &StepPlan,
    value: &EditValue,
    catalog_of: CatalogOf<'_>,
    out: &mut Vec<Diagnostic>,
) {
    match value {
        EditValue::List(values) => {
            for value in values {
                of_value(plan, step, value, catalog_of, out);
            }
        }
        EditValue::Map(values) => {
            for value in values.values() {
                of_value(plan, step, value, catalog_of, out);
            }
        }
        EditValue::Later(_) => {
            let given = given(plan, step, value, catalog_of)
                .or_else(|| masks::given(plan, step, value, catalog_of));
            if let Some((text, given)) = given {
                out.extend(given.complaints(text));
            }
        }
        EditValue::Ready(_) | EditValue::Link { .. } => {}
    }
}

/// An input of a node, and what it is given.
struct Place<'a> {
    node: &'a NodeId,
    input: &'a str,
    value: &'a EditValue,
    origin: &'a Origin,
}

fn places(work: &WorkflowStep) -> impl Iterator<Item = Place<'_>> {
    let in_file = work.in_file.iter().filter(|at| at.pointer.is_empty());
    let in_file = in_file.map(|at| Place {
        node: &at.node,
        input: &at.input,
        value: &at.value,
        origin: &at.origin,
    });
    let edits = work.edits.iter().map(|edit| Place {
        node: &edit.node,
        input: &edit.input,
        value: &edit.value,
        origin: &edit.origin,
    });
    in_file.chain(edits)
}

fn of_place(
    plan: &Plan,
    step: &StepPlan,
    work: &WorkflowStep,
    place: &Place<'_>,
    catalog: Option<&Catalog>,
    catalog_of: CatalogOf<'_>,
    out: &mut Vec<Diagnostic>,
) {
    let given = match place.value {
        EditValue::Ready(Datum::File(file)) => Given {
            what: format!("`{}`", name_of(&file.path)),
            kinds: Some(BTreeSet::from([Kind::of_name(&name_of(&file.path))])),
            is_file: true,
            ..Given::default()
        },
        value => match given(plan, step, value, catalog_of)
            .or_else(|| masks::given(plan, step, value, catalog_of))
        {
            Some((text, given)) => {
                out.extend(given.complaints(text).map(|d| {
                    let class = work.graph.nodes.get(place.node);
                    let class = class.map_or("", |node| node.class_type.as_str());
                    d.node(place.node.as_str(), class, Some(place.input))
                }));
                if !given.wrong.is_empty() {
                    return;
                }
                given
            }
            None => return,
        },
    };
    let node = work.graph.nodes.get(place.node);
    let def = node.and_then(|node| {
        let def = catalog?.node(&node.class_type)?;
        def.open_input(place.input, &node.inputs)
    });
    let (Some(node), Some(open)) = (node, def) else {
        return;
    };
    let wrong = fits::misfit(&node.class_type, place.input, open.def, &given);
    let lost = || {
        given
            .masked
            .then(|| masks::lost(work, place.node, node))
            .flatten()
    };
    let Some((message, help)) = wrong.or_else(lost) else {
        return;
    };
    let span = workflow::span_of(place.origin, &plan.sources);
    let message = format!("`{}.{}` {message}", node.class_type, place.input);
    let code = if given.many {
        &codes::WRONG_COUNT
    } else {
        &codes::WRONG_KIND
    };
    out.push(
        Diagnostic::warning(code, message)
            .at(span)
            .node(place.node.as_str(), &node.class_type, Some(place.input))
            .help(help),
    );
}

fn name_of(path: &Path) -> String {
    let name = path.file_name();
    name.map(|name| name.to_string_lossy().into_owned())
        .unwrap_or_default()
}

/// What a path gives.
#[derive(Default)]
struct Given {
    /// What it is called in a sentence.
    what: String,
    /// Kinds that it may be of; `None` where that cannot be told.
    kinds: Option<BTreeSet<Kind>>,
    /// A list.
    many: bool,
    /// A file (or a list of them) and no text.
    is_file: bool,
    /// A picture with a mask as its alpha channel.
    masked: bool,
    /// What is wrong with the path itself.
    wrong: Vec<(&'static crate::diagnostic::Code, String, String)>,
    /// Where it stands.
    span: Option<crate::diagnostic::Span>,
}

impl Given {
    fn complaints<'a>(&'a self, _text: &'a TemplateText) -> impl Iterator<Item = Diagnostic> + 'a {
        self.wrong.iter().map(|(code, message, help)| {
            let warning = Diagnostic::warning(code, message.clone()).help(help.clone());
            match self.span {
                Some(span) => warning.at(span),
                None => warning,
            }
        })
    }
}

/// What a value that is one path gives; `None` for everything else, and for nothing at all.
fn given<'a>(
    plan: &Plan,
    step: &StepPlan,
    value: &'a EditValue,
    catalog_of: CatalogOf<'_>,
) -> Option<(&'a TemplateText, Given)> {
    let EditValue::Later(text) = value else {
        return None;
    };
    let span = Some(workflow::span_of(&text.origin, &plan.sources));
    let given = of_text(plan, step, &text.text, catalog_of)?;
    Some((text, Given { span, ..given }))
}

/// What an expression that is one path gives.
fn of_text(plan: &Plan, step: &StepPlan, text: &str, catalog_of: CatalogOf<'_>) -> Option<Given> {
    let path = Template::parse_expression(text).ok()?.path()?;
    let path: Vec<&str> = path.iter().map(String::as_str).collect();
    match path.as_slice() {
        ["steps", from, rest @ ..] => {
            let from = plan.steps.get(&StepId::from(*from))?;
            of_step(plan, from, rest, false, catalog_of)
        }
        ["item", rest @ ..] => of_item(plan, step, rest, catalog_of),
        _ => None,
    }
}

/// `item` of a step that follows another one.
fn of_item(
    plan: &Plan,
    step: &StepPlan,
    rest: &[&str],
    catalog_of: CatalogOf<'_>,
) -> Option<Given> {
    let Grow::Stream { from, list } = &step.grow else {
        let one = plan.tasks.iter().find(|task| task.step == step.id)?;
        return match (&one.item, rest) {
            (Some(Item::Value(Datum::File(file))), []) => Some(Given {
                what: format!("`{}`", name_of(&file.path)),
                kinds: Some(BTreeSet::from([Kind::of_name(&name_of(&file.path))])),
                is_file: true,
                ..Given::default()
            }),
            _ => None,
        };
    };
    let source = plan.steps.get(from)?;
    let Some(list) = list else {
        return of_step(plan, source, rest, true, catalog_of);
    };
    let path = Template::parse_expression(&list.text).ok()?.path()?;
    let path: Vec<&str> = path.iter().map(String::as_str).collect();
    let (["steps", _, inside @ ..], []) = (path.as_slice(), rest) else {
        return None;
    };
    let all = of_step(plan, source, inside, true, catalog_of)?;
    Some(Given {
        what: format!("an item of `{}`", path.join(".")),
        many: false,
        wrong: Vec::new(),
        ..all
    })
}

/// What `steps.X.…` gives, or, for `one` task of it, `item.…`.
fn of_step(
    plan: &Plan,
    from: &StepPlan,
    rest: &[&str],
    one: bool,
    catalog_of: CatalogOf<'_>,
) -> Option<Given> {
    let (output, word) = match rest {
        [word] => (None, *word),
        ["outputs", name, word] => (Some(*name), *word),
        _ => return None,
    };
    let (kind, many) = accessor(word)?;
    let makes = makes(plan, from, output, catalog_of);
    let mut given = Given {
        what: format!("`{}`", words(from, output, word, one)),
        kinds: kind
            .map(|kind| BTreeSet::from([kind]))
            .or_else(|| makes.as_ref().map(|made| made.kinds.clone())),
        many,
        is_file: kind != Some(Kind::Text),
        masked: false,
        wrong: Vec::new(),
        span: None,
    };
    if let Some(made) = &makes {
        if let Some(kind) = kind
            && !made.kinds.contains(&kind)
        {
            given.wrong.push(no_such_kind(from, &given.what, made));
        } else if !many {
            given
                .wrong
                .extend(too_many(plan, from, kind, made, one, &given.what));
        }
    }
    Some(given)
}

fn words(from: &StepPlan, output: Option<&str>, word: &str, one: bool) -> String {
    let start = if one {
        "item".to_owned()
    } else {
        format!("steps.{}", from.id)
    };
    match output {
        Some(output) => format!("{start}.outputs.{output}.{word}"),
        None => format!("{start}.{word}"),
    }
}

/// The kind that an accessor picks, and whether it gives a list.
fn accessor(word: &str) -> Option<(Option<Kind>, bool)> {
    Some(match word {
        "file" => (None, false),
        "files" => (None, true),
        "image" => (Some(Kind::Image), false),
        "images" => (Some(Kind::Image), true),
        "video" => (Some(Kind::Video), false),
        "videos" => (Some(Kind::Video), true),
        "audio" => (Some(Kind::Audio), false),
        "audios" => (Some(Kind::Audio), true),
        "model3d" => (Some(Kind::Model3d), false),
        "models3d" => (Some(Kind::Model3d), true),
        "text" => (Some(Kind::Text), false),
        "texts" => (Some(Kind::Text), true),
        _ => return None,
    })
}

/// What each task of a step leaves.
struct Made {
    kinds: BTreeSet<Kind>,
    /// For each node that saves something: the kind. Each leaves at least one file.
    saved: Vec<Kind>,
}

/// `None` where a node is among them of which nobody here knows what it leaves, and where a plugin may have its own idea.
fn makes(
    plan: &Plan,
    step: &StepPlan,
    output: Option<&str>,
    catalog_of: CatalogOf<'_>,
) -> Option<Made> {
    if plan.plugins.values().any(|plugin| plugin.is_for(&step.id)) {
        return None;
    }
    let work = match &step.work {
        Work::Workflow(work) => work,
        Work::Plugin(_) => return None,
        Work::Command(command) => {
            let patterns: Vec<&str> = match output {
                Some(name) => vec![command.collect.get(name)?],
                None => command.collect.values().map(String::as_str).collect(),
            };
            let mut kinds: BTreeSet<Kind> = patterns
                .iter()
                .map(|pattern| match Kind::of_name(pattern) {
                    Kind::Other => None,
                    kind => Some(kind),
                })
                .collect::<Option<_>>()?;
            // What it prints is a text.
            kinds.insert(Kind::Text);
            return Some(Made {
                kinds,
                saved: Vec::new(),
            });
        }
    };
    let catalog = catalog_of(&step.server)?;
    let nodes: Vec<&NodeId> = match output {
        Some(name) => vec![step.outputs.get(name)?],
        None if step.outputs.is_empty() => work.graph.nodes.keys().collect(),
        None => step.outputs.values().collect(),
    };
    let gone = |id: &NodeId| work.bypassed.iter().any(|(gone, _)| gone == id);
    let mut saved = Vec::new();
    let mut shown = Vec::new();
    for id in nodes {
        let class = work.graph.nodes.get(id)?.class_type.as_str();
        if gone(id) || !catalog.node(class)?.output_node {
            continue;
        }
        let known = |table: &[(&str, Kind)]| {
            let found = table.iter().find(|(name, _)| *name == class);
            found.map(|(_, kind)| *kind)
        };
        match (known(SAVES), known(SHOWS)) {
            (Some(kind), _) => saved.push(kind),
            (None, Some(kind)) => shown.push(kind),
            (None, None) => return None,
        }
    }
    let kinds = saved.iter().chain(&shown).copied().collect();
    Some(Made { kinds, saved })
}

fn no_such_kind(
    from: &StepPlan,
    what: &str,
    made: &Made,
) -> (&'static crate::diagnostic::Code, String, String) {
    let kinds: Vec<&str> = made.kinds.iter().map(|kind| plural(*kind)).collect();
    let makes = if kinds.is_empty() {
        "nothing".to_owned()
    } else {
        format!("only {}", kinds.join(" and "))
    };
    let names: Vec<String> = made
        .kinds
        .iter()
        .map(|kind| match kind {
            Kind::Other => "file".to_owned(),
            kind => kind.name().to_owned(),
        })
        .collect();
    (
        &codes::WRONG_KIND,
        format!("{what} will be empty: `{}` makes {makes}", from.id),
        format!(
            "what it has: {}",
            list_of(names.iter().map(String::as_str), 6)
        ),
    )
}

/// A singular accessor fails unless there is exactly one.
fn too_many(
    plan: &Plan,
    from: &StepPlan,
    kind: Option<Kind>,
    made: &Made,
    one: bool,
    what: &str,
) -> Option<(&'static crate::diagnostic::Code, String, String)> {
    let each = made.saved.iter();
    let each = each.filter(|saved| kind.is_none_or(|kind| **saved == kind));
    let each = each.count();
    let name = kind.map_or("file", Kind::name);
    if each > 1 {
        return Some((
            &codes::WRONG_COUNT,
            format!(
                "{what} wants exactly one {name}, but {each} nodes of `{}` save one",
                from.id
            ),
            format!("name the one that is meant in `outputs` of `{}`", from.id),
        ));
    }
    let tasks = plan.tasks.iter().filter(|task| task.step == from.id);
    let tasks = tasks.count();
    let certain = each == 1 && !one && from.grow == Grow::Known && from.when.is_none();
    (certain && tasks > 1).then(|| {
        (
            &codes::WRONG_COUNT,
            format!(
                "{what} wants exactly one {name}, but each of the {tasks} tasks of `{}` makes one",
                from.id
            ),
            format!(
                "take one of them, `steps.{}.tasks[0].{name}`, or all with `for_each: steps.{}`",
                from.id, from.id
            ),
        )
    })
}

fn plural(kind: Kind) -> &'static str {
    match kind {
        Kind::Image => "images",
        Kind::Video => "videos",
        Kind::Audio => "audio",
        Kind::Model3d => "3D models",
        Kind::Text => "texts",
        Kind::Other => "files of another kind",
    }
}

fn singular(kind: Kind) -> &'static str {
    match kind {
        Kind::Image => "an image",
        Kind::Video => "a video",
        Kind::Audio => "audio",
        Kind::Model3d => "a 3D model",
        Kind::Text => "a text",
        Kind::Other => "a file of another kind",
    }
}
