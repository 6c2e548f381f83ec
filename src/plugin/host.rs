//! All plugins of a plan.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use indexmap::IndexMap;
use serde_json::{Value, json};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::sync::oneshot;

use super::about::About;
use super::declared::{Declared, OnError, Shape};
use super::diagnostic::twice;
use super::fault::Fault;
use super::loading::load;
use super::made;
use super::member::Member;
use super::order::{Answer, Calling, Watch};
use super::queue::{Heard, Weight};
use super::told::{self, Clock, Preview, ServerMessage};
use crate::artifact::Datum;
use crate::base::{Inputs, RunId, Secrets, StepId};
use crate::diagnostic::{Diagnostic, Severity};
use crate::event::RunEvent;
use crate::protocol::Event;

/// How often plugins are looked at, and so how long an event waits that wakes nobody.
const WATCH: Duration = Duration::from_millis(25);

/// Something about a plugin that nobody asked for.
#[derive(Clone, Debug)]
pub enum Notice {
    /// It says something.
    Log {
        /// Its name.
        plugin: String,
        /// How important it is; see `kiln_plugin::abi::level`.
        level: u32,
        /// What.
        text: String,
    },
    /// It failed at something that nobody waits for.
    Failed {
        /// Its name.
        plugin: String,
        /// `event` or `preview`.
        hook: &'static str,
        /// How.
        fault: Fault,
    },
    /// It is asked nothing any more.
    GivenUp {
        /// Its name.
        plugin: String,
        /// Why.
        fault: Fault,
    },
}

/// The plugins of a plan, loaded, in the order in which they are declared. Cheap to clone; without plugins it costs nothing.
#[derive(Clone, Default)]
pub struct Plugins(Option<Arc<All>>);

struct All {
    members: Vec<Arc<Member>>,
    notices: Mutex<Option<UnboundedReceiver<Notice>>>,
    /// One that must not fail did.
    failed: AtomicBool,
    clock: Clock,
}

impl std::fmt::Debug for All {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(&self.members).finish()
    }
}

impl std::fmt::Debug for Plugins {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.members()).finish()
    }
}

/// Loaded plugins are no part of what a plan is; their declarations are.
impl PartialEq for Plugins {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Drop for All {
    fn drop(&mut self) {
        for member in &self.members {
            member.close();
        }
    }
}

/// The functions and filters of plugins, for templates. They last as long as the plugins, and keep none of them alive.
#[derive(Clone, Debug)]
pub struct Callables {
    plugins: Weak<All>,
}

impl All {
    /// Tells those that hear of it, of what is made only when there are any.
    fn tell(&self, hears: impl Fn(&Member) -> bool, make: impl FnOnce() -> (Heard, Weight)) {
        let mut members = self.members.iter().filter(|member| hears(member));
        let Some(first) = members.next() else {
            return;
        };
        let (told, weight) = make();
        for member in members {
            member.tell(told.clone(), weight.clone());
        }
        first.tell(told, weight);
    }
}

/// What stands for all earlier ones of its kind with this name.
fn latest(kind: &'static str, name: &str) -> Weight {
    Weight::Latest((kind, name.into()))
}

impl Plugins {
    /// Loads plugins; whatever is wrong is added to the complaints. What a declaration learns by being loaded is put into it; one whose
    /// plugin is not to be had is taken out.
    ///
    /// What is read is recorded in `inputs`. With `all`, one that may fail is as needed as the others.
    pub fn load(
        declared: &mut IndexMap<String, Declared>,
        (inputs, secrets): (&Inputs, &Secrets),
        all: bool,
        complaints: &mut Vec<Diagnostic>,
    ) -> Self {
        if declared.is_empty() {
            return Self::default();
        }
        let (tell, notices) = unbounded_channel();
        let mut members: Vec<Arc<Member>> = Vec::new();
        declared.retain(|_, one| {
            match load(one, (inputs, secrets), &tell) {
                Ok(member) => {
                    *one = member.declared.clone();
                    complaints.extend(twice(&members, &member));
                    members.push(member);
                    return true;
                }
                Err(found) => complaints.extend(found.into_iter().map(|built| Diagnostic {
                    severity: match one.on_error {
                        OnError::Warn if !all => Severity::Warning,
                        OnError::Warn | OnError::Fail => Severity::Error,
                    },
                    ..built
                })),
            }
            false
        });
        if members.is_empty() {
            return Self::default();
        }
        Self::of(members, notices)
    }

