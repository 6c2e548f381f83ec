//! What the command line says about a plan.

use std::path::PathBuf;

use indexmap::IndexMap;

use crate::diagnostic::Span;
use crate::spec::{Node, Profile, Spanned};

use super::sealed::ParamValue;

/// A `-p name=value`.
#[derive(Clone, Debug)]
pub struct ParamFlag {
    /// The param.
    pub name: String,
    /// Its value as typed; a path is relative to the current folder.
    pub value: String,
    /// Where it stands among the sources.
    pub span: Span,
}

/// A `--set [step.]Node.input=value`.
#[derive(Clone, Debug)]
pub struct SetFlag {
    /// Everything before the first `=`.
    pub target: String,
    /// Everything after it.
    pub value: String,
    /// Where the target stands among the sources.
    pub target_span: Span,
    /// Where the value stands.
    pub value_span: Span,
}

/// A step named by `--to`, `--from` or `--only`.
#[derive(Clone, Debug)]
pub struct StepFlag {
    /// The step's id as typed.
    pub step: String,
    /// Where it stands among the sources.
    pub span: Span,
}

/// What to do about a required param without a value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MissingParams {
    /// An error.
    #[default]
    Refuse,
    /// Leave what depends on it undecided: enough for checking.
    Undecided,
}

/// What shapes a plan beside the files.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// `-p`, in order; the last of a name wins.
    pub params: Vec<ParamFlag>,
    /// The entries of `--params FILE`.
    pub params_file: Vec<(Spanned<String>, Node)>,
    /// The folder that paths of `--params FILE`, `-p` and `--set` start from.
    pub current_dir: PathBuf,
    /// `--set`, in order.
    pub sets: Vec<SetFlag>,
    /// `--seed`.
    pub seed: Option<u64>,
    /// `--server`: moves every step.
    pub server: Option<String>,
    /// `--output-dir`, absolute.
    pub output_dir: Option<PathBuf>,
    /// `--max-parallel`.
    pub max_parallel: Option<u32>,
    /// What to do about a required param without a value.
    pub missing_params: MissingParams,
    /// `--profile`: what it says gives way to the command line and goes before the files.
    pub profile: Option<Profile>,
    /// Params of an earlier run that stand in for what `-p` and `--params` do not say.
    pub recalled: IndexMap<String, ParamValue>,
    /// `--to`: these steps and all that they need.
    pub to: Vec<StepFlag>,
    /// `--from`: these steps and all that needs them, afresh.
    pub from: Vec<StepFlag>,
    /// `--only`: exactly these steps.
    pub only: Vec<StepFlag>,
    /// `--force`: earlier results stand for nothing.
    pub force: bool,
    /// `--no-plugins`.
    pub no_plugins: bool,
}
