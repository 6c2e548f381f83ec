//! What a user waits for, measured from outside: `cargo bench --bench end_to_end [-- NAME…]`.
//!
//! Each figure is the median of several runs with its spread (smallest to largest). Nothing here asserts a time; `docs/benchmarks.md`
//! holds what was measured and on what machine.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::large_stack_arrays,
    clippy::format_push_string,
    reason = "a bench may stop at the first surprise, and its figures are small"
)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use support::{Server, kiln, quiet};

#[path = "../tests/it/support/mod.rs"]
#[allow(
    dead_code,
    unreachable_pub,
    unused_imports,
    reason = "shared with the tests, which need more of it"
)]
mod support;

const KILN: &str = env!("CARGO_BIN_EXE_kiln");

fn main() {
    if let Ok(job) = std::env::var("KILN_BENCH_DOWNLOAD") {
        return download_alone(&job);
    }
    let wanted: Vec<String> = std::env::args()
        .skip(1)
        .filter(|a| !a.starts_with('-'))
        .collect();
    let run = |name: &str, bench: fn()| {
        if wanted.is_empty() || wanted.iter().any(|w| name.contains(w.as_str())) {
            bench();
        }
    };
    run("version", version);
    run("first_job", first_job);
    run("overhead", overhead);
    run("fan_out", fan_out);
    run("download", download);
    let size = std::fs::metadata(KILN).unwrap().len();
    println!("{:<44} {:.1} MB", "size of the binary", size as f64 / 1e6);
}

/// Prints the median and the spread of some times.
fn tell(what: &str, unit: &str, mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let median = values[values.len() / 2];
    println!(
        "{what:<44} {median:>9.2} {unit}   ({:.2} to {:.2}, {} runs)",
        values[0],
        values[values.len() - 1],
        values.len()
    );
    median
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

fn version() {
    let times = (0..25)
        .map(|_| {
            let start = Instant::now();
            assert!(quiet(kiln().arg("--version")).status().unwrap().success());
            ms(start.elapsed())
        })
        .collect();
    tell("kiln --version", "ms", times);
}

const TINY: &str = r#"{
  "1": {"class_type": "EmptyImage", "inputs": {"width": 64, "height": 64, "batch_size": 1, "color": 0}, "_meta": {"title": "Card"}},
  "9": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "tiny"}, "_meta": {"title": "Save"}}
}"#;

/// A pipeline of `steps` independent tiny jobs, each with its own colour so that none is cached.
fn tiny_pipeline(dir: &Path, steps: usize, salt: usize) {
    std::fs::write(dir.join("tiny.json"), TINY).unwrap();
    let mut text = "name: tiny\nsteps:\n".to_owned();
    for at in 0..steps {
        let colour = at + salt * steps;
        text.push_str(&format!(
            "  s{at}:\n    workflow: tiny.json\n    set: {{ Card: {{ color: {colour} }} }}\n"
        ));
    }
    std::fs::write(dir.join("pipeline.yaml"), text).unwrap();
}

/// A relay that tells when the first `POST` of a prompt passes.
fn relay(to: &str) -> (u16, mpsc::Receiver<Instant>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (sender, receiver) = mpsc::channel();
    let to = to.to_owned();
    std::thread::spawn(move || {
        for client in listener.incoming() {
            let Ok(client) = client else { return };
            let server = TcpStream::connect(&to).unwrap();
            client.set_nodelay(true).unwrap();
            server.set_nodelay(true).unwrap();
            let (mut from_client, mut to_server) =
                (client.try_clone().unwrap(), server.try_clone().unwrap());
            let (mut from_server, mut to_client) = (server, client);
            let sender = sender.clone();
            std::thread::spawn(move || {
                let mut buffer = [0; 64 * 1024];
                while let Ok(read) = from_client.read(&mut buffer) {
                    if read == 0 || to_server.write_all(&buffer[..read]).is_err() {
                        break;
                    }
                    if buffer[..read].windows(16).any(|w| w == b"POST /api/prompt") {
                        let _ = sender.send(Instant::now());
                    }
                }
                let _ = to_server.shutdown(std::net::Shutdown::Write);
            });
            std::thread::spawn(move || {
                let _ = std::io::copy(&mut from_server, &mut to_client);
            });
        }
    });
    (port, receiver)
}

fn first_job() {
    let server = Server::start(&[]);
    let (port, posted) = relay(server.address());
    let mut times = Vec::new();
    for at in 0..15 {
        let dir = tempfile::tempdir().unwrap();
        tiny_pipeline(dir.path(), 1, at);
        let start = Instant::now();
        let url = &format!("http://127.0.0.1:{port}");
        let done = quiet(
            kiln()
                .args(["run", "pipeline.yaml", "--server", url])
                .current_dir(dir.path()),
        )
        .status()
        .unwrap();
        assert!(done.success());
        times.push(ms(
            posted.recv_timeout(Duration::from_secs(5)).unwrap() - start
        ));
    }
    tell("process start to first job submitted", "ms", times);
}

