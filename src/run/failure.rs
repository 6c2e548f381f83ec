//! Failures in words: what happened, in which step, at which line, and what to do.

use std::fmt::Write as _;
use std::time::Duration;

use crate::base::{NodeId, ServerName, TaskName, WriteError};
use crate::client::{self, ClientError, DownloadError, RefusalKind};
use crate::diagnostic::{Diagnostic, Severity, Span, codes};
use crate::machine::FailureClass;
use crate::plan::{HERE, Plan, Rendered, StepPlan, TaskPlan};
use crate::protocol::NodeFailure;
use crate::workflow;

/// A failed try.
#[derive(Debug)]
pub(super) struct Failure {
    /// Whose fault it is.
    pub(super) class: FailureClass,
    /// Everything that is wrong; the first is the failure.
    pub(super) diagnostics: Vec<Diagnostic>,
}

impl Failure {
    pub(super) fn one(class: FailureClass, diagnostic: Diagnostic) -> Self {
        Self {
            class,
            diagnostics: vec![diagnostic],
        }
    }

    /// Values that cannot be computed or do not fit. Errors come before warnings.
    pub(super) fn invalid(mut diagnostics: Vec<Diagnostic>) -> Self {
        diagnostics.sort_by_key(|d| std::cmp::Reverse(d.severity == Severity::Error));
        Self {
            class: FailureClass::Invalid,
            diagnostics,
        }
    }
}

/// A limit of the step's that an attempt passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Overdue {
    /// It executed for longer than `timeout`.
    Timeout(Duration),
    /// It made no progress for longer than `stall_timeout`.
    Stall(Duration),
}

/// What every complaint about a try has in common.
#[derive(Clone, Copy, Debug)]
pub(super) struct About<'a> {
    pub(super) plan: &'a Plan,
    pub(super) step: &'a StepPlan,
    pub(super) task: &'a TaskName,
}

impl<'a> About<'a> {
    /// A task of a plan.
    pub(super) fn of(plan: &'a Plan, task: &'a TaskPlan) -> Self {
        Self {
            plan,
            step: &plan.steps[&task.step],
            task: &task.name,
        }
    }

    /// A complaint that begins with the step's name and points to its line.
    pub(super) fn complain(self, built: Diagnostic) -> Diagnostic {
        let message = format!("step `{}`: {}", self.task, built.message);
        let built = Diagnostic { message, ..built };
        match (self.step.span, built.primary.is_some()) {
            (Some(span), false) => built.at(span),
            _ => built,
        }
    }

    pub(super) fn span_of_node(
        self,
        rendered: &Rendered,
        node: &NodeId,
        input: Option<&str>,
    ) -> Option<Span> {
        // A node that the server made up while running is not in the file.
        rendered.graph.nodes.get(node)?;
        let origin = rendered.origins.of(node, input)?;
        Some(workflow::span_of(&origin, &self.plan.sources))
    }

    pub(super) fn node_failed(self, rendered: &Rendered, failure: &NodeFailure) -> Failure {
        let class = class_of_node(failure);
        let code = match class {
            FailureClass::Credit => &codes::NO_CREDIT,
            _ => &codes::NODE_FAILED,
        };
        let built = self.node_diagnostic(
            Diagnostic::error(code, node_message(rendered, failure)),
            rendered,
            failure,
        );
        let built = match node_help(class, failure) {
            Some(help) => built.help(help),
            None => built,
        };
        Failure::one(class, built)
    }

    /// A node blocked what follows it, and the job went on.
    pub(super) fn node_blocked(self, rendered: &Rendered, failure: &NodeFailure) -> Diagnostic {
        let label = label(rendered, failure);
        let message = format!(
            "{label} blocked what follows it: {}",
            one_line(&failure.message)
        );
        self.node_diagnostic(
            Diagnostic::warning(&codes::NODE_FAILED, message),
            rendered,
            failure,
        )
    }

    fn node_diagnostic(
        self,
        built: Diagnostic,
        rendered: &Rendered,
        failure: &NodeFailure,
    ) -> Diagnostic {
        let node = NodeId::from(failure.node_id.as_str());
        let mut built = self.complain(built);
        if !failure.node_id.is_empty() {
            built = built.node(&failure.node_id, &failure.node_type, None);
        }
        match self.span_of_node(rendered, &node, None) {
            Some(span) if built.primary.is_none() => built.at(span),
            Some(span) => built.also(span, "this node"),
            None => built,
        }
    }