    fn of(members: Vec<Arc<Member>>, notices: UnboundedReceiver<Notice>) -> Self {
        let all = Arc::new(All {
            members,
            notices: Mutex::new(Some(notices)),
            failed: AtomicBool::new(false),
            clock: Clock::default(),
        });
        watch(&all);
        Self(Some(all))
    }

    /// Plugins whose bodies a test wrote.
    #[cfg(test)]
    pub(crate) fn staged(parts: impl IntoIterator<Item = super::staged::Part>) -> Self {
        let (tell, notices) = unbounded_channel();
        let parts = parts.into_iter();
        let members = parts.map(|part| Member::staged(part, tell.clone()));
        Self::of(members.collect(), notices)
    }

    fn members(&self) -> &[Arc<Member>] {
        self.0.as_ref().map_or(&[], |all| &all.members)
    }

    /// What tells these plugins from others; 0 without any.
    pub fn id(&self) -> usize {
        self.0.as_ref().map_or(0, |all| Arc::as_ptr(all) as usize)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    fn find(&self, name: &str) -> Option<&Arc<Member>> {
        let mut members = self.members().iter();
        members.find(|member| member.declared.name == name)
    }

    /// What plugins are, by name.
    pub fn abouts(&self) -> impl Iterator<Item = (&Declared, &About)> {
        let members = self.members().iter();
        members.map(|member| (&member.declared, &member.about))
    }

    /// What a plugin is.
    pub fn about(&self, name: &str) -> Option<&About> {
        self.find(name).map(|member| &member.about)
    }

    /// A plugin as it is declared.
    pub fn declared(&self, name: &str) -> Option<&Declared> {
        self.find(name).map(|member| &member.declared)
    }

    /// The plugins that change the jobs of a step, or what those leave behind.
    pub fn shaping(&self, step: &StepId) -> Vec<String> {
        let members = self.members().iter();
        members
            .filter(|member| member.about.shapes_jobs() && member.declared.is_for(step))
            .map(|member| member.declared.name.clone())
            .collect()
    }

    /// The plugins with a hook that are for a step.
    pub fn with_hook(&self, step: &StepId, has: impl Fn(&About) -> bool) -> Vec<String> {
        let members = self.members().iter();
        members
            .filter(|member| has(&member.about) && member.declared.is_for(step))
            .map(|member| member.declared.name.clone())
            .collect()
    }

    /// What a plugin adds to the key of what it makes.
    pub fn shape(&self, name: &str) -> Option<Shape> {
        self.find(name).map(|member| member.declared.shape())
    }

    /// Functions and filters for templates.
    pub fn callables(&self) -> Callables {
        Callables {
            plugins: self.0.as_ref().map(Arc::downgrade).unwrap_or_default(),
        }
    }

    /// What plugins say and how they fail, from now on. Asked once.
    pub fn notices(&self) -> Option<UnboundedReceiver<Notice>> {
        let all = self.0.as_ref()?;
        for member in &all.members {
            member.forget_lines();
        }
        all.notices
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
    }

    /// One that must not fail did; the run does not end well.
    pub fn mark_failed(&self) {
        if let Some(all) = &self.0 {
            all.failed.store(true, Ordering::Relaxed);
        }
    }

    /// Whether one that must not fail did.
    pub fn failed(&self) -> bool {
        let all = self.0.as_ref();
        all.is_some_and(|all| all.failed.load(Ordering::Relaxed))
    }

    /// Tells of a run event.
    pub fn publish(&self, event: &RunEvent, run: &RunId) {
        let Some(all) = &self.0 else {
            return;
        };
        let name = event.name();
        all.tell(
            |member| member.hears(name),
            || {
                let weight = match event {
                    RunEvent::TaskProgress { task, .. } => latest("run", task.as_str()),
                    RunEvent::TaskPlace { task, .. } => latest("place", task.as_str()),
                    RunEvent::TaskOutput { .. } => Weight::Spare,
                    _ => Weight::Kept,
                };
                let told = told::of_run(event, run, jiff::Timestamp::now(), &all.clock);
                (Heard::Event(told), weight)
            },
        );
    }

    /// Whether any plugin hears what servers say.
    pub fn hear_servers(&self) -> bool {
        let mut members = self.members().iter();
        members.any(|member| !member.about.server_events.is_empty() || member.about.previews)
    }

    /// Whether any plugin hears of a server's message of a type.
    pub fn wants_message(&self, kind: &str) -> bool {
        let mut members = self.members().iter();
        members.any(|member| member.hears_server(kind))
    }

    /// Whether any plugin gets preview frames.
    pub fn wants_previews(&self) -> bool {
        self.members().iter().any(|member| member.about.previews)
    }

    /// Tells of a server's message.
    pub fn publish_message(&self, message: ServerMessage<'_>, run: &RunId) {
        let Some(all) = &self.0 else {
            return;
        };
        all.tell(
            |member| member.hears_server(message.kind),
            || {
                let weight = match message.kind {
                    kind @ ("progress" | "progress_state" | "progress_text" | "status") => {
                        let job = message.prompt_id.unwrap_or_default();
                        latest("server", &format!("{} {kind} {job}", message.server))
                    }
                    // Packs of nodes tell everybody of all kinds of things, some of them ten times a second.
                    kind if message.prompt_id.is_none() && !Event::is_known(kind) => Weight::Spare,
                    _ => Weight::Kept,
                };
                (Heard::Event(told::of_server(&message, run)), weight)
            },
        );
    }

    /// Shows a preview frame.
    pub fn publish_preview(&self, preview: &Preview, picture: &bytes::Bytes, run: &RunId) {
        let Some(all) = &self.0 else {
            return;
        };
        all.tell(
            |member| member.about.previews,
            || {
                let job = preview.prompt_id.as_deref().unwrap_or_default();
                let weight = latest("preview", &format!("{} {job}", preview.server));
                let about = told::of_preview(preview, run);
                (Heard::Preview(about, picture.clone()), weight)
            },
        );
    }

    /// Whether the run should wait for a plugin that does not keep up.
    pub fn is_full(&self) -> bool {
        self.members().iter().any(|member| member.is_full())
    }

    /// Waits for plugins that do not keep up.
    pub async fn room(&self) {
        for member in self.members() {
            if member.is_full() {
                member.room().await;
            }
        }
    }

    /// Waits until all plugins have done everything that they were told. It ends: what takes too long is given up.
    pub async fn settle(&self) {
        for member in self.members() {
            member.idle().await;
        }
    }

    /// Gives up whatever has something to do yet: nobody waits for it any longer.
    pub fn give_up_rest(&self) {
        for member in self.members() {
            member.give_up_rest();
        }
    }

    /// Ends all plugins, and waits a little for them.
    pub async fn end(&self, patience: Duration) {
        for member in self.members() {
            member.close();
        }
        let gone = async {
            for member in self.members() {
                member.gone().await;
            }
        };
        let _ = tokio::time::timeout(patience, gone).await;
    }

    /// Asks a plugin for something.
    pub fn call(
        &self,
        name: &str,
        hook: &'static str,
        request: &Value,
        watch: Watch,
    ) -> Result<Calling, Fault> {
        let member = self.find(name).ok_or(Fault::GivenUp)?;
        let (send, answer) = oneshot::channel();
        let reply = Box::new(move |answered| drop(send.send(answered)));
        let request = request.to_string().into_bytes();
        let asked = member.ask(hook, request, watch, reply);
        Ok(Calling {
            answer,
            member: Arc::clone(member),
            id: asked.id,
            cancelled: asked.cancelled,
            begun: asked.begun,
        })
    }

    /// Asks a plugin for something and blocks until it answers.
    pub fn call_now(
        &self,
        name: &str,
        hook: &'static str,
        request: &Value,
    ) -> Result<Answer, Fault> {
        let member = self.find(name).ok_or(Fault::GivenUp)?;
        let (send, answer) = std::sync::mpsc::sync_channel(1);
        let reply = Box::new(move |answered| drop(send.send(answered)));
        let request = request.to_string().into_bytes();
        member.ask(hook, request, Watch::default(), reply);
        answer.recv().unwrap_or(Err(Fault::GivenUp))
    }

    /// Whether a plugin is asked nothing any more.
    pub fn is_given_up(&self, name: &str) -> bool {
        self.find(name).is_none_or(|member| member.is_given_up())
    }
}

impl Callables {
    fn plugins(&self) -> Plugins {
        Plugins(self.plugins.upgrade())
    }

