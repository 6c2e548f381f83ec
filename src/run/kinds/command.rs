//! A step that is a program on this machine: rendered, looked up, run in a fresh folder, its files collected.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use indexmap::IndexMap;

use super::gather::{Found, GatherError, gather};
use super::program::{self, End, Program, Ran, STDOUT_LIMIT};
use super::stamps::Stamps;
use crate::artifact::{Artifact, Kind};
use crate::base::{AtomicFile, ContentHash, NodeId, WriteError, programs};
use crate::diagnostic::{Diagnostic, LAST_WORDS, codes, did_you_mean};
use crate::event::RunEvent;
use crate::machine::{Fact, FailureClass, Outcome};
use crate::plan::key::{CommandInputs, Manifest, Part, Paths, Program as KeyProgram, Recorded};
use crate::plan::key::{command_manifest, of_command};
use crate::plan::{self, CommandStep, HERE, RenderedCommand};
use crate::run::attempt::{Ending, Try};
use crate::run::cache::{self, Miss};
use crate::run::collect::{place_of, write_text};
use crate::run::failure::{About, Failure, Overdue, indented_line};
use crate::run::provenance::Did;
use crate::run::recall::{Recalled, blocking};
use crate::run::transfer::{LocalError, Original, Source};

/// The node that a command's stdout is told under.
const STDOUT: &str = Artifact::STDOUT;
/// The longest line of a program that is told.
const LINE: usize = 1000;
/// Lines of stderr in a complaint.
const SHOWN: usize = 8;

/// A command that only waits for its turn.
struct Ready {
    rendered: RenderedCommand,
    key: Option<ContentHash>,
    manifest: Manifest,
    miss: Option<Miss>,
}

enum Prepared {
    Hit(Outcome),
    Ready(Box<Ready>),
}

impl Try {
    pub(in crate::run) async fn command(&mut self, work: &CommandStep) -> Result<Outcome, Ending> {
        if self.owed.is_some() {
            // It ended with the session that started it.
            return Err(Ending::Lost);
        }
        let prepared = match self.prepare_command(work).await {
            Ok(Prepared::Hit(outcome)) => return Ok(outcome),
            Ok(Prepared::Ready(ready)) => Ok(ready),
            Err(ending) => Err(ending),
        };
        let key = prepared.as_ref().ok().and_then(|ready| ready.key);
        let key = key.filter(|_| cache::looks_up(self.step()));
        let ready = self.in_turn(key, prepared).await?;
        let artifacts = self.carry_out_command(work, &ready.rendered).await?;
        let recalled = Recalled {
            keys: ready.key.into_iter().collect(),
            manifest: ready.manifest,
            miss: ready.miss,
            recorded: Recorded::default(),
            did: did(&ready.rendered),
            shaped: false,
            prompt_id: None,
        };
        self.conclude(artifacts, recalled).await
    }

    async fn prepare_command(&mut self, work: &CommandStep) -> Result<Prepared, Ending> {
        let rendered = self.off_thread(plan::render_command).await?;
        let inputs = inputs(&rendered, work);
        let key = of_command(&inputs);
        let manifest = command_manifest(&self.shared.plan, &inputs);
        let mut miss = None;
        if let Some(key) = key {
            let recorded = Recorded::default();
            match self.recall(key, None, &recorded, did(&rendered)).await? {
                Ok(hit) => return Ok(Prepared::Hit(hit)),
                Err(missed) => miss = missed,
            }
        }
        Ok(Prepared::Ready(Box::new(Ready {
            rendered,
            key,
            manifest,
            miss,
        })))
    }

    /// Runs the program in a folder of its own, which is gone when its files are collected.
    async fn carry_out_command(
        &mut self,
        work: &CommandStep,
        rendered: &RenderedCommand,
    ) -> Result<Vec<Arc<Artifact>>, Ending> {
        let folder = self.work_folder().await?;
        let mut command = rendered.clone();
        let (_originals, stamps) = self.restore_inputs(&mut command).await?;
        let ran = self.run_program(&command, folder.path()).await?;
        let ticket = self.ticket;
        self.shared.note(Fact::Released { ticket });
        self.shared.teller.tell(RunEvent::TaskFetching {
            task: self.name().clone(),
        });
        let name = shown_name(&rendered.program);
        let stdout = self.judge_end_of_program((&name, &rendered.args), work, ran)?;
        let broken = blocking(move || stamps.broken().map(Path::to_path_buf)).await;
        if let Some(path) = broken {
            return Err(self.not_as_it_was(&LocalError::Changed(path)).into());
        }
        let mut artifacts = self.collect_files(work, folder.path()).await?;
        if !stdout.is_empty() || work.collect.is_empty() {
            let text = self.text(stdout, artifacts.len());
            artifacts.push(Arc::new(self.kept_text(text, artifacts.is_empty()).await?));
        }
        // Removing many files takes its time, and nobody waits for it.
        tokio::task::spawn_blocking(move || drop(folder));
        Ok(artifacts)
    }