/// One request over a kept connection; the body of the answer.
fn request(stream: &mut BufReader<TcpStream>, method: &str, path: &str, body: &str) -> Vec<u8> {
    let length = if body.is_empty() {
        String::new()
    } else {
        format!("Content-Length: {}\r\n", body.len())
    };
    let head = format!("{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n{length}\r\n{body}");
    stream.get_mut().write_all(head.as_bytes()).unwrap();
    let mut length = 0;
    let mut chunked = false;
    let mut line = String::new();
    loop {
        line.clear();
        stream.read_line(&mut line).unwrap();
        let lower = line.to_ascii_lowercase();
        if let Some(value) = lower.strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
        chunked |= lower.starts_with("transfer-encoding: chunked");
        if line == "\r\n" {
            break;
        }
    }
    let mut body = vec![0; length];
    if chunked {
        loop {
            line.clear();
            stream.read_line(&mut line).unwrap();
            let size = usize::from_str_radix(line.trim(), 16).unwrap();
            let mut piece = vec![0; size + 2];
            stream.read_exact(&mut piece).unwrap();
            if size == 0 {
                return body;
            }
            body.extend_from_slice(&piece[..size]);
        }
    }
    stream.read_exact(&mut body).unwrap();
    body
}

/// What a script would do: submit as many jobs as the client keeps in flight, poll their records, fetch and write their pictures.
fn raw_loop(server: &Server, jobs: usize, salt: usize, dir: &Path) -> Duration {
    let stream = TcpStream::connect(server.address()).unwrap();
    stream.set_nodelay(true).unwrap();
    let mut stream = BufReader::new(stream);
    let start = Instant::now();
    let mut flying = std::collections::VecDeque::new();
    let mut next = 0;
    let mut done = 0;
    while done < jobs {
        while next < jobs && flying.len() < 2 {
            let graph = TINY.replace(
                "\"color\": 0",
                &format!("\"color\": {}", next + salt * jobs),
            );
            let answer = request(
                &mut stream,
                "POST",
                "/api/prompt",
                &format!("{{\"prompt\": {graph}}}"),
            );
            let answer: serde_json::Value = serde_json::from_slice(&answer).unwrap();
            flying.push_back(answer["prompt_id"].as_str().unwrap().to_owned());
            next += 1;
        }
        let id = flying.pop_front().unwrap();
        loop {
            let record = request(&mut stream, "GET", &format!("/api/history/{id}"), "");
            let record: serde_json::Value = serde_json::from_slice(&record).unwrap();
            if let Some(file) = record[&id]["outputs"]["9"]["images"].get(0) {
                let name = file["filename"].as_str().unwrap();
                let picture = request(
                    &mut stream,
                    "GET",
                    &format!("/api/view?filename={name}&type=output"),
                    "",
                );
                std::fs::write(dir.join(name), picture).unwrap();
                done += 1;
                break;
            }
        }
    }
    start.elapsed()
}

/// Runs kiln in a folder to its end; the time that it took.
fn timed(dir: &Path, args: &[&str]) -> f64 {
    let start = Instant::now();
    let done = quiet(kiln().args(args).current_dir(dir)).status().unwrap();
    let took = ms(start.elapsed());
    assert!(done.success(), "{args:?}");
    took
}

