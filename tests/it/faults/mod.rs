//! Every fault of the table, on a `ComfyUI` and on Comfy Cloud, 50 jobs each through the real program: every file is right or it is said
//! why not, nothing hangs, no job is done twice, and no key leaves its origin.
//!
//! A sample runs here: each fault that is quick, on one of the two, with fewer jobs. `KILN_PROOF=long` makes it the whole table, which
//! `.ci/long` does. `KILN_FAULT=words` picks the rows whose names hold these words.

mod between;
mod network;
mod partly;
mod sockets;
mod table;
mod wire;
mod workers;

use std::fs::File;
use std::path::Path;
use std::process::Child;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use network::{Network, Script, When};
use table::{Blow, End, Fault};

use crate::proofs::{COLOUR, assert_colour, assert_right, long, two_by};
use crate::support::{Done, Project, Server};

/// Opens the servers; goes nowhere else.
const KEY: &str = "comfyui-faults-5d1c77";

/// How long a run may take that nothing holds up, and one that must wait for something that never comes.
const DEADLINE: (Duration, Duration) = (Duration::from_secs(90), Duration::from_mins(5));

/// The address of a proxy in front of a server that says all that servers can say of a job, and what packs of nodes add to that.
pub(crate) fn talkative(url: &str) -> String {
    let script = Script {
        kind: network::Kind::Socket,
        when: When::Always,
        deed: network::Deed::Pass,
        socket: sockets::Sock::Noise(sockets::all_sorts),
    };
    let network = Network::start(url, "", script, 1);
    let url = network.url.clone();
    // Its threads end with the process.
    std::mem::forget(network);
    url
}

/// Whose server a fault befalls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Whose {
    Comfy,
    Cloud,
}

impl Whose {
    fn server(self) -> Server {
        let jobs = ["--jobs", "3"];
        match self {
            Self::Comfy => Server::start(&jobs),
            Self::Cloud => Server::start(&[&["--cloud", "--api-key", KEY], &jobs[..]].concat()),
        }
    }

    /// What `kiln.yaml` says of it, under two names, so that what one makes must be sent to the other.
    fn declared(self, url: &str, uploads: bool) -> String {
        let common = "max_jobs: 6, lost_after: 8s";
        let other = url.replace("127.0.0.1", "localhost");
        let second = if uploads { &other } else { url };
        let what = match self {
            Self::Comfy => format!("token: {KEY}, {common}"),
            Self::Cloud => format!("kind: cloud, api_key: {KEY}, {common}"),
        };
        format!(
            "default_server: one\nservers:\n  one: {{ url: \"{url}\", {what} }}\n  two: {{ url: \"{second}\", {what} }}\n"
        )
    }

    /// The jobs that a server did.
    fn did(self, server: &Server) -> usize {
        match self {
            Self::Comfy => server.get("/history").as_object().unwrap().len(),
            Self::Cloud => {
                let history = server.get("/api/history_v2");
                history["history"].as_array().unwrap().len()
            }
        }
    }
}

/// A run against a proxy that does what the fault says.
struct Case {
    fault: Fault,
    whose: Whose,
    /// Half of the jobs: so many pictures are drawn, and each is inverted.
    count: u64,
}

