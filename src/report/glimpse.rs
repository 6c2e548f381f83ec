//! What the first task that is at work is at, as a small picture that is exchanged now and then.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::pictures::{Glimpse, Protocol, glimpse};
use crate::base::TaskName;

/// The least time between two pictures: each is read and made small anew.
const PAUSE: Duration = Duration::from_millis(500);

/// The picture of one task.
#[derive(Debug, Default)]
pub(super) struct Sight {
    task: Option<TaskName>,
    /// The newest, encoded.
    next: Option<Arc<[u8]>>,
    shown: Option<Arc<Glimpse>>,
    at: Option<Instant>,
}

impl Sight {
    /// Takes a picture of a task.
    pub(super) fn hear(&mut self, task: &TaskName, picture: &Arc<[u8]>) {
        if self.task.as_ref() != Some(task) {
            self.task = Some(task.clone());
            self.shown = None;
        }
        self.next = Some(Arc::clone(picture));
    }

    /// Nothing is to be seen any more.
    pub(super) fn close(&mut self) {
        (self.task, self.next, self.shown) = (None, None, None);
    }

    /// What is to be seen of a task.
    pub(super) fn of(
        &mut self,
        task: Option<&TaskName>,
        (protocol, columns): (Protocol, usize),
        now: Instant,
    ) -> Option<Arc<Glimpse>> {
        if self.task.as_ref() != task {
            self.close();
            return None;
        }
        let is_due = self.at.is_none_or(|at| now.duration_since(at) >= PAUSE);
        if let Some(picture) = self.next.take_if(|_| is_due) {
            self.at = Some(now);
            if let Some(drawn) = glimpse(&picture, protocol, columns) {
                self.shown = Some(Arc::new(drawn));
            }
        }
        self.shown.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn picture(shade: u8) -> Arc<[u8]> {
        let mut bytes = std::io::Cursor::new(Vec::new());
        let picture = image::RgbImage::from_pixel(8, 8, image::Rgb([shade; 3]));
        picture
            .write_to(&mut bytes, image::ImageFormat::Png)
            .unwrap();
        bytes.into_inner().into()
    }

    #[test]
    fn a_picture_takes_the_place_of_the_last_one_at_most_twice_a_second() {
        let mut sight = Sight::default();
        let (one, other) = (TaskName::from("a"), TaskName::from("b"));
        let began = Instant::now();
        let at = |sight: &mut Sight, task: &TaskName, ms: u64| {
            let now = began + Duration::from_millis(ms);
            sight.of(Some(task), (Protocol::Kitty, 80), now)
        };
        assert!(at(&mut sight, &one, 0).is_none(), "nothing came yet");
        sight.hear(&one, &picture(1));
        let first = at(&mut sight, &one, 10).unwrap();
        sight.hear(&one, &picture(2));
        sight.hear(&one, &picture(3));
        assert!(Arc::ptr_eq(&first, &at(&mut sight, &one, 400).unwrap()));
        let second = at(&mut sight, &one, 510).unwrap();
        assert!(!Arc::ptr_eq(&first, &second));
        assert!(Arc::ptr_eq(&second, &at(&mut sight, &one, 2_000).unwrap()));
        assert!(
            at(&mut sight, &other, 2_000).is_none(),
            "it is of another task"
        );
        assert!(at(&mut sight, &one, 3_000).is_none(), "it is gone for good");
    }
}
