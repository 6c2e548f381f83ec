//! What the live lines say: a row for each task in flight as far as there is room, counts for the others, and below them how far the run is.

use anstyle::Style;
use indexmap::IndexMap;

use super::line::Line;
use super::lines::percent;
use super::style::Paint;
use super::text::{cut, duration, lasting, padded, plural, tame, width};
use super::view::{StepView, TaskState, TaskView, View};
use crate::base::{StepId, TaskName};
use crate::event::Counts;

/// A step of more tasks than this is told by counts.
pub(super) const LARGE: usize = 20;
/// The most live lines, however high the terminal is.
const MOST: usize = 24;
/// From so many columns on there is room for bars.
const WIDE: usize = 100;
/// Below so many columns only the most important is told.
const NARROW: usize = 60;

const FRAMES: [&str; 10] = ["⠋", "⠙", "⠹", "⠸", "⠼", "⠴", "⠦", "⠧", "⠇", "⠏"];

/// One moment of a run, to be drawn.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moment<'a> {
    pub(super) view: &'a View,
    pub(super) paint: &'a Paint,
    /// Milliseconds since 1970.
    pub(super) now: i64,
    pub(super) columns: usize,
    pub(super) rows: usize,
    /// Counts up with each picture.
    pub(super) turn: usize,
}

/// The tasks of a step that are in flight.
struct Block<'a> {
    step: &'a StepId,
    view: &'a StepView,
    tasks: Vec<(&'a TaskName, &'a TaskView)>,
    collapsed: bool,
}

impl Block<'_> {
    fn is_large(&self) -> bool {
        self.view.tasks > LARGE
    }

    fn height(&self) -> usize {
        if self.collapsed {
            1
        } else {
            self.tasks.len() + usize::from(self.is_large())
        }
    }
}

impl<'a> Moment<'a> {
    /// The lines, none of them wider than the terminal.
    pub(super) fn lines(&self) -> Vec<Line> {
        let room = self.columns.saturating_sub(1);
        // One row is the cursor's, and one the line that closes.
        let most = self.rows.saturating_sub(2).min(MOST);
        let mut blocks = self.blocks();
        collapse(&mut blocks, most);
        let shown = blocks.iter().flat_map(|block| self.block(block, &blocks));
        let mut lines: Vec<Line> = shown.take(most).collect();
        let hidden = blocks.len().saturating_sub(most);
        if hidden > 0 && !lines.is_empty() {
            lines.pop();
            let more = plural(hidden + 1, "step");
            let mut line = Line::default();
            line.add(self.paint.dim, format!("  … and {more} more"));
            lines.push(line);
        }
        lines.push(self.footer());
        lines
            .into_iter()
            .map(|line| line.fitted(room).trimmed())
            .collect()
    }

