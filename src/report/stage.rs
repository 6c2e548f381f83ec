//! A terminal on which several reporters tell: what each of them says stays, and below it stands what is under way, of all of them.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::line::Line;
use super::pictures::Glimpse;
use super::screen::Screen;
use super::style::Paint;
use super::text::width;

/// What stands between a label and its line.
const BETWEEN: &str = " │ ";

/// The columns that a label takes before a line.
pub fn label_width(label: Option<&str>) -> usize {
    label.map_or(0, |label| width(label) + width(BETWEEN))
}

/// A terminal that reporters share. Their pieces never mix: each is written whole, with everything that is under way below it.
#[derive(Clone, Debug, Default)]
pub struct Stage(Arc<Mutex<Play>>);

#[derive(Debug, Default)]
struct Play {
    screen: Screen,
    /// The live lines of those who have some, in the order in which their labels came.
    live: BTreeMap<Place, Vec<Line>>,
    /// What one of their tasks is at.
    glimpse: Option<(Place, Arc<Glimpse>)>,
    labels: Vec<Option<String>>,
    seats: usize,
}

/// By label, and of one label by age.
type Place = (usize, usize);

/// One reporter's place.
#[derive(Debug)]
pub(super) struct Seat {
    stage: Stage,
    place: Place,
    label: Option<String>,
}

/// What the terminal is at the moment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Room {
    pub(super) columns: usize,
    pub(super) rows: usize,
    /// It leaves lines as they are when it gets narrower, and cuts them.
    pub(super) cuts: bool,
}

impl Stage {
    fn lock(&self) -> MutexGuard<'_, Play> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place for a reporter whose lines begin with a label, if there is one.
    pub(super) fn seat(&self, label: Option<&str>) -> Seat {
        let mut play = self.lock();
        let label = label.map(str::to_owned);
        let known = play.labels.iter().position(|known| *known == label);
        let at = known.unwrap_or_else(|| {
            play.labels.push(label.clone());
            play.labels.len() - 1
        });
        play.seats += 1;
        Seat {
            stage: self.clone(),
            place: (at, play.seats),
            label,
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut play = self.stage.lock();
        play.live.remove(&self.place);
        play.glimpse.take_if(|(whose, _)| *whose == self.place);
    }
}

impl Seat {
    /// Whether nothing of it is on the terminal that has to go.
    pub(super) fn is_clear(&self) -> bool {
        let play = self.stage.lock();
        let shows = play
            .glimpse
            .as_ref()
            .is_some_and(|(whose, _)| *whose == self.place);
        !shows && !play.live.contains_key(&self.place)
    }

    /// The columns that its label takes.
    pub(super) fn taken(&self) -> usize {
        label_width(self.label.as_deref())
    }

    /// The rows that it may take when others take some, too.
    pub(super) fn share(&self, rows: usize) -> usize {
        let play = self.stage.lock();
        let others = play.live.keys().filter(|place| **place != self.place);
        rows / (others.count() + 1)
    }

    /// Writes what was said, where nothing is live.
    pub(super) fn say(
        &self,
        said: &str,
        paint: &Paint,
        write: impl FnOnce(&str) -> io::Result<()>,
    ) -> io::Result<()> {
        let _one_at_a_time = self.stage.lock();
        write(&self.labelled(said, paint))
    }

    /// Writes what was said, and below it what is under way: its own `lines`, and those of the others.
    pub(super) fn show(
        &self,
        said: &str,
        (glimpse, lines): (Option<Arc<Glimpse>>, Vec<Line>),
        (paint, room): (&Paint, Room),
        write: impl FnOnce(&str) -> io::Result<()>,
    ) -> io::Result<()> {
        let mut play = self.stage.lock();
        if lines.is_empty() {
            play.live.remove(&self.place);
        } else {
            let lines = lines.into_iter().map(|line| self.beside(line, paint));
            play.live.insert(self.place, lines.collect());
        }
        let is_free = |(whose, _): &(Place, _)| *whose == self.place;
        if play.glimpse.as_ref().is_none_or(is_free) {
            play.glimpse = glimpse.map(|glimpse| (self.place, glimpse));
        }
        let glimpse = play
            .glimpse
            .as_ref()
            .map(|(_, glimpse)| Arc::clone(glimpse));
        let above = glimpse.as_ref().map_or(0, |glimpse| glimpse.rows);
        let live = play.live.values().flatten().cloned();
        let live: Vec<Line> = live.take(room.rows.saturating_sub(above + 1)).collect();
        let said = self.labelled(said, paint);
        let frame = play.screen.frame(&said, (glimpse.as_ref(), &live), room);
        if frame.is_empty() {
            return Ok(());
        }
        write(&frame)
    }

    fn beside(&self, line: Line, paint: &Paint) -> Line {
        match &self.label {
            None => line,
            Some(label) => line.after(paint.dim, format!("{label}{BETWEEN}")),
        }
    }

    fn labelled(&self, said: &str, paint: &Paint) -> String {
        let Some(label) = &self.label else {
            return said.to_owned();
        };
        let dim = paint.dim;
        let label = format!("{dim}{label}{}{dim:#} ", BETWEEN.trim_end());
        let lines = said.split_inclusive('\n');
        lines.flat_map(|line| [label.as_str(), line]).collect()
    }
}
