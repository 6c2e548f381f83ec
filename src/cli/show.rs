//! `kiln show RUN [TASK] [--follow]`: one run, or one of its tasks, from the journal.

use std::fmt::Write as _;
use std::io::{self, Write};
use std::path::Path;
use std::time::Duration;

use clap::Args;
use indexmap::IndexMap;
use serde_json::{Value, json};

use super::args::TextOrJson;
use super::exit::Exit;
use super::runs::{HistoryFlags, conclude, from_here, json as line};
use super::table::{Table, columns, plain, short, time, took};
use crate::artifact::Artifact;
use crate::base::RunId;
use crate::diagnostic::{Diagnostic, codes};
use crate::event::Counts;
use crate::plan::Plan;
use crate::report::plural;
use crate::session::history::{Alive, History, Standing, State, TaskStanding, events_of, news};
use crate::store::StoredRun;

/// How often the journal is looked at while following.
const POLL: Duration = Duration::from_millis(250);
/// Above so many tasks, those that ended well are only counted.
const MANY: usize = 60;

#[derive(Debug, Args)]
pub(crate) struct ShowArgs {
    /// The run: its id, a beginning of it, or `last`
    #[arg(value_name = "RUN", default_value = "last")]
    run: String,

    /// One of its tasks, e.g. `base[i=0]`: what happened to it, and what it made; of a step with several, the list of them
    #[arg(value_name = "TASK")]
    task: Option<String>,

    /// Tell what happens until the run ends
    #[arg(short, long, conflicts_with = "task")]
    follow: bool,

    #[command(flatten)]
    history: HistoryFlags,
}

pub(super) fn show(args: &ShowArgs) -> Exit {
    conclude(tell(args))
}

fn tell(args: &ShowArgs) -> Result<(), Box<Diagnostic>> {
    let history = args.history.open()?;
    let run = history.find(&args.run)?;
    // A broken pipe is success: the reader has seen enough.
    let mut out = io::stdout();
    match &args.task {
        Some(task) => show_task(args, &history, &run, task),
        None if args.follow => follow(args, &history, &run.run, &mut out),
        None => {
            let (plan, standing) = history.standing(&run.run)?;
            let shown = Shown {
                alive: history.alive(&run),
                run: &run,
                plan: &plan,
                standing: &standing,
            };
            let _ = match args.history.output {
                TextOrJson::Text => shown.to_text(&mut out),
                TextOrJson::Json => writeln!(out, "{}", line(&shown.to_json())),
            };
            Ok(())
        }
    }
}

struct Shown<'a> {
    run: &'a StoredRun,
    alive: Alive,
    plan: &'a Plan,
    standing: &'a Standing,
}