    fn blocks(&self) -> Vec<Block<'a>> {
        let mut blocks: IndexMap<&StepId, Block<'a>> = IndexMap::new();
        for (name, task) in self.view.active() {
            let Some(view) = self.view.steps.get(&task.step) else {
                continue;
            };
            let block = blocks.entry(&task.step).or_insert_with(|| Block {
                step: &task.step,
                view,
                tasks: Vec::new(),
                collapsed: false,
            });
            block.tasks.push((name, task));
        }
        blocks.into_values().collect()
    }

    fn block(&self, block: &Block<'a>, all: &[Block<'a>]) -> Vec<Line> {
        if block.collapsed {
            return vec![self.counts(block)];
        }
        let head = block.is_large().then(|| self.counts(block));
        let names = names_width(all, self.columns);
        let rows = block.tasks.iter();
        let rows = rows.map(|(name, task)| self.row(name, task, (block, names)));
        head.into_iter().chain(rows).collect()
    }

    fn spinner(&self, at: usize) -> &'static str {
        FRAMES[(self.turn + at) % FRAMES.len()]
    }

    /// `  ⠙ base[i=3]   42%  12s of ~28s  KSampler · farm`.
    fn row(&self, name: &TaskName, task: &TaskView, (block, names): (&Block<'_>, usize)) -> Line {
        let Paint { dim, odd, .. } = *self.paint;
        let indent = if block.is_large() { "    " } else { "  " };
        let mut line = Line::plain(indent);
        let (style, mark) = match task.state {
            TaskState::Queued => (dim, "·"),
            TaskState::Preparing => (dim, "↑"),
            TaskState::Fetching => (dim, "↓"),
            _ => (Style::new(), self.spinner(0)),
        };
        let names = names - (indent.len() - 2).min(names);
        line.add(style, mark).add(Style::new(), " ");
        line.add(Style::new(), padded(&cut(name.as_str(), names), names));
        let known = task.state == TaskState::Executing
            && (task.fraction > 0.0 || task.node_title.is_some());
        let part = match task.state {
            TaskState::Executing if known => percent(task.fraction),
            TaskState::Fetching if !task.command => "99%".to_owned(),
            _ => String::new(),
        };
        line.add(Style::new(), format!("  {part:>3}"));
        if self.columns >= WIDE {
            line.add(Style::new(), "  ");
            bar(&mut line, self.paint, task.fraction, known);
        }
        line.add(dim, format!("  {}", self.times(task, block.view.expected)));
        let details = self.details(task);
        if !details.is_empty() {
            line.add(Style::new(), format!("  {}", details.join(" · ")));
        }
        if task.attempt > 1 {
            line.add(odd, format!(" · attempt {}", task.attempt));
        }
        line
    }

    /// `12s of ~28s`.
    fn times(&self, task: &TaskView, expected: Option<f64>) -> String {
        let took = lasting(self.now - task.started);
        if self.columns < NARROW {
            return format!("{took:>6}");
        }
        let text = match expected {
            Some(seconds) => {
                let expected = std::time::Duration::from_secs_f64(seconds.clamp(0.0, 1e9));
                format!("{took:>6} of ~{}", duration(expected))
            }
            None => format!("{took:>6}"),
        };
        let any = self.view.steps.values().any(|step| step.expected.is_some());
        padded(&text, if any { 17 } else { 6 })
    }

    fn details(&self, task: &TaskView) -> Vec<String> {
        let server = self.view.place(task);
        let wide = self.columns >= NARROW;
        match task.state {
            TaskState::Queued => match task.place {
                Some(place) => vec![format!("queued on {server}"), format!("place {place}")],
                None => vec![format!("queued on {server}")],
            },
            TaskState::Preparing => vec!["preparing".to_owned()],
            TaskState::Fetching => vec!["fetching results".to_owned()],
            _ => {
                let title = task.node_title.as_deref().map(tame);
                let server = (wide && !task.command).then_some(server);
                title.into_iter().chain(server).collect()
            }
        }
    }

    /// `  ⠙ base 128/400 · 3 running · 12 cached`.
    fn counts(&self, block: &Block<'_>) -> Line {
        let mut line = Line::plain("  ");
        line.add(Style::new(), self.spinner(3));
        line.add(Style::new(), format!(" {} ", block.step));
        if self.columns >= WIDE {
            let done = share(block.view.finished(), block.view.tasks);
            bar(&mut line, self.paint, done, true);
            line.add(Style::new(), " ");
        }
        let standing = |state| {
            let mut tasks = block.tasks.iter();
            tasks
                .by_ref()
                .filter(|(_, task)| task.state == state)
                .count()
        };
        let mut parts = vec![format!("{}/{}", block.view.finished(), block.view.tasks)];
        let flight = [
            (standing(TaskState::Executing), "running"),
            (standing(TaskState::Queued), "queued"),
            (standing(TaskState::Preparing), "preparing"),
            (standing(TaskState::Fetching), "fetching"),
        ];
        parts.extend(counted(flight));
        line.add(Style::new(), parts.join(" · "));
        self.trouble(&mut line, block.view.ended, block.view.retried);
        line
    }

    /// What of it ended in another way than by being made.
    fn trouble(&self, line: &mut Line, ended: Counts, retried: usize) {
        let Paint { bad, odd, dim, .. } = *self.paint;
        for (count, word, style) in [
            (ended.cached, "cached", dim),
            (ended.failed, "failed", bad),
            (ended.skipped, "skipped", dim),
            (ended.cancelled, "cancelled", odd),
            (retried, "retried", odd),
        ] {
            if count > 0 {
                line.add(dim, " · ").add(style, format!("{count} {word}"));
            }
        }
    }

    /// `  ⠙ 12/401 · 12 cached · 1m 20s, about 4m 10s left`.
    fn footer(&self) -> Line {
        let view = self.view;
        let Paint { dim, .. } = *self.paint;
        let (ended, all) = (view.ended_tasks(), view.tasks.len());
        let mut line = Line::plain("  ");
        line.add(Style::new(), self.spinner(0)).add(dim, " ");
        if self.columns >= WIDE {
            bar(&mut line, self.paint, share(ended, all), true);
            line.add(dim, " ");
        }
        let more = if view.growing { "+" } else { "" };
        line.add(Style::new(), format!("{ended}/{all}{more}"));
        let mut counts = Counts::default();
        let mut retried = 0;
        for step in view.steps.values() {
            counts.cached += step.ended.cached;
            counts.failed += step.ended.failed;
            counts.skipped += step.ended.skipped;
            counts.cancelled += step.ended.cancelled;
            retried += step.retried;
        }
        self.trouble(&mut line, counts, retried);
        line.add(dim, format!(" · {}", lasting(self.now - view.began)));
        if let Some(left) = view.left(self.now).filter(|left| *left >= 1000) {
            line.add(dim, format!(", about {} left", lasting(left)));
        }
        line
    }
}

