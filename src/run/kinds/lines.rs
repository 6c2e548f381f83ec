//! What a program says on stderr, line by line. Of a flood only a part is told, so that nobody who listens is drowned by it.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, BufReader};
use tokio::sync::mpsc::Sender;
use tokio::sync::mpsc::error::SendError;
use tokio::time::Instant;

/// Lines that are kept for the complaint about a program, and told at the end of a flood.
pub(super) const TAIL: usize = 20;
/// The longest piece that counts as a line, bytes.
const LINE: u64 = 64 * 1024;
/// Pieces that are told in one [`WINDOW`]; of what comes beyond that, the last are told when it is over.
const PER_WINDOW: usize = 200;
const WINDOW: Duration = Duration::from_secs(1);

/// Lines as people see them: progress bars write over theirs with a carriage return.
pub(super) async fn read_lines<T>(
    pipe: impl AsyncRead + Unpin,
    tell: Sender<T>,
    wrap: impl Fn(String) -> T,
) {
    // Whoever listened may have gone.
    let _ = pass_on(pipe, &tell, wrap).await;
}

async fn pass_on<T>(
    pipe: impl AsyncRead + Unpin,
    tell: &Sender<T>,
    wrap: impl Fn(String) -> T,
) -> Result<(), SendError<T>> {
    let mut pipe = BufReader::new(pipe);
    let mut piece = Vec::new();
    let mut flood = Flood::default();
    let (mut began, mut told) = (Instant::now(), 0);
    loop {
        piece.clear();
        let read = (&mut pipe).take(LINE).read_until(b'\n', &mut piece).await;
        let over = !matches!(read, Ok(1..));
        if over || (told >= PER_WINDOW && began.elapsed() >= WINDOW) {
            for line in flood.take() {
                tell.send(wrap(line)).await?;
            }
        }
        if over {
            return Ok(());
        }
        if began.elapsed() >= WINDOW {
            (began, told) = (Instant::now(), 0);
        }
        if told >= PER_WINDOW {
            flood.add(&piece);
            continue;
        }
        told += 1;
        for line in split(&piece) {
            tell.send(wrap(line)).await?;
        }
    }
}

fn split(piece: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(piece);
    let lines = text
        .split(['\r', '\n'])
        .filter(|line| !line.trim().is_empty());
    lines.map(|line| line.trim_end().to_owned()).collect()
}

/// Pieces that are not told yet.
#[derive(Default)]
struct Flood {
    left_out: u64,
    last: VecDeque<Vec<u8>>,
}

impl Flood {
    fn add(&mut self, piece: &[u8]) {
        let mut kept = Vec::new();
        if self.last.len() == TAIL {
            self.left_out += 1;
            kept = self.last.pop_front().unwrap_or_default();
        }
        kept.clear();
        kept.extend_from_slice(piece);
        self.last.push_back(kept);
    }

    fn take(&mut self) -> Vec<String> {
        let mut lines = Vec::new();
        if self.left_out > 0 {
            lines.push(format!("… {} lines are left out", self.left_out));
        }
        lines.extend(self.last.drain(..).flat_map(|piece| split(&piece)));
        self.left_out = 0;
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn heard(text: &str) -> Vec<String> {
        let (tell, mut hear) = tokio::sync::mpsc::channel(8);
        let text = text.as_bytes().to_vec();
        tokio::spawn(async move { read_lines(&text[..], tell, |line| line).await });
        let mut lines = Vec::new();
        while let Some(line) = hear.recv().await {
            lines.push(line);
        }
        lines
    }

    #[tokio::test]
    async fn of_a_flood_the_beginning_and_the_end_are_told() {
        let flood: Vec<String> = (0..1_000_000).map(|n| n.to_string()).collect();
        let flood = flood.join("\n");
        let lines = heard(&flood).await;
        assert!(lines.len() < 20_000, "{}", lines.len());
        assert_eq!(lines[..2], ["0", "1"]);
        assert_eq!(lines.last().unwrap(), "999999");
        let told = lines.iter().filter(|line| line.parse::<u32>().is_ok());
        let left_out = lines.iter().filter_map(|line| {
            let rest = line.strip_prefix("… ")?;
            rest.split_once(' ')?.0.parse::<usize>().ok()
        });
        assert_eq!(told.count() + left_out.sum::<usize>(), 1_000_000);
    }

    #[tokio::test]
    async fn fewer_lines_are_all_told() {
        assert_eq!(heard(&"line\n".repeat(220)).await.len(), 220);
        assert_eq!(heard("10%\r20%\r\n\nend").await, ["10%", "20%", "end"]);
    }
}