    pub(in crate::run) async fn work_folder(&self) -> Result<tempfile::TempDir, Ending> {
        let parent = self.shared.work_folder();
        let made = blocking(move || {
            std::fs::create_dir_all(&parent)
                .and_then(|()| tempfile::Builder::new().prefix("task-").tempdir_in(&parent))
                .map_err(|source| WriteError::new(&parent, source))
        });
        let made = made.await;
        made.map_err(|error| self.about().cannot_write(&error).into())
    }

    /// Files that someone has changed since are put aside as they were, and the command is given those.
    async fn restore_inputs(
        &self,
        command: &mut RenderedCommand,
    ) -> Result<(Vec<Original>, Stamps), Ending> {
        let (mut originals, mut stamps) = (Vec::new(), Stamps::default());
        let mut moved = HashMap::new();
        for (path, hash) in &command.files {
            stamps.take(path);
            let source = Source::new(path.clone(), *hash);
            let original = source.original(&self.shared.store).await;
            let original = original.map_err(|error| self.not_as_it_was(&error))?;
            if original.path() != path {
                stamps.leave(path);
                moved.insert(path.clone(), original.path().to_path_buf());
                originals.push(original);
            }
        }
        if !moved.is_empty() {
            replace(command, &moved);
        }
        Ok((originals, stamps))
    }

    fn not_as_it_was(&self, error: &LocalError) -> Failure {
        let built = self.about().complain(error.diagnostic());
        Failure::one(FailureClass::Transfer, built)
    }

    async fn run_program(
        &mut self,
        command: &RenderedCommand,
        folder: &Path,
    ) -> Result<Ran, Ending> {
        let found = programs::find(
            &command.program.to_string_lossy(),
            &self.shared.plan.pipeline_dir,
        );
        let Some(found) = found else {
            return Err(self.program_not_found(&command.program).into());
        };
        let args: Vec<String> = self.reveal_all(&command.args)?;
        let mut env = IndexMap::new();
        for (name, value) in &command.env {
            env.insert(name.clone(), self.reveal(value)?);
        }
        let stdin = command.stdin.as_ref().map(|text| self.reveal(text));
        let stdin = stdin.transpose()?;
        let step = self.step();
        let program = Program {
            path: &found,
            args: &args,
            env: &env,
            stdin: stdin.as_deref(),
            folder,
            timeout: step.timeout_ms.map(Duration::from_millis),
            stall: step.stall_timeout_ms.map(Duration::from_millis),
        };
        self.shared.teller.tell(RunEvent::TaskExecuting {
            task: self.name().clone(),
        });
        let (shared, task) = (Arc::clone(&self.shared), self.name().clone());
        let mut hear = |line: &str| {
            let line: String = shared.hush.mask(line).chars().take(LINE).collect();
            shared.teller.tell(RunEvent::TaskOutput {
                task: task.clone(),
                line,
            });
        };
        let ran = program.run(&mut self.cancel, &mut hear).await;
        ran.map_err(|error| self.not_started(&command.program, &error).into())
    }

    fn reveal_all(&self, texts: &[String]) -> Result<Vec<String>, Ending> {
        texts.iter().map(|text| self.reveal(text)).collect()
    }

    fn program_not_found(&self, program: &Path) -> Failure {
        let name = program.to_string_lossy();
        let built = if program.components().count() > 1 {
            let message = format!("there is no program `{name}`, or it may not be executed");
            Diagnostic::error(&codes::PROGRAM_NOT_FOUND, message)
        } else {
            let message = format!("there is no program `{name}` in PATH");
            let built = Diagnostic::error(&codes::PROGRAM_NOT_FOUND, message);
            let all = programs::all();
            match did_you_mean(&name, all.iter().map(String::as_str)) {
                Some(near) => built.help(format!("did you mean `{near}`?")),
                None => built.help(
                    "install it, or write where it is; the builtins and aliases of a shell are no programs",
                ),
            }
        };
        Failure::one(FailureClass::Invalid, self.about().complain(built))
    }

    fn not_started(&self, program: &Path, error: &std::io::Error) -> Failure {
        let message = format!("`{}` could not be started: {error}", shown_name(program));
        let built = Diagnostic::error(&codes::COMMAND_FAILED, message);
        Failure::one(FailureClass::Command, self.about().complain(built))
    }