    /// An error of talking to the server, at any point of a try.
    pub(super) fn server(self, server: &ServerName, error: &ClientError) -> Failure {
        let built = client::diagnostic(server, error, None);
        Failure::one(class_of(error), self.complain(built))
    }

    /// Nobody can tell whether the server took the job, and another one would cost money.
    pub(super) fn ambiguous(self, server: &ServerName, cause: &str) -> Failure {
        let message = format!("server `{server}` may or may not have taken the job: {cause}");
        let built = self
            .complain(Diagnostic::error(&codes::JOB_AMBIGUOUS, message))
            .help("look at the account's jobs; kiln does not send it again by itself, since a second job would be paid for too")
            .help("`kiln run --resume last` sends it again");
        Failure::one(FailureClass::Ambiguous, built)
    }

    /// The server fell silent for good.
    pub(super) fn unreachable(self, server: &ServerName, cause: &str) -> Failure {
        let message = format!("server `{server}` does not answer any more: {cause}");
        let built = self
            .complain(Diagnostic::error(&codes::SERVER_UNREACHABLE, message))
            .help("the job may still run there; run the pipeline again when the server is back");
        Failure::one(FailureClass::Connection, built)
    }

    pub(super) fn download(self, server: &ServerName, error: &DownloadError) -> Failure {
        let class = match error {
            DownloadError::Server(error) => match class_of(error) {
                FailureClass::Rejected => FailureClass::Transfer,
                other => other,
            },
            DownloadError::Missing { .. } => FailureClass::Transfer,
            DownloadError::Write(_) => FailureClass::Write,
        };
        let mut built = self.complain(client::download_diagnostic(server, error));
        if class == FailureClass::Write {
            built = built.help("results that were finished before are kept");
        }
        Failure::one(class, built)
    }

    pub(super) fn interrupted(self, server: &ServerName) -> Failure {
        let message = format!("the job was interrupted on server `{server}`, not by kiln");
        let built = self
            .complain(Diagnostic::error(&codes::JOB_INTERRUPTED, message))
            .help("someone else stopped it there; run the pipeline again when the server is free");
        Failure::one(FailureClass::Interrupted, built)
    }

    pub(super) fn stuck(self, server: &ServerName) -> Failure {
        let message =
            format!("server `{server}` does not work on any job: its worker seems to have died");
        let built = self
            .complain(Diagnostic::error(&codes::WORKER_STUCK, message))
            .help("restart ComfyUI on that server; its log names the node to blame");
        Failure::one(FailureClass::Stuck, built)
    }

    /// The server itself says that it will never work on any job again.
    pub(super) fn worker_died(self, server: &ServerName, proof: &str) -> Failure {
        let message = format!("server `{server}` does not work on any job: its worker has died");
        let built = self
            .complain(Diagnostic::error(&codes::WORKER_STUCK, message))
            .help(format!("its log says: {}", one_line(proof)))
            .help("restart ComfyUI on that server; the lines after that one in its log name the node to blame");
        Failure::one(FailureClass::Stuck, built)
    }

    pub(super) fn not_stopped(self, server: &ServerName) -> Diagnostic {
        let message = format!(
            "server `{server}` was asked to stop the job, and has not done so: it may still work on it"
        );
        self.complain(Diagnostic::warning(&codes::WORKER_STUCK, message))
            .help("ComfyUI stops a job between two nodes or sampling steps, so a long node ends first")
    }

    pub(super) fn stalled(self, server: &ServerName, minutes: u64) -> Diagnostic {
        let message = format!(
            "server `{server}` says that the job runs, but nothing was heard of it for {minutes} minutes"
        );
        self.complain(Diagnostic::warning(&codes::WORKER_STUCK, message)).help(
            "a node that is long at work is fine; if the server's log is silent too, restart ComfyUI",
        )
    }

    pub(super) fn lost(self, server: &ServerName, times: u32) -> Diagnostic {
        let message = format!("server `{server}` lost the job {times} times");
        self.complain(Diagnostic::error(&codes::JOB_LOST, message))
            .help("does the server restart by itself, or does something clear its queue? its log tells")
    }