/// Makes blocks into counts, the highest first, until they fit.
fn collapse(blocks: &mut [Block<'_>], most: usize) {
    loop {
        let total: usize = blocks.iter().map(Block::height).sum();
        if total <= most {
            return;
        }
        let open = blocks.iter_mut().filter(|block| block.height() > 1);
        match open.max_by_key(|block| block.height()) {
            Some(highest) => highest.collapsed = true,
            None => return,
        }
    }
}

/// The columns for names, so that what follows stands in columns of its own.
fn names_width(blocks: &[Block<'_>], columns: usize) -> usize {
    let open = blocks.iter().filter(|block| !block.collapsed);
    let names = open.flat_map(|block| {
        let indent = if block.is_large() { 2 } else { 0 };
        block
            .tasks
            .iter()
            .map(move |(name, _)| width(name.as_str()) + indent)
    });
    names.max().unwrap_or(0).min((columns / 3).clamp(8, 40))
}

/// Twelve columns.
fn bar(line: &mut Line, paint: &Paint, fraction: f64, known: bool) {
    const CELLS: usize = 12;
    if !known {
        line.add(paint.dim, " ".repeat(CELLS));
        return;
    }
    let full = (1..=CELLS)
        .filter(|cell| share(*cell, CELLS) <= fraction)
        .count();
    line.add(paint.good, "━".repeat(full));
    line.add(paint.dim, "─".repeat(CELLS - full));
}

fn share(part: usize, all: usize) -> f64 {
    let float = |count: usize| f64::from(u32::try_from(count).unwrap_or(u32::MAX));
    if all == 0 {
        0.0
    } else {
        float(part) / float(all)
    }
}

fn counted<const N: usize>(counts: [(usize, &str); N]) -> impl Iterator<Item = String> {
    let some = counts.into_iter().filter(|(count, _)| *count > 0);
    some.map(|(count, word)| format!("{count} {word}"))
}