impl Shown<'_> {
    fn ended(&self) -> u64 {
        self.run
            .finished
            .unwrap_or(self.standing.last.max(self.run.started))
    }

    fn to_json(&self) -> Value {
        json!({
            "run": self.run.run,
            "pipeline": self.run.pipeline,
            "status": self.alive,
            "exit_code": self.run.exit_code,
            "started": self.run.started,
            "ended": self.ended(),
            "resumed": self.standing.resumed,
            "seed": self.plan.seed,
            "params": self.params(),
            "folder": self.run.folder,
            "counts": self.standing.counts(),
            "steps": self.steps(),
            "tasks": self.standing.tasks,
        })
    }

    fn params(&self) -> IndexMap<&str, Value> {
        let params = self.plan.params.iter();
        params
            .map(|(name, param)| (name.as_str(), param.value.to_json()))
            .collect()
    }

    /// The tasks of each step by status.
    fn steps(&self) -> IndexMap<&str, Counts> {
        let mut steps: IndexMap<&str, Counts> = self
            .plan
            .steps
            .keys()
            .map(|step| (step.as_str(), Counts::default()))
            .collect();
        for task in &self.standing.tasks {
            let counts = steps.get_mut(task.step.as_str());
            if let Some((counts, status)) = counts.zip(task.status.end()) {
                counts.add(status);
            }
        }
        steps
    }

    fn to_text(&self, out: &mut dyn Write) -> io::Result<()> {
        let Self { run, standing, .. } = self;
        let code = match run.exit_code {
            Some(code) if code != 0 => format!(" (exit code {code})"),
            _ => String::new(),
        };
        writeln!(
            out,
            "run {} of {}: {}{code}",
            run.run,
            plain(&run.pipeline),
            self.alive.word()
        )?;
        let mut facts = Table::default();
        let span = took(self.ended().saturating_sub(run.started));
        let so_far = match self.alive {
            Alive::Running => " so far",
            _ => "",
        };
        facts.row([
            "started".to_owned(),
            format!("{}, took {span}{so_far}", time(run.started)),
        ]);
        if standing.resumed > 0 {
            facts.row(["resumed".to_owned(), times(standing.resumed)]);
        }
        if let Some(folder) = run.folder.as_ref().filter(|folder| folder.is_dir()) {
            facts.row(["results".to_owned(), from_here(folder)]);
        }
        facts.row(["seed".to_owned(), self.plan.seed.to_string()]);
        for (name, value) in self.params() {
            facts.row([format!("param {name}"), short(&value.to_string(), 100)]);
        }
        facts.write(out, 2, columns())?;
        self.tasks_to_text(out)?;
        if self.alive == Alive::Interrupted {
            writeln!(
                out,
                "\nits process died; `kiln run --resume {0}` goes on with it, `kiln cancel {0}` stops what it left",
                run.run
            )?;
        }
        Ok(())
    }

    fn tasks_to_text(&self, out: &mut dyn Write) -> io::Result<()> {
        let Self { standing, .. } = self;
        let all = standing.tasks.len() <= MANY;
        writeln!(out)?;
        let mut table = Table::default();
        for (step, counts) in self.steps() {
            let tasks: Vec<&TaskStanding> = standing
                .tasks
                .iter()
                .filter(|task| task.step.as_str() == step)
                .collect();
            // The only task of a step has its name, and says it all.
            if let [only] = tasks[..] {
                table.row(task_row(only, ""));
                continue;
            }
            table.row([step.to_owned(), sum(tasks.len(), counts)]);
            let shown = tasks.iter().filter(|task| all || is_worth_a_line(task));
            for task in shown.take(MANY * 4) {
                table.row(task_row(task, "  "));
            }
            for (_, because) in standing
                .skipped_steps
                .iter()
                .filter(|(of, _)| of.as_str() == step)
            {
                table.row([
                    String::new(),
                    format!("skipped, because {}", plain(because)),
                ]);
            }
            for (_, failure) in standing
                .step_failures
                .iter()
                .filter(|(of, _)| of.as_str() == step)
            {
                table.row([
                    String::new(),
                    format!("failed: {}", plain(&failure.message)),
                ]);
            }
        }
        table.write(out, 2, columns())
    }
}

fn is_worth_a_line(task: &TaskStanding) -> bool {
    !matches!(
        task.status,
        State::Done | State::Cached | State::Waiting | State::Skipped
    )
}

fn times(count: u32) -> String {
    match count {
        1 => "once".to_owned(),
        count => format!("{count} times"),
    }
}

/// `4 tasks, 3 done, 1 failed`.
fn sum(total: usize, counts: Counts) -> String {
    let mut text = plural(total, "task");
    for (count, word) in [
        (counts.done, "done"),
        (counts.cached, "cached"),
        (counts.failed, "failed"),
        (counts.skipped, "skipped"),
        (counts.cancelled, "cancelled"),
    ] {
        if count > 0 {
            let _ = write!(text, ", {count} {word}");
        }
    }
    text
}

