//! Whether what a step makes goes into an input.

use serde_json::Value;

use super::{Given, singular};
use crate::artifact::Kind;
use crate::catalog::{InputDef, InputType};
use crate::check::links::needs_a_link;
use crate::check::words::takes;

/// Kinds that an input for files takes; `None` where nobody can tell.
fn wanted(class: &str, input: &str, def: &InputDef) -> Option<&'static [Kind]> {
    if class == "LoadLatent" && input == "latent" {
        return Some(&[Kind::Other]);
    }
    let config: Value = serde_json::from_str(&def.config).ok()?;
    let flag = |name: &str| {
        let options = config.get(1);
        options
            .and_then(|options| options.get(name))
            .is_some_and(|on| on == true)
    };
    if flag("video_upload") {
        Some(&[Kind::Video, Kind::Image])
    } else if flag("audio_upload") {
        Some(&[Kind::Audio, Kind::Video])
    } else if flag("image_upload") {
        Some(&[Kind::Image])
    } else if flag("file_upload") && matches!(class, "Load3D" | "Load3DAdvanced") {
        Some(&[Kind::Model3d])
    } else {
        None
    }
}

/// Why what is given does not go into an input, and what to do.
pub(super) fn misfit(
    class: &str,
    input: &str,
    def: &InputDef,
    given: &Given,
) -> Option<(String, String)> {
    let what = &given.what;
    if given.many {
        let takes_many = match &def.ty {
            InputType::Combo(combo) => combo.multiselect,
            InputType::Int | InputType::Float | InputType::Boolean | InputType::String => false,
            _ => true,
        };
        return (!takes_many).then(|| {
            (
                format!("takes one value, but {what} is a list"),
                "make a task for each with `for_each`, or take one of them with `[0]`".to_owned(),
            )
        });
    }
    let kinds = given.kinds.as_ref()?;
    if let Some(wanted) = wanted(class, input, def) {
        let fits = kinds.iter().any(|kind| wanted.contains(kind));
        // A text may well be the name of a file.
        let named = kinds.contains(&Kind::Text) && !given.is_file;
        let first = wanted.first().copied()?;
        let is = kinds.iter().next().copied()?;
        return (!fits && !named).then(|| {
            (
                format!("takes {}, and {what} is {}", singular(first), singular(is)),
                "the server takes any file, and the node fails when it runs".to_owned(),
            )
        });
    }
    if !given.is_file || kinds.contains(&Kind::Text) {
        return None;
    }
    match &def.ty {
        InputType::Int | InputType::Float | InputType::Boolean => Some((
            format!("takes {}, and {what} is a file", takes(def)),
            "set the input of a node that loads files".to_owned(),
        )),
        _ if needs_a_link(def) => Some((
            format!(
                "takes {} from another node, and {what} is a file",
                def.type_name().replace(',', " or ")
            ),
            "give the file to a node that loads it, such as LoadImage, and link that node to this input"
                .to_owned(),
        )),
        InputType::String if def.multiline => Some((
            format!("takes a text, and {what} is a file"),
            "the name of the uploaded file would stand in the text; `read_text(…)` gives what is in a file"
                .to_owned(),
        )),
        _ => None,
    }
}
