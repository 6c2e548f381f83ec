//! One entry under `profiles:`.

use super::{Node, Spanned};

/// Settings that `--profile NAME` chooses together.
#[derive(Clone, Debug, PartialEq)]
pub struct Profile {
    /// Its name and where it is declared.
    pub name: Spanned<String>,
    /// The server that every step is moved to; a string, maybe a template.
    pub server: Option<Node>,
    /// Values for params, maybe templates; those that a pipeline lacks are ignored.
    pub params: Vec<(Spanned<String>, Node)>,
    /// Where results go, relative to the project; a string, maybe a template.
    pub output_dir: Option<Node>,
    /// The most tasks at work at a time.
    pub max_parallel: Option<Spanned<u32>>,
}