    /// What it printed, if it ended well.
    fn judge_end_of_program(
        &self,
        (name, args): (&str, &[String]),
        work: &CommandStep,
        ran: Ran,
    ) -> Result<String, Ending> {
        let about = self.about();
        let failed = |message: String| {
            let mut built = Diagnostic::error(&codes::COMMAND_FAILED, message);
            let said = &ran.tail[ran.tail.len().saturating_sub(SHOWN)..];
            if !said.is_empty() {
                let said: Vec<String> = said.iter().map(|line| indented_line(line)).collect();
                built = built.help(format!("{LAST_WORDS}{}", said.join("\n")));
            }
            for arg in args {
                if let Some(help) = plan::file_beside(&self.shared.plan, work, arg) {
                    built = built.help(format!(
                        "`{arg}` lies beside the pipeline, and the program ran in a folder of its own: {help}"
                    ));
                }
            }
            Ending::from(Failure::one(FailureClass::Command, about.complain(built)))
        };
        let here = HERE.into();
        match ran.end {
            End::Exited(status) if status.success() => {}
            End::Exited(status) => {
                return Err(failed(format!("`{name}` {}", program::ended_with(status))));
            }
            End::Cancelled => return Err(Ending::Cancelled),
            End::TimedOut => {
                let limit = Duration::from_millis(self.step().timeout_ms.unwrap_or_default());
                return Err(about.overdue(&here, Overdue::Timeout(limit)).into());
            }
            End::Stalled => {
                let limit = self.step().stall_timeout_ms.unwrap_or_default();
                let limit = Duration::from_millis(limit);
                return Err(about.overdue(&here, Overdue::Stall(limit)).into());
            }
            End::TooMuch => {
                return Err(failed(format!(
                    "`{name}` printed more than {} MB; have it write a file, and name that in `outputs`",
                    STDOUT_LIMIT >> 20
                )));
            }
        }
        match String::from_utf8(ran.stdout) {
            Ok(text) => Ok(self.shared.hush.mask(one_newline_less(&text)).into_owned()),
            Err(_) => Err(failed(format!(
                "what `{name}` printed is no text; have it write a file, and name that in `outputs`"
            ))),
        }
    }

    async fn collect_files(
        &self,
        work: &CommandStep,
        folder: &Path,
    ) -> Result<Vec<Arc<Artifact>>, Ending> {
        let (shared, task) = (Arc::clone(&self.shared), Arc::clone(&self.task));
        let (results, ticket) = (Arc::clone(&self.results), self.ticket);
        let (folder, patterns) = (folder.to_path_buf(), work.collect.clone());
        let collected = blocking(move || {
            let about = About::of(&shared.plan, &task);
            let found = gather(&folder, &patterns).map_err(|error| {
                let built = about.complain(of_gathering(&error));
                Failure::one(FailureClass::Command, built)
            })?;
            let mut artifacts = Vec::new();
            for (index, found) in found.into_iter().enumerate() {
                let blank = blank(&task, found.output.as_str(), index);
                let artifact = Artifact {
                    output: Some(found.output.clone()),
                    ..file(blank, &found)
                };
                let place = place_of(&shared, (about, &task), (ticket, &results), &artifact)?;
                let kept = keep(&found.path, &place.path);
                let (hash, size) = kept.map_err(|error| about.cannot_write(&error))?;
                artifacts.push(Arc::new(Artifact {
                    path: Some(place.path),
                    hash,
                    size,
                    ..artifact
                }));
            }
            Ok::<_, Failure>(artifacts)
        });
        Ok(collected.await?)
    }

    /// What it printed: where that is all that it made, and `save_as` names it, it is a file.
    async fn kept_text(&self, text: Artifact, alone: bool) -> Result<Artifact, Ending> {
        if !alone || self.step().save_as.is_none() {
            return Ok(text);
        }
        let (shared, task) = (Arc::clone(&self.shared), Arc::clone(&self.task));
        let (results, ticket) = (Arc::clone(&self.results), self.ticket);
        let written = blocking(move || {
            let about = About::of(&shared.plan, &task);
            write_text(&shared, (about, &task), (ticket, &results), text)
        });
        Ok(written.await?)
    }

    fn text(&self, text: String, index: usize) -> Artifact {
        Artifact {
            hash: ContentHash::of(text.as_bytes()),
            size: text.len() as u64,
            text: Some(text),
            ..blank(&self.task, STDOUT, index)
        }
    }
}

fn did(rendered: &RenderedCommand) -> Did<'_> {
    Did::Command {
        program: rendered.program.to_str().unwrap_or_default(),
        args: &rendered.args,
        env: &rendered.env,
        stdin: rendered.stdin.as_deref(),
        files: &rendered.files,
    }
}

