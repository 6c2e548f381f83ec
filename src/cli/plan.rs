//! `kiln plan`: what would run.

use std::io::Write;

use super::args::{PlanArgs, PlanFlags, PlanFormat, ValueFlags};
use super::exit::{Exit, tell};
use super::table::{columns, wrapped};
use crate::base::secret;
use crate::plan;
use crate::session::{self, Loaded, Request};

impl PlanFlags {
    /// The flags as a request for a file.
    pub(super) fn request(&self, file: &std::path::Path) -> Request {
        Request {
            server: self.server.clone(),
            output_dir: self.output_dir.clone(),
            max_parallel: self.max_parallel,
            to: self.to.clone(),
            from: self.from.clone(),
            only: self.only.clone(),
            force: self.force,
            ..self.values.request(file)
        }
    }
}

impl ValueFlags {
    /// A request for a file with these values.
    pub(super) fn request(&self, file: &std::path::Path) -> Request {
        Request {
            file: file.to_path_buf(),
            params: self.params.clone(),
            params_file: self.params_file.clone(),
            sets: self.sets.clone(),
            seed: self.seed,
            profile: self.profile.clone(),
            no_plugins: self.no_plugins,
            ..Request::default()
        }
    }
}

pub(super) fn plan(args: &PlanArgs) -> Exit {
    let Loaded {
        plan,
        sources,
        report,
        ..
    } = session::load(&args.plan.request(&args.file));
    tell(&report, &sources);
    let Some(plan) = plan else {
        return Exit::of_report(&report, &sources);
    };
    let fates = session::fates(&plan);
    let mut out = std::io::stdout().lock();
    let told = match args.output {
        PlanFormat::Text => {
            let room = columns().unwrap_or(usize::MAX);
            let text = plan::to_text(&plan, room) + &session::fates_text(&fates, room);
            let mut folded = Vec::new();
            for line in secret::shown(&text).lines() {
                // A vector takes everything.
                let _ = wrapped(&mut folded, line, room);
            }
            String::from_utf8_lossy(&folded).into_owned()
        }
        PlanFormat::Json => {
            let mut json = plan::to_json(&plan);
            json["would"] = session::fates_json(&fates);
            format!("{json}\n")
        }
        PlanFormat::Dot => plan::to_dot(&plan),
        PlanFormat::Mermaid => plan::to_mermaid(&plan),
        PlanFormat::Svg => plan::to_svg(&plan),
    };
    // A broken pipe is success: the reader has seen enough.
    let _ = out.write_all(secret::shown(&told).as_bytes());
    Exit::Done
}
