//! `kiln doctor`: what is wrong with a setup, and what to do.

use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use clap::builder::NonEmptyStringValueParser;
use serde_json::json;

use super::args::{TextOrJson, command};
use super::exit::{Exit, runtime};
use super::runs::json as to_json;
use super::server::waited;
use super::sheet::{Cell, Column, Fit, Sheet, bad, faint, good, odd, width};
use crate::diagnostic::did_you_mean;
use crate::report::plural;
use crate::session::care::Place;
use crate::session::doctor::{Area, Checkup, Finding, Level, examine};

/// Variables that kiln reads beside those of its flags.
const VARIABLES: &[&str] = &["KILN_STATE_DIR"];
/// Variables that name a proxy.
const PROXIES: &[&str] = &["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"];

#[derive(Debug, Args)]
pub(crate) struct DoctorArgs {
    /// Look at this server only: a name from kiln.yaml, `local`, `cloud`, `embedded`, or a URL
    #[arg(long, value_name = "NAME|URL", env = "KILN_SERVER", value_parser = NonEmptyStringValueParser::new())]
    server: Option<String>,

    /// The project's folder, instead of the one around the current folder
    #[arg(long, value_name = "DIR", env = "KILN_PROJECT")]
    project: Option<PathBuf>,

    /// Format of stdout: text, or one JSON object
    #[arg(long, value_name = "FORMAT", value_enum, default_value = "text")]
    output: TextOrJson,
}

pub(super) fn doctor(args: &DoctorArgs) -> Exit {
    let runtime = match runtime() {
        Ok(runtime) => runtime,
        Err(exit) => return exit,
    };
    let place = Place {
        server: args.server.clone(),
        project: args.project.clone(),
    };
    let asked = waited("the servers", Duration::from_secs(1), examine(&place));
    let mut checkup = runtime.block_on(asked);
    runtime.shutdown_timeout(Duration::from_millis(200));
    terminal(&mut checkup);
    environment(&mut checkup);
    let mut out = anstream::stdout().lock();
    let _ = match args.output {
        TextOrJson::Text => to_text(&mut out, &checkup, width()),
        TextOrJson::Json => {
            let all = json!({"exit_code": checkup.exit_code(), "findings": checkup.findings});
            writeln!(out, "{}", to_json(&all))
        }
    };
    match checkup.exit_code() {
        0 => Exit::Done,
        code => Exit::Report(code),
    }
}

/// What is told to people: the terminal.
fn terminal(checkup: &mut Checkup) {
    let set = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let is_terminal = io::stderr().is_terminal();
    let dumb = set("TERM").is_some_and(|term| term == "dumb");
    if !is_terminal {
        let told = "stderr is no terminal: progress is told in lines, without colours";
        checkup.ok(Area::Terminal, "", told);
    } else if dumb {
        checkup.note(
            Area::Terminal,
            "",
            "TERM is `dumb`: colours may show as odd letters",
            "set NO_COLOR=1, or TERM to what the terminal is",
        );
    } else {
        let columns = super::exit::columns().map_or(80, |ask| ask());
        let colours = match set("NO_COLOR") {
            Some(_) => "no colours, as NO_COLOR says",
            None => "colours",
        };
        let told = format!("{columns} columns, {colours}");
        if columns < 40 {
            let fix = "make it wider: names are cut";
            checkup.note(Area::Terminal, "", told, fix);
        } else {
            checkup.ok(Area::Terminal, "", told);
        }
    }
    let language = ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().find_map(set);
    let plain = language.filter(|language| {
        let language = language.to_ascii_lowercase();
        !language.contains("utf-8") && !language.contains("utf8")
    });
    if let Some(language) = plain.filter(|_| is_terminal && !cfg!(windows)) {
        checkup.note(
            Area::Terminal,
            "",
            format!("the locale is `{language}`, and kiln writes UTF-8"),
            "set LANG=C.UTF-8 if letters look odd",
        );
    }
}

/// Variables that change what kiln does.
fn environment(checkup: &mut Checkup) {
    let known = variables(&command());
    let known: Vec<&str> = known
        .iter()
        .map(String::as_str)
        .chain(VARIABLES.iter().copied())
        .collect();
    let mut names: Vec<String> = std::env::vars_os()
        .filter(|(_, value)| !value.is_empty())
        .filter_map(|(name, _)| name.into_string().ok())
        .collect();
    names.sort();
    let set: Vec<&str> = names
        .iter()
        .map(String::as_str)
        .filter(|name| name.starts_with("KILN_"))
        .collect();
    let (read, unread): (Vec<&str>, Vec<&str>) = set.into_iter().partition(|n| known.contains(n));
    if !read.is_empty() {
        let told = format!("{} stand for flags that are not typed", read.join(", "));
        checkup.ok(Area::Environment, "", told);
    }
    for name in unread {
        let fix = match did_you_mean(name, known.iter().copied()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => "it is yours, or an older kiln's".to_owned(),
        };
        checkup.note(Area::Environment, name, "kiln reads no such variable", fix);
    }
    for name in &names {
        let upper = name.to_ascii_uppercase();
        if !PROXIES.contains(&upper.as_str()) {
            continue;
        }
        let value = std::env::var(name).unwrap_or_default();
        checkup.note(
            Area::Environment,
            name,
            format!(
                "requests beyond this machine go through {}",
                without_login(&value)
            ),
            "WebSockets do not; put servers that are reached directly into NO_PROXY",
        );
    }
}

