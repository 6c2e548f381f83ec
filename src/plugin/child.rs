//! A plugin in a process of its own, as kiln sees it.
//!
//! A crash, an `exit()` and a kill are all the end of a pipe: the call that was under way has failed, and the process is started once more
//! when something else is asked of the plugin. After a second end it stays away.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};

use super::about::About;
use super::body::{Body, LONGEST, Sink, bounded};
use super::control::{Control, Hangup, Process, Way};
use super::fault::Fault;
use super::frame::{self, Tag};

/// The level of what a process prints.
const PRINTED: u32 = kiln_plugin::abi::level::DEBUG;

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
    to: Way,
    from: BufReader<Box<dyn Read + Send>>,
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
        let Spawned {
            mut child,
            from,
            to,
            hangup,
        } = spawn().map_err(|error| format!("its process cannot be started: {error}"))?;
        let printed = [
            child
                .stdout
                .take()
                .map(|out| Box::new(out) as Box<dyn Read + Send>),
            child
                .stderr
                .take()
                .map(|err| Box::new(err) as Box<dyn Read + Send>),
        ];
        for stream in printed.into_iter().flatten() {
            let sink = Arc::clone(&self.sink);
            std::thread::spawn(move || {
                lines(BufReader::new(stream), |line| sink.log(PRINTED, line));
            });
        }
        let to: Way = Arc::new(Mutex::new(to));
        self.control.set(Process {
            child,
            way: Arc::clone(&to),
            hangup,
        });
        self.pipe = Some(Pipe {
            to,
            from: BufReader::new(from),
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
            if let Err(fault) = self.create() {
                self.died();
                return Err(fault);
            }
        }
        self.ask(tag, parts)
    }

    /// Sends a message and waits for its answer; what the plugin wants of the host in the meantime is done.
    fn ask(&mut self, tag: Tag, parts: &[&[u8]]) -> Result<Vec<u8>, Fault> {
        let Some(pipe) = &mut self.pipe else {
            return Err(Fault::GivenUp);
        };
        let sent = {
            let mut to = pipe.to.lock().unwrap_or_else(PoisonError::into_inner);
            frame::write(&mut *to, tag, parts)
        };
        while sent.is_ok() {
            match frame::read(&mut pipe.from) {
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

    /// Sees how the process ended, and that it has.
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

/// A process, what it says and what is said to it.
struct Spawned {
    child: Child,
    from: Box<dyn Read + Send>,
    to: Box<dyn Write + Send>,
    hangup: Hangup,
}

/// Starts a process that listens on a socket in the place of its stdin, so that stdout is the plugin's to print on. It is not interrupted
/// with kiln: what is under way may still end, and when kiln goes, it goes as well.
#[cfg(unix)]
fn spawn() -> io::Result<Spawned> {
    use std::net::Shutdown;
    use std::os::fd::OwnedFd;
    use std::os::unix::net::UnixStream;
    use std::os::unix::process::CommandExt;
    let (ours, theirs) = UnixStream::pair()?;
    let (from, end) = (ours.try_clone()?, ours.try_clone()?);
    let child = Command::new(std::env::current_exe()?)
        .args(["plugin", "host"])
        .stdin(Stdio::from(OwnedFd::from(theirs)))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn()?;
    Ok(Spawned {
        child,
        from: Box::new(from),
        to: Box::new(ours),
        // One that is closed already is what is wanted.
        hangup: Box::new(move || drop(end.shutdown(Shutdown::Both))),
    })
}

/// Starts a process that speaks on its stdin and stdout; a plugin must print nothing here.
#[cfg(not(unix))]
fn spawn() -> io::Result<Spawned> {
    let mut child = Command::new(std::env::current_exe()?)
        .args(["plugin", "host"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    match (child.stdout.take(), child.stdin.take()) {
        (Some(from), Some(to)) => Ok(Spawned {
            child,
            from: Box::new(from),
            to: Box::new(to),
            hangup: Box::new(|| ()),
        }),
        _ => Err(io::ErrorKind::BrokenPipe.into()),
    }
}

/// The lines of a stream, none longer than it may be: what is too much of one is left out.
fn lines(mut stream: impl BufRead, tell: impl Fn(String)) {
    let mut line = Vec::new();
    loop {
        line.clear();
        let part = stream
            .by_ref()
            .take(LONGEST as u64)
            .read_until(b'\n', &mut line);
        if !matches!(part, Ok(1..)) {
            return;
        }
        tell(String::from_utf8_lossy(&line).trim_end().to_owned());
        if line.len() == LONGEST && line.last() != Some(&b'\n') && stream.skip_until(b'\n').is_err()
        {
            return;
        }
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
                sink.add_artifact(number, artifact, rest.len());
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
            let _ = pipe.from.read(&mut [0]);
        }
        let _ = process.child.kill();
        let _ = process.child.wait();
    }
}

#[cfg(test)]
mod tests;
