//! `kiln serve`: the embedded server alone.

use std::io::Write;
use std::sync::Arc;

use super::args::ServeArgs;
use super::exit::{Exit, complain, runtime, tell};
use crate::diagnostic::{Report, SourceMap};
use crate::embedded;
use crate::session;

pub(super) fn serve(args: &ServeArgs) -> Exit {
    let runtime = match runtime() {
        Ok(runtime) => runtime,
        Err(exit) => return exit,
    };
    let simulate = match simulation(args) {
        Ok(simulate) => simulate,
        Err(exit) => return exit,
    };
    let exit = runtime.block_on(async {
        let options = embedded::Options {
            port: args.port,
            jobs: usize::from(args.jobs),
            dir: args.dir.clone(),
            simulate,
        };
        let server = match embedded::start(options).await {
            Ok(server) => server,
            Err(error) => {
                complain(&error.to_string());
                return Exit::Report(5);
            }
        };
        let _ = writeln!(
            anstream::stderr(),
            "kiln's embedded server is at {}; Ctrl-C ends it",
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