/// The variables of all flags.
fn variables(command: &clap::Command) -> Vec<String> {
    let own = command.get_arguments().filter_map(|arg| arg.get_env());
    let own = own.map(|name| name.to_string_lossy().into_owned());
    let below = command.get_subcommands().flat_map(variables);
    own.chain(below).collect()
}

/// An address without the name and password in it.
fn without_login(address: &str) -> String {
    // Without a scheme what comes before the colon would be taken for one.
    let Some(mut url) = url::Url::parse(address).ok().filter(url::Url::has_host) else {
        return "a proxy".to_owned();
    };
    let _ = url.set_username("");
    let _ = url.set_password(None);
    url.to_string()
}

fn to_text(out: &mut dyn Write, checkup: &Checkup, width: Option<usize>) -> io::Result<()> {
    let mut last = None;
    for finding in &checkup.findings {
        let head = heading(finding);
        if last.as_ref() != Some(&head) {
            writeln!(out, "{head}")?;
            last = Some(head);
        }
        write_finding(out, finding, width)?;
    }
    let (problems, notes) = (checkup.count(Level::Problem), checkup.count(Level::Note));
    let text = match (problems, notes) {
        (0, 0) => "everything is well".to_owned(),
        (0, _) => format!("nothing is wrong; {}", plural(notes, "note")),
        _ => format!("{}, {}", plural(problems, "problem"), plural(notes, "note")),
    };
    writeln!(out, "{text}")
}

fn heading(finding: &Finding) -> String {
    let area = match finding.area {
        Area::Project => "project",
        Area::Server => "server",
        Area::Pipeline => "pipelines",
        Area::State => "state",
        Area::Terminal => "terminal",
        Area::Environment => "environment",
    };
    match finding.area {
        Area::Server if !finding.subject.is_empty() => format!("{area} {}", finding.subject),
        _ => area.to_owned(),
    }
}

fn write_finding(out: &mut dyn Write, finding: &Finding, width: Option<usize>) -> io::Result<()> {
    let (word, style) = match finding.level {
        Level::Ok => ("ok", good()),
        Level::Note => ("note", odd()),
        Level::Problem => ("problem", bad()),
    };
    let mut message = match finding.area {
        Area::Pipeline | Area::Environment if !finding.subject.is_empty() => {
            format!("{}: {}", finding.subject, finding.message)
        }
        _ => finding.message.clone(),
    };
    if let Some(code) = finding.code {
        message.push_str(&format!(" [{code}]"));
    }
    let indent = 2 + 7 + 2;
    let room = width.map_or(usize::MAX, |width| width.saturating_sub(indent).max(20));
    let lead = match finding.level {
        Level::Problem => "fix: ",
        _ => "hint: ",
    };
    let mut sheet = Sheet::new([Column::new("", Fit::Whole), Column::new("", Fit::Whole)]).bare(2);
    for (at, line) in wrapped(&message, room).into_iter().enumerate() {
        let word = if at == 0 { word } else { "" };
        sheet.row([Cell::styled(format!("{word:7}"), style), line.into()]);
    }
    for fix in &finding.fix {
        let room = room.saturating_sub(lead.len());
        for (at, line) in wrapped(fix, room).into_iter().enumerate() {
            let lead = if at == 0 {
                lead
            } else {
                &" ".repeat(lead.len())
            };
            sheet.row([
                Cell::from("       "),
                Cell::styled(format!("{lead}{line}"), faint()),
            ]);
        }
    }
    sheet.write(out, None)
}

/// A text in lines of at most `width` columns, broken between words.
fn wrapped(text: &str, width: usize) -> Vec<String> {
    use unicode_width::UnicodeWidthStr;
    let mut lines = Vec::new();
    let mut line = String::new();
    for word in text.split_whitespace() {
        if !line.is_empty() && line.width() + 1 + word.width() > width {
            lines.push(std::mem::take(&mut line));
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    lines.push(line);
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding(area: Area, subject: &str, level: Level, message: &str, fix: &[&str]) -> Finding {
        Finding {
            area,
            subject: subject.to_owned(),
            level,
            message: message.to_owned(),
            fix: fix.iter().map(|fix| (*fix).to_owned()).collect(),
            code: (level == Level::Problem).then_some("K0401"),
            exit_code: if level == Level::Problem { 5 } else { 0 },
        }
    }

    #[test]
    fn a_checkup_at_three_widths() {
        let checkup = Checkup {
            findings: vec![
                finding(
                    Area::Project,
                    "",
                    Level::Ok,
                    "kiln.yaml in `/p` declares 2 servers",
                    &[],
                ),
                finding(
                    Area::Server,
                    "farm",
                    Level::Problem,
                    "server `farm`: no connection to http://gpu-1:8188: connection refused",
                    &["is ComfyUI running, and are its address and port right?"],
                ),
                finding(
                    Area::Environment,
                    "KILN_SERVR",
                    Level::Note,
                    "kiln reads no such variable",
                    &["did you mean `KILN_SERVER`?"],
                ),
            ],
        };
        let mut all = String::new();
        for width in [40, 80, 160] {
            let mut out = Vec::new();
            to_text(&mut out, &checkup, Some(width)).unwrap();
            let text = anstream::adapter::strip_bytes(&out).into_vec();
            all.push_str(&format!("-- {width}\n{}", String::from_utf8(text).unwrap()));
        }
        insta::assert_snapshot!(all);
    }

    #[test]
    fn the_login_of_a_proxy_is_not_shown() {
        assert_eq!(
            without_login("http://me:secret@proxy:3128"),
            "http://proxy:3128/"
        );
        assert_eq!(without_login("me:secret@proxy"), "a proxy");
    }
}