    /// An earlier result is used although the server is not what it was then.
    pub(super) fn server_differs(self, how: &str) -> Diagnostic {
        let message = format!("an earlier result is used although {how}");
        let built = Diagnostic {
            severity: Severity::Note,
            ..Diagnostic::warning(&codes::SERVER_DIFFERS, message)
        };
        self.complain(built)
            .help("`cache: strict` runs the task again when its server changes")
    }

    /// It claims what there is not.
    pub(super) fn impossible(self) -> Diagnostic {
        let message = "it can never start: it claims more than there is";
        self.complain(Diagnostic::error(&codes::BAD_CLAIM, message))
            .help("raise the limit in `limits`, or claim less")
    }

    /// The server does not know the job, and it is submitted once more.
    pub(super) fn lost_once(self, server: &ServerName) -> Diagnostic {
        let message = format!("server `{server}` does not know the job; it is sent again");
        self.complain(Diagnostic::warning(&codes::JOB_LOST, message))
            .help("the server was restarted, its queue was cleared, or the job never arrived; to stop it, stop kiln")
    }

    /// It was under way in this process when the session before this one ended, and starts once more.
    pub(super) fn cut_short(self) -> Diagnostic {
        let message = "it was under way when kiln was stopped, and starts again";
        let built = Diagnostic {
            severity: Severity::Note,
            ..Diagnostic::warning(&codes::JOB_LOST, message)
        };
        self.complain(built)
    }

    /// The attempt took too long, on a server or on this machine.
    pub(super) fn overdue(self, server: &ServerName, overdue: Overdue) -> Failure {
        let (class, message, help) = match overdue {
            Overdue::Timeout(limit) => (
                FailureClass::Timeout,
                format!(
                    "it ran for longer than {} on {}",
                    spoken(limit),
                    place(server)
                ),
                "raise the step's `timeout`, or give `retry` the class `timeout`",
            ),
            Overdue::Stall(limit) => (
                FailureClass::Stall,
                format!(
                    "it made no progress for {} on {}",
                    spoken(limit),
                    place(server)
                ),
                "raise the step's `stall_timeout`, or give `retry` the class `stall`",
            ),
        };
        let built = Diagnostic::error(&codes::TIMED_OUT, message).help(help);
        Failure::one(class, self.complain(built))
    }

    /// The result is not what `until` wants.
    pub(super) fn rejected_by_until(self) -> Failure {
        let message = "the result is not what `until` wants";
        let mut built = Diagnostic::error(&codes::RESULT_REJECTED, message);
        if let Some(until) = &self.step.retry.until {
            built = built.at(workflow::span_of(&until.origin, &self.plan.sources));
        }
        let built = built.help("every attempt failed it; use `task.attempt` or `task.seed` in the step, so that attempts differ");
        Failure::one(FailureClass::Until, self.complain(built))
    }

    /// A result cannot be written on this machine.
    pub(super) fn cannot_write(self, error: &WriteError) -> Failure {
        let mut built = Diagnostic::error(&codes::CANNOT_WRITE, error.to_string());
        if error.is_full() {
            built = built.help(
                "make room, or put the outputs elsewhere with `output_dir` or `--output-dir`",
            );
        }
        let built = built.help("results that were finished before are kept");
        Failure::one(FailureClass::Write, self.complain(built))
    }

    /// Another result has the name that this one wanted.
    pub(super) fn renamed(self, (wanted, renamed): (&str, &str), within: bool) -> Diagnostic {
        let (whose, how) = if within {
            (
                "another result of this task",
                "tell the files of a task apart in `save_as`, for instance with `{{ file.index }}`; this is said once for each step",
            )
        } else {
            (
                "a result of another task",
                "tell the tasks apart in `save_as`: with what differs between them, of `matrix` or `item`, or with `{{ task.index }}`; otherwise the task that ends first has the name. This is said once for each step",
            )
        };
        let message = format!("`{wanted}` is taken by {whose}, so this one is `{renamed}`");
        self.complain(Diagnostic::warning(&codes::RESULT_RENAMED, message))
            .help(how)
    }

