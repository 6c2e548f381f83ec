//! Plans made from texts: what they hold, and the exact words for what is wrong.

mod commands;
mod exports;
mod fan;
mod mistakes;
mod selection;

use std::path::Path;
use std::sync::Arc;

use super::settings::{ParamFlag, StepFlag};
use super::{Earlier, Materials, MissingParams, Plan, Results, Settings, TaskPlan, build};
use crate::artifact::{Artifact, Kind};
use crate::base::{ContentHash, Inputs, NodeId, RunId, Secrets, StepId, TaskName};
use crate::diagnostic::{Report, SourceMap, Span, render_human};
use crate::spec;

/// A workflow with a number, a text, and two nodes in a row that pass an image on.
const DRAW: &str = r#"{
  "1": {"class_type": "Make", "inputs": {"seed": 5, "text": "a {{ params.what }}"}},
  "2": {"class_type": "Blur", "inputs": {"image": ["1", 0]}, "_meta": {"title": "Soft"}},
  "3": {"class_type": "Save", "inputs": {"images": ["2", 0]}}
}"#;

/// A project in a folder of its own.
pub(super) struct Project {
    pub(super) dir: Arc<tempfile::TempDir>,
    pub(super) settings: Settings,
    sources: SourceMap,
}

/// What planning gave.
pub(super) struct Planned {
    pub(super) plan: Option<Plan>,
    /// What people read.
    pub(super) told: String,
    /// Where the files are, for as long as this lives.
    pub(super) folder: Arc<tempfile::TempDir>,
}

impl Project {
    pub(super) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("draw.json"), DRAW).unwrap();
        Self {
            settings: Settings {
                current_dir: dir.path().to_path_buf(),
                seed: Some(7),
                ..Settings::default()
            },
            dir: Arc::new(dir),
            sources: SourceMap::default(),
        }
    }

    pub(super) fn write(&self, name: &str, text: &str) {
        std::fs::write(self.dir.path().join(name), text).unwrap();
    }

    pub(super) fn param(mut self, name: &str, value: &str) -> Self {
        let typed = format!("{name}={value}");
        let file = self.sources.add_text("-p", &typed);
        self.settings.params.push(ParamFlag {
            name: name.to_owned(),
            value: value.to_owned(),
            span: Span::new(file, 0, typed.len()),
        });
        self
    }

    /// A step as `--to` and its like name it.
    pub(super) fn flag(&mut self, name: &str, step: &str) -> StepFlag {
        let file = self.sources.add_text(name, step);
        StepFlag {
            step: step.to_owned(),
            span: Span::new(file, 0, step.len()),
        }
    }

    pub(super) fn plan(self, pipeline: &str) -> Planned {
        self.plan_after(pipeline, None)
    }

    pub(super) fn plan_after(self, pipeline: &str, earlier: Option<Earlier<'_>>) -> Planned {
        let mut sources = self.sources;
        let mut report = Report::default();
        let inputs = Arc::new(Inputs::default());
        let file = sources.add_text("p.yaml", pipeline);
        let path = self.dir.path().join("p.yaml");
        let plan = spec::pipeline_from_text(file, &path, &sources, &mut report).and_then(|read| {
            let materials = Materials {
                pipeline: &read,
                pipeline_dir: self.dir.path(),
                bare: None,
                project: None,
                project_dir: self.dir.path(),
                settings: &self.settings,
                inputs: &inputs,
                secrets: &Secrets::default(),
                earlier,
                plugins: &crate::plan::PlanPlugins::default(),
                declared: None,
            };
            build(&materials, &mut sources, &mut report)
        });
        let told = render_human(&report, &sources);
        let folder = self.dir.path().display().to_string();
        Planned {
            plan: plan.filter(|_| !report.has_errors()),
            told: told.replace(&folder, "DIR"),
            folder: self.dir,
        }
    }
}

impl Planned {
    #[track_caller]
    pub(super) fn good(self) -> Plan {
        self.plan.unwrap_or_else(|| panic!("{}", self.told))
    }
}

/// A pipeline of one step that draws, with more lines for it.
pub(super) fn drawing(lines: &str) -> String {
    let lines: Vec<String> = lines.lines().map(|line| format!("    {line}\n")).collect();
    let lines = lines.concat();
    format!(
        "params:\n  what: {{ type: string, default: cat }}\n  n: {{ type: integer, default: 3 }}\n  words: {{ type: list, default: [cat, dog] }}\nsteps:\n  draw:\n    workflow: draw.json\n{lines}"
    )
}

pub(super) fn planned(lines: &str) -> Plan {
    Project::new().plan(&drawing(lines)).good()
}

pub(super) fn refused(lines: &str) -> String {
    let planned = Project::new().plan(&drawing(lines));
    assert!(planned.plan.is_none(), "this was accepted: {lines}");
    planned.told
}

pub(super) fn names(tasks: &[TaskPlan]) -> Vec<&str> {
    tasks.iter().map(|task| task.name.as_str()).collect()
}

pub(super) fn results() -> Results {
    Results::new(RunId::from("20261122-141530-k3f9"))
}

/// A picture that a task made.
pub(super) fn picture(step: &str, task: &str, name: &str) -> Arc<Artifact> {
    Arc::new(Artifact {
        kind: Kind::Image,
        name: name.to_owned(),
        path: Some(Path::new("/out").join(name)),
        hash: ContentHash::of(name.as_bytes()),
        size: 3,
        key: "images".to_owned(),
        ..Artifact::blank(StepId::from(step), TaskName::from(task), NodeId::from("3"))
    })
}

#[test]
fn a_param_without_a_value_leaves_undecided_what_it_decides() {
    let pipeline = "params:\n  n: { type: integer }\nsteps:\n  draw:\n    workflow: draw.json\n    template: false\n    matrix: { i: \"{{ range(params.n) }}\" }\n    timeout: \"{{ params.n }}s\"\n    set: { Make: { seed: \"{{ matrix.i }}\" } }\n    when: params.n > 1\n";
    let mut project = Project::new();
    project.settings.missing_params = MissingParams::Undecided;
    let plan = project.plan(pipeline).good();
    let work = plan.steps["draw"].workflow().unwrap();
    let (rendered, wrong) = super::preview(&plan, &plan.tasks[0], work, None);
    assert!(wrong.items.is_empty());
    assert_eq!(rendered.unknown.len(), 1);
}
