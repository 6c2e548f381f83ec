//! What is to be said about a conversion: what was chosen, what is lost, what cannot be.

use super::document::UiNode;

/// One thing worth saying, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// The place in the file, as a JSON pointer.
    pub pointer: String,
    /// The node by its id in the result.
    pub node: Option<String>,
    /// Its class.
    pub class: Option<String>,
    /// What people call it.
    pub title: Option<String>,
    /// What is to be said.
    pub what: What,
}

/// What is to be said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// Something among the nodes is none.
    NoNode(&'static str),
    /// The server does not have the node's class.
    UnknownClass,
    /// A class that nobody has, on a node without connections: left out.
    NotConnected,
    /// The node is muted: left out.
    Muted,
    /// The node is bypassed: what it gets is passed on.
    Bypassed,
    /// An input whose source is left out goes with it.
    InputLost {
        /// The input.
        input: String,
        /// The source, as people call it.
        source: String,
        /// Why.
        why: Lost,
    },
    /// A text whose choices were drawn.
    Drawn(String),
    /// A name inside the name of a file that means nothing: it stays as it is.
    NotFilled(String),
    /// A sheet that stands inside itself.
    InsideItself(String),
    /// Too many nodes, or too deep.
    TooMuch,
    /// A group of which the file does not say what is in it.
    NoGroup,
    /// Nothing is left that could run.
    Empty,
}

/// Why an input has no source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lost {
    /// The source is muted.
    Muted,
    /// The source is bypassed, and has nothing of the type to pass on.
    Bypassed,
    /// The connections go round in a circle.
    Circle,
    /// The source is not in the file.
    Missing,
}

impl Notice {
    pub(super) fn at(pointer: &str, what: What) -> Self {
        Self {
            pointer: pointer.to_owned(),
            node: None,
            class: None,
            title: None,
            what,
        }
    }

    /// Names the node.
    pub(super) fn of(mut self, node: &UiNode<'_>, prefix: &str) -> Self {
        self.node = Some(format!("{prefix}{}", node.number));
        self.class = Some(node.class.to_owned());
        self.title = node.title.map(str::to_owned);
        self
    }

    /// What people call the node.
    pub fn name(&self) -> &str {
        let title = self.title.as_deref().filter(|title| !title.is_empty());
        title.or(self.class.as_deref()).unwrap_or("the workflow")
    }
}

impl What {
    /// Whether the result cannot run because of it.
    pub fn is_error(&self) -> bool {
        matches!(
            self,
            Self::NoNode(_)
                | Self::UnknownClass
                | Self::InsideItself(_)
                | Self::TooMuch
                | Self::NoGroup
                | Self::Empty
        )
    }
}
