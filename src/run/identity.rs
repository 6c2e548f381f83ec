//! What a try is called on a server.

use serde_json::Value;
use uuid::Uuid;

use crate::base::{RunId, TaskName};
use crate::machine::Ticket;
use crate::workflow::Graph;

/// Job ids are made in this namespace.
const NAMESPACE: Uuid = Uuid::from_u128(0x6b69_6c6e_0f1a_4c5e_9d53_2b7e_86a4_d0c1);

/// The id of a job: the same run, task, attempt and try always have the same one.
pub fn prompt_id(run: &RunId, task: &TaskName, ticket: Ticket) -> Uuid {
    let name = format!("{run}\0{task}\0{}\0{}", ticket.attempt, ticket.try_);
    Uuid::new_v5(&NAMESPACE, name.as_bytes())
}

/// Makes the server execute the saving nodes again: their files go into a folder of their own, so their names stay as they were.
pub(super) fn make_fresh(graph: &mut Graph, run: &RunId, ticket: Ticket) {
    let id = Uuid::new_v5(
        &NAMESPACE,
        format!("{run}\0{}\0{}", ticket.task.0, ticket.try_).as_bytes(),
    );
    let again = format!("kiln-{}", &id.simple().to_string()[..8]);
    for node in graph.nodes.values_mut() {
        if let Some(Value::String(prefix)) = node.inputs.get_mut("filename_prefix") {
            *prefix = if prefix.starts_with(['/', '\\']) || prefix.contains(':') {
                format!("{prefix}-{again}")
            } else {
                format!("{again}/{prefix}")
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::TaskIx;

    fn ticket(attempt: u32, try_: u32) -> Ticket {
        Ticket {
            task: TaskIx(0),
            attempt,
            try_,
        }
    }

    #[test]
    fn a_job_id_follows_from_run_task_attempt_and_try() {
        let run = RunId::from("20261122-141530-k3f9");
        let draw = TaskName::from("draw");
        let id = prompt_id(&run, &draw, ticket(1, 1));
        assert_eq!(id, prompt_id(&run, &draw, ticket(1, 1)));
        let others = [
            prompt_id(&run, &draw, ticket(1, 2)),
            prompt_id(&run, &draw, ticket(2, 1)),
            prompt_id(&run, &TaskName::from("other"), ticket(1, 1)),
            prompt_id(&RunId::from("20261122-141530-zzzz"), &draw, ticket(1, 1)),
        ];
        assert!(others.iter().all(|other| *other != id));
        assert_eq!(
            id.to_string(),
            id.hyphenated().to_string(),
            "servers take only lower-case hyphenated ids"
        );
    }

    #[test]
    fn a_fresh_try_changes_where_files_go_but_not_their_names() {
        let mut graph: Graph = serde_json::from_value(serde_json::json!({
            "9": {"class_type": "SaveImage", "inputs": {"images": ["8", 0], "filename_prefix": "shots/a"}},
            "8": {"class_type": "EmptyImage", "inputs": {"width": 8}}
        }))
        .unwrap();
        make_fresh(&mut graph, &RunId::from("r"), ticket(1, 2));
        let prefix = graph.nodes["9"].inputs["filename_prefix"].as_str().unwrap();
        assert!(
            prefix.starts_with("kiln-") && prefix.ends_with("/shots/a"),
            "{prefix}"
        );
        assert_eq!(graph.nodes["8"].inputs.len(), 1);
    }
}
