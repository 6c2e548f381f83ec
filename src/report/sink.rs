//! A stream that may fail without anyone else falling silent.

use std::io::{Error, ErrorKind, Result, Write};

/// What is gathered is written when there is so much of it.
const FULL: usize = 64 * 1024;

/// Takes what is written until the stream refuses; from then on it takes everything and writes nothing.
#[derive(Debug)]
pub(super) struct Sink<W> {
    out: W,
    closed: bool,
    trouble: Option<Error>,
    /// What was not written yet, while much is told at one moment.
    gathered: Option<Vec<u8>>,
}

impl<W: Write> Sink<W> {
    pub(super) fn new(out: W) -> Self {
        Self {
            out,
            closed: false,
            trouble: None,
            gathered: None,
        }
    }

    /// Why the stream refused, told once; that its reader has seen enough is no trouble.
    pub(super) fn trouble(&mut self) -> Option<Error> {
        self.trouble.take()
    }

    /// Whether what is written may wait for more, whatever `flush` says.
    pub(super) fn gather(&mut self, gather: bool) -> Result<()> {
        if gather {
            self.gathered.get_or_insert_default();
            return Ok(());
        }
        let gathered = self.gathered.take().unwrap_or_default();
        self.write_all(&gathered)?;
        self.flush()
    }

    fn heed<T>(&mut self, written: Result<T>, otherwise: T) -> Result<T> {
        match written {
            Ok(value) => Ok(value),
            Err(error) if error.kind() == ErrorKind::Interrupted => Err(error),
            Err(error) => {
                self.closed = true;
                if error.kind() != ErrorKind::BrokenPipe {
                    self.trouble = Some(error);
                }
                Ok(otherwise)
            }
        }
    }
}

impl<W: Write> Write for Sink<W> {
    fn write(&mut self, bytes: &[u8]) -> Result<usize> {
        if self.closed {
            return Ok(bytes.len());
        }
        if let Some(gathered) = &mut self.gathered {
            gathered.extend_from_slice(bytes);
            if gathered.len() >= FULL {
                let full = std::mem::take(gathered);
                let written = self.out.write_all(&full);
                self.heed(written, ())?;
            }
            return Ok(bytes.len());
        }
        let written = self.out.write(bytes);
        self.heed(written, bytes.len())
    }

    fn flush(&mut self) -> Result<()> {
        if self.closed || self.gathered.is_some() {
            return Ok(());
        }
        let flushed = self.out.flush();
        self.heed(flushed, ())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A stream that counts how often it is written to.
    #[derive(Debug, Default)]
    struct Counting {
        bytes: Vec<u8>,
        times: usize,
    }

    impl Write for Counting {
        fn write(&mut self, bytes: &[u8]) -> Result<usize> {
            self.bytes.extend_from_slice(bytes);
            self.times += 1;
            Ok(bytes.len())
        }

        fn flush(&mut self) -> Result<()> {
            Ok(())
        }
    }

    #[test]
    fn what_is_told_at_one_moment_is_written_in_few_pieces_and_whole() {
        let mut sink = Sink::new(Counting::default());
        sink.gather(true).unwrap();
        let lines: Vec<String> = (0..20_000).map(|at| format!("{at}\n")).collect();
        for line in &lines {
            sink.write_all(line.as_bytes()).unwrap();
            sink.flush().unwrap();
        }
        sink.gather(false).unwrap();
        sink.write_all(b"end").unwrap();
        assert!(sink.out.times < 5, "{}", sink.out.times);
        let expected = format!("{}end", lines.concat());
        assert_eq!(String::from_utf8(sink.out.bytes).unwrap(), expected);
    }
}
