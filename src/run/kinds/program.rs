//! A program of the user's, from its start to its end: no shell, a clean environment, a process group of its own.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::io;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use indexmap::IndexMap;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, Command};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, sleep_until};

use super::super::leftovers::Marker;
use super::lines::{TAIL, read_lines};
use crate::machine::CancelReason;

/// The most that a program may print on stdout.
pub(super) const STDOUT_LIMIT: usize = 16 << 20;
/// How long a program that was asked to stop may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long what a program left running may keep its pipes open.
const LINGER: Duration = Duration::from_millis(500);
/// Variables of kiln's own environment that every program gets.
const INHERITED: &[&str] = &[
    "PATH",
    "HOME",
    "TMPDIR",
    #[cfg(windows)]
    "SystemRoot",
    #[cfg(windows)]
    "PATHEXT",
    #[cfg(windows)]
    "USERPROFILE",
    #[cfg(windows)]
    "TEMP",
];

/// What is to be run.
#[derive(Debug)]
pub(super) struct Program<'a> {
    /// The program: a path, or a name to be looked for in `PATH`.
    pub(super) path: &'a Path,
    pub(super) args: &'a [String],
    pub(super) env: &'a IndexMap<String, String>,
    pub(super) stdin: Option<&'a str>,
    /// Where it runs.
    pub(super) folder: &'a Path,
    /// How long it may take.
    pub(super) timeout: Option<Duration>,
    /// How long it may print nothing.
    pub(super) stall: Option<Duration>,
}

/// How a program ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// By itself.
    Exited(ExitStatus),
    /// It took too long and was stopped.
    TimedOut,
    /// It printed nothing for too long and was stopped.
    Stalled,
    /// It printed more than [`STDOUT_LIMIT`] and was stopped.
    TooMuch,
    /// It was stopped at our wish.
    Cancelled,
}

/// What a program did.
#[derive(Debug)]
pub(super) struct Ran {
    pub(super) end: End,
    pub(super) stdout: Vec<u8>,
    /// The last lines of stderr.
    pub(super) tail: Vec<String>,
}

/// What comes through the pipes.
enum Heard {
    Stdout(Vec<u8>),
    Line(String),
}

