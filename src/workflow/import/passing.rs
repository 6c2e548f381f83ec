//! Nodes that only exist in the editor: they never reach a server, and pass on what they get, or nothing.

use serde_json::Value;

use super::document::UiNode;

/// What a node of the editor's gives to what is connected to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Passing<'a> {
    /// What it gets at the input of the same place.
    SameInput,
    /// The value of its field.
    Value,
    /// What the `SetNode` of this name gets.
    Gets(&'a str),
    /// Nothing.
    Nothing,
}

/// Whether a node, whose class no server has, is one of the editor's.
pub(super) fn passing<'a>(node: &'a UiNode<'_>) -> Option<Passing<'a>> {
    Some(match node.class {
        "Reroute" | "Reroute (rgthree)" | "SetNode" => Passing::SameInput,
        "PrimitiveNode" => Passing::Value,
        "GetNode" => match node.saved.list.first().and_then(Value::as_str) {
            Some(name) => Passing::Gets(name),
            None => Passing::Nothing,
        },
        "Note" | "MarkdownNote" => Passing::Nothing,
        class if class.ends_with(" (rgthree)") && is_panel(class) => Passing::Nothing,
        _ => return None,
    })
}

/// Panels of buttons and notes, which are connected to nodes but give them nothing.
fn is_panel(class: &str) -> bool {
    let name = class.trim_end_matches(" (rgthree)");
    name.starts_with("Fast ")
        || name.starts_with("Mute / Bypass ")
        || matches!(
            name,
            "Bookmark" | "Label" | "Node Collector" | "Random Unmuter" | "Node Combiner"
        )
}

/// Whether a node only serves to connect everything of a type with everything that wants it.
pub(super) fn is_everywhere(class: &str) -> bool {
    class.contains("Everywhere")
}
