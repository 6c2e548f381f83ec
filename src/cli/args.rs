//! What can be typed.

use std::path::PathBuf;
use std::time::Duration;

use clap::builder::NonEmptyStringValueParser;
use clap::{Args, Parser, Subcommand, ValueEnum};

use super::cancel::CancelArgs;
use super::completions::CompletionsArgs;
use super::diff::DiffArgs;
use super::doctor::DoctorArgs;
use super::gc::GcArgs;
use super::import::ImportArgs;
use super::man::ManArgs;
use super::new::NewArgs;
use super::plugin::PluginArgs;
use super::replay::ReplayArgs;
use super::runs::RunsArgs;
use super::screen::Preview;
use super::server::ServerArgs;
use super::show::ShowArgs;
use super::watch::WatchArgs;
use crate::spec::parse_duration;

/// The whole command line.
#[derive(Debug, Parser)]
#[command(
    name = "kiln",
    version,
    about = "Run pipelines of ComfyUI workflows from files kept in git",
    max_term_width = 100,
    disable_help_subcommand = true,
    after_help = "Start with `kiln init my-project`, or `kiln run pipelines/quickstart.yaml` in kiln's repository."
)]
pub(super) struct Cli {
    #[command(subcommand)]
    pub(super) command: Command,
}

/// The command for parsing: an empty variable of the environment counts as unset.
pub(super) fn without_empty_variables(command: clap::Command) -> clap::Command {
    let empty = |name: &std::ffi::OsStr| std::env::var_os(name).is_some_and(|v| v.is_empty());
    command.mut_subcommands(|sub| {
        without_empty_variables(sub).mut_args(|arg| {
            if arg.get_env().is_some_and(empty) {
                arg.env(clap::builder::Resettable::Reset)
            } else {
                arg
            }
        })
    })
}

/// The command for tools that document it.
pub fn command() -> clap::Command {
    <Cli as clap::CommandFactory>::command()
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Run a pipeline, or a single workflow
    Run(RunArgs),
    /// Run pipelines, and again what changes in their files
    Watch(WatchArgs),
    /// Check pipelines and workflows without running anything
    Check(CheckArgs),
    /// Show what a pipeline would run; queues nothing
    Plan(PlanArgs),
    /// List what ran here
    Runs(RunsArgs),
    /// Show a run, or one of its tasks
    Show(ShowArgs),
    /// Tell what differs between two runs
    Diff(DiffArgs),
    /// Show a run again as it happened
    Replay(ReplayArgs),
    /// Stop a run of another process, or what a dead one left
    Cancel(CancelArgs),
    /// Remove old runs, and what nothing needs any more
    Gc(GcArgs),
    /// Look after a server: what it is, has and does, and orders to it
    Server(ServerArgs),
    /// List the plugins of the project, look at one, or make a new one
    Plugin(PluginArgs),
    /// Tell what is wrong with a setup, and what to do
    Doctor(DoctorArgs),
    /// Run the embedded ComfyUI-compatible server alone
    Serve(ServeArgs),
    /// Print the JSON Schema of a file or of the event stream
    Schema(SchemaArgs),
    /// Explain a diagnostic code such as K0203
    Explain(ExplainArgs),
    /// Convert workflows of the editor's, and what pictures and films carry, into API format
    Import(ImportArgs),
    /// Make a pipeline around a workflow, or a small one to start from
    New(NewArgs),
    /// Make a small project to start from
    Init(InitArgs),
    /// Print what makes a shell complete commands, flags and names
    Completions(CompletionsArgs),
    /// Print the manual page
    Man(ManArgs),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum TextOrJson {
    /// For people
    Text,
    /// One JSON object per line
    Json,
}

/// How a plan is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum PlanFormat {
    /// For people
    Text,
    /// One JSON object
    Json,
    /// A graph for Graphviz
    Dot,
    /// A graph for Mermaid
    Mermaid,
    /// A picture
    Svg,
}