fn task_row(task: &TaskStanding, indent: &str) -> Vec<String> {
    let end = match (&task.failure, &task.because) {
        (_, Some(because)) => format!("because {}", short(because, 80)),
        (Some(failure), None) if !matches!(task.status, State::Done | State::Cached) => {
            short(&failure.message, 100)
        }
        _ => {
            let names: Vec<String> = task.outputs.iter().map(|made| file_name(made)).collect();
            short(&names.join(", "), 80)
        }
    };
    vec![
        format!("{indent}{}", plain(task.task.as_str())),
        task.status.word().to_owned(),
        task.server.as_deref().map(plain).unwrap_or_default(),
        task.took().map(took).unwrap_or_default(),
        end,
    ]
}

/// What a result is called where it lies; its beginning, when it is a text.
fn file_name(output: &Artifact) -> String {
    let name = output.path.as_deref().and_then(Path::file_name);
    match (name, &output.text) {
        (Some(name), _) => name.to_string_lossy().into_owned(),
        (None, Some(text)) => format!("{:?}", short(text, 20)),
        (None, None) => output.name.clone(),
    }
}

fn show_task(
    args: &ShowArgs,
    history: &History,
    run: &StoredRun,
    name: &str,
) -> Result<(), Box<Diagnostic>> {
    let (_, standing) = history.standing(&run.run)?;
    let Some((index, task)) = standing.task(name) else {
        let tasks = standing.tasks.iter();
        let tasks: Vec<&TaskStanding> = tasks.filter(|task| task.step.as_str() == name).collect();
        if !tasks.is_empty() {
            show_step(args, run, name, &tasks);
            return Ok(());
        }
        let message = format!("run {} has no task `{name}`", run.run);
        let names = standing.tasks.iter().map(|task| task.task.as_str());
        let help = format!("`kiln show {}` lists them", run.run);
        return Err(Box::new(
            Diagnostic::error(&codes::BAD_ARGUMENT, message)
                .suggest(name, names)
                .help(help),
        ));
    };
    let facts = history
        .reader()
        .facts(&run.run, 0)
        .map_err(|error| Box::new(error.diagnostic()))?;
    let events = events_of(&standing, index, &facts);
    let manifest = history
        .reader()
        .manifest_of(&run.run, &task.task)
        .map_err(|error| Box::new(error.diagnostic()))?;
    let mut out = io::stdout().lock();
    let _ = match args.history.output {
        TextOrJson::Json => {
            let mut value = serde_json::to_value(task).unwrap_or_default();
            value["run"] = json!(run.run);
            value["events"] = json!(events);
            value["key"] = json!(manifest);
            writeln!(out, "{}", line(&value))
        }
        TextOrJson::Text => task_to_text(&mut out, task, &events, manifest.as_ref()),
    };
    Ok(())
}

/// A step's name stands for all of its tasks.
fn show_step(args: &ShowArgs, run: &StoredRun, name: &str, tasks: &[&TaskStanding]) {
    let mut out = io::stdout().lock();
    // A broken pipe is success: the reader has seen enough.
    let _ = match args.history.output {
        TextOrJson::Json => {
            let value = json!({ "run": run.run, "step": name, "tasks": tasks });
            writeln!(out, "{}", line(&value))
        }
        TextOrJson::Text => {
            let mut counts = Counts::default();
            let ends = tasks.iter().filter_map(|task| task.status.end());
            ends.for_each(|status| counts.add(status));
            let mut table = Table::default();
            for task in tasks {
                table.row(task_row(task, ""));
            }
            writeln!(out, "{}: {}", plain(name), sum(tasks.len(), counts))
                .and_then(|()| table.write(&mut out, 2, columns()))
        }
    };
}

