//! One thing that was looked at.

use serde::Serialize;

use crate::diagnostic::{Diagnostic, Report, SourceMap, to_json};
use crate::report::exit_code;

/// What a finding is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Area {
    /// The project file.
    Project,
    /// A server.
    Server,
    /// A pipeline, and what it needs of its servers.
    Pipeline,
    /// What kiln remembers.
    State,
    /// The terminal.
    Terminal,
    /// Variables.
    Environment,
}

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// It is well.
    Ok,
    /// It works, and is worth knowing.
    Note,
    /// It does not work.
    Problem,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What it is about.
    pub area: Area,
    /// Which one: the name of a server, the file of a pipeline; empty where there is but one.
    pub subject: String,
    /// How bad it is.
    pub level: Level,
    /// What was found, without a final full stop.
    pub message: String,
    /// What to do, one sentence each.
    pub fix: Vec<String>,
    /// The code that `kiln explain` knows.
    pub code: Option<&'static str>,
    /// The exit code that it calls for.
    pub exit_code: u8,
}

/// All that was looked at.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Checkup {
    /// In the order of looking.
    pub findings: Vec<Finding>,
}

impl Checkup {
    /// Something is well.
    pub fn ok(&mut self, area: Area, subject: &str, message: impl Into<String>) {
        self.push(area, subject, Level::Ok, message.into(), Vec::new());
    }

    /// Something is worth knowing.
    pub fn note(
        &mut self,
        area: Area,
        subject: &str,
        message: impl Into<String>,
        fix: impl Into<String>,
    ) {
        let fix = fix.into();
        let fix = (!fix.is_empty()).then_some(fix);
        self.push(
            area,
            subject,
            Level::Note,
            message.into(),
            fix.into_iter().collect(),
        );
    }

    /// Something is wrong, as a diagnostic says it.
    pub fn wrong(
        &mut self,
        area: Area,
        subject: &str,
        diagnostic: Diagnostic,
        sources: &SourceMap,
    ) {
        let place = to_json(&diagnostic, sources);
        let message = match (place.file, place.line) {
            (Some(file), Some(line)) if !file.is_empty() => {
                format!("{file}:{line}: {}", diagnostic.message)
            }
            _ => diagnostic.message.clone(),
        };
        let fix = diagnostic.help.clone();
        let code = diagnostic.code.id;
        let report = Report {
            items: vec![diagnostic],
        };
        let exit_code = exit_code(&report, sources);
        let level = if exit_code == 0 {
            Level::Note
        } else {
            Level::Problem
        };
        self.push(area, subject, level, message, fix);
        if let Some(last) = self.findings.last_mut() {
            last.code = Some(code);
            last.exit_code = exit_code;
        }
    }

    /// The exit code of the worst finding, in the order of all kiln's commands: files, the command line, state, servers.
    pub fn exit_code(&self) -> u8 {
        let found = |code: &u8| {
            self.findings
                .iter()
                .any(|finding| finding.exit_code == *code)
        };
        [3, 2, 7, 5].into_iter().find(found).unwrap_or(0)
    }

    /// How many findings are so bad.
    pub fn count(&self, level: Level) -> usize {
        let all = self.findings.iter();
        all.filter(|finding| finding.level == level).count()
    }

    fn push(&mut self, area: Area, subject: &str, level: Level, message: String, fix: Vec<String>) {
        self.findings.push(Finding {
            area,
            subject: subject.to_owned(),
            level,
            message,
            fix,
            code: None,
            exit_code: 0,
        });
    }
}