/// The values that a plan is made with.
#[derive(Debug, Args)]
pub(super) struct ValueFlags {
    /// Set a param; may be repeated
    #[arg(short = 'p', long = "param", value_name = "NAME=VALUE")]
    pub(super) params: Vec<String>,

    /// Read params from a YAML or JSON file (`-` for stdin); `-p` wins
    #[arg(long = "params", value_name = "FILE", env = "KILN_PARAMS")]
    pub(super) params_file: Option<PathBuf>,

    /// Set a node's input: Node.input=value for a workflow, step.Node.input=value for a pipeline; may be repeated
    #[arg(long = "set", value_name = "NODE.INPUT=VALUE")]
    pub(super) sets: Vec<String>,

    /// The run's seed: `random` seeds come from it
    #[arg(
        long,
        value_name = "N",
        env = "KILN_SEED",
        allow_negative_numbers = true
    )]
    pub(super) seed: Option<u64>,

    /// Use the settings that kiln.yaml declares under this name
    #[arg(long, value_name = "NAME", env = "KILN_PROFILE", value_parser = NonEmptyStringValueParser::new())]
    pub(super) profile: Option<String>,

    /// Load no plugins; a pipeline that needs one is refused
    #[arg(long, env = "KILN_NO_PLUGINS", value_parser = yes_or_no())]
    pub(super) no_plugins: bool,
}

/// What shapes a plan.
#[derive(Debug, Args)]
pub(super) struct PlanFlags {
    #[command(flatten)]
    pub(super) values: ValueFlags,

    /// Move every step to this server: a name from kiln.yaml, `local`, `embedded`, or a URL
    #[arg(long, value_name = "NAME|URL", env = "KILN_SERVER", value_parser = NonEmptyStringValueParser::new())]
    pub(super) server: Option<String>,

    /// Where results go, instead of the project's `output_dir`
    #[arg(long, value_name = "DIR", env = "KILN_OUTPUT_DIR")]
    pub(super) output_dir: Option<PathBuf>,

    /// The most tasks in flight at a time
    #[arg(long, value_name = "N", env = "KILN_MAX_PARALLEL", value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) max_parallel: Option<u32>,

    /// Run only these steps and what they need
    #[arg(
        long,
        value_name = "STEP,…",
        env = "KILN_TO",
        value_delimiter = ',',
        conflicts_with = "only"
    )]
    pub(super) to: Vec<String>,

    /// Run these steps and all after them afresh, whatever was done before
    #[arg(
        long,
        value_name = "STEP,…",
        env = "KILN_FROM",
        value_delimiter = ',',
        conflicts_with = "only"
    )]
    pub(super) from: Vec<String>,

    /// Run exactly these steps, with earlier results as their inputs
    #[arg(long, value_name = "STEP,…", env = "KILN_ONLY", value_delimiter = ',')]
    pub(super) only: Vec<String>,

    /// Run every task, also those that were done before
    #[arg(long, env = "KILN_FORCE", value_parser = yes_or_no())]
    pub(super) force: bool,
}

/// What is typed about a run beside its plan.
#[derive(Debug, Args)]
pub(super) struct RunFlags {
    /// After a failure, go on with everything that does not depend on it
    #[arg(short = 'k', long, env = "KILN_KEEP_GOING", value_parser = yes_or_no())]
    pub(super) keep_going: bool,

    /// Start nothing new after N failures
    #[arg(long, value_name = "N", env = "KILN_MAX_FAIL", value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) max_fail: Option<u32>,

    /// Stop the run after this time, e.g. 8h or 1h30m
    #[arg(long, value_name = "TIME", env = "KILN_TIMEOUT", value_parser = time)]
    pub(super) timeout: Option<Duration>,

    /// Go on with an earlier run, by its id; `last`: the newest. With -p: a new run with its params and seeds
    #[arg(long, value_name = "RUN|last", value_parser = NonEmptyStringValueParser::new())]
    pub(super) resume: Option<String>,

    /// When another kiln writes to the same outputs, wait for it
    #[arg(long, env = "KILN_WAIT", value_parser = yes_or_no())]
    pub(super) wait: bool,

