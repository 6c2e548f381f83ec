//! The process of a plugin: `kiln plugin host`. It loads the library that it is told of and does what the messages say that come through a socket in the
//! place of its stdin.

use std::collections::HashSet;
use std::io::{self, BufReader, Read, Write};
use std::path::PathBuf;
use std::sync::mpsc;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::Value;

use super::body::{Body, Sink};
use super::fault::Fault;
use super::frame::{self, Tag};
use super::loaded::Loaded;

/// Where answers go.
type Out = Arc<Mutex<Box<dyn Write + Send>>>;

fn lock<T>(held: &Mutex<T>) -> MutexGuard<'_, T> {
    held.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What a plugin wants of its host, as messages.
struct Telling {
    out: Out,
    cancelled: Arc<Mutex<HashSet<u64>>>,
}

impl Telling {
    fn tell(&self, tag: Tag, parts: &[&[u8]]) -> bool {
        frame::write(&mut *lock(&self.out), tag, parts).is_ok()
    }
}

impl Sink for Telling {
    fn log(&self, level: u32, text: String) {
        let level = u64::from(level).to_le_bytes();
        self.tell(Tag::Log, &[&level, text.as_bytes()]);
    }

    fn progress(&self, call: u64, fraction: f64, note: String) {
        let (call, fraction) = (call.to_le_bytes(), fraction.to_bits().to_le_bytes());
        self.tell(Tag::Progress, &[&call, &fraction, note.as_bytes()]);
    }

    fn is_cancelled(&self, call: u64) -> bool {
        lock(&self.cancelled).contains(&call)
    }

    fn add_artifact(&self, call: u64, artifact: Value, _length: usize) -> bool {
        let artifact = artifact.to_string();
        self.tell(Tag::Artifact, &[&call.to_le_bytes(), artifact.as_bytes()])
    }
}

/// What is said to the process, and what it says.
type Ends = (Box<dyn Read + Send>, Box<dyn Write + Send>);

/// The socket that stands in the place of stdin. From here on nothing does: a program that the plugin starts must not read there, nor
/// keep it open when this process has ended.
#[cfg(unix)]
fn ends() -> io::Result<Ends> {
    use std::fs::File;
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;
    // The clone is closed where another program takes over.
    let socket = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    // Whoever typed the command has no socket there.
    socket.peer_addr()?;
    rustix::stdio::dup2_stdin(File::open("/dev/null")?)?;
    Ok((Box::new(socket.try_clone()?), Box::new(socket)))
}

#[cfg(not(unix))]
fn ends() -> io::Result<Ends> {
    Ok((Box::new(io::stdin()), Box::new(io::stdout())))
}

/// Serves one plugin until nobody speaks to it any more.
///
/// # Errors
/// When there is nobody to speak to.
pub fn serve() -> io::Result<()> {
    let (from, to) = ends()?;
    let out: Out = Arc::new(Mutex::new(to));
    let cancelled = Arc::new(Mutex::new(HashSet::new()));
    let (orders, received) = mpsc::channel();
    let heard = Arc::clone(&cancelled);
    std::thread::spawn(move || {
        let mut from = BufReader::new(from);
        while let Ok(Some((tag, body))) = frame::read(&mut from) {
            if tag == Tag::Cancel {
                if let Some((call, _)) = frame::number(&body) {
                    lock(&heard).insert(call);
                }
            } else if orders.send((tag, body)).is_err() {
                return;
            }
        }
        // Nobody is there any more: whatever the plugin is at, its process must not stay behind.
        std::process::exit(0);
    });
    let sink = Arc::new(Telling {
        out: Arc::clone(&out),
        cancelled,
    });
    let mut plugin: Option<Box<Loaded>> = None;
    while let Ok((tag, body)) = received.recv() {
        if tag == Tag::End {
            if let Some(plugin) = plugin.take() {
                plugin.end();
            }
            return frame::write(&mut *lock(&out), Tag::Answer, &[]);
        }
        let answer = obey(&mut plugin, (tag, &body), &sink);
        let mut out = lock(&out);
        match answer {
            Ok(answer) => frame::write(&mut *out, Tag::Answer, &[&answer])?,
            Err(fault) => {
                let fault = serde_json::to_vec(&fault)?;
                frame::write(&mut *out, Tag::Fault, &[&fault])?;
            }
        }
    }
    Ok(())
}

fn obey(
    plugin: &mut Option<Box<Loaded>>,
    (tag, body): (Tag, &[u8]),
    sink: &Arc<Telling>,
) -> Result<Vec<u8>, Fault> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if tag == Tag::Open {
        let path = PathBuf::from(text(body));
        let (loaded, described) = Loaded::open(&path).map_err(Fault::Said)?;
        *plugin = Some(Box::new(loaded));
        return Ok(described);
    }
    let Some(plugin) = plugin else {
        return Err(Fault::GivenUp);
    };
    let cut = || Fault::Said("a message to its process is cut short".to_owned());
    match tag {
        Tag::Create => {
            let sink: Arc<dyn Sink> = Arc::<Telling>::clone(sink);
            plugin.create(&text(body), sink).map(|()| Vec::new())
        }
        Tag::Event => plugin.event(body).map(|()| Vec::new()),
        Tag::Preview => {
            let (length, rest) = frame::number(body).ok_or_else(cut)?;
            let length = usize::try_from(length).map_err(|_| cut())?;
            let (about, picture) = rest.split_at_checked(length).ok_or_else(cut)?;
            plugin.preview(about, picture).map(|()| Vec::new())
        }
        Tag::Call => {
            let (id, rest) = frame::number(body).ok_or_else(cut)?;
            let end = rest.iter().position(|byte| *byte == 0).ok_or_else(cut)?;
            let answer = plugin.call(id, &text(&rest[..end]), &rest[end + 1..]);
            lock(&sink.cancelled).remove(&id);
            answer
        }
        _ => Err(cut()),
    }
}