    /// The job left nothing behind, and `dependant` needs what it should have left.
    pub(super) fn no_output(self, dependant: Option<&str>) -> Diagnostic {
        let said = "the job succeeded but left no files";
        let built = match dependant {
            Some(step) => Diagnostic::error(
                &codes::NO_OUTPUT_FILES,
                format!("{said}, and step `{step}` needs them"),
            ),
            None => Diagnostic::warning(&codes::NO_OUTPUT_FILES, said),
        };
        self.complain(built)
            .help("does the workflow end in a node that saves something, such as `SaveImage`?")
    }
}

/// A server in a sentence.
fn place(server: &ServerName) -> String {
    if server.as_str() == HERE {
        HERE.to_owned()
    } else {
        format!("server `{server}`")
    }
}

/// A duration as people write it: `500ms`, `2s`, `1m30s`, `2h`.
pub(super) fn spoken(time: Duration) -> String {
    let ms = time.as_millis();
    if !ms.is_multiple_of(1000) {
        return format!("{ms}ms");
    }
    let seconds = ms / 1000;
    let parts = [
        (seconds / 3600, "h"),
        (seconds / 60 % 60, "m"),
        (seconds % 60, "s"),
    ];
    let mut text = String::new();
    for (n, unit) in parts.iter().filter(|(n, _)| *n > 0) {
        let _ = write!(text, "{n}{unit}");
    }
    if text.is_empty() {
        "0s".to_owned()
    } else {
        text
    }
}

/// What an error of talking to a server says about whose fault it is.
fn class_of(error: &ClientError) -> FailureClass {
    match error {
        ClientError::Refused(no) if no.kind.is_about_access() => FailureClass::Auth,
        ClientError::Refused(no) if no.kind.is_about_credit() => FailureClass::Credit,
        ClientError::Refused(no) if no.kind == RefusalKind::Busy => FailureClass::Busy,
        ClientError::Unreadable { .. } => FailureClass::Transfer,
        ClientError::BadUrl { .. }
        | ClientError::NotComfyUi { .. }
        | ClientError::Redirect { .. } => FailureClass::Connection,
        error if error.is_connection() => FailureClass::Connection,
        _ => FailureClass::Rejected,
    }
}

/// What the failure of a node says about whose fault it is. Comfy Cloud has exceptions of its own.
fn class_of_node(failure: &NodeFailure) -> FailureClass {
    match failure.exception_type.as_str() {
        "InsufficientFundsError" | "InactiveSubscriptionError" => FailureClass::Credit,
        "ModelDownloadError" | "ImageDownloadError" => FailureClass::Transfer,
        _ if is_oom(failure) => FailureClass::Oom,
        _ => FailureClass::Node,
    }
}

fn node_help(class: FailureClass, failure: &NodeFailure) -> Option<&'static str> {
    let kind = failure.exception_type.as_str();
    Some(match (class, kind) {
        (FailureClass::Oom, _) => {
            "the server ran out of memory: use a smaller size or batch, or let it hold fewer jobs with `max_jobs: 1`"
        }
        (FailureClass::Credit, "InactiveSubscriptionError") => {
            "the account's subscription is not active; renew it, then `kiln run --resume last`"
        }
        (FailureClass::Credit, _) => {
            "the account has no credits left; add some, then `kiln run --resume last`"
        }
        (FailureClass::Transfer, "ModelDownloadError") => {
            "the server could not fetch a model; `retry: { for: [transient] }` tries again, and a wrong model name never works"
        }
        (FailureClass::Transfer, _) => {
            "the server could not fetch an input picture; `retry: { for: [transient] }` tries again"
        }
        (_, "ValidationError") => {
            "the server found the workflow wrong only when it ran; `kiln check --server …` tells what it knows before"
        }
        (_, kind) if kind.ends_with("FileNotFoundError") => {
            "the server does not have that file; is it on the server's own disk?"
        }
        _ if !failure.traceback.is_empty() => "the server's own log holds the full traceback",
        _ => return None,
    })
}

fn is_oom(failure: &NodeFailure) -> bool {
    let said = failure.message.to_lowercase();
    failure.exception_type.contains("OutOfMemory")
        || failure.exception_type == "OOMError"
        || said.contains("out of memory")
        || said.contains("allocation on device")
}

