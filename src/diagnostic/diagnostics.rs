//! One complaint, and a report of many.

use super::codes::Code;
use super::source::Span;
use super::suggest::did_you_mean;
use serde::{Deserialize, Serialize};

/// How bad it is.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Worth knowing.
    Note,
    /// Will run, but probably not as meant.
    Warning,
    /// Will not run.
    Error,
}

/// A place in a file and what is to be said there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Label {
    /// The place.
    pub span: Span,
    /// Said under the caret; may be empty.
    pub message: String,
}

/// One complaint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// Its code, with the page that `kiln explain` prints.
    pub code: &'static Code,
    /// The server's error `type` where the server would raise it, else the code's own kind.
    pub kind: &'static str,
    /// How bad it is.
    pub severity: Severity,
    /// One sentence, without a final full stop.
    pub message: String,
    /// The main place.
    pub primary: Option<Label>,
    /// Other places that explain it.
    pub secondary: Vec<Label>,
    /// What to do, one sentence each.
    pub help: Vec<String>,
    /// The node it concerns, by id.
    pub node: Option<String>,
    /// That node's class.
    pub class_type: Option<String>,
    /// The input it concerns.
    pub input: Option<String>,
}

impl Diagnostic {
    /// An error with the code's own kind.
    pub fn error(code: &'static Code, message: impl Into<String>) -> Self {
        Self {
            code,
            kind: code.kind,
            severity: Severity::Error,
            message: message.into(),
            primary: None,
            secondary: Vec::new(),
            help: Vec::new(),
            node: None,
            class_type: None,
            input: None,
        }
    }

    /// A warning with the code's own kind.
    pub fn warning(code: &'static Code, message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Warning,
            ..Self::error(code, message)
        }
    }

    /// Sets the main place.
    #[must_use]
    pub fn at(mut self, span: Span) -> Self {
        self.primary = Some(Label {
            span,
            message: String::new(),
        });
        self
    }

    /// Sets the main place and what stands under its caret.
    #[must_use]
    pub fn label(mut self, span: Span, message: impl Into<String>) -> Self {
        self.primary = Some(Label {
            span,
            message: message.into(),
        });
        self
    }

    /// Adds another place.
    #[must_use]
    pub fn also(mut self, span: Span, message: impl Into<String>) -> Self {
        self.secondary.push(Label {
            span,
            message: message.into(),
        });
        self
    }

    /// Adds advice.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help.push(help.into());
        self
    }

    /// Adds a did-you-mean when one of `candidates` is near `wrong`.
    #[must_use]
    pub fn suggest<'a>(self, wrong: &str, candidates: impl IntoIterator<Item = &'a str>) -> Self {
        match did_you_mean(wrong, candidates) {
            Some(near) => self.help(format!("did you mean `{near}`?")),
            None => self,
        }
    }

    /// Names the node and input it concerns.
    #[must_use]
    pub fn node(mut self, id: &str, class_type: &str, input: Option<&str>) -> Self {
        self.node = Some(id.to_owned());
        self.class_type = Some(class_type.to_owned());
        self.input = input.map(str::to_owned);
        self
    }
}

/// How the advice begins that tells the last words of a program.
pub const LAST_WORDS: &str = "stderr:\n";

/// Diagnostics in the order found. Everything that can be wrong is collected before anything stops.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// The diagnostics.
    pub items: Vec<Diagnostic>,
}

impl Report {
    /// Adds one.
    pub fn push(&mut self, diagnostic: Diagnostic) {
        self.items.push(diagnostic);
    }

    /// Adds many.
    pub fn extend(&mut self, more: impl IntoIterator<Item = Diagnostic>) {
        self.items.extend(more);
    }

    /// The diagnostics as people read a file: one file after the other, from the top to the bottom; what has no place comes last.
    pub fn in_order(&self) -> Vec<&Diagnostic> {
        let mut items: Vec<&Diagnostic> = self.items.iter().collect();
        let place = |item: &Diagnostic| item.primary.as_ref().map(|label| label.span);
        items.sort_by_key(|item| place(item).map_or((true, None), |span| (false, Some(span))));
        items
    }

    /// Makes every warning an error.
    pub fn deny_warnings(&mut self) {
        for diagnostic in &mut self.items {
            if diagnostic.severity == Severity::Warning {
                diagnostic.severity = Severity::Error;
            }
        }
    }

    /// Whether any of them is an error.
    pub fn has_errors(&self) -> bool {
        self.items.iter().any(|d| d.severity == Severity::Error)
    }

    /// How many errors and warnings there are.
    pub fn counts(&self) -> (usize, usize) {
        let count = |severity| self.items.iter().filter(|d| d.severity == severity).count();
        (count(Severity::Error), count(Severity::Warning))
    }
}
