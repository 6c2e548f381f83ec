//! `kiln serve`: the embedded server alone.

use std::io::Write;
use std::sync::Arc;

use super::args::ServeArgs;
use super::exit::{Exit, complain, runtime, tell};
use crate::diagnostic::{Report, SourceMap};
use crate::embedded::{self, CloudOptions};
use crate::protocol::Version;
use crate::session;

/// Jobs of one account that Comfy Cloud runs at a time on the smallest plan with access.
const CLOUD_JOBS: usize = 3;

pub(super) fn serve(args: &ServeArgs) -> Exit {
    let runtime = match runtime() {
        Ok(runtime) => runtime,
        Err(exit) => return exit,
    };
    let simulate = match simulation(args) {
        Ok(simulate) => simulate,
        Err(exit) => return exit,
    };
    let emulate = match args.emulate.as_deref().map(version).transpose() {
        Ok(emulate) => emulate,
        Err(exit) => return exit,
    };
    let cloud = cloud(args);
    let jobs = match (args.jobs, &cloud) {
        (Some(jobs), _) => usize::from(jobs),
        (None, Some(_)) => CLOUD_JOBS,
        (None, None) => 1,
    };
    let exit = runtime.block_on(async {
        let options = embedded::Options {
            port: args.port,
            jobs,
            dir: args.dir.clone(),
            simulate,
            cloud,
            emulate,
        };
        let server = match embedded::start(options).await {
            Ok(server) => server,
            Err(error @ embedded::StartError::Version(_)) => {
                complain(&error.to_string());
                return Exit::Report(2);
            }
            Err(error) => {
                complain(&error.to_string());
                return Exit::Report(5);
            }
        };
        let _ = writeln!(
            anstream::stderr(),
            "{} is at {}; Ctrl-C ends it",
            called(args),
            server.url()
        );
        stopped().await;
        // In a task of its own, since dropping the server waits for the node that it computes; a second signal does not.
        let mut ending = tokio::spawn(server.shutdown());
        tokio::select! {
            _ = &mut ending => {}
            () = stopped() => {}
        }
        Exit::Done
    });
    runtime.shutdown_timeout(std::time::Duration::from_millis(200));
    exit
}

/// What people are told has started.
fn called(args: &ServeArgs) -> String {
    match (args.cloud, &args.emulate) {
        (true, _) => "kiln's rehearsal of Comfy Cloud".to_owned(),
        (false, Some(version)) => format!("kiln's embedded server, as ComfyUI {version},"),
        (false, None) => "kiln's embedded server".to_owned(),
    }
}

/// The version that `--emulate` names.
fn version(text: &str) -> Result<Version, Exit> {
    Version::parse(text).ok_or_else(|| {
        complain(&format!(
            "`{text}` is no version of ComfyUI: write it like {}",
            Version::REFERENCE
        ));
        Exit::Report(2)
    })
}

/// What `--cloud`, `--api-key` and `--queue-limit` ask for.
fn cloud(args: &ServeArgs) -> Option<CloudOptions> {
    let key = args.api_key.as_ref().filter(|_| args.cloud)?;
    let usual = CloudOptions::new(key);
    Some(CloudOptions {
        queue: args.queue_limit.map_or(usual.queue, usize::from),
        ..usual
    })
}

/// What `--simulate` and `--catalog` ask for.
fn simulation(args: &ServeArgs) -> Result<Option<embedded::Simulate>, Exit> {
    let Some(path) = &args.catalog else {
        return Ok(args.simulate.then(embedded::Simulate::default));
    };
    match session::object_info_file(path) {
        Ok(catalog) => Ok(Some(embedded::Simulate {
            catalog: Some(Arc::new(catalog)),
        })),
        Err(diagnostic) => {
            let report = Report {
                items: vec![*diagnostic],
            };
            tell(&report, &SourceMap::default());
            Err(Exit::of_report(&report, &SourceMap::default()))
        }
    }
}

/// Waits for Ctrl-C or SIGTERM.
async fn stopped() {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        if let Ok(mut terminate) = signal(SignalKind::terminate()) {
            tokio::select! {
                _ = tokio::signal::ctrl_c() => {}
                _ = terminate.recv() => {}
            }
            return;
        }
    }
    let _ = tokio::signal::ctrl_c().await;
}
