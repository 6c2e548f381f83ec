//! The exact words of failures.

use std::path::{Path, PathBuf};
use std::time::Duration;

use indexmap::IndexMap;

use super::failure::{About, Failure, Overdue};
use super::transfer::LocalError;
use crate::base::{ServerName, StepId};
use crate::client::{ClientError, DownloadError, Refusal};
use crate::diagnostic::{Diagnostic, Report, SourceMap, Span, render_human};
use crate::plan::{
    self, Plan, Rendered, ServerKind, ServerPlan, StepPlan, TaskPlan, Work, WorkflowStep,
};
use crate::protocol::{NodeFailure, PromptAnswer};

const PIPELINE: &str =
    "steps:\n  draw:\n    workflow: draw.json\n  frame:\n    workflow: frame.json\n";

const WORKFLOW: &str = r#"{
  "3": {
    "class_type": "KSampler",
    "inputs": { "seed": 1, "steps": 20 },
    "_meta": { "title": "Draw it" }
  },
  "9": { "class_type": "SaveImage", "inputs": { "images": ["3", 0] } }
}
"#;

pub(super) fn plan() -> Plan {
    let mut sources = SourceMap::default();
    let pipeline = sources.add_text("shots.yaml", PIPELINE);
    let workflow = sources.add_text("draw.json", WORKFLOW);
    let at = PIPELINE.find("draw").unwrap();
    let server = ServerName::from("workstation");
    let work = Work::Workflow(WorkflowStep {
        file: workflow,
        graph: serde_json::from_str(WORKFLOW).unwrap(),
        places: None,
        in_file: Vec::new(),
        edits: Vec::new(),
        removed: Vec::new(),
        bypassed: Vec::new(),
    });
    let span = Some(Span::new(pipeline, at, at + 4));
    let step = StepPlan::new(StepId::from("draw"), span, server.clone(), work);
    let kind = ServerKind::Comfy {
        urls: vec!["http://127.0.0.1:8188".to_owned()],
    };
    Plan {
        servers: IndexMap::from([(server, ServerPlan::new(kind, 2, None))]),
        sources,
        steps: IndexMap::from([(step.id.clone(), step)]),
        tasks: vec![TaskPlan::only(&StepId::from("draw"))],
        ..Plan::blank()
    }
}

