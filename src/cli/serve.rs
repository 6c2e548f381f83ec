//! `kiln serve`: the embedded server alone.

use std::io::Write;

use super::args::ServeArgs;
use super::exit::{Exit, complain};
use crate::embedded;

pub(super) fn serve(args: &ServeArgs) -> Exit {
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            complain(&format!("could not start: {error}"));
            return Exit::Internal;
        }
    };
    let exit = runtime.block_on(async {
        let options = embedded::Options {
            port: args.port,
            jobs: usize::from(args.jobs),
            dir: args.dir.clone(),
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
