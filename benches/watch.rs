//! From a save to the job on the server: `cargo bench --bench watch`.
//!
//! A real `kiln watch` runs a pipeline against a real `kiln serve`, with a proxy between them that notes when a job is submitted. A workflow is
//! saved by rename, each time with another colour; the time from the rename to the beginning of the request, less the 75 ms for which kiln
//! waits for more, is what is told. `KILN_BENCH_ROUNDS` changes how often.

#![allow(
    clippy::unwrap_used,
    clippy::cast_precision_loss,
    reason = "a bench may stop at the first surprise, and its figures are small"
)]

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use support::proxy::{Fate, Proxy};
use support::{CARD, Server, kiln, wait_for};

#[path = "../tests/it/support/mod.rs"]
#[allow(
    dead_code,
    unreachable_pub,
    unused_imports,
    reason = "shared with the tests, which need more of it"
)]
mod support;

/// For so long kiln waits for more to change.
const QUIET: Duration = Duration::from_millis(75);

struct Watching(Child);

impl Drop for Watching {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn watch(dir: &Path, url: &str) -> Watching {
    let mut command: Command = kiln();
    command
        .args(["watch", "p.yaml", "--server", url])
        .current_dir(dir)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    Watching(command.spawn().unwrap())
}

fn main() {
    let rounds = std::env::var("KILN_BENCH_ROUNDS").map_or(40, |text| text.parse().unwrap());
    for others in [0, 1000] {
        let mut times = measure(rounds, others);
        times.sort_by(f64::total_cmp);
        println!(
            "from save to submitted job, {others} other files read {:>9.2} ms   ({:.2} to {:.2}, {rounds} runs)",
            times[times.len() / 2],
            times[0],
            times[times.len() - 1],
        );
    }
}

/// Milliseconds beyond the wait, with so many more files in the plan.
fn measure(rounds: u32, others: usize) -> Vec<f64> {
    let server = Server::start(&[]);
    let (tell, submitted) = channel();
    let script = move |line: &str| {
        if line.starts_with("POST") && line.contains("/prompt ") {
            tell.send(Instant::now()).unwrap();
        }
        Fate::Pass
    };
    let proxy = Proxy::start(&server.url, Box::new(script));
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
    std::fs::create_dir(dir.path().join("in")).unwrap();
    for other in 0..others {
        write(&format!("in/{other}.txt"), "a line of text");
    }
    write("kiln.yaml", "");
    write("card.json", CARD);
    write(
        "p.yaml",
        "steps:\n  card: { workflow: card.json, set: { Save: { filename_prefix: \"n{{ glob('in/*.txt') | length }}\" } } }\n",
    );
    let _watching = watch(dir.path(), &proxy.url);
    submitted.recv().unwrap();
    let latest = dir.path().join("outputs/p/latest");
    let mut last = wait_for("the first run", || std::fs::read_link(&latest).ok());
    let mut times = Vec::new();
    for round in 0..rounds {
        // The run has ended, and whatever it writes last.
        std::thread::sleep(Duration::from_millis(200));
        write("fresh~", &CARD.replace("4160", &(round + 1).to_string()));
        let saved = Instant::now();
        std::fs::rename(dir.path().join("fresh~"), dir.path().join("card.json")).unwrap();
        let at = submitted.recv_timeout(Duration::from_secs(30)).unwrap();
        times.push((at - saved).saturating_sub(QUIET).as_secs_f64() * 1000.0);
        last = wait_for("the run to end", || {
            std::fs::read_link(&latest).ok().filter(|now| *now != last)
        });
    }
    times
}
