//! The texts of an event that came, or may have come, from outside of kiln: whoever masks secrets looks at all of them.

use std::path::PathBuf;
use std::sync::Arc;

use super::run_event::{Output, RunEvent, TaskInfo};
use crate::diagnostic::JsonDiagnostic;

impl RunEvent {
    /// Visits every text that is not one of kiln's own words, ids or hashes. Every member is named here, so that none is forgotten.
    pub fn each_text(&mut self, visit: &mut dyn FnMut(&mut String)) {
        match self {
            Self::Diagnostic { diagnostic } => of_diagnostic(diagnostic, visit),
            Self::RunStarted {
                pipeline,
                tasks,
                growing: _,
                output_dir,
                expected: _,
            } => {
                visit(pipeline);
                for task in tasks {
                    of_task(task, visit);
                }
                of_path(output_dir, visit);
            }
            Self::RunWaiting { holder } => visit(holder),
            Self::TasksAdded { step, tasks } => {
                visit(&mut step.0);
                for task in tasks {
                    of_task(task, visit);
                }
            }
            Self::ServerReady { .. }
            | Self::ServerLost { .. }
            | Self::ServerBack { .. }
            | Self::PluginLog { .. } => self.each_text_of_those_around(visit),
            Self::TaskStarted { .. }
            | Self::TaskUploaded { .. }
            | Self::TaskQueued { .. }
            | Self::TaskPlace { .. }
            | Self::TaskExecuting { .. }
            | Self::TaskFetching { .. }
            | Self::TaskProgress { .. }
            | Self::TaskRetried { .. }
            | Self::TaskOutput { .. }
            | Self::TaskWarning { .. }
            | Self::TaskFinished { .. } => self.each_text_of_task(visit),
            Self::RunStopping {
                reason: _,
                at_once: _,
            } => {}
            Self::RunFinished {
                status: _,
                exit_code: _,
                counts: _,
                cause,
                latest,
                up_to_date: _,
                resume,
                seconds: _,
            } => {
                let cause = cause.as_mut().map(|cause| &mut cause.0);
                cause.into_iter().chain(resume).for_each(&mut *visit);
                if let Some(path) = latest {
                    of_path(path, visit);
                }
            }
        }
    }

    fn each_text_of_those_around(&mut self, visit: &mut dyn FnMut(&mut String)) {
        match self {
            Self::ServerReady {
                server,
                url,
                version,
                embedded: _,
                cloud: _,
                simulated: _,
            } => {
                visit(&mut server.0);
                visit(url);
                visit(version);
            }
            Self::ServerLost { server, reason } => {
                visit(&mut server.0);
                visit(reason);
            }
            Self::ServerBack { server } => visit(&mut server.0),
            Self::PluginLog {
                plugin,
                level: _,
                line,
            } => {
                visit(plugin);
                visit(line);
            }
            // Of the others, [`RunEvent::each_text`] tells.
            _ => {}
        }
    }

    fn each_text_of_task(&mut self, visit: &mut dyn FnMut(&mut String)) {
        match self {
            Self::TaskStarted {
                task,
                server,
                attempt: _,
                url,
            } => {
                visit(&mut task.0);
                visit(&mut server.0);
                url.iter_mut().for_each(visit);
            }
            Self::TaskUploaded {
                task,
                name: text,
                size: _,
                seconds: _,
            }
            | Self::TaskRetried {
                task,
                attempt: _,
                class: _,
                reason: text,
                delay_seconds: _,
            }
            | Self::TaskOutput { task, line: text } => {
                visit(&mut task.0);
                visit(text);
            }
            Self::TaskQueued { task, prompt_id: _ }
            | Self::TaskPlace { task, place: _ }
            | Self::TaskExecuting { task }
            | Self::TaskFetching { task } => {
                visit(&mut task.0);
            }
            Self::TaskProgress {
                task,
                fraction: _,
                node,
                node_title,
            } => {
                visit(&mut task.0);
                let node = node.as_mut().map(|node| &mut node.0);
                node.into_iter().chain(node_title).for_each(visit);
            }
            Self::TaskWarning { .. } | Self::TaskFinished { .. } => self.each_text_of_end(visit),
            // Of the others, [`RunEvent::each_text`] tells.
            _ => {}
        }
    }

    fn each_text_of_end(&mut self, visit: &mut dyn FnMut(&mut String)) {
        match self {
            Self::TaskWarning { task, diagnostic } => {
                visit(&mut task.0);
                of_diagnostic(diagnostic, visit);
            }
            Self::TaskFinished {
                task,
                status: _,
                outputs,
                seconds: _,
                diagnostic,
            } => {
                visit(&mut task.0);
                for output in outputs {
                    of_output(output, visit);
                }
                if let Some(told) = diagnostic {
                    of_diagnostic(told, visit);
                }
            }
            // Of the others, [`RunEvent::each_text`] tells.
            _ => {}
        }
    }
}