impl Program<'_> {
    /// Runs it. `hear` gets the lines of its stderr.
    pub(super) async fn run(
        &self,
        cancel: &mut watch::Receiver<Option<CancelReason>>,
        hear: &mut (impl FnMut(&str) + Send),
    ) -> io::Result<Ran> {
        let mut child = self.spawn().await?;
        let group = Group::of(&child);
        let _marker = Marker::set(self.folder, child.id());
        let (tell, mut heard) = mpsc::channel(16);
        if let Some(stdin) = child.stdin.take() {
            feed(stdin, self.stdin.unwrap_or_default().to_owned());
        }
        if let Some(stdout) = child.stdout.take() {
            tokio::spawn(read_all(stdout, tell.clone()));
        }
        if let Some(stderr) = child.stderr.take() {
            tokio::spawn(read_lines(stderr, tell.clone(), Heard::Line));
        }
        drop(tell);
        let mut ran = Ran {
            end: End::Cancelled,
            stdout: Vec::new(),
            tail: Vec::new(),
        };
        let mut watched = Watched {
            tail: VecDeque::new(),
            ran: &mut ran,
            hear,
        };
        let end = self.watch(&mut child, cancel, &mut heard, &mut watched);
        let end = end.await?;
        if !matches!(end, End::Exited(_)) {
            let gently = *cancel.borrow() != Some(CancelReason::Leave);
            stop(&mut child, group, gently, cancel).await;
        }
        watched.drain(&mut heard, group).await;
        let too_much = watched.ran.stdout.len() > STDOUT_LIMIT;
        ran.tail = std::mem::take(&mut watched.tail).into();
        ran.end = if too_much { End::TooMuch } else { end };
        Ok(ran)
    }

    async fn spawn(&self) -> io::Result<Child> {
        let mut command = Command::new(self.path);
        command
            .args(self.args)
            .env_clear()
            .envs(inherited())
            .envs(self.env)
            .current_dir(self.folder)
            .stdin(if self.stdin.is_some() {
                Stdio::piped()
            } else {
                Stdio::null()
            })
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        #[cfg(unix)]
        command.process_group(0);
        let mut tries = 0;
        loop {
            match command.spawn() {
                // Someone else's fork still holds the file open for a moment after it was written.
                Err(error) if error.kind() == io::ErrorKind::ExecutableFileBusy && tries < 10 => {
                    tries += 1;
                    sleep(Duration::from_millis(20)).await;
                }
                other => return other,
            }
        }
    }

    /// Listens until it ends, or must be stopped.
    async fn watch(
        &self,
        child: &mut Child,
        cancel: &mut watch::Receiver<Option<CancelReason>>,
        heard: &mut mpsc::Receiver<Heard>,
        watched: &mut Watched<'_, impl FnMut(&str) + Send>,
    ) -> io::Result<End> {
        let began = Instant::now();
        let mut quiet_since = began;
        let mut open = true;
        loop {
            let timeout = self.timeout.map(|timeout| began + timeout);
            let stall = self.stall.map(|stall| quiet_since + stall);
            tokio::select! {
                biased;
                _ = cancel.wait_for(Option::is_some) => return Ok(End::Cancelled),
                () = at(timeout), if timeout.is_some() => return Ok(End::TimedOut),
                () = at(stall), if stall.is_some() => return Ok(End::Stalled),
                news = heard.recv(), if open => match news {
                    Some(news) => {
                        quiet_since = Instant::now();
                        if !watched.take(news) {
                            return Ok(End::TooMuch);
                        }
                    }
                    None => open = false,
                },
                status = child.wait() => return status.map(End::Exited),
            }
        }
    }
}

async fn at(when: Option<Instant>) {
    match when {
        Some(when) => sleep_until(when).await,
        None => std::future::pending().await,
    }
}

/// What is made of what a program says.
struct Watched<'a, F> {
    tail: VecDeque<String>,
    ran: &'a mut Ran,
    hear: &'a mut F,
}

impl<F: FnMut(&str) + Send> Watched<'_, F> {
    /// Whether it may go on.
    fn take(&mut self, news: Heard) -> bool {
        match news {
            Heard::Stdout(bytes) => {
                self.ran.stdout.extend_from_slice(&bytes);
                self.ran.stdout.len() <= STDOUT_LIMIT
            }
            Heard::Line(line) => {
                (self.hear)(&line);
                if self.tail.len() == TAIL {
                    self.tail.pop_front();
                }
                self.tail.push_back(line);
                true
            }
        }
    }

    /// Takes what is left in the pipes. What the program left running is not waited for long, and does not outlive it.
    async fn drain(&mut self, heard: &mut mpsc::Receiver<Heard>, group: Group) {
        for last in [false, true] {
            let rest = async {
                while let Some(news) = heard.recv().await {
                    if !self.take(news) {
                        break;
                    }
                }
            };
            if tokio::time::timeout(LINGER, rest).await.is_ok() || last {
                return;
            }
            group.kill();
        }
    }
}

/// Ends a program: asked first, then made to.
async fn stop(
    child: &mut Child,
    group: Group,
    gently: bool,
    cancel: &mut watch::Receiver<Option<CancelReason>>,
) {
    if gently && group.terminate() {
        tokio::select! {
            _ = child.wait() => {}
            () = sleep(PATIENCE) => {}
            _ = cancel.wait_for(|reason| *reason == Some(CancelReason::Leave)) => {}
        }
    }
    group.kill();
    let _ = child.kill().await;
}

/// The program and whatever it started.
#[derive(Clone, Copy)]
struct Group {
    #[cfg(unix)]
    id: Option<rustix::process::Pid>,
}

