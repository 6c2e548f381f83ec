//! What a server says against a graph when it takes a job, or does not, at the lines that caused it.

use super::failure::{About, Failure, one_line};
use crate::base::{NodeId, ServerName};
use crate::diagnostic::{Diagnostic, codes, list_of};
use crate::machine::FailureClass;
use crate::plan::Rendered;
use crate::protocol::PromptAnswer;

impl About<'_> {
    pub(super) fn rejected(
        self,
        rendered: &Rendered,
        server: &ServerName,
        answer: &PromptAnswer,
    ) -> Failure {
        let said = match &answer.error {
            Some(error) if !error.message.is_empty() => one_line(&error.message),
            _ => "it did not say why".to_owned(),
        };
        let message = format!("server `{server}` refused the job: {said}");
        let built = self.complain(Diagnostic::error(&codes::JOB_REJECTED, message));
        let built = self.complaints(built, rendered, answer);
        Failure::one(FailureClass::Rejected, built)
    }

    /// The server runs the job without the outputs that it finds invalid, and the step allows it.
    pub(super) fn left_out(
        self,
        rendered: &Rendered,
        server: &ServerName,
        answer: &PromptAnswer,
    ) -> Diagnostic {
        let nodes = answer.node_errors.iter().map(|(id, complaints)| {
            let known = rendered.graph.nodes.get(id.as_str());
            let class = known.map_or(&*complaints.class_type, |node| &*node.class_type);
            format!("node {id} ({class})")
        });
        let nodes: Vec<String> = nodes.collect();
        let message = format!(
            "server `{server}` leaves out what needs {}, and runs the rest",
            list_of(nodes.iter().map(String::as_str), 5)
        );
        let built = self.complain(Diagnostic::warning(&codes::JOB_REJECTED, message));
        self.complaints(built, rendered, answer)
            .help("the result is not kept for later runs; without `allow_partial: true` the step would fail")
    }

    /// The server ran the job without these outputs, and its answer, which told why, was lost.
    pub(super) fn left_out_unheard(
        self,
        rendered: &Rendered,
        server: &ServerName,
        (nodes, allowed): (&[&NodeId], bool),
    ) -> Diagnostic {
        let named: Vec<String> = nodes
            .iter()
            .map(|id| match rendered.graph.nodes.get(id.as_str()) {
                Some(node) => format!("node {id} ({})", node.class_type),
                None => format!("node {id}"),
            })
            .collect();
        let nodes = list_of(named.iter().map(String::as_str), 5);
        let message = format!("server `{server}` left out {nodes}, and ran the rest");
        let built = if allowed {
            Diagnostic::warning(&codes::JOB_REJECTED, message)
        } else {
            Diagnostic::error(&codes::JOB_REJECTED, message)
        };
        self.complain(built)
            .help("what it said against that was lost with its answer; its own log has it")
    }

    fn complaints(
        self,
        mut built: Diagnostic,
        rendered: &Rendered,
        answer: &PromptAnswer,
    ) -> Diagnostic {
        for (node, complaints) in &answer.node_errors {
            let id = NodeId::from(node.as_str());
            for complaint in &complaints.errors {
                let details = match complaint.details.trim() {
                    "" => String::new(),
                    details => format!(": {}", one_line(details)),
                };
                let text = format!("{}{details}", one_line(&complaint.message));
                match self.span_of_node(rendered, &id, complaint.input.as_deref()) {
                    Some(span) => built = built.also(span, text),
                    None => {
                        built =
                            built.help(format!("node {node} ({}): {text}", complaints.class_type));
                    }
                }
                if built.node.is_none() {
                    let input = complaint.input.as_deref();
                    built = built.node(node, &complaints.class_type, input);
                }
            }
        }
        built
    }
}