fn task_to_text(
    out: &mut dyn Write,
    task: &TaskStanding,
    events: &[crate::session::history::TaskEvent],
    manifest: Option<&Value>,
) -> io::Result<()> {
    writeln!(out, "{}: {}", plain(task.task.as_str()), task.status.word())?;
    let mut about = Table::default();
    let mut row = |name: &str, value: Option<String>| {
        if let Some(value) = value {
            about.row([name.to_owned(), value]);
        }
    };
    row("step", Some(plain(task.step.as_str())));
    row("server", task.server.as_deref().map(plain));
    row(
        "attempts",
        (task.attempts > 0).then(|| task.attempts.to_string()),
    );
    row("job", task.prompt_id.as_deref().map(plain));
    row("took", task.took().map(took));
    row(
        "made by",
        task.from.as_ref().map(|run| format!("run {run}")),
    );
    row("because", task.because.as_deref().map(plain));
    about.write(out, 2, columns())?;
    if let Some(failure) = &task.failure {
        let place = match (&failure.file, failure.line) {
            (Some(file), Some(line)) => format!(" ({file}:{line})"),
            _ => String::new(),
        };
        writeln!(
            out,
            "\n{}: {}{place}",
            failure.code,
            plain(&failure.message)
        )?;
    }
    outputs_to_text(out, task)?;
    if !events.is_empty() {
        writeln!(out, "\nwhat happened")?;
        let mut table = Table::default();
        for event in events {
            table.row([time(event.at), plain(&event.what)]);
        }
        table.write(out, 2, columns())?;
    }
    key_to_text(out, manifest)
}

fn outputs_to_text(out: &mut dyn Write, task: &TaskStanding) -> io::Result<()> {
    if !task.outputs.is_empty() {
        writeln!(out, "\nresults")?;
        let mut table = Table::default();
        for output in &task.outputs {
            let place = match (&output.path, &output.text) {
                (Some(path), _) => from_here(path),
                (None, text) => short(&format!("{:?}", text.as_deref().unwrap_or("")), 80),
            };
            table.row([place, output.hash.to_hex()[..12].to_owned()]);
        }
        table.write(out, 2, columns())?;
    }
    Ok(())
}

/// What the task's key was made of.
fn key_to_text(out: &mut dyn Write, manifest: Option<&Value>) -> io::Result<()> {
    let noted =
        manifest.and_then(|value| serde_json::from_value::<crate::run::Noted>(value.clone()).ok());
    let Some(noted) = noted else {
        return Ok(());
    };
    writeln!(out, "\nkey {}", noted.manifest.key)?;
    let since = match &noted.since {
        Some(run) => format!(" (compared with run {run})"),
        None => String::new(),
    };
    for reason in &noted.why {
        writeln!(out, "  ran, because: {}{since}", plain(&reason.to_string()))?;
    }
    Ok(())
}

/// Tells what happens until the run ends, from the beginning.
fn follow(
    args: &ShowArgs,
    history: &History,
    run: &RunId,
    out: &mut dyn Write,
) -> Result<(), Box<Diagnostic>> {
    let state = |error: crate::store::StoreError| Box::new(error.diagnostic());
    let Some(plan) = history.reader().plan(run).map_err(state)? else {
        return Ok(());
    };
    let mut standing = Standing::new(&plan);
    loop {
        // Asked first: what a process wrote before it ended is read after.
        let stored = history.reader().run(run).map_err(state)?;
        let alive = stored.map(|stored| history.alive(&stored));
        let facts = history.reader().facts(run, standing.facts).map_err(state)?;
        for (at, fact) in &facts {
            standing.apply(*at, fact);
            let told = match args.history.output {
                TextOrJson::Text => match news(&standing, fact) {
                    Some(news) => writeln!(out, "{}  {}", time(*at), plain(&news)),
                    None => Ok(()),
                },
                TextOrJson::Json => writeln!(out, "{}", line(&json!({"at": at, "fact": fact}))),
            };
            // The reader has seen enough.
            if told.and_then(|()| out.flush()).is_err() {
                return Ok(());
            }
        }
        match alive {
            Some(Alive::Running) => std::thread::sleep(POLL),
            _ if !facts.is_empty() => {}
            ended => {
                let word = ended.map_or("removed", Alive::word);
                let counts = sum(standing.tasks.len(), standing.counts());
                if matches!(args.history.output, TextOrJson::Text) {
                    let _ = writeln!(out, "run {run}: {word}, {counts}");
                }
                return Ok(());
            }
        }
    }
}
