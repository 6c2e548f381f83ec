//! Thousands of jobs over a pool of servers that a bad network hides and that are killed now and then: every file is right in the end.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::{Dice, assert_right, long, two_by};
use crate::support::Server;
use crate::support::proxy::{Fate, Proxy};

/// What a bad network does to one request in about sixty.
fn bad_network(seed: u64) -> impl FnMut(&str) -> Fate + Send {
    let mut dice = Dice(seed);
    move |line| {
        if line.contains("/ws") {
            return match dice.roll(4) {
                0 => Fate::Cut(20_000),
                _ => Fate::Pass,
            };
        }
        match dice.roll(360) {
            0 => Fate::Refuse,
            1 => Fate::Swallow,
            2 => Fate::Replace,
            3 => Fate::Fail,
            4 => Fate::Late(Duration::from_millis(400)),
            5 => Fate::Cut(300),
            _ => Fate::Pass,
        }
    }
}

#[test]
fn many_jobs_over_four_failing_servers_end_with_every_file_right() {
    let count = if long() { 2000 } else { 60 };
    let mut servers: Vec<Server> = (0..4).map(|_| Server::start(&["--jobs", "2"])).collect();
    let proxies: Vec<Proxy> = servers
        .iter()
        .zip(0..)
        .map(|(server, at)| Proxy::start(&server.url, Box::new(bad_network(at))))
        .collect();
    let project = two_by(count, 48);
    let pipeline = std::fs::read_to_string(project.path().join("p.yaml")).unwrap();
    let retry = "retry: { attempts: 4, delay: 200ms, for: [any] }\n";
    project.file("p.yaml", format!("{retry}{pipeline}"));
    let urls: Vec<&str> = proxies.iter().map(|proxy| proxy.url.as_str()).collect();
    project.file(
        "kiln.yaml",
        format!(
            "servers:\n  farm: {{ urls: [{}], max_jobs: 3, lost_after: 3s }}\ndefault_server: farm\n",
            urls.join(", ")
        ),
    );
    let mut command = project.command(&["run", "p.yaml", "--yes"]);
    let over = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&over);
    let run = std::thread::spawn(move || {
        let done = crate::support::finish(&mut command);
        told.store(true, Ordering::SeqCst);
        done
    });
    let mut dice = Dice(77);
    while !over.load(Ordering::SeqCst) {
        std::thread::sleep(Duration::from_millis(
            200 + dice.roll(if long() { 6000 } else { 600 }),
        ));
        let at = dice.roll(4) as usize;
        if dice.roll(3) == 0 {
            // It dies with everything that it knew, and a new one takes its place.
            let new = Server::start(&["--jobs", "2"]);
            servers[at] = new;
            std::thread::sleep(Duration::from_millis(dice.roll(1500)));
            proxies[at].turn_to(&servers[at].url);
        } else {
            proxies[at].cut();
        }
    }
    let done = run.join().unwrap();
    assert_eq!(done.code, 0, "{}", done.stderr);
    assert_right(&project.path().join("outputs/p/latest"), count);
}