/// What people read about something that happened to step `draw`.
fn read(happened: impl FnOnce(About<'_>, &Rendered, &ServerName) -> Vec<Diagnostic>) -> String {
    let plan = plan();
    let task = &plan.tasks[0];
    let work = plan.steps[&task.step].workflow().unwrap();
    let (rendered, _) = plan::preview(&plan, task, work, None);
    let server = ServerName::from("workstation");
    let items = happened(About::of(&plan, &plan.tasks[0]), &rendered, &server);
    render_human(&Report { items }, &plan.sources)
}

fn failed(happened: impl FnOnce(About<'_>, &Rendered, &ServerName) -> Failure) -> String {
    read(|about, rendered, server| happened(about, rendered, server).diagnostics)
}

fn exception(kind: &str, message: &str) -> NodeFailure {
    NodeFailure {
        node_id: "3".to_owned(),
        node_type: "KSampler".to_owned(),
        exception_type: kind.to_owned(),
        message: message.to_owned(),
        traceback: vec!["File …".to_owned()],
    }
}

#[test]
fn a_node_failed() {
    let failure = exception(
        "RuntimeError",
        "mat1 and mat2 shapes cannot be multiplied\n(77x768 and 1024x320)",
    );
    insta::assert_snapshot!(failed(
        |about, rendered, _| about.node_failed(rendered, &failure)
    ));
}

#[test]
fn a_node_ran_out_of_memory() {
    let failure = exception(
        "torch.OutOfMemoryError",
        "CUDA out of memory. Tried to allocate 2.00 GiB.",
    );
    insta::assert_snapshot!(failed(
        |about, rendered, _| about.node_failed(rendered, &failure)
    ));
}

#[test]
fn a_job_made_no_progress() {
    let overdue = Overdue::Stall(Duration::from_secs(90));
    insta::assert_snapshot!(failed(|about, _, server| about.overdue(server, overdue)));
}

#[test]
fn a_result_is_used_although_the_server_differs() {
    let how = "server: version 0.33.0 → 0.38.1";
    insta::assert_snapshot!(read(|about, _, _| vec![about.server_differs(how)]));
}

#[test]
fn a_node_of_an_expansion_failed() {
    let failure = NodeFailure {
        node_id: "3.0.1".to_owned(),
        ..exception("ValueError", "no")
    };
    insta::assert_snapshot!(failed(
        |about, rendered, _| about.node_failed(rendered, &failure)
    ));
}

#[test]
fn a_node_blocked_what_follows_it() {
    let failure = exception("ExecutionBlocked", "nothing was selected");
    insta::assert_snapshot!(read(|about, rendered, _| vec![
        about.node_blocked(rendered, &failure)
    ]));
}

#[test]
fn the_server_rejected_the_job() {
    let answer = PromptAnswer::from_value(&serde_json::json!({
        "error": {"type": "prompt_outputs_failed_validation", "message": "Prompt outputs failed validation", "details": "", "extra_info": {}},
        "node_errors": {"3": {"class_type": "KSampler", "dependent_outputs": ["9"], "errors": [
            {"type": "value_bigger_than_max", "message": "Value 20 bigger than max of 10", "details": "steps", "extra_info": {"input_name": "steps"}}]}}
    }))
    .unwrap();
    insta::assert_snapshot!(failed(
        |about, rendered, server| about.rejected(rendered, server, &answer)
    ));
}

#[test]
fn the_server_lost_the_job_too_often() {
    insta::assert_snapshot!(read(|about, _, server| vec![
        about.lost_once(server),
        about.lost(server, 3)
    ]));
}

#[test]
fn someone_else_interrupted_the_job() {
    insta::assert_snapshot!(failed(|about, _, server| about.interrupted(server)));
}

#[test]
fn the_servers_worker_is_dead() {
    insta::assert_snapshot!(read(|about, _, server| {
        let mut all = vec![about.stalled(server, 5), about.not_stopped(server)];
        all.extend(about.stuck(server).diagnostics);
        all
    }));
}

#[test]
fn the_server_does_not_answer_any_more() {
    insta::assert_snapshot!(failed(
        |about, _, server| about.unreachable(server, "connection refused")
    ));
}

#[test]
fn the_server_refused_a_request() {
    let error = ClientError::Refused(Refusal::new(
        "http://127.0.0.1:8188/api/prompt".to_owned(),
        413,
        "Maximum request body size 104857600 exceeded.",
    ));
    insta::assert_snapshot!(failed(|about, _, server| about.server(server, &error)));
}

#[test]
fn the_account_has_not_paid_for_it() {
    let url = "https://cloud.comfy.org/api/prompt".to_owned();
    let error = ClientError::Refused(Refusal::new(url, 402, "not enough credits"));
    insta::assert_snapshot!(failed(|about, _, server| about.server(server, &error)));
}

#[test]
fn nobody_can_tell_whether_the_job_exists() {
    insta::assert_snapshot!(failed(
        |about, _, server| about.ambiguous(server, "the connection broke")
    ));
}

#[test]
fn an_input_changed_or_went_while_the_pipeline_ran() {
    insta::assert_snapshot!(read(|about, _, _| {
        let path = PathBuf::from("/p/photo.png");
        let gone = LocalError::Unreadable {
            path: path.clone(),
            cause: "it is gone".to_owned(),
        };
        [LocalError::Changed(path), gone]
            .iter()
            .map(|error| about.complain(error.diagnostic()))
            .collect()
    }));
}

#[test]
fn a_result_is_gone() {
    let error = DownloadError::Missing {
        file: "shots_00001_.png [output]".to_owned(),
    };
    insta::assert_snapshot!(failed(|about, _, server| about.download(server, &error)));
}

#[test]
fn a_result_cannot_be_written() {
    let full = std::io::Error::from(std::io::ErrorKind::StorageFull);
    let error = crate::base::WriteError::new(Path::new("/p/outputs/shots/run/draw/a.png"), full);
    insta::assert_snapshot!(failed(
        |about, _, server| about.download(server, &error.into())
    ));
}

#[test]
fn a_job_left_nothing_behind() {
    insta::assert_snapshot!(read(|about, _, _| vec![
        about.no_output(Some("frame")),
        about.no_output(None)
    ]));
}

#[test]
fn a_result_was_renamed() {
    insta::assert_snapshot!(read(|about, _, _| vec![
        about.renamed(("sheet.png", "sheet-2.png"), true)
    ]));
}
