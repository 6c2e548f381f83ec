//! A proxy that answers some requests itself, as a test tells it, and passes on the others and all sockets.

use std::io::Write;
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;

use super::sockets::{self, Sock};
use super::wire::{Answer, Request};

/// What becomes of a request.
pub(super) enum Reply {
    /// It is passed on, and so is its answer.
    Pass,
    /// It is passed on, and its answer is lost with the connection.
    Swallow,
    /// It is passed on, and its answer changed.
    Edit(fn(&mut Answer)),
    /// It is not passed on.
    Own(Answer),
}

/// What the test says to each request.
pub(super) type Script = Box<dyn Fn(&Request) -> Reply + Send + Sync>;

/// Starts one in front of the server at `url`; its address. Its threads end with the process.
pub(super) fn start(url: &str, script: Script) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let own = format!("http://{}", listener.local_addr().unwrap());
    let target = url.trim_start_matches("http://").to_owned();
    let script = Arc::new(script);
    thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let (script, target) = (Arc::clone(&script), target.clone());
            // What becomes of a broken connection is the client's affair.
            thread::spawn(move || drop(serve(client, &target, &script)));
        }
    });
    own
}

fn serve(mut client: TcpStream, target: &str, script: &Script) -> std::io::Result<()> {
    let request = Request::read(&mut client)?;
    if request.target().contains("/ws") {
        return sockets::serve(client, &request, target, Sock::Pass, (1, 0));
    }
    let answer = match script(&request) {
        Reply::Own(answer) => answer,
        Reply::Pass => Answer::fetch(target, &request)?,
        Reply::Swallow => {
            Answer::fetch(target, &request)?;
            return client.shutdown(Shutdown::Both);
        }
        Reply::Edit(edit) => {
            let mut answer = Answer::fetch(target, &request)?;
            edit(&mut answer);
            answer
        }
    };
    let (head, body) = answer.bytes();
    client.write_all(&[head, body].concat())?;
    client.shutdown(Shutdown::Both)
}