    /// The names of functions.
    pub fn functions(&self) -> Vec<String> {
        self.names(|about| &about.functions)
    }

    /// The names of filters.
    pub fn filters(&self) -> Vec<String> {
        self.names(|about| &about.filters)
    }

    fn names(&self, of: impl Fn(&About) -> &Vec<super::about::Callable>) -> Vec<String> {
        let mut seen = HashSet::new();
        let plugins = self.plugins();
        let members = plugins.members().iter();
        members
            .flat_map(|member| of(&member.about))
            .map(|one| one.name.clone())
            .filter(|name| seen.insert(name.clone()))
            .collect()
    }

    /// Calls a function, or applies a filter whose first argument is what it is applied to. Blocks.
    ///
    /// # Errors
    /// A sentence that names the plugin.
    pub fn call(
        &self,
        filter: bool,
        name: &str,
        args: &[Datum],
        named: &IndexMap<String, Datum>,
    ) -> Result<Datum, String> {
        let of = |about: &About| {
            let list = if filter {
                &about.filters
            } else {
                &about.functions
            };
            list.iter().any(|one| one.name == name)
        };
        let plugins = self.plugins();
        let mut members = plugins.members().iter();
        let Some(member) = members.find(|member| of(&member.about)) else {
            return Err("no plugin has it".to_owned());
        };
        let plugin = &member.declared.name;
        let args: Vec<Value> = args.iter().map(handed).collect();
        let named: serde_json::Map<String, Value> = named
            .iter()
            .map(|(name, value)| (name.clone(), handed(value)))
            .collect();
        let request = json!({ "name": name, "args": args, "named": named });
        let hook = if filter {
            kiln_plugin::abi::hook::FILTER
        } else {
            kiln_plugin::abi::hook::FUNCTION
        };
        plugins
            .call_now(plugin, hook, &request)
            .and_then(made::value)
            .map_err(|fault| format!("plugin `{plugin}`: {fault}"))
    }
}

/// A value as plugins get it: files are objects.
pub(crate) fn handed(value: &Datum) -> Value {
    match value {
        Datum::List(items) => items.iter().map(handed).collect(),
        Datum::Map(entries) => entries
            .iter()
            .map(|(key, value)| (key.clone(), handed(value)))
            .collect(),
        Datum::File(file) => {
            let name = file.path.file_name().unwrap_or_default().to_string_lossy();
            json!({
                "path": file.path.to_string_lossy(), "name": name,
                "kind": crate::artifact::Kind::of_name(&name).name(),
                "hash": file.hash.to_hex(), "size": file.size,
            })
        }
        Datum::Artifact(artifact) => match artifact.as_text() {
            Some(text) => Value::String(text.to_owned()),
            None => of_artifact(artifact),
        },
        plain => plain.to_json(),
    }
}

/// An artifact as plugins get it.
pub(crate) fn of_artifact(artifact: &crate::artifact::Artifact) -> Value {
    let mut all = json!({
        "kind": artifact.kind.name(), "name": artifact.name, "hash": artifact.hash.to_hex(),
        "size": artifact.size, "node": artifact.node, "output": artifact.output,
        "step": artifact.step, "task": artifact.task, "meta": artifact.meta,
    });
    if let Some(path) = &artifact.path {
        all["path"] = json!(path.to_string_lossy());
    }
    if let Some(text) = &artifact.text {
        all["text"] = json!(text);
    }
    all
}

/// Looks after the time that plugins take, and wakes those that have something to hear, until nobody has them any more.
fn watch(all: &Arc<All>) {
    let weak = Arc::downgrade(all);
    let looking = move || {
        while let Some(all) = weak.upgrade() {
            let now = Instant::now();
            for member in &all.members {
                member.watch(now);
            }
            drop(all);
            std::thread::sleep(WATCH);
        }
    };
    let thread = std::thread::Builder::new().name("plugins".to_owned());
    // Without it a plugin that hangs would not be given up; a system that has no thread to give has other troubles.
    if thread.spawn(looking).is_ok() {
        for member in &all.members {
            member.is_watched();
        }
    }
}

#[cfg(test)]
mod tests;