fn of_task(told: &mut TaskInfo, visit: &mut dyn FnMut(&mut String)) {
    let TaskInfo {
        task,
        step,
        server,
        needs,
        command: _,
    } = told;
    visit(&mut task.0);
    visit(&mut step.0);
    visit(&mut server.0);
    for need in Arc::make_mut(needs) {
        visit(&mut need.0);
    }
}

fn of_output(told: &mut Output, visit: &mut dyn FnMut(&mut String)) {
    let Output {
        kind: _,
        path,
        text,
        node,
        output,
        size: _,
        hash: _,
    } = told;
    if let Some(path) = path {
        of_path(path, visit);
    }
    text.iter_mut().chain(output).for_each(&mut *visit);
    visit(&mut node.0);
}

fn of_diagnostic(told: &mut JsonDiagnostic, visit: &mut dyn FnMut(&mut String)) {
    let JsonDiagnostic {
        code: _,
        kind: _,
        severity: _,
        node,
        class_type,
        input,
        message,
        help,
        file,
        line: _,
        column: _,
    } = told;
    visit(message);
    visit(help);
    let named = [node, class_type, input, file];
    named.into_iter().flatten().for_each(visit);
}

/// A path that is no text cannot hold one.
fn of_path(path: &mut PathBuf, visit: &mut dyn FnMut(&mut String)) {
    if let Some(text) = path.to_str() {
        let mut text = text.to_owned();
        visit(&mut text);
        if path.as_os_str() != text.as_str() {
            *path = PathBuf::from(text);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    const MARK: &str = "MARK";

    /// Events of all kinds in which every free text is a mark.
    fn events() -> Vec<Value> {
        let diagnostic = json!({
            "code": "K0203", "kind": "value_not_in_list", "severity": "error", "node": MARK, "class_type": MARK, "input": MARK,
            "message": MARK, "help": MARK, "file": MARK, "line": 1, "column": 2
        });
        let task = json!({"task": MARK, "step": MARK, "server": MARK, "needs": [MARK]});
        let output = json!({
            "kind": "image", "path": MARK, "text": MARK, "node": MARK, "output": MARK, "size": 1, "hash": "ab"
        });
        let counts = json!({"done": 1, "failed": 0, "skipped": 0, "cancelled": 0});
        vec![
            json!({"event": "diagnostic", "diagnostic": diagnostic}),
            json!({"event": "run_started", "pipeline": MARK, "tasks": [task], "output_dir": MARK}),
            json!({"event": "run_waiting", "holder": MARK}),
            json!({"event": "tasks_added", "step": MARK, "tasks": [task]}),
            json!({"event": "server_ready", "server": MARK, "url": MARK, "version": MARK, "embedded": false}),
            json!({"event": "server_lost", "server": MARK, "reason": MARK}),
            json!({"event": "server_back", "server": MARK}),
            json!({"event": "task_started", "task": MARK, "server": MARK, "attempt": 1}),
            json!({"event": "task_uploaded", "task": MARK, "name": MARK, "size": 1}),
            json!({"event": "task_queued", "task": MARK, "prompt_id": "id"}),
            json!({"event": "task_place", "task": MARK, "place": 3}),
            json!({"event": "task_executing", "task": MARK}),
            json!({"event": "task_fetching", "task": MARK}),
            json!({"event": "task_progress", "task": MARK, "fraction": 0.5, "node": MARK, "node_title": MARK}),
            json!({"event": "task_retried", "task": MARK, "attempt": 2, "class": "oom", "reason": MARK, "delay_seconds": 0.0}),
            json!({"event": "task_output", "task": MARK, "line": MARK}),
            json!({"event": "task_warning", "task": MARK, "diagnostic": diagnostic}),
            json!({"event": "task_finished", "task": MARK, "status": "failed", "outputs": [output], "seconds": 1.0, "diagnostic": diagnostic}),
            json!({"event": "plugin_log", "plugin": MARK, "level": "info", "line": MARK}),
            json!({"event": "run_stopping", "reason": "interrupt", "at_once": false}),
            json!({"event": "run_finished", "status": "failed", "exit_code": 4, "counts": counts, "cause": MARK, "latest": MARK, "resume": MARK, "seconds": 1.0}),
        ]
    }

    #[test]
    fn no_text_of_any_event_is_left_out() {
        for json in events() {
            let mut event: RunEvent = serde_json::from_value(json.clone()).unwrap();
            assert_eq!(
                event.name(),
                json["event"],
                "events are called by their names"
            );
            event.each_text(&mut |text| *text = text.replace(MARK, "***"));
            let told = serde_json::to_string(&event).unwrap();
            assert!(!told.contains(MARK), "{told}");
            let marks = json.to_string().matches(MARK).count();
            assert_eq!(told.matches("***").count(), marks, "{told}");
        }
    }
}
