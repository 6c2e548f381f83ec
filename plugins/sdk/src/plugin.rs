//! The trait that a plugin implements.

use serde_json::Value;

use crate::about::About;
use crate::error::{Error, Result};
use crate::host::{Call, Host};
use crate::messages::{Arguments, Artifact, Change, Event, Preview, Results, Submission, Task};

/// A plugin. Implement what [`Plugin::about`] names, and nothing else; then write `kiln_plugin::export!(MyPlugin);`.
///
/// One instance is made for each entry under `plugins:` in `kiln.yaml`. It lives on a thread of its own, and is asked for one thing at a
/// time. A panic fails the call it happens in; the plugin lives on. A call that takes longer than `timeout:` is given up, and so is the
/// plugin if it does not notice ([`Call::is_cancelled`]).
pub trait Plugin: Send + Sized + 'static {
    /// What it is and can do.
    fn about() -> About;

    /// Makes it, with its `config:` from `kiln.yaml`, which fits the schema in [`About`]; null when there is none.
    fn create(config: &Value, host: Host) -> Result<Self>;

    /// Something happened in the run: a line of `kiln run --output json`.
    fn run_event(&mut self, _event: &Event<'_>) -> Result {
        Ok(())
    }

    /// A server said something of a job of this run: `type`, `task`, `server`, `prompt_id`, and the whole `message`.
    fn server_event(&mut self, _event: &Event<'_>) -> Result {
        Ok(())
    }

    /// A server sent a preview frame.
    fn preview(&mut self, _preview: &Preview<'_>) -> Result {
        Ok(())
    }

    /// A graph is about to be submitted. `None`: as it is; else the graph to submit instead, which kiln checks again.
    fn before_submit(&mut self, _job: &Submission, _call: Call) -> Result<Option<Value>> {
        Ok(None)
    }

    /// A job's results are here. `None`: they stay as they are.
    fn after_download(&mut self, _results: &Results, _call: Call) -> Result<Option<Vec<Change>>> {
        Ok(None)
    }

    /// A task of a step is to be carried out. The artifacts it makes, beside those it added with [`Call::add`].
    fn step(&mut self, _task: &Task, _call: Call) -> Result<Vec<Artifact>> {
        Err(Error::new("this plugin provides no step"))
    }

    /// A template calls a function.
    fn function(&mut self, given: &Arguments, _call: Call) -> Result<Value> {
        Err(Error::new(format!(
            "there is no function `{}`",
            given.name()
        )))
    }

    /// A template uses a filter.
    fn filter(&mut self, given: &Arguments, _call: Call) -> Result<Value> {
        Err(Error::new(format!("there is no filter `{}`", given.name())))
    }
}
