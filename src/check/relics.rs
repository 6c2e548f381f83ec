//! Files of an earlier run that a picture's workflow still names: what kiln uploaded, and results that were passed on where they lay.

use serde_json::Value;

use super::words::Scene;
use crate::base::NodeId;
use crate::diagnostic::{Code, Diagnostic, codes};

/// What may be said of a file that a server has not.
const ABOUT_FILES: [&Code; 2] = [&codes::UNVERIFIED_FILE, &codes::CUSTOM_VALIDATION_FAILED];

/// Where the file is one that no user has under that name, the advice is to give another. kiln's own server begins with no files, so
/// there it is certain that the file is missing.
pub(super) fn advise(found: &mut [Diagnostic], scene: &Scene<'_>) {
    for diagnostic in found {
        let (Some(node), Some(input)) = (&diagnostic.node, &diagnostic.input) else {
            continue;
        };
        let id = NodeId::from(node.as_str());
        let node = scene.graph.nodes.get(&id);
        let value = node.and_then(|node| node.inputs.get(input));
        let Some(file) = value.and_then(Value::as_str) else {
            continue;
        };
        if !ABOUT_FILES.contains(&diagnostic.code) || scene.is_here(file) {
            continue;
        }
        let Some(what) = relic(file) else {
            continue;
        };
        let how = scene.how_to_upload(&id, input, "…");
        diagnostic.help = vec![format!(
            "`{file}` is {what}; to give a file of your own {how}"
        )];
        if scene.setting.embedded && diagnostic.code == &codes::UNVERIFIED_FILE {
            let name = scene.input_name(&id, input);
            let message = format!("{name}: the server has no input file `{file}`");
            let error = Diagnostic::error(&codes::CUSTOM_VALIDATION_FAILED, message);
            diagnostic.code = error.code;
            diagnostic.kind = error.kind;
            diagnostic.severity = error.severity;
            diagnostic.message = error.message;
        }
    }
}

/// What a file of an earlier run is.
fn relic(file: &str) -> Option<&'static str> {
    if file.ends_with(" [output]") || file.ends_with(" [temp]") {
        return Some("a result of an earlier job, on the server where that ran");
    }
    let name = file.strip_prefix("kiln/")?;
    let stem = name.split_once('.').map_or(name, |(stem, _)| stem);
    let hashed = stem.len() == 16 && stem.bytes().all(|b| b.is_ascii_hexdigit());
    hashed.then_some("what kiln named a file that it uploaded for an earlier run")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_an_earlier_run_gave_are_told_from_others() {
        for (file, is_one) in [
            ("kiln/0123456789abcdef.png", true),
            ("kiln/0123456789abcdef", true),
            ("kiln/glow_00001_.png [output]", true),
            ("kiln/mine.png", false),
            ("0123456789abcdef.png", false),
            ("cat.png", false),
        ] {
            assert_eq!(relic(file).is_some(), is_one, "{file}");
        }
    }
}