impl Group {
    #[cfg(unix)]
    fn of(child: &Child) -> Self {
        let id = child.id().and_then(|id| i32::try_from(id).ok());
        Self {
            id: id.and_then(rustix::process::Pid::from_raw),
        }
    }

    #[cfg(not(unix))]
    fn of(_: &Child) -> Self {
        Self {}
    }

    /// Asks all of it to end; whether it can be asked.
    #[cfg(unix)]
    fn terminate(self) -> bool {
        self.send(rustix::process::Signal::TERM)
    }

    #[cfg(not(unix))]
    #[expect(clippy::unused_self, reason = "other systems know no polite way")]
    fn terminate(self) -> bool {
        false
    }

    #[cfg(unix)]
    fn kill(self) {
        self.send(rustix::process::Signal::KILL);
    }

    #[cfg(not(unix))]
    #[expect(clippy::unused_self, reason = "other systems know no groups")]
    fn kill(self) {}

    #[cfg(unix)]
    fn send(self, signal: rustix::process::Signal) -> bool {
        self.id
            .is_some_and(|id| rustix::process::kill_process_group(id, signal).is_ok())
    }
}

fn inherited() -> impl Iterator<Item = (&'static str, OsString)> {
    INHERITED
        .iter()
        .filter_map(|name| std::env::var_os(name).map(|value| (*name, value)))
}

fn feed(mut stdin: tokio::process::ChildStdin, text: String) {
    tokio::spawn(async move {
        // A program need not read what it is given.
        let _ = stdin.write_all(text.as_bytes()).await;
    });
}

async fn read_all(mut pipe: impl AsyncRead + Unpin, tell: mpsc::Sender<Heard>) {
    let mut piece = vec![0; 64 * 1024];
    while let Ok(n @ 1..) = pipe.read(&mut piece).await {
        if tell.send(Heard::Stdout(piece[..n].to_vec())).await.is_err() {
            return;
        }
    }
}