/// One step of 4,000 tasks and one that follows each of them: planned, checked, run, run again when nothing changed.
fn fan_out() {
    const JOBS: usize = 4000;
    let server = Server::start(&[]);
    let url = &server.url;
    let (mut check, mut plan, mut whole, mut again, mut one) =
        (Vec::new(), Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let mut dirs = Vec::new();
    for round in 0..5 {
        dirs.push(tempfile::tempdir().unwrap());
        let dir = dirs[round].path();
        std::fs::write(dir.join("tiny.json"), TINY).unwrap();
        let pipeline = format!(
            "name: tiny\nparams: {{ more: {{ type: integer, default: 0 }} }}\nsteps:\n  draw:\n    workflow: tiny.json\n    matrix: {{ i: \"{{{{ range({JOBS}) }}}}\" }}\n    set: {{ Card: {{ color: \"{{{{ matrix.i + {} + (params.more if matrix.i == 77 else 0) }}}}\" }} }}\n",
            100_000 + round * 10_000
        );
        std::fs::write(dir.join("p.yaml"), pipeline).unwrap();
        let at = |args: &[&str]| timed(dir, &[args, &["p.yaml", "--server", url]].concat());
        check.push(at(&["check"]));
        plan.push(at(&["plan"]));
        whole.push(at(&["run", "--yes"]) / JOBS as f64);
        again.push(at(&["run", "--yes"]) / JOBS as f64);
        one.push(at(&["run", "--yes", "-p", "more=5000"]) / JOBS as f64);
    }
    tell("check of 4,000 tasks", "ms", check);
    tell("plan of 4,000 tasks", "ms", plan);
    tell("4,000 tiny jobs by kiln run, each", "ms", whole);
    tell("4,000 cached tasks, nothing to do, each", "ms", again);
    tell("3,999 cached tasks of 4,000, each", "ms", one);
}

fn overhead() {
    const JOBS: usize = 1000;
    let server = Server::start(&[]);
    let url = &server.url;
    let (mut raw, mut whole, mut each) = (Vec::new(), Vec::new(), Vec::new());
    // Kept until the end: file systems are slow to make files for a while after many were deleted.
    let mut dirs = Vec::new();
    for round in 0..6 {
        dirs.push(tempfile::tempdir().unwrap());
        let dir = &dirs[round];
        let by_hand = raw_loop(&server, JOBS, 2 * round + 1, dir.path());
        tiny_pipeline(dir.path(), JOBS, 2 * round + 2);
        let ours = timed(dir.path(), &["run", "pipeline.yaml", "--server", url]);
        if round == 0 {
            continue; // warms both up
        }
        raw.push(ms(by_hand));
        whole.push(ours);
        each.push((ours - ms(by_hand)) / JOBS as f64);
    }
    tell("1,000 tiny jobs by raw requests", "ms", raw);
    tell("1,000 tiny jobs by kiln run", "ms", whole);
    tell("overhead of kiln per job", "ms", each);
}

/// One download in a process of its own, which prints its peak memory in MB.
fn download_alone(job: &str) {
    let (url, target) = job.split_once('\n').unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let client = kiln::client::Client::new("bench".into(), url).unwrap();
        let file = kiln::protocol::FileRef {
            filename: "big.bin".to_owned(),
            subfolder: String::new(),
            folder: "output".to_owned(),
        };
        client
            .download(&file, Path::new(target), |_, _| {})
            .await
            .unwrap();
    });
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let peak = status
        .lines()
        .find_map(|l| l.strip_prefix("VmHWM:"))
        .unwrap();
    let kilobytes: f64 = peak.trim().trim_end_matches("kB").trim().parse().unwrap();
    println!("{}", kilobytes / 1e3);
}

fn fill(path: &Path, size: u64) {
    let mut file = std::fs::File::create(path).unwrap();
    let mut block = vec![0_u8; 1 << 20];
    for at in 0..(size >> 20) {
        block
            .iter_mut()
            .enumerate()
            .for_each(|(i, b)| *b = (i as u64).wrapping_mul(31).wrapping_add(at) as u8);
        file.write_all(&block).unwrap();
    }
}

fn download() {
    const SIZE: u64 = 1 << 30;
    let server = Server::start(&[]);
    let output = server.dir().join("output");
    std::fs::create_dir_all(&output).unwrap();
    fill(&output.join("big.bin"), SIZE);
    let url = &server.url;
    let (mut ours, mut theirs, mut ratio, mut memory) =
        (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for round in 0..6 {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("curl.bin");
        let start = Instant::now();
        let script = format!(
            "curl -s -o {0} '{url}/api/view?filename=big.bin&type=output' && b3sum --num-threads 1 {0} > /dev/null && sync {0}",
            target.display()
        );
        assert!(
            quiet(Command::new("sh").args(["-c", &script]))
                .status()
                .unwrap()
                .success(),
            "curl and b3sum are needed"
        );
        let by_hand = start.elapsed();
        std::fs::remove_file(&target).unwrap();

        let start = Instant::now();
        let exe = std::env::current_exe().unwrap();
        let child = Command::new(exe)
            .env(
                "KILN_BENCH_DOWNLOAD",
                format!("{url}\n{}", dir.path().join("kiln.bin").display()),
            )
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let told = child.wait_with_output().unwrap();
        assert!(told.status.success());
        let by_kiln = start.elapsed();
        if round == 0 {
            continue;
        }
        theirs.push(ms(by_hand));
        ours.push(ms(by_kiln));
        ratio.push(by_kiln.as_secs_f64() / by_hand.as_secs_f64());
        memory.push(
            String::from_utf8(told.stdout)
                .unwrap()
                .trim()
                .parse::<f64>()
                .unwrap(),
        );
    }
    tell("1 GiB by curl + b3sum + sync", "ms", theirs);
    tell("1 GiB by kiln's client", "ms", ours);
    tell("ratio", "×", ratio);
    tell("peak memory of the client", "MB", memory);
}
