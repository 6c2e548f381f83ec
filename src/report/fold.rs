//! Complaints that are one thing to people, told as one.

use std::collections::{BTreeMap, HashMap};

use crate::diagnostic::{Diagnostic, FileId, Report, Severity, codes, list_of};

/// Classes that a folded complaint names.
const NAMED: usize = 12;

/// The report in reading order, with the node classes that a workflow's server lacks told once for each workflow. A class that is
/// probably misspelt stays a complaint of its own.
pub(super) fn folded(report: &Report) -> Report {
    let mut groups: BTreeMap<(FileId, Severity), usize> = BTreeMap::new();
    let mut lacking: HashMap<usize, Vec<String>> = HashMap::new();
    let mut items: Vec<Diagnostic> = Vec::with_capacity(report.items.len());
    for item in report.in_order() {
        let Some((group, class)) = lacks(item) else {
            items.push(item.clone());
            continue;
        };
        let at = *groups.entry(group).or_insert_with(|| {
            items.push(item.clone());
            items.len() - 1
        });
        let classes = lacking.entry(at).or_default();
        if !classes.iter().any(|known| known == class) {
            classes.push(class.to_owned());
        }
        for help in &item.help {
            if !items[at].help.contains(help) {
                items[at].help.push(help.clone());
            }
        }
    }
    for (at, classes) in lacking {
        if classes.len() > 1 {
            let names = list_of(classes.iter().map(String::as_str), NAMED);
            items[at].message = format!(
                "the server lacks {} node classes of this workflow: {names}",
                classes.len()
            );
        }
    }
    Report { items }
}

/// The workflow and the class, when that is what is said.
fn lacks(item: &Diagnostic) -> Option<((FileId, Severity), &str)> {
    let guessed = item
        .help
        .iter()
        .any(|help| help.starts_with("did you mean"));
    let class = item
        .class_type
        .as_deref()
        .filter(|class| !class.is_empty())?;
    let file = item.primary.as_ref()?.span.file;
    (item.code == &codes::MISSING_NODE_TYPE && !guessed).then_some(((file, item.severity), class))
}