    /// Treat warnings as errors: nothing is queued while there is one
    #[arg(long, value_name = "WHAT", value_enum)]
    pub(super) deny: Option<Deny>,

    /// Start a run of more than 1000 tasks without a question
    #[arg(short = 'y', long, env = "KILN_YES", value_parser = yes_or_no())]
    pub(super) yes: bool,
}

/// A flag's variable may say `1`, `true`, `yes`, `on` and their opposites.
pub(super) fn yes_or_no() -> clap::builder::BoolishValueParser {
    clap::builder::BoolishValueParser::new()
}

fn time(text: &str) -> Result<Duration, String> {
    match parse_duration(text)? {
        0 => Err("must be longer than nothing".to_owned()),
        ms => Ok(Duration::from_millis(ms)),
    }
}

#[derive(Debug, Args)]
pub(super) struct RunArgs {
    /// A pipeline (.yaml), a workflow (.json), or a picture or the like that carries one; `-` for stdin
    #[arg(value_name = "PIPELINE|WORKFLOW", required_unless_present = "resume")]
    pub(super) file: Option<PathBuf>,

    #[command(flatten)]
    pub(super) plan: PlanFlags,

    #[command(flatten)]
    pub(super) run: RunFlags,

    /// Show pictures among the results and of what samplers are at, in terminals that can: kitty, iTerm2, sixel
    #[arg(long, value_name = "HOW", value_enum, num_args = 0..=1, require_equals = true, default_missing_value = "auto", env = "KILN_PREVIEW")]
    pub(super) preview: Option<Preview>,

    /// Format of stdout: result paths, or one event per line
    #[arg(long, value_name = "FORMAT", value_enum, default_value = "text")]
    pub(super) output: TextOrJson,
}

#[derive(Debug, Args)]
pub(super) struct CheckArgs {
    /// Pipelines and workflows; `-` for stdin
    #[arg(value_name = "FILE", required = true)]
    pub(super) files: Vec<PathBuf>,

    /// The server to check against. `KILN_SERVER` stands for it unless there is a catalog.
    #[arg(
        long,
        value_name = "NAME|URL",
        conflicts_with = "catalog",
        value_parser = NonEmptyStringValueParser::new(),
        help = "Check against this server: a name from kiln.yaml, `local`, `embedded`, or a URL [env: KILN_SERVER=]"
    )]
    pub(super) server: Option<String>,

    /// A saved answer to `GET /object_info`.
    #[arg(
        long,
        value_name = "FILE",
        help = "Check against a saved answer to GET /object_info, offline (`-` for stdin)"
    )]
    pub(super) catalog: Option<PathBuf>,

    #[command(flatten)]
    pub(super) values: ValueFlags,

    /// Treat warnings as errors
    #[arg(long, value_name = "WHAT", value_enum)]
    pub(super) deny: Option<Deny>,

    /// Format: text on stderr; or on stdout one JSON object per file, annotations for GitHub Actions, or a SARIF log
    #[arg(long, value_name = "FORMAT", value_enum, default_value = "text")]
    pub(super) output: CheckFormat,
}

/// How what was found is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum CheckFormat {
    /// For people
    Text,
    /// One JSON object per file
    Json,
    /// Annotations for GitHub Actions
    Github,
    /// A SARIF 2.1.0 log
    Sarif,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Deny {
    /// Warnings make the exit code 3
    Warnings,
}

#[derive(Debug, Args)]
pub(super) struct PlanArgs {
    /// A pipeline (.yaml), a workflow (.json), or a picture or the like that carries one
    #[arg(value_name = "PIPELINE")]
    pub(super) file: PathBuf,

    #[command(flatten)]
    pub(super) plan: PlanFlags,

    /// Format of stdout
    #[arg(long, value_name = "FORMAT", value_enum, default_value = "text")]
    pub(super) output: PlanFormat,
}

#[derive(Debug, Args)]
pub(super) struct ServeArgs {
    /// Port on 127.0.0.1; 0 takes any free one
    #[arg(long, value_name = "PORT", default_value_t = 8188, env = "KILN_PORT")]
    pub(super) port: u16,

