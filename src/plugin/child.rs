//! A plugin in a process of its own, as kiln sees it.
//!
//! A crash, an `exit()` and a kill are all the end of a pipe: the call that was under way has failed, and the process is started once more
//! when something else is asked of the plugin. After a second end it stays away.

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};

use super::about::About;
use super::body::{Body, LONGEST, Sink, bounded};
use super::control::{Control, Process};
use super::fault::Fault;
use super::frame::{self, Tag};

/// The level of what a process writes to its stderr.
const STDERR_LEVEL: u32 = kiln_plugin::abi::level::DEBUG;

/// A plugin in a process of its own.
pub(super) struct Away {
    path: PathBuf,
    settings: String,
    sink: Arc<dyn Sink>,
    control: Control,
    pipe: Option<Pipe>,
    /// It was started once more already.
    restarted: bool,
}

struct Pipe {
    stdin: Arc<Mutex<ChildStdin>>,
    stdout: BufReader<ChildStdout>,
}

impl Away {
    /// Starts the process and asks the plugin what it is.
    ///
    /// # Errors
    /// A fragment that reads well after the path and a colon.
    pub(super) fn open(
        path: &Path,
        settings: &str,
        (sink, control): (Arc<dyn Sink>, Control),
    ) -> Result<(Self, About), String> {
        let mut away = Self {
            path: path.to_path_buf(),
            settings: settings.to_owned(),
            sink,
            control,
            pipe: None,
            restarted: false,
        };
        let about = away.start()?;
        Ok((away, about))
    }

    fn start(&mut self) -> Result<About, String> {
        let program = std::env::current_exe()
            .map_err(|error| format!("its process cannot be started: {error}"))?;
        let mut child = Command::new(program)
            .args(["plugin", "host"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| format!("its process cannot be started: {error}"))?;
        let (Some(stdin), Some(stdout), Some(stderr)) =
            (child.stdin.take(), child.stdout.take(), child.stderr.take())
        else {
            unreachable!("all three were piped just now");
        };
        let stdin = Arc::new(Mutex::new(stdin));
        self.control.set(Process {
            child,
            stdin: Arc::clone(&stdin),
        });
        let sink = Arc::clone(&self.sink);
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).split(b'\n').map_while(Result::ok) {
                let line = String::from_utf8_lossy(&line[..line.len().min(LONGEST)]);
                sink.log(STDERR_LEVEL, line.trim_end().to_owned());
            }
        });
        self.pipe = Some(Pipe {
            stdin,
            stdout: BufReader::new(stdout),
        });
        let path = self.path.to_string_lossy().into_owned();
        let described = self
            .ask(Tag::Open, &[path.as_bytes()])
            .map_err(|fault| fault.to_string())?;
        About::read(&described).map_err(|why| format!("its description {why}"))
    }

    /// Makes the instance.
    pub(super) fn create(&mut self) -> Result<(), Fault> {
        let settings = self.settings.clone();
        self.ask(Tag::Create, &[settings.as_bytes()]).map(drop)
    }

    /// As [`Away::ask`]; a process that ended before is started once more.
    fn ask_alive(&mut self, tag: Tag, parts: &[&[u8]]) -> Result<Vec<u8>, Fault> {
        if self.pipe.is_none() {
            if self.restarted {
                return Err(Fault::GivenUp);
            }
            self.restarted = true;
            self.start().map_err(Fault::Died)?;
            self.create()?;
        }
        self.ask(tag, parts)
    }

    /// Sends a message and waits for its answer; what the plugin wants of the host in the meantime is done.
    fn ask(&mut self, tag: Tag, parts: &[&[u8]]) -> Result<Vec<u8>, Fault> {
        let Some(pipe) = &mut self.pipe else {
            return Err(Fault::GivenUp);
        };
        let sent = {
            let mut stdin = pipe.stdin.lock().unwrap_or_else(PoisonError::into_inner);
            frame::write(&mut *stdin, tag, parts)
        };
        while sent.is_ok() {
            match frame::read(&mut pipe.stdout) {
                Ok(Some((Tag::Answer, answer))) => return Ok(answer),
                Ok(Some((Tag::Fault, fault))) => {
                    let fault = serde_json::from_slice(&fault);
                    return Err(fault.unwrap_or(Fault::NotText));
                }
                Ok(Some((tag, message))) => serve(&*self.sink, tag, &message),
                Ok(None) | Err(_) => break,
            }
        }
        Err(self.died())
    }

    fn died(&mut self) -> Fault {
        self.pipe = None;
        let Some(mut process) = self.control.take() else {
            return Fault::Died("ended".to_owned());
        };
        // A process that closed its pipe and lives on is of no use.
        let mut ended = None;
        for _ in 0..20 {
            ended = process.child.try_wait().ok().flatten();
            if ended.is_some() {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        let ended = ended.or_else(|| {
            let _ = process.child.kill();
            process.child.wait().ok()
        });
        Fault::Died(ended.map_or_else(|| "ended".to_owned(), how))
    }
}

/// What a message of the process's own asks for.
fn serve(sink: &dyn Sink, tag: Tag, message: &[u8]) {
    let Some((number, rest)) = frame::number(message) else {
        return;
    };
    match tag {
        Tag::Log => {
            let level = u32::try_from(number).unwrap_or(u32::MAX);
            sink.log(level, bounded(&String::from_utf8_lossy(rest)));
        }
        Tag::Progress => {
            if let Some((fraction, note)) = frame::number(rest) {
                let note = bounded(&String::from_utf8_lossy(note));
                sink.progress(number, f64::from_bits(fraction), note);
            }
        }
        Tag::Artifact => {
            if let Ok(artifact) = serde_json::from_slice(rest) {
                sink.add_artifact(number, artifact);
            }
        }
        _ => {}
    }
}

/// How a process ended, in words.
fn how(status: ExitStatus) -> String {
    #[cfg(unix)]
    {
        use std::os::unix::process::ExitStatusExt;
        if let Some(signal) = status.signal() {
            let name = match signal {
                4 => " (SIGILL)",
                6 => " (SIGABRT)",
                7 => " (SIGBUS)",
                8 => " (SIGFPE)",
                9 => " (SIGKILL)",
                11 => " (SIGSEGV)",
                15 => " (SIGTERM)",
                _ => "",
            };
            return format!("was ended by signal {signal}{name}");
        }
    }
    match status.code() {
        Some(code) => format!("ended with exit code {code}"),
        None => "ended".to_owned(),
    }
}

impl Body for Away {
    fn event(&mut self, event: &[u8]) -> Result<(), Fault> {
        self.ask_alive(Tag::Event, &[event]).map(drop)
    }

    fn preview(&mut self, about: &[u8], picture: &[u8]) -> Result<(), Fault> {
        let length = (about.len() as u64).to_le_bytes();
        self.ask_alive(Tag::Preview, &[&length, about, picture])
            .map(drop)
    }

    fn call(&mut self, id: u64, hook: &str, request: &[u8]) -> Result<Vec<u8>, Fault> {
        let parts = [&id.to_le_bytes(), hook.as_bytes(), b"\0", request];
        self.ask_alive(Tag::Call, &parts)
    }

    fn end(mut self: Box<Self>) {
        if self.pipe.is_some() {
            let _ = self.ask(Tag::End, &[]);
        }
        let Some(mut process) = self.control.take() else {
            return;
        };
        if let Some(pipe) = &mut self.pipe {
            // It ends when it has ended the plugin; whatever it still says is of no interest.
            let _ = pipe.stdout.read(&mut [0]);
        }
        let _ = process.child.kill();
        let _ = process.child.wait();
    }
}
