//! `kiln server status`: what servers are and how they are.

use std::io::{self, Write};
use std::time::Duration;

use clap::Args;

use super::flags::{ServerFlags, complain, show_rows, waited};
use crate::cli::exit::{Exit, runtime, tell};
use crate::cli::sheet::{Cell, Column, Fit, Sheet, bad, faint, good, odd, strong, width};
use crate::cli::table::bytes;
use crate::client::Device;
use crate::session::care::{self, ServerStatus};

#[derive(Debug, Args)]
pub(super) struct StatusArgs {
    #[command(flatten)]
    flags: ServerFlags,
}

pub(super) fn status(args: &StatusArgs) -> Exit {
    let runtime = match runtime() {
        Ok(runtime) => runtime,
        Err(exit) => return exit,
    };
    let place = args.flags.place();
    let asked = care::status(&place);
    let answer = runtime.block_on(waited("the servers", Duration::from_secs(1), asked));
    runtime.shutdown_timeout(Duration::from_millis(200));
    let (rows, wrong) = match answer {
        Ok(answer) => answer,
        Err(complaint) => return complain(&complaint),
    };
    show_rows(&args.flags, &rows, |out| to_text(out, &rows, width()));
    if !wrong.report.items.is_empty() {
        tell(&wrong.report, &wrong.sources);
    }
    Exit::of_report(&wrong.report, &wrong.sources)
}

fn to_text(out: &mut dyn Write, rows: &[ServerStatus], width: Option<usize>) -> io::Result<()> {
    for (place, row) in rows.iter().enumerate() {
        if place > 0 {
            writeln!(out)?;
        }
        let mut head = Sheet::new([
            Column::new("", Fit::Whole),
            Column::new("", Fit::Whole),
            Column::new("", Fit::Spare(1)),
        ])
        .bare(0);
        let word = if row.reachable {
            Cell::styled("up", good())
        } else {
            Cell::styled("down", bad())
        };
        head.row([
            Cell::styled(row.server.as_str(), strong()),
            word,
            Cell::styled(row.url.as_str(), faint()),
        ]);
        head.write(out, width)?;
        facts(row).write(out, width)?;
    }
    Ok(())
}

fn facts(row: &ServerStatus) -> Sheet {
    let mut sheet =
        Sheet::new([Column::new("", Fit::Whole), Column::new("", Fit::Cut(12))]).bare(2);
    let mut fact = |name: &str, value: Cell| sheet.row([Cell::styled(name, faint()), value]);
    if let Some(problem) = &row.problem {
        fact("problem", Cell::styled(problem.as_str(), bad()));
        return sheet;
    }
    if let (Some(kind), Some(version)) = (row.kind, &row.version) {
        let (sure, style) = match row.support {
            Some("verified") => ("", anstyle::Style::new()),
            Some("older") => (", older than any that kiln was tried with", odd()),
            Some("newer") => (", newer than any that kiln knows", odd()),
            _ => (", known from its description", anstyle::Style::new()),
        };
        let name = match kind {
            "cloud" => "Comfy Cloud",
            "embedded" => "kiln's own server, as ComfyUI",
            "simulated" => "kiln's own server, painting stand-ins, as ComfyUI",
            _ => "ComfyUI",
        };
        fact("is", Cell::styled(format!("{name} {version}{sure}"), style));
    }
    // kiln's own server has neither.
    let told = |version: &&String| *version != "none";
    let pytorch = row
        .pytorch
        .as_ref()
        .filter(told)
        .map(|version| format!("PyTorch {version}"));
    let python = row
        .python
        .as_ref()
        .filter(told)
        .map(|version| format!("Python {version}"));
    let runs_on: Vec<String> = [row.os.clone(), python, pytorch]
        .into_iter()
        .flatten()
        .collect();
    if !runs_on.is_empty() {
        fact("on", runs_on.join(", ").into());
    }
    for device in &row.devices {
        fact("device", device_text(device).into());
    }
    if let (Some(free), Some(total)) = (row.ram_free, row.ram_total) {
        fact("memory", of(free, total).into());
    }
    let count = |count: Option<usize>| count.map_or_else(|| "?".to_owned(), |n| n.to_string());
    let queue = format!(
        "{} running, {} waiting",
        count(row.running),
        count(row.waiting)
    );
    fact("queue", queue.into());
    sheet
}

fn of(free: u64, total: u64) -> String {
    format!("{} of {} free", bytes(free), bytes(total))
}

fn device_text(device: &Device) -> String {
    match (device.vram_free, device.vram_total) {
        (Some(free), Some(total)) if device.kind != "cpu" && total > 0 => {
            format!("{}, {}", device.name, of(free, total))
        }
        _ => device.name.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows() -> Vec<ServerStatus> {
        let device = Device {
            name: "cuda:0 NVIDIA GeForce RTX 4090 : cudaMallocAsync".to_owned(),
            kind: "cuda".to_owned(),
            vram_total: Some(25_300_000_000),
            vram_free: Some(20_100_000_000),
        };
        let up = ServerStatus {
            server: "workstation".to_owned(),
            url: "http://192.168.1.20:8188".to_owned(),
            reachable: true,
            kind: Some("comfyui"),
            version: Some("0.39.0".to_owned()),
            support: Some("newer"),
            os: Some("linux".to_owned()),
            python: Some("3.11.7".to_owned()),
            pytorch: Some("2.11.0+cu130".to_owned()),
            ram_total: Some(25_325_268_992),
            ram_free: Some(24_047_218_688),
            devices: vec![device],
            running: Some(1),
            waiting: Some(12),
            problem: None,
        };
        let down = ServerStatus {
            server: "farm".to_owned(),
            url: "http://gpu-1:8188".to_owned(),
            problem: Some("no connection to http://gpu-1:8188: connection refused".to_owned()),
            ..ServerStatus::default()
        };
        vec![up, down]
    }

    #[test]
    fn the_state_of_servers_at_three_widths() {
        let mut all = String::new();
        for width in [40, 80, 160] {
            let mut out = Vec::new();
            to_text(&mut out, &rows(), Some(width)).unwrap();
            let text = anstream::adapter::strip_bytes(&out).into_vec();
            all = format!("{all}-- {width}\n{}", String::from_utf8(text).unwrap());
        }
        insta::assert_snapshot!(all);
    }
}
