//! The journal as the dispatcher sees it: appends go out at once, and become durable in order.

use std::collections::VecDeque;

use crate::event::{Counts, RunStatus};
use crate::machine::Fact;
use crate::store::{Ack, Journal, StoreError};

/// Milliseconds since 1970, as the journal tells time.
pub(super) fn now() -> u64 {
    u64::try_from(jiff::Timestamp::now().as_millisecond()).unwrap_or(0)
}

pub(super) struct Log {
    journal: Journal,
    /// Appends handed over.
    pub(super) sent: u64,
    /// Appends known to be durable.
    pub(super) durable: u64,
    waiting: VecDeque<Ack>,
}

impl Log {
    pub(super) fn new(journal: Journal) -> Self {
        Self {
            journal,
            sent: 0,
            durable: 0,
            waiting: VecDeque::new(),
        }
    }

    pub(super) fn append(&mut self, at: u64, facts: Vec<Fact>) {
        self.sent += 1;
        self.waiting.push_back(self.journal.append(at, facts));
    }

    /// Facts that nothing waits for: others may look on, and they cost no sync of their own while there is anything else to write.
    pub(super) fn mention(&self, at: u64, facts: Vec<Fact>) {
        self.journal.mention(at, facts);
    }

    /// Whether an append is not known to be durable yet.
    pub(super) fn is_behind(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Waits for the oldest append. Dropping the wait loses nothing.
    pub(super) async fn next_durable(&mut self) -> Result<(), StoreError> {
        if let Some(oldest) = self.waiting.front_mut() {
            let written = oldest.wait().await;
            self.waiting.pop_front();
            written?;
            self.durable += 1;
        }
        Ok(())
    }

    pub(super) async fn all_durable(&mut self) -> Result<(), StoreError> {
        while self.is_behind() {
            self.next_durable().await?;
        }
        Ok(())
    }

    pub(super) async fn finish(
        &mut self,
        at: u64,
        status: RunStatus,
        exit_code: u8,
        counts: Counts,
    ) -> Result<(), StoreError> {
        self.all_durable().await?;
        self.journal
            .finish(at, status, exit_code, counts)
            .durable()
            .await
    }
}
