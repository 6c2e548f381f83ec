//! Diagnostics for tools: the stable shape of `kiln check --output json`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Diagnostic, Severity, SourceMap};

/// One diagnostic as JSON. Lines and columns count from 1, columns in characters.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct JsonDiagnostic {
    /// Stable code, e.g. `K0203`.
    pub code: String,
    /// The server's error type, or kiln's own word.
    pub kind: String,
    /// How bad it is.
    pub severity: Severity,
    /// Node id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// The node's class.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub class_type: Option<String>,
    /// Input name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub input: Option<String>,
    /// One sentence.
    pub message: String,
    /// What to do; empty when there is nothing to say.
    pub help: String,
    /// The file, as people gave it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// Line.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<usize>,
    /// Column.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub column: Option<usize>,
}

/// The JSON form of a diagnostic.
pub fn to_json(diagnostic: &Diagnostic, sources: &SourceMap) -> JsonDiagnostic {
    let place = diagnostic.primary.as_ref().map(|label| {
        let at = sources.line_column(label.span);
        (
            sources.file(label.span.file).name.clone(),
            at.line,
            at.column,
        )
    });
    JsonDiagnostic {
        code: diagnostic.code.id.to_owned(),
        kind: diagnostic.kind.to_owned(),
        severity: diagnostic.severity,
        node: diagnostic.node.clone(),
        class_type: diagnostic.class_type.clone(),
        input: diagnostic.input.clone(),
        message: diagnostic.message.clone(),
        help: diagnostic.help.join("; "),
        file: place.as_ref().map(|p| p.0.clone()),
        line: place.as_ref().map(|p| p.1),
        column: place.as_ref().map(|p| p.2),
    }
}
