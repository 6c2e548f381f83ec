//! A stream that may fail without anyone else falling silent.

use std::io::{Error, ErrorKind, Result, Write};

/// Takes what is written until the stream refuses; from then on it takes everything and writes nothing.
#[derive(Debug)]
pub(super) struct Sink<W> {
    out: W,
    closed: bool,
    trouble: Option<Error>,
}

impl<W: Write> Sink<W> {
    pub(super) fn new(out: W) -> Self {
        Self {
            out,
            closed: false,
            trouble: None,
        }
    }

    /// Why the stream refused, told once; that its reader has seen enough is no trouble.
    pub(super) fn trouble(&mut self) -> Option<Error> {
        self.trouble.take()
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
        let written = self.out.write(bytes);
        self.heed(written, bytes.len())
    }

    fn flush(&mut self) -> Result<()> {
        if self.closed {
            return Ok(());
        }
        let flushed = self.out.flush();
        self.heed(flushed, ())
    }
}