fn label(rendered: &Rendered, failure: &NodeFailure) -> String {
    match rendered.graph.nodes.get(failure.node_id.as_str()) {
        Some(node) => match node.title() {
            Some(title) if title != node.class_type => {
                format!("node `{title}` ({})", node.class_type)
            }
            _ => format!("node {} ({})", failure.node_id, node.class_type),
        },
        None if failure.node_id.is_empty() => "a node".to_owned(),
        None => format!("node {} ({})", failure.node_id, failure.node_type),
    }
}

fn node_message(rendered: &Rendered, failure: &NodeFailure) -> String {
    let kind = failure
        .exception_type
        .rsplit('.')
        .next()
        .unwrap_or_default();
    let said = one_line(&failure.message);
    let label = label(rendered, failure);
    match (kind, said.as_str()) {
        ("", "") => format!("{label} failed without saying why"),
        ("" | "Exception", said) => format!("{label} failed: {said}"),
        (kind, "") => format!("{label} failed: {kind}"),
        (kind, said) => format!("{label} failed: {kind}: {said}"),
    }
}

/// What a server said, on one line of bounded length and without control characters.
pub(super) fn one_line(text: &str) -> String {
    const MOST: usize = 400;
    let mut line = text
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .collect::<Vec<_>>()
        .join(" · ");
    line.retain(|c| !c.is_control());
    if line.chars().count() > MOST {
        line = line.chars().take(MOST).collect();
        line.push('…');
    }
    line
}

/// A line of a program's with its indentation.
pub(super) fn indented_line(line: &str) -> String {
    let line = line.replace('\t', "    ");
    let content = line.trim_start_matches(' ');
    let indent = (line.len() - content.len()).min(80);
    format!("{:indent$}{}", "", one_line(content))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::Refusal;
    use crate::plan::RetryClass;

    #[test]
    fn what_a_server_said_becomes_one_bounded_line() {
        assert_eq!(one_line("a\n\n  b\u{1b}[31m\n"), "a · b[31m");
        assert!(one_line(&"x".repeat(5000)).chars().count() <= 401);
    }

    #[test]
    fn out_of_memory_is_told_from_other_failures() {
        let failure = |kind: &str, message: &str| NodeFailure {
            exception_type: kind.to_owned(),
            message: message.to_owned(),
            ..NodeFailure::default()
        };
        assert!(is_oom(&failure("torch.OutOfMemoryError", "")));
        assert!(is_oom(&failure(
            "RuntimeError",
            "CUDA out of memory. Tried to allocate"
        )));
        assert!(!is_oom(&failure("ValueError", "bad size")));
    }

    #[test]
    fn a_duration_is_told_as_it_is_written() {
        for (ms, text) in [
            (0, "0s"),
            (500, "500ms"),
            (2000, "2s"),
            (90_000, "1m30s"),
            (7_200_000, "2h"),
        ] {
            assert_eq!(spoken(Duration::from_millis(ms)), text);
        }
    }

    #[test]
    fn the_clouds_own_exceptions_tell_what_may_be_tried_again() {
        let class = |kind: &str| {
            class_of_node(&NodeFailure {
                exception_type: kind.to_owned(),
                ..NodeFailure::default()
            })
        };
        assert_eq!(class("OOMError"), FailureClass::Oom);
        assert_eq!(class("torch.OutOfMemoryError"), FailureClass::Oom);
        assert_eq!(class("ValidationError"), FailureClass::Node);
        for kind in ["ModelDownloadError", "ImageDownloadError"] {
            assert_eq!(class(kind).retry_class(), Some(RetryClass::Transient));
        }
        for kind in ["InsufficientFundsError", "InactiveSubscriptionError"] {
            assert_eq!(class(kind).retry_class(), None, "it would only cost again");
        }
    }

    #[test]
    fn a_refused_login_is_no_fault_of_the_step() {
        let refused = |status| ClientError::Refused(Refusal::new(String::new(), status, ""));
        assert_eq!(class_of(&refused(401)), FailureClass::Auth);
        assert_eq!(class_of(&refused(503)), FailureClass::Connection);
        assert_eq!(class_of(&refused(413)), FailureClass::Rejected);
    }
}