/// How a program that failed ended, in words after its name.
pub(super) fn ended_with(status: ExitStatus) -> String {
    #[cfg(unix)]
    {
        use std::os::unix::process::ExitStatusExt;
        if let Some(signal) = status.signal() {
            let name = match signal {
                1 => " (HUP)",
                2 => " (INT)",
                3 => " (QUIT)",
                4 => " (ILL)",
                6 => " (ABRT)",
                8 => " (FPE)",
                9 => " (KILL)",
                11 => " (SEGV)",
                13 => " (PIPE)",
                15 => " (TERM)",
                _ => "",
            };
            return format!("was ended by signal {signal}{name}");
        }
    }
    match status.code() {
        Some(code) => format!("ended with exit code {code}"),
        None => "ended without an exit code".to_owned(),
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    struct Case<'a> {
        script: &'a str,
        stdin: Option<&'a str>,
        timeout: Option<Duration>,
        stall: Option<Duration>,
        cancel: Option<Duration>,
    }

    fn case(script: &str) -> Case<'_> {
        Case {
            script,
            stdin: None,
            timeout: None,
            stall: None,
            cancel: None,
        }
    }

    async fn run(case: Case<'_>) -> (Ran, Vec<String>) {
        let dir = tempfile::tempdir().unwrap();
        let env = IndexMap::from([("GREETING".to_owned(), "hi".to_owned())]);
        let args = ["-c".to_owned(), case.script.to_owned()];
        let program = Program {
            path: Path::new("/bin/sh"),
            args: &args,
            env: &env,
            stdin: case.stdin,
            folder: dir.path(),
            timeout: case.timeout,
            stall: case.stall,
        };
        let (tell, mut cancel) = watch::channel(None);
        if let Some(after) = case.cancel {
            tokio::spawn(async move {
                sleep(after).await;
                tell.send_replace(Some(CancelReason::Requested));
                std::future::pending::<()>().await;
            });
        }
        let mut lines = Vec::new();
        let mut hear = |line: &str| lines.push(line.to_owned());
        let ran = program.run(&mut cancel, &mut hear).await.unwrap();
        (ran, lines)
    }

    #[tokio::test]
    async fn a_program_gets_its_stdin_and_a_clean_environment() {
        let script = "cat; echo $GREETING; env | cut -d= -f1 | grep -c CARGO; pwd >&2";
        let (ran, lines) = run(Case {
            stdin: Some("in;"),
            ..case(script)
        })
        .await;
        assert_eq!(String::from_utf8(ran.stdout).unwrap(), "in;hi\n0\n");
        assert!(lines[0].starts_with('/'), "{lines:?}");
    }

    #[tokio::test]
    async fn stderr_is_heard_line_by_line_and_its_end_is_kept() {
        let (ran, lines) = run(case(
            "for i in $(seq 30); do echo line $i >&2; done; printf '10%%\\r20%%\\r' >&2; exit 3",
        ))
        .await;
        assert_eq!(lines.len(), 32);
        assert_eq!(ran.tail.len(), TAIL);
        assert_eq!(ran.tail.last().unwrap(), "20%");
        let End::Exited(status) = ran.end else {
            panic!("{:?}", ran.end)
        };
        assert_eq!(ended_with(status), "ended with exit code 3");
    }

    #[tokio::test]
    async fn a_signal_is_named() {
        let (ran, _) = run(case("kill -9 $$")).await;
        let End::Exited(status) = ran.end else {
            panic!("{:?}", ran.end)
        };
        assert_eq!(ended_with(status), "was ended by signal 9 (KILL)");
    }

    #[tokio::test]
    async fn a_cancel_ends_the_whole_group() {
        let began = Instant::now();
        let (ran, lines) = run(Case {
            cancel: Some(Duration::from_millis(300)),
            ..case("sleep 100 & echo $! >&2; wait")
        })
        .await;
        assert_eq!(ran.end, End::Cancelled);
        assert!(began.elapsed() < Duration::from_secs(4));
        let child = lines[0].parse().unwrap();
        let child = rustix::process::Pid::from_raw(child).unwrap();
        for _ in 0..100 {
            if rustix::process::test_kill_process(child).is_err() {
                return;
            }
            // It may stay a zombie where nobody reaps orphans.
            let stat = std::fs::read_to_string(format!("/proc/{child}/stat")).unwrap_or_default();
            if stat.contains(") Z ") {
                return;
            }
            sleep(Duration::from_millis(20)).await;
        }
        panic!("the child of the program still runs");
    }

    #[tokio::test]
    async fn a_program_that_will_not_end_is_made_to() {
        let began = Instant::now();
        let (ran, _) = run(Case {
            timeout: Some(Duration::from_millis(200)),
            ..case("trap '' TERM; while :; do sleep 0.1; done")
        })
        .await;
        assert_eq!(ran.end, End::TimedOut);
        let took = began.elapsed();
        assert!(
            took >= PATIENCE && took < PATIENCE + Duration::from_secs(3),
            "{took:?}"
        );
    }

    #[tokio::test]
    async fn silence_is_measured_from_the_last_line() {
        let (ran, lines) = run(Case {
            stall: Some(Duration::from_millis(600)),
            ..case("for i in 1 2 3 4; do sleep 0.2; echo $i >&2; done; sleep 100")
        })
        .await;
        assert_eq!((ran.end, lines.len()), (End::Stalled, 4));
    }

    #[tokio::test]
    async fn stdout_beyond_the_limit_ends_the_program() {
        let (ran, _) = run(case("yes")).await;
        assert_eq!(ran.end, End::TooMuch);
    }

    #[tokio::test]
    async fn what_a_program_left_running_does_not_hold_it_up() {
        let began = Instant::now();
        let (ran, _) = run(case("echo done; sleep 100 &")).await;
        assert!(matches!(ran.end, End::Exited(status) if status.success()));
        assert_eq!(ran.stdout, b"done\n");
        assert!(began.elapsed() < Duration::from_secs(4));
    }
}