    /// Jobs executed at the same time: 1 unless told otherwise, with --cloud 3
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    pub(super) jobs: Option<u16>,

    /// Keep input, output and temp files in this folder, instead of one that is removed at the end
    #[arg(long, value_name = "DIR")]
    pub(super) dir: Option<PathBuf>,

    /// Rehearse: paint marked stand-ins for the node classes that it cannot compute
    #[arg(long, env = "KILN_SIMULATE", value_parser = yes_or_no())]
    pub(super) simulate: bool,

    /// With `--simulate`: a saved answer to `GET /object_info`.
    #[arg(
        long,
        value_name = "FILE",
        requires = "simulate",
        help = "With --simulate: have exactly the classes of this saved answer to GET /object_info (`-` for stdin)"
    )]
    pub(super) catalog: Option<PathBuf>,

    /// Rehearse Comfy Cloud: its routes, shapes, limits and refusals, for `kind: cloud` with this `url`
    #[arg(long, requires = "api_key")]
    pub(super) cloud: bool,

    /// With `--cloud`: the key that opens it.
    #[arg(
        long,
        value_name = "KEY",
        requires = "cloud",
        value_parser = NonEmptyStringValueParser::new(),
        help = "With --cloud: the key that opens it; KEY:no-credits, KEY:no-tier, KEY:inactive, KEY:queue-limit, KEY:OOMError and others bring an error"
    )]
    pub(super) api_key: Option<String>,

    /// With `--cloud`: jobs that may wait.
    #[arg(
        long,
        value_name = "N",
        requires = "cloud",
        help = "With --cloud: jobs that may wait before the next one is refused [default: 100]"
    )]
    pub(super) queue_limit: Option<u16>,

    /// Answer as this version of the server did, where versions differ
    #[arg(long, value_name = "VERSION", conflicts_with = "cloud")]
    pub(super) emulate: Option<String>,
}

#[derive(Debug, Args)]
pub(super) struct SchemaArgs {
    /// Which one
    #[arg(value_enum)]
    pub(super) which: SchemaKind,

    /// With `pipeline`: the schema for this file, which knows the nodes of its workflows
    #[arg(long, value_name = "FILE")]
    pub(super) pipeline: Option<PathBuf>,

    /// With `--pipeline`: ask this server what its nodes take.
    #[arg(
        long,
        value_name = "NAME|URL",
        requires = "pipeline",
        conflicts_with = "catalog",
        value_parser = NonEmptyStringValueParser::new(),
        help = "With --pipeline: ask this server what nodes take, instead of each step's own [env: KILN_SERVER=]"
    )]
    pub(super) server: Option<String>,

    /// With `--pipeline`: a saved answer to `GET /object_info`.
    #[arg(
        long,
        value_name = "FILE",
        requires = "pipeline",
        help = "With --pipeline: look into a saved answer to GET /object_info instead (`-` for stdin)"
    )]
    pub(super) catalog: Option<PathBuf>,

    /// With --pipeline: use the settings that kiln.yaml declares under this name
    #[arg(long, value_name = "NAME", env = "KILN_PROFILE", value_parser = NonEmptyStringValueParser::new())]
    pub(super) profile: Option<String>,

    /// Write it to this file, replaced when it is there; `-` for stdout
    #[arg(short = 'o', long = "out", value_name = "FILE")]
    pub(super) out: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum SchemaKind {
    /// Pipeline files
    Pipeline,
    /// kiln.yaml
    Project,
    /// Lines of `kiln run --output json`
    Event,
}

#[derive(Debug, Args)]
pub(super) struct ExplainArgs {
    /// A code such as K0203; without one, all codes are listed
    #[arg(value_name = "CODE")]
    pub(super) code: Option<String>,
}

#[derive(Debug, Args)]
pub(super) struct InitArgs {
    /// The folder; made when it is missing
    #[arg(value_name = "DIR", default_value = ".")]
    pub(super) dir: PathBuf,
}
