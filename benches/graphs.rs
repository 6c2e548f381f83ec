//! Graphs of many tasks: `cargo bench --bench graphs [-- NAME…]`.
//!
//! - `noop`: 10,000 cached tasks of each shape, nothing to do, by the program itself; beside `ninja` and `snakemake`, where they are on the
//!   `PATH`, on the same graph.
//! - `hundred`: 100,000 tasks, planned and finished as no-ops.
//! - `scheduling`: what the engine adds to a task, without what the task does: decisions, the journal and events. That it does not grow
//!   with the number of tasks is asserted, in processor time.
//!
//! Nothing else here asserts; `docs/benchmarks.md` holds what was measured and on what machine.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    reason = "a bench may stop at the first surprise, and its figures are small"
)]

use std::collections::VecDeque;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Instant;

use support::graph::{FORMS, Form, Graph};
use support::{KILN, is_here, own_cpu, peak_memory, quiet, run, tell};

mod support;

/// As the program has it: `scheduling` measures a part of it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// What the random parts of graphs are drawn from.
const SEED: u64 = 20_261_122;
/// How often each figure is taken.
const RUNS: usize = 7;

fn main() {
    let wanted: Vec<String> = std::env::args()
        .skip(1)
        .filter(|a| !a.starts_with('-'))
        .collect();
    let run = |name: &str, bench: &dyn Fn()| {
        if wanted.is_empty() || wanted.iter().any(|w| name.contains(w.as_str())) {
            bench();
        }
    };
    run("scheduling", &scheduling);
    for form in FORMS {
        run(&format!("noop_{}", form.name()), &|| noop(form));
    }
    run("hundred", &hundred);
}

fn kiln(dir: &Path) -> Command {
    let mut command = Command::new(KILN);
    command.args(["run", "--yes", "p.yaml"]).current_dir(dir);
    command
}

/// Nothing to do for a graph that was run before.
fn measure(what: &str, dir: &Path) {
    let (mut wall, mut cpu, mut memory) = (Vec::new(), Vec::new(), Vec::new());
    run(&mut kiln(dir));
    for _ in 0..RUNS {
        let took = run(&mut kiln(dir));
        wall.push(took.wall);
        cpu.extend(took.cpu);
        memory.extend(peak_memory(&mut kiln(dir)));
    }
    tell(&format!("{what}, kiln"), "ms", wall);
    if !cpu.is_empty() {
        tell("  of that, work of processors", "ms", cpu);
    }
    if !memory.is_empty() {
        tell("  peak memory", "MB", memory);
    }
}

fn noop(form: Form) {
    let graph = Graph::new(form, 10_000, SEED);
    let dir = tempfile::tempdir().unwrap();
    graph.for_kiln(dir.path());
    run(&mut kiln(dir.path()));
    let what = format!(
        "{} tasks of a {}, nothing to do",
        graph.tasks(),
        form.name()
    );
    measure(&what, dir.path());
    beside_ninja(&what, &graph);
    beside_snakemake(&what, &graph);
}

