//! Graphs of tasks from a seed, and the same graph as files for kiln, `ninja` and `snakemake`.
//!
//! A graph is steps of tasks. A task of a step waits for all tasks of the steps that it needs, or, where a step follows another one, for
//! the task of the same place in that one.

use std::fmt::Write as _;
use std::path::Path;

use super::write;

/// How the steps hang together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// One step of all tasks, after one of a single task.
    Fan,
    /// A row of steps, each task following the one of its place before.
    Chain,
    /// One task, two broad steps beside each other, one task.
    Diamond,
    /// Layers of steps, each of which needs one to three of the layer before, by the seed.
    Layered,
}

pub(crate) const FORMS: [Form; 4] = [Form::Fan, Form::Chain, Form::Diamond, Form::Layered];

impl Form {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Fan => "fan",
            Self::Chain => "chain",
            Self::Diamond => "diamond",
            Self::Layered => "layered",
        }
    }
}

/// A step.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    /// How many tasks it has.
    pub(crate) tasks: usize,
    /// Steps of which it needs all tasks.
    pub(crate) needs: Vec<usize>,
    /// The step that it follows task by task.
    pub(crate) follows: Option<usize>,
}

/// Steps, each after those that it waits for.
#[derive(Clone, Debug)]
pub(crate) struct Graph {
    pub(crate) form: Form,
    pub(crate) steps: Vec<Step>,
}

/// Numbers that look random and are the same every time (the finaliser of `splitmix64`).
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ (mixed >> 31)) % end as u64).unwrap()
    }
}

impl Graph {
    /// A graph of about so many tasks; of exactly so many but for the rounding of steps to equal sizes.
    pub(crate) fn new(form: Form, tasks: usize, seed: u64) -> Self {
        let step = |tasks, needs: &[usize]| Step {
            tasks,
            needs: needs.to_vec(),
            follows: None,
        };
        let steps = match form {
            Form::Fan => vec![step(1, &[]), step(tasks - 1, &[0])],
            Form::Diamond => {
                let half = (tasks - 2) / 2;
                vec![
                    step(1, &[]),
                    step(half, &[0]),
                    step(tasks - 2 - half, &[0]),
                    step(1, &[1, 2]),
                ]
            }
            Form::Chain => {
                let length = 20;
                (0..length)
                    .map(|at: usize| Step {
                        tasks: tasks / length,
                        needs: Vec::new(),
                        follows: at.checked_sub(1),
                    })
                    .collect()
            }
            Form::Layered => {
                let (layers, width) = (10, 5);
                let mut dice = Dice(seed);
                let mut steps = Vec::new();
                for layer in 0..layers {
                    for _ in 0..width {
                        let mut needs: Vec<usize> = Vec::new();
                        if layer > 0 {
                            for _ in 0..=dice.below(3) {
                                needs.push((layer - 1) * width + dice.below(width));
                            }
                            needs.sort_unstable();
                            needs.dedup();
                        }
                        steps.push(step(tasks / (layers * width), &needs));
                    }
                }
                steps
            }
        };
        Self { form, steps }
    }

    pub(crate) fn tasks(&self) -> usize {
        self.steps.iter().map(|step| step.tasks).sum()
    }

    /// A pipeline of tiny jobs, each of which makes a picture of its own.
    pub(crate) fn for_kiln(&self, dir: &Path) {
        write(&dir.join("make.json"), MAKE);
        write(&dir.join("turn.json"), TURN);
        let mut text = format!("name: {}\nsteps:\n", self.form.name());
        let mut colour = 0;
        for (at, step) in self.steps.iter().enumerate() {
            let _ = writeln!(text, "  s{at}:");
            if let Some(before) = step.follows {
                let _ = write!(
                    text,
                    "    workflow: turn.json\n    for_each: steps.s{before}\n    set: {{ Load: {{ image: \"{{{{ item.image }}}}\" }} }}\n"
                );
                continue;
            }
            let _ = write!(
                text,
                "    workflow: make.json\n    matrix: {{ i: \"{{{{ range({}) }}}}\" }}\n    set: {{ Card: {{ color: \"{{{{ {colour} + matrix.i }}}}\" }} }}\n",
                step.tasks
            );
            colour += step.tasks;
            if !step.needs.is_empty() {
                let needs: Vec<String> = step.needs.iter().map(|need| format!("s{need}")).collect();
                let _ = writeln!(text, "    needs: [{}]", needs.join(", "));
            }
        }
        write(&dir.join("p.yaml"), text);
    }

    /// The same graph for `ninja`: a file for each task, and a name for all files of a step.
    pub(crate) fn for_ninja(&self, dir: &Path) {
        let mut text = "rule t\n  command = touch $out\n".to_owned();
        for (at, step) in self.steps.iter().enumerate() {
            let needs = joined(&step.needs, |need| format!(" s{need}"));
            for task in 0..step.tasks {
                let before = step.follows.map(|before| format!(" o/{before}_{task}"));
                let before = before.as_deref().unwrap_or(&needs);
                let _ = writeln!(text, "build o/{at}_{task}: t{before}");
            }
            let tasks: Vec<usize> = (0..step.tasks).collect();
            let all = joined(&tasks, |task| format!(" o/{at}_{task}"));
            let _ = writeln!(text, "build s{at}: phony{all}");
        }
        write(&dir.join("build.ninja"), text);
    }

    /// The same graph for `snakemake`, made already: a file for each task, and a stamp for each step.
    pub(crate) fn for_snakemake(&self, dir: &Path) {
        let mut text = String::new();
        let stamps: Vec<String> = (0..self.steps.len())
            .map(|at| format!("\"o/{at}.done\""))
            .collect();
        let _ = write!(text, "rule all:\n    input: {}\n", stamps.join(", "));
        for (at, step) in self.steps.iter().enumerate() {
            let input = if let Some(before) = step.follows {
                format!("\"o/{before}_{{i}}\"")
            } else {
                let needs = step.needs.iter().map(|need| format!("\"o/{need}.done\""));
                needs.collect::<Vec<_>>().join(", ")
            };
            let _ = writeln!(text, "rule s{at}:");
            if !input.is_empty() {
                let _ = writeln!(text, "    input: {input}");
            }
            let _ = write!(
                text,
                "    output: \"o/{at}_{{i}}\"\n    shell: \"touch {{output}}\"\nrule d{at}:\n    input: expand(\"o/{at}_{{i}}\", i=range({}))\n    output: \"o/{at}.done\"\n    shell: \"touch {{output}}\"\n",
                step.tasks
            );
            for task in 0..step.tasks {
                write(&dir.join(format!("o/{at}_{task}")), "");
            }
            write(&dir.join(format!("o/{at}.done")), "");
        }
        write(&dir.join("Snakefile"), text);
    }
}

fn joined(numbers: &[usize], name: impl Fn(&usize) -> String) -> String {
    numbers.iter().map(name).collect::<Vec<_>>().concat()
}

const MAKE: &str = r#"{
  "1": {"class_type": "EmptyImage", "inputs": {"width": 8, "height": 8, "batch_size": 1, "color": 0}, "_meta": {"title": "Card"}},
  "9": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "made"}, "_meta": {"title": "Save"}}
}"#;

const TURN: &str = r#"{
  "1": {"class_type": "LoadImage", "inputs": {"image": "card.png"}, "_meta": {"title": "Load"}},
  "2": {"class_type": "ImageInvert", "inputs": {"image": ["1", 0]}},
  "9": {"class_type": "SaveImage", "inputs": {"images": ["2", 0], "filename_prefix": "turned"}, "_meta": {"title": "Save"}}
}"#;
