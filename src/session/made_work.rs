//! A task's work as it would be made now, with what it is known by.

use std::borrow::Cow;

use indexmap::IndexMap;

use crate::base::ContentHash;
use crate::plan::key::{
    self, CommandInputs, Manifest, Memo, Realm, ServerFacts, command_manifest, of_command,
    of_plugin, of_workflow, plugin_manifest, workflow_manifest,
};
use crate::plan::{CacheMode, Plan, Rendered, RenderedCommand, RenderedPlugin, StepPlan};
use crate::run::Noted;

/// A graph for a server that is known so far, a command and what it collects, or what a plugin is given.
pub(super) enum MadeWork<'a> {
    Graph(Rendered, Cow<'a, ServerFacts>),
    Command(RenderedCommand, IndexMap<String, String>),
    Plugin(RenderedPlugin),
}

impl MadeWork<'_> {
    pub(super) fn key(&self, step: &StepPlan, memo: Option<&Memo>) -> Option<ContentHash> {
        match self {
            Self::Graph(rendered, facts) => Some(of_workflow(rendered, step.cache, facts, memo)),
            Self::Command(command, collect) => of_command(&CommandInputs::of(command, collect)),
            Self::Plugin(rendered) => Some(of_plugin(rendered)),
        }
    }

    /// Takes what is not known for what it was in an earlier task of the same name; the key by that.
    pub(super) fn assume(
        &mut self,
        step: &StepPlan,
        earlier: Option<&Noted>,
        told: bool,
    ) -> Option<ContentHash> {
        let earlier = &earlier?.manifest;
        let Self::Graph(rendered, facts) = self else {
            return None;
        };
        key::settle(&mut rendered.graph, earlier);
        if !told {
            *facts = Cow::Owned(ServerFacts::assumed(facts.realm, earlier));
        }
        self.key(step, None)
    }

    pub(super) fn manifest(&self, plan: &Plan, step: &StepPlan) -> Manifest {
        match self {
            Self::Graph(rendered, facts) => workflow_manifest(plan, rendered, step.cache, facts),
            Self::Command(command, collect) => {
                command_manifest(plan, &CommandInputs::of(command, collect))
            }
            Self::Plugin(rendered) => plugin_manifest(plan, rendered),
        }
    }

    /// What was taken for granted.
    pub(super) fn provided(&self, step: &StepPlan, told: bool) -> Option<&'static str> {
        match self {
            Self::Graph(_, facts) => taken_for_granted(step, facts, told),
            Self::Command(..) | Self::Plugin(_) => None,
        }
    }
}

/// What is taken for granted of a step's server.
pub(super) fn taken_for_granted(
    step: &StepPlan,
    facts: &ServerFacts,
    told: bool,
) -> Option<&'static str> {
    // Packs are not asked for ahead of a run.
    if step.cache == CacheMode::Strict && facts.realm == Realm::Comfy {
        return Some("the server is the same");
    }
    if !told && !facts.models.is_empty() {
        return Some("the server's models are the same");
    }
    (!told && !facts.files.is_empty()).then_some("the server's files are the same")
}
