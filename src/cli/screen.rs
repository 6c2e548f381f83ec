//! What the streams are: a terminal and what it can do, a log of continuous integration, or a pipe.

use std::env::{var, var_os};
use std::io::{IsTerminal, Write};

use anstream::ColorChoice;
use clap::ValueEnum;

use crate::report::{Folding, Protocol, Terminal, TerminalReporter};

/// Whether and how pictures are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Preview {
    /// As the terminal can
    Auto,
    /// In kitty's way
    Kitty,
    /// In the way of iTerm2
    Iterm2,
    /// As sixel
    Sixel,
}

/// Where text for people goes.
pub(super) type Notes = Box<dyn Write + Send>;

/// Tells of a run in text.
pub(super) fn reporter(preview: Option<Preview>) -> TerminalReporter<Notes, std::io::Stdout> {
    let (notes, terminal) = notes(preview);
    TerminalReporter::new(notes, std::io::stdout(), terminal)
}

/// The stream for people, and what it is.
pub(super) fn notes(preview: Option<Preview>) -> (Notes, Terminal) {
    let stderr = std::io::stderr();
    let is_terminal = stderr.is_terminal();
    let choice = anstream::AutoStream::choice(&stderr);
    let dumb = var("TERM").is_ok_and(|term| term == "dumb");
    let ci = is_set("CI");
    let live = is_terminal && !ci && !dumb;
    let terminal = Terminal {
        size: is_terminal.then_some(size),
        live,
        shared: is_terminal && std::io::stdout().is_terminal(),
        color: !is_terminal || choice != ColorChoice::Never,
        links: live && supports_hyperlinks::on(supports_hyperlinks::Stream::Stderr),
        cuts: cuts(),
        folding: ci.then(folding),
        one_stream: one_stream(),
        only_new: false,
        pictures: preview.filter(|_| live).and_then(protocol),
    };
    // Without colours, the live lines still need their cursor moved.
    let notes: Notes = if live && choice == ColorChoice::Never {
        Box::new(stderr)
    } else {
        Box::new(anstream::stderr())
    };
    (notes, terminal)
}

/// Columns and rows of the terminal behind stderr at the moment.
fn size() -> (usize, usize) {
    terminal_size::terminal_size_of(std::io::stderr()).map_or((80, 24), |(width, height)| {
        // A terminal that does not know its size says 0.
        let or = |value: u16, usual: usize| match value {
            0 => usual,
            value => usize::from(value),
        };
        (or(width.0, 80), or(height.0, 24))
    })
}

fn is_set(name: &str) -> bool {
    var_os(name).is_some_and(|value| !value.is_empty() && value != "0" && value != "false")
}

fn folding() -> Folding {
    if is_set("GITHUB_ACTIONS") {
        Folding::GitHub
    } else {
        Folding::Plain
    }
}

/// Whether the terminal leaves lines as they are when it gets narrower.
fn cuts() -> bool {
    let term = var("TERM").unwrap_or_default();
    let screen = term.starts_with("screen") && var_os("TMUX").is_none();
    var_os("XTERM_VERSION").is_some() || term.starts_with("rxvt") || term == "linux" || screen
}

/// Whether stdout and stderr are the same file or pipe.
#[cfg(unix)]
fn one_stream() -> bool {
    let of = |stat: rustix::fs::Stat| (stat.st_dev, stat.st_ino);
    let out = rustix::fs::fstat(std::io::stdout()).map(of);
    let err = rustix::fs::fstat(std::io::stderr()).map(of);
    out.is_ok_and(|out| err == Ok(out))
}

#[cfg(not(unix))]
fn one_stream() -> bool {
    false
}

fn protocol(preview: Preview) -> Option<Protocol> {
    match preview {
        Preview::Kitty => Some(Protocol::Kitty),
        Preview::Iterm2 => Some(Protocol::Iterm),
        Preview::Sixel => Some(Protocol::Sixel),
        Preview::Auto => known(&|name| var(name).ok().filter(|value| !value.is_empty())),
    }
}

/// Says why pictures that were asked for are not shown on a terminal. Where there is none, nobody misses them.
pub(super) fn say_if_no_pictures(preview: Option<Preview>, terminal: Terminal) {
    if preview.is_none() || !terminal.live || terminal.pictures.is_some() {
        return;
    }
    let passed_on = var_os("TMUX").is_some() || var_os("STY").is_some();
    let why = if passed_on {
        "tmux and screen pass no pictures on"
    } else {
        "this terminal does not say that it can: `--preview=kitty`, `=iterm2` or `=sixel` if it does"
    };
    let _ = writeln!(anstream::stderr(), "note: no pictures are shown: {why}");
}

/// What a terminal can do, as far as it says who it is.
fn known(variable: &dyn Fn(&str) -> Option<String>) -> Option<Protocol> {
    // A multiplexer passes nothing of this on.
    if variable("TMUX").is_some() || variable("STY").is_some() {
        return None;
    }
    let term = variable("TERM").unwrap_or_default();
    let program = variable("TERM_PROGRAM").unwrap_or_default();
    let is = |names: &[&str]| names.contains(&program.as_str());
    let kitty = variable("KITTY_WINDOW_ID").is_some() || term.contains("kitty");
    let konsole = variable("KONSOLE_VERSION").is_some_and(|version| version.as_str() >= "220400");
    if kitty || konsole || term.contains("ghostty") || is(&["ghostty"]) {
        return Some(Protocol::Kitty);
    }
    let iterm = variable("LC_TERMINAL").is_some_and(|name| name == "iTerm2");
    if iterm || is(&["iTerm.app", "WezTerm", "mintty"]) {
        return Some(Protocol::Iterm);
    }
    let sixel = term.starts_with("foot") || term.starts_with("mlterm") || term.contains("sixel");
    sixel.then_some(Protocol::Sixel)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_that_says_who_it_is_gets_pictures_in_its_way() {
        let of = |set: &[(&str, &str)]| {
            known(&|name| {
                let found = set.iter().find(|(known, _)| *known == name);
                found.map(|(_, value)| (*value).to_owned())
            })
        };
        assert_eq!(of(&[("TERM", "xterm-kitty")]), Some(Protocol::Kitty));
        assert_eq!(of(&[("TERM_PROGRAM", "WezTerm")]), Some(Protocol::Iterm));
        assert_eq!(of(&[("LC_TERMINAL", "iTerm2")]), Some(Protocol::Iterm));
        assert_eq!(of(&[("TERM", "foot")]), Some(Protocol::Sixel));
        assert_eq!(of(&[("TERM", "xterm-256color")]), None);
        assert_eq!(of(&[("TERM", "xterm-kitty"), ("TMUX", "x")]), None);
    }
}