fn inputs<'a>(rendered: &'a RenderedCommand, work: &'a CommandStep) -> CommandInputs<'a> {
    let own = rendered
        .files
        .iter()
        .find(|(path, _)| *path == rendered.program);
    let name = rendered.program.to_str().unwrap_or_default();
    CommandInputs {
        program: own.map_or(KeyProgram::Named(name), |(_, hash)| KeyProgram::File(*hash)),
        args: &rendered.args,
        env: &rendered.env,
        stdin: rendered.stdin.as_deref(),
        collect: &work.collect,
        files: &rendered.files,
    }
}

/// Puts other paths in the place of some, wherever the command was given them.
fn replace(command: &mut RenderedCommand, moved: &HashMap<PathBuf, PathBuf>) {
    let known = Paths::of(&command.files);
    let swap = |text: &mut String| {
        let mut out = String::with_capacity(text.len());
        for part in known.split(text) {
            match part {
                Part::Text(text) => out.push_str(text),
                Part::File(at, text) => match moved.get(&command.files[at].0) {
                    Some(new) => out.push_str(&new.to_string_lossy()),
                    None => out.push_str(text),
                },
            }
        }
        *text = out;
    };
    command.args.iter_mut().for_each(swap);
    command.env.values_mut().for_each(swap);
    command.stdin.iter_mut().for_each(swap);
    if let Some(new) = moved.get(&command.program) {
        command.program.clone_from(new);
    }
}

fn shown_name(program: &Path) -> String {
    let name = program.file_name().unwrap_or(program.as_os_str());
    name.to_string_lossy().into_owned()
}

/// As a shell does it with what a program printed, but for one newline only.
fn one_newline_less(text: &str) -> &str {
    let text = text.strip_suffix('\n').unwrap_or(text);
    text.strip_suffix('\r').unwrap_or(text)
}

fn blank(task: &plan::TaskPlan, node: &str, index: usize) -> Artifact {
    Artifact {
        key: if node == STDOUT { "text" } else { "files" }.to_owned(),
        index,
        ..Artifact::blank(task.step.clone(), task.name.clone(), NodeId::from(node))
    }
}

fn file(blank: Artifact, found: &Found) -> Artifact {
    let name = found.path.file_name().unwrap_or_default();
    let name = name.to_string_lossy().into_owned();
    Artifact {
        kind: Kind::of_name(&name),
        name,
        ..blank
    }
}

/// Puts a file where results are kept, whole and durable.
pub(in crate::run) fn keep(from: &Path, to: &Path) -> Result<(ContentHash, u64), WriteError> {
    use std::io::Read;
    let unreadable = |source| WriteError::new(from, source);
    let mut source = std::fs::File::open(from).map_err(unreadable)?;
    let mut file = AtomicFile::create(to)?;
    let mut piece = vec![0; 256 * 1024];
    loop {
        let n = source.read(&mut piece).map_err(unreadable)?;
        if n == 0 {
            break;
        }
        file.write(&piece[..n])?;
    }
    let finished = file.commit()?;
    Ok((finished.hash, finished.size))
}

fn of_gathering(error: &GatherError) -> Diagnostic {
    let built = Diagnostic::error(&codes::COMMAND_FAILED, error.to_string());
    match error {
        GatherError::Nothing { left, .. } if left.is_empty() => {
            built.help("it left no files at all; a command must write into its current folder")
        }
        GatherError::Nothing { left, .. } => {
            let left: Vec<String> = left.iter().map(|name| format!("`{name}`")).collect();
            built.help(format!("it left {}", left.join(", ")))
        }
        GatherError::Leaves { .. } => {
            built.help("have the command write the file itself, not a link to it")
        }
        _ => built,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changed_input_is_given_to_the_command_as_it_was() {
        let mut command = RenderedCommand {
            program: PathBuf::from("/p/tool"),
            args: ["-i", "in=/p/a.png,x", "/p/a.png.txt"]
                .map(str::to_owned)
                .to_vec(),
            env: IndexMap::from([("A".to_owned(), "/p/a.png".to_owned())]),
            stdin: Some("/p/a.png\n".to_owned()),
            files: ["/p/a.png", "/p/a.png.txt"]
                .map(|path| (PathBuf::from(path), ContentHash::of(b"x")))
                .to_vec(),
        };
        let moved = HashMap::from([(PathBuf::from("/p/a.png"), PathBuf::from("/t/a.png"))]);
        replace(&mut command, &moved);
        assert_eq!(command.args[1], "in=/t/a.png,x");
        assert_eq!(command.args[2], "/p/a.png.txt", "that is another file");
        assert_eq!(command.env["A"], "/t/a.png");
        assert_eq!(command.stdin.as_deref(), Some("/t/a.png\n"));
    }

    #[test]
    fn the_last_newline_of_what_a_program_printed_is_no_part_of_its_text() {
        assert_eq!(one_newline_less("a\n\n"), "a\n");
        assert_eq!(one_newline_less("a\r\n"), "a");
        assert_eq!(one_newline_less("a"), "a");
    }
}