fn beside_ninja(what: &str, graph: &Graph) {
    if !is_here("ninja") {
        println!("{:<58} not here", format!("{what}, ninja"));
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    graph.for_ninja(dir.path());
    let ninja = || {
        let mut command = Command::new("ninja");
        command.current_dir(dir.path());
        command
    };
    run(&mut ninja());
    let wall = (0..RUNS).map(|_| run(&mut ninja()).wall).collect();
    tell(&format!("{what}, ninja"), "ms", wall);
}

fn beside_snakemake(what: &str, graph: &Graph) {
    if !is_here("snakemake") {
        println!("{:<58} not here", format!("{what}, snakemake"));
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    graph.for_snakemake(dir.path());
    let snakemake = || {
        let mut command = Command::new("snakemake");
        command.args(["--cores", "1", "--rerun-triggers", "mtime"]);
        command.current_dir(dir.path());
        command
    };
    // It takes so long that five times must do; the first one makes its own folder.
    run(&mut snakemake());
    let wall = (0..5).map(|_| run(&mut snakemake()).wall).collect();
    tell(&format!("{what}, snakemake"), "ms", wall);
}

fn hundred() {
    let graph = Graph::new(Form::Fan, 100_000, SEED);
    let dir = tempfile::tempdir().unwrap();
    graph.for_kiln(dir.path());
    let began = Instant::now();
    assert!(quiet(&mut kiln(dir.path())).status().unwrap().success());
    let whole = began.elapsed().as_secs_f64();
    println!("{:<58} {whole:>9.2} s", "100000 tasks of a fan, run once");
    measure("100000 tasks of a fan, nothing to do", dir.path());
}

/// How much more a task may cost among 100,000 than among 1,000: logarithms and caches, and the noise of a busy machine.
const GROWTH: f64 = 2.0;

fn scheduling() {
    for form in [Form::Fan, Form::Layered] {
        let mut medians = Vec::new();
        for tasks in [1000, 10_000, 100_000] {
            let dir = tempfile::tempdir().unwrap();
            Graph::new(form, tasks, SEED).for_kiln(dir.path());
            let plan = plan(dir.path());
            let rounds = if tasks == 1000 { 15 } else { 5 };
            let (mut wall, mut cpu) = (Vec::new(), Vec::new());
            for round in 0..=rounds {
                let (took, worked) = engine::drive(&plan, round);
                if round > 0 {
                    wall.push(took / plan.tasks.len() as f64);
                    cpu.extend(worked.map(|worked| worked / plan.tasks.len() as f64));
                }
            }
            let what = format!("scheduling {tasks} tasks of a {}, each", form.name());
            tell(&what, "µs", wall);
            if !cpu.is_empty() {
                medians.push(tell("  of that, work of processors", "µs", cpu));
            }
        }
        if let [small, .., large] = medians[..] {
            let growth = large / small;
            println!("{:<58} {growth:>9.2} ×", "  100,000 tasks to 1,000, each");
            assert!(
                growth < GROWTH,
                "the cost of a task grows with their number"
            );
        }
    }
}

fn plan(dir: &Path) -> kiln::plan::Plan {
    let request = kiln::session::Request {
        file: dir.join("p.yaml"),
        ..kiln::session::Request::default()
    };
    let loaded = kiln::session::load(&request);
    loaded.plan.unwrap_or_else(|| panic!("{:?}", loaded.report))
}

/// The engine with a world that does at once what it is asked: decisions, the journal on the disk, events as lines of JSON.
mod engine {
    use super::{Arc, Instant, VecDeque, own_cpu};
    use std::collections::HashMap;

    use kiln::artifact::{Artifact, Kind};
    use kiln::base::{ContentHash, NodeId, RunId};
    use kiln::event::{Envelope, Output, RunEvent, RunStatus, TaskStatus, VERSION};
    use kiln::machine::{Action, Fact, Machine, Outcome, Policy, Shape, Ticket};
    use kiln::plan::{Plan, TaskIx};
    use kiln::report::{JsonReporter, Reporter};
    use kiln::store::{Ack, Journal, Store};

    /// Ends that one turn takes, as in a run.
    const BATCH: usize = 256;

    struct Engine<'a> {
        plan: &'a Plan,
        run: RunId,
        machine: Machine,
        journal: Journal,
        acks: Vec<Ack>,
        reporter: JsonReporter<std::io::Sink, std::io::Sink>,
        seq: u64,
        /// Tries that were given to the world and have not ended.
        prepared: VecDeque<Ticket>,
        started: VecDeque<Ticket>,
        pending: Vec<Fact>,
    }

    /// Drives a plan to its end: microseconds, and those that processors worked.
    pub(super) fn drive(plan: &Plan, round: usize) -> (f64, Option<f64>) {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let run = RunId(format!("20261122-141530-{round:04}"));
        let journal = store.begin(&run, plan, 0).unwrap();
        let (before, began) = (own_cpu(), Instant::now());
        let mut engine = Engine {
            plan,
            run,
            machine: Machine::new(Shape::of(plan, Policy::default(), &HashMap::new())),
            journal,
            acks: Vec::new(),
            reporter: JsonReporter::new(std::io::sink(), std::io::sink()),
            seq: 0,
            prepared: VecDeque::new(),
            started: VecDeque::new(),
            pending: Vec::new(),
        };
        while engine.turn().is_none() {
            engine.observe();
        }
        for ack in engine.acks.drain(..) {
            ack.wait_blocking().unwrap();
        }
        let took = began.elapsed().as_secs_f64() * 1e6;
        // The writer has not ended yet, and still counts.
        let worked = own_cpu().zip(before).map(|(after, before)| after - before);
        let done = engine.machine.counts().done;
        assert_eq!(done, plan.tasks.len());
        drop(engine);
        (took, worked.map(|nanoseconds| nanoseconds as f64 / 1e3))
    }

    impl Engine<'_> {
        fn turn(&mut self) -> Option<RunStatus> {
            loop {
                let facts = self.machine.decide(0);
                if facts.is_empty() {
                    break;
                }
                for fact in facts {
                    self.machine.apply(&fact).unwrap();
                    if let Fact::Started { ticket } = &fact {
                        let server = self.plan.steps[&self.plan.tasks[ticket.task.0 as usize].step]
                            .server
                            .clone();
                        self.tell(RunEvent::TaskStarted {
                            task: self.plan.tasks[ticket.task.0 as usize].name.clone(),
                            server,
                            attempt: 1,
                            url: None,
                        });
                    }
                    self.pending.push(fact);
                }
            }
            if !self.pending.is_empty() {
                let facts = std::mem::take(&mut self.pending);
                self.acks.push(self.journal.append(0, facts));
            }
            for action in self.machine.actions() {
                match action {
                    Action::Prepare { ticket, .. } => self.prepared.push_back(ticket),
                    Action::Start { ticket } => self.started.push_back(ticket),
                    Action::Finish { status } => return Some(status),
                    other => panic!("{other:?}"),
                }
            }
            None
        }

        fn observe(&mut self) {
            for ticket in std::mem::take(&mut self.prepared) {
                let key = ContentHash::of(&ticket.task.0.to_le_bytes());
                self.take(Fact::Prepared {
                    ticket,
                    key: Some(key),
                });
            }
            for _ in 0..BATCH {
                let Some(ticket) = self.started.pop_front() else {
                    break;
                };
                let prompt_id = format!("040c47ea-fb8c-589d-8abb-{:012x}", ticket.task.0);
                self.take(Fact::Accepted {
                    ticket,
                    prompt_id,
                    theirs: false,
                });
                self.take(Fact::Released { ticket });
                let artifact = Arc::new(self.artifact(ticket.task));
                let output = output(&artifact);
                let artifacts = vec![artifact];
                self.take(Fact::Ended {
                    ticket,
                    outcome: Outcome::Done { artifacts },
                });
                self.tell(RunEvent::TaskFinished {
                    task: self.plan.tasks[ticket.task.0 as usize].name.clone(),
                    status: TaskStatus::Done,
                    outputs: vec![output],
                    seconds: 0.1,
                    diagnostic: None,
                });
            }
        }

        fn take(&mut self, fact: Fact) {
            self.machine.apply(&fact).unwrap();
            self.pending.push(fact);
        }

        fn tell(&mut self, event: RunEvent) {
            let envelope = Envelope {
                v: VERSION,
                seq: self.seq,
                time: "2026-11-22T14:15:30.123+01:00".to_owned(),
                run: self.run.clone(),
                event,
            };
            self.seq += 1;
            self.reporter.event(&envelope).unwrap();
        }

        fn artifact(&self, task: TaskIx) -> Artifact {
            let planned = &self.plan.tasks[task.0 as usize];
            let name = format!("made_{:05}_.png", task.0);
            Artifact {
                kind: Kind::Image,
                path: Some(self.plan.output_dir.join(planned.step.as_str()).join(&name)),
                name,
                text: None,
                hash: ContentHash::of(&task.0.to_le_bytes()),
                size: 387,
                node: NodeId::from("9"),
                key: "images".to_owned(),
                output: None,
                index: 0,
                temp: false,
                step: planned.step.clone(),
                task: planned.name.clone(),
                remote: None,
                meta: serde_json::Map::new(),
            }
        }
    }

    fn output(artifact: &Artifact) -> Output {
        Output {
            kind: artifact.kind,
            path: artifact.path.clone(),
            text: None,
            node: artifact.node.clone(),
            output: None,
            size: artifact.size,
            hash: artifact.hash.to_hex(),
        }
    }
}