impl Case {
    /// Carries it out; what is wrong.
    fn run(&self, seed: u64) -> Result<(), String> {
        let Some(end) = self.fault.ends[self.whose as usize] else {
            return Ok(());
        };
        let server = self.whose.server();
        let network = Network::start(&server.url, KEY, self.script(), seed);
        let project = self.project(&network.url);
        let began = Instant::now();
        let mut child = Told::start(&project);
        let (mut servers, mut done) = (vec![server], None);
        let (quick, slow) = DEADLINE;
        let deadline = if self.fault.slow { slow } else { quick };
        let mut struck = false;
        while done.is_none() {
            done = child.ended();
            if began.elapsed() > deadline {
                return Err(format!("it hangs:\n{}", child.give_up()));
            }
            if !struck {
                struck = self.strike(&network, &mut servers);
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        network.refuse(false);
        let done = done.unwrap_or_else(|| unreachable!("the loop waited for it"));
        self.judge(end, &done, &project)
            .and_then(|()| self.counted(end, &servers))
            .and_then(|()| match network.leaks() {
                leaks if leaks.is_empty() => Ok(()),
                leaks => Err(format!("the key went elsewhere: {leaks:?}")),
            })
            .and_then(|()| match network.struck() {
                0 => Err("nothing happened at all".to_owned()),
                _ => Ok(()),
            })
            .map_err(|why| format!("{why}\ncode {}, stderr:\n{}", done.code, done.stderr))
    }

    /// Of few jobs none is struck three times either, after which it would be given up.
    fn script(&self) -> Script {
        let mut script = self.fault.script;
        if let When::First(times) = &mut script.when {
            *times = (*times).min(usize::try_from(self.count).unwrap() + 1);
        }
        script
    }

    fn project(&self, url: &str) -> Project {
        let project = two_by(self.count, 40);
        let uploads = self.fault.script.kind == network::Kind::Upload;
        project.file("kiln.yaml", self.whose.declared(url, uploads));
        let pipeline = std::fs::read_to_string(project.path().join("p.yaml")).unwrap();
        if uploads {
            let pipeline = pipeline.replace("    for_each:", "    server: two\n    for_each:");
            project.file("p.yaml", pipeline);
        }
        project
    }

    /// So many hundredths of all jobs, at least one.
    fn part(&self, part: usize) -> usize {
        (self.count as usize * 2 * part / 100).max(1)
    }

    /// What befalls the server, once it is time. Whether it was.
    fn strike(&self, network: &Network, servers: &mut Vec<Server>) -> bool {
        match self.fault.blow {
            Blow::None => true,
            Blow::Restart(part) if network.posts() >= self.part(part) => {
                let new = self.whose.server();
                servers.push(new);
                network.turn_to(&servers[1].url);
                true
            }
            Blow::Away(part, pause) if network.posts() >= self.part(part) => {
                network.refuse(true);
                if pause < Duration::from_mins(1) {
                    std::thread::sleep(pause);
                    network.refuse(false);
                }
                true
            }
            _ => false,
        }
    }

    fn judge(&self, end: End, done: &Done, project: &Project) -> Result<(), String> {
        let results = project.path().join("outputs/p/latest");
        match end {
            End::Right | End::Again | End::Either if done.code == 0 => {
                caught(|| assert_right(&results, self.count))
            }
            End::Right | End::Again => Err("it did not end well".to_owned()),
            End::Either if !done.stderr.contains("error[K") => {
                Err("it does not say why".to_owned())
            }
            End::Either => caught(|| what_there_is_is_right(&results, self.count)),
            End::Says(code, words) if done.code != code || !done.stderr.contains(words) => {
                Err(format!("not {code} and {words:?}"))
            }
            End::Says(..) => caught(|| what_there_is_is_right(&results, self.count)),
        }
    }

    /// How often jobs were done.
    fn counted(&self, end: End, servers: &[Server]) -> Result<(), String> {
        let did: usize = servers.iter().map(|server| self.whose.did(server)).sum();
        let jobs = self.count as usize * 2;
        match end {
            End::Right if did != jobs => Err(format!("{did} jobs were done, not {jobs}")),
            End::Says(..) if did > jobs => Err(format!("{did} jobs were done of {jobs}")),
            _ => Ok(()),
        }
    }
}

/// What a test would say.
fn caught(check: impl FnOnce() + std::panic::UnwindSafe) -> Result<(), String> {
    std::panic::catch_unwind(check).map_err(|said| {
        let text = said.downcast_ref::<String>().cloned();
        text.unwrap_or_else(|| "it is wrong".to_owned())
    })
}

/// The pictures that are there, whole and of the right colours.
fn what_there_is_is_right(results: &Path, count: u64) {
    for at in 0..count {
        let [_, r, g, b, ..] = ((COLOUR + at) << 32).to_be_bytes();
        for (step, colour) in [("draw", [r, g, b]), ("invert", [255 - r, 255 - g, 255 - b])] {
            let path = results.join(format!("{step}/{at}.png"));
            if path.exists() {
                assert_colour(&path, colour);
            }
        }
    }
}

/// A `kiln run` that may take long; what it says is kept in files, so that it never waits for a reader.
struct Told {
    child: Child,
    dir: tempfile::TempDir,
}

impl Told {
    fn start(project: &Project) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let file = |name: &str| File::create(dir.path().join(name)).unwrap();
        let child = project
            .command(&["run", "p.yaml"])
            .stdout(file("out"))
            .stderr(file("err"))
            .stdin(std::process::Stdio::null())
            .spawn()
            .unwrap();
        Self { child, dir }
    }

    fn said(&self, name: &str) -> String {
        std::fs::read_to_string(self.dir.path().join(name)).unwrap_or_default()
    }

    fn ended(&mut self) -> Option<Done> {
        let status = self.child.try_wait().unwrap()?;
        Some(Done {
            code: status.code().unwrap_or(-1),
            stdout: self.said("out"),
            stderr: self.said("err"),
        })
    }

    fn give_up(&mut self) -> String {
        let _ = self.child.kill();
        let _ = self.child.wait();
        self.said("err")
    }
}

impl Drop for Told {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// All rows of a part of the table, some at a time; fails with everything that is wrong.
fn prove(faults: Vec<Fault>) {
    let wanted = std::env::var("KILN_FAULT").unwrap_or_default();
    let mut cases = Vec::new();
    for (at, fault) in faults.into_iter().enumerate() {
        let both = [Whose::Comfy, Whose::Cloud];
        let whose = if long() {
            &both[..]
        } else {
            &both[at % 2..=at % 2]
        };
        if fault.name.contains(&wanted) && (long() || !fault.slow) {
            let count = if long() { 25 } else { 4 };
            cases.extend(whose.iter().map(|&whose| Case {
                fault,
                whose,
                count,
            }));
        }
    }
    let (left, wrong) = (
        Mutex::new(cases.into_iter().enumerate()),
        Mutex::new(Vec::new()),
    );
    std::thread::scope(|scope| {
        for _ in 0..if long() { 4 } else { 3 } {
            scope.spawn(|| {
                loop {
                    let next = left.lock().unwrap().next();
                    let Some((at, case)) = next else {
                        return;
                    };
                    let began = Instant::now();
                    let ended = case.run(at as u64);
                    let (name, whose) = (case.fault.name, case.whose);
                    println!("{:6.1} s  {whose:?}  {name}", began.elapsed().as_secs_f64());
                    if let Err(why) = ended {
                        wrong
                            .lock()
                            .unwrap()
                            .push(format!("== {whose:?}, {name}: {why}"));
                    }
                }
            });
        }
    });
    let wrong = wrong.into_inner().unwrap();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn jobs_on_their_way_to_a_server() {
    prove([table::posts(), table::odd_posts()].concat());
}

#[test]
fn questions_about_jobs() {
    prove(table::records());
}

#[test]
fn files_from_a_server() {
    prove(table::files());
}

#[test]
fn files_to_a_server() {
    prove(table::uploads());
}

#[test]
fn what_servers_tell_while_they_work() {
    prove(table::sockets());
}

#[test]
fn what_a_server_is_and_has() {
    prove(table::asks());
}

#[test]
fn servers_that_go_and_come() {
    prove(table::blows());
}
