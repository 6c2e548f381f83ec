//! What befalls sockets: frame by frame, from the server to kiln. What kiln says passes.

use std::collections::VecDeque;
use std::io::{Read, Result, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, Instant};

use super::wire::{Answer, Frame, Request};
use crate::proofs::Dice;

/// What befalls each socket.
#[derive(Clone, Copy)]
pub(super) enum Sock {
    Pass,
    /// It is refused with this status.
    Refused(u16),
    /// It is closed in the middle of the handshake.
    Broken,
    /// The handshake is never answered.
    Unanswered,
    /// Something else is answered to the handshake.
    Foreign,
    /// It opens, and nothing ever comes.
    Silent,
    /// It is closed after so many frames.
    Cut(usize),
    /// It is closed somewhere among the first bytes, so many at the most, in the middle of a frame too.
    CutWithin(u64),
    /// After so many frames nothing comes any more, not even its end.
    DeafAfter(usize),
    /// The first one is closed after so many frames; later ones say nothing but a greeting.
    DeafAgain(usize),
    /// Each message comes twice.
    Twice,
    /// So many messages at a time come in another order.
    Shuffled(usize),
    /// Everything comes so much later.
    Late(Duration),
    /// Messages of these types are missing.
    Without(&'static [&'static str]),
    /// One message in so many is missing.
    Lossy(u64),
    /// Before each message comes what this makes of it.
    Noise(fn(&Frame) -> Vec<Frame>),
    /// These bytes come after so many frames.
    Raw(usize, fn() -> Vec<u8>),
    /// So many messages about other people's jobs come every second.
    Crowd(u64),
}

/// Serves one socket; `at`: which one it is, from 1, and a number that is drawn for it.
pub(super) fn serve(
    mut client: TcpStream,
    request: &Request,
    target: &str,
    sock: Sock,
    at: (usize, u64),
) -> Result<()> {
    match sock {
        Sock::Refused(status) => {
            let (head, body) = Answer::of(status, "text/html", "<html>no").bytes();
            client.write_all(&[head, body].concat())?;
            return client.shutdown(Shutdown::Both);
        }
        Sock::Broken => {
            client.write_all(b"HTTP/1.1 101 Switching Pro")?;
            return client.shutdown(Shutdown::Both);
        }
        Sock::Foreign => {
            client.write_all(b"SSH-2.0-OpenSSH_9.6\r\n\r\n")?;
            return client.shutdown(Shutdown::Both);
        }
        Sock::Unanswered => return std::io::copy(&mut client, &mut std::io::sink()).map(drop),
        _ => {}
    }
    let mut server = TcpStream::connect(target)?;
    server.write_all(&request.bytes())?;
    client.write_all(&shake(&mut server)?)?;
    let (mut from, mut to) = (client.try_clone()?, server.try_clone()?);
    thread::spawn(move || {
        let _ = std::io::copy(&mut from, &mut to);
        let _ = to.shutdown(Shutdown::Both);
    });
    let passed = pass(&mut server, &client, sock, at);
    let _ = server.shutdown(Shutdown::Both);
    let _ = client.shutdown(Shutdown::Both);
    passed
}

/// The server's part of the handshake, byte by byte, so that no frame is taken.
fn shake(server: &mut TcpStream) -> Result<Vec<u8>> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        server.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    Ok(head)
}

/// Holds frames back, and gives one of them at random when they are too many.
fn shuffled(
    held: &mut VecDeque<Frame>,
    frame: Frame,
    window: usize,
    dice: &mut Dice,
) -> Option<Frame> {
    held.push_back(frame);
    if held.len() < window {
        return None;
    }
    held.remove(dice.roll(held.len() as u64) as usize)
}

fn pass(
    server: &mut TcpStream,
    client: &TcpStream,
    sock: Sock,
    (number, drawn): (usize, u64),
) -> Result<()> {
    let mut to = client.try_clone()?;
    let mut dice = Dice(drawn);
    let mut left = match sock {
        Sock::CutWithin(bytes) => drawn % bytes,
        _ => 0,
    };
    let mut held = VecDeque::new();
    let late = delayed(client.try_clone()?);
    if let Sock::Crowd(rate) = sock {
        crowd(client.try_clone()?, rate);
        return std::io::copy(server, &mut std::io::sink()).map(drop);
    }
    for count in 0.. {
        let frame = Frame::read(server)?;
        let control = frame.first & 0x08 != 0;
        match sock {
            Sock::Silent => {}
            Sock::Cut(most) if count >= most => return Ok(()),
            Sock::CutWithin(_) => {
                let bytes = frame.bytes();
                let part = bytes.len().min(left as usize);
                to.write_all(&bytes[..part])?;
                left -= part as u64;
                if left == 0 {
                    return Ok(());
                }
            }
            Sock::DeafAfter(most) if count >= most => {}
            Sock::DeafAgain(most) if number == 1 && count >= most => return Ok(()),
            Sock::DeafAgain(_) if number > 1 && count > 0 => {}
            Sock::Twice if !control => {
                to.write_all(&frame.bytes())?;
                to.write_all(&frame.bytes())?;
            }
            Sock::Shuffled(window) if !control => {
                if let Some(frame) = shuffled(&mut held, frame, window, &mut dice) {
                    to.write_all(&frame.bytes())?;
                }
            }
            Sock::Late(pause) => {
                let _ = late.send((Instant::now() + pause, frame));
            }
            Sock::Without(kinds) if kinds.iter().any(|kind| frame.is(kind)) => {}
            Sock::Lossy(many) if dice.roll(many) == 0 => {}
            Sock::Noise(make) => {
                for frame in make(&frame).iter().chain([&frame]) {
                    to.write_all(&frame.bytes())?;
                }
            }
            Sock::Raw(after, bytes) => {
                if count == after {
                    to.write_all(&bytes())?;
                }
                to.write_all(&frame.bytes())?;
            }
            _ => to.write_all(&frame.bytes())?,
        }
    }
    Ok(())
}

/// Where frames go that come later.
fn delayed(mut to: TcpStream) -> std::sync::mpsc::Sender<(Instant, Frame)> {
    let (sender, frames) = channel::<(Instant, Frame)>();
    thread::spawn(move || {
        for (due, frame) in frames {
            thread::sleep(due.saturating_duration_since(Instant::now()));
            if to.write_all(&frame.bytes()).is_err() {
                return;
            }
        }
    });
    sender
}

/// Says what happens to other people's jobs, and nothing of ours.
fn crowd(mut to: TcpStream, rate: u64) {
    thread::spawn(move || {
        for count in 0_u64.. {
            let id = format!("00000000-0000-4000-8000-{:012x}", count / 14);
            let text = format!(
                r#"{{"type":"progress_state","data":{{"prompt_id":"{id}","nodes":{{"1":{{"value":{count},"max":9e9,"state":"running","node_id":"1","prompt_id":"{id}","display_node_id":"1","parent_node_id":null,"real_node_id":"1"}}}}}}}}"#
            );
            if to.write_all(&Frame::text(&text).bytes()).is_err() {
                return;
            }
            if count % 10 == 0 {
                thread::sleep(Duration::from_millis(10_000 / rate));
            }
        }
    });
}

/// Before a node is executed: messages of all other types about its job, and of types that nobody knows.
pub(super) fn all_sorts(frame: &Frame) -> Vec<Frame> {
    let text = String::from_utf8_lossy(&frame.body).into_owned();
    let named = text.find("\"prompt_id\"");
    let id = named.and_then(|at| text[at + 11..].split('"').nth(1).map(str::to_owned));
    let (true, Some(id)) = (frame.is("executing"), id) else {
        return Vec::new();
    };
    let mut progress_text = vec![0, 0, 0, 3, 0, 0, 0, 1];
    progress_text.extend_from_slice(b"9half a picture");
    let mut all: Vec<Frame> = [
        format!(r#"{{"type":"execution_error","data":{{"prompt_id":"{id}","node_id":"1","node_type":"X","exception_type":"E","exception_message":"a lie","traceback":[],"current_inputs":[],"executed":[]}}}}"#),
        format!(r#"{{"type":"execution_interrupted","data":{{"prompt_id":"{id}","node_id":"1","node_type":"X","executed":[]}}}}"#),
        format!(r#"{{"type":"pack.hello","data":{{"prompt_id":"{id}","value":NaN}}}}"#),
        r#"{"type":"pack.monitor","data":{"cpu":7}}"#.to_owned(),
    ]
    .iter()
    .map(|text| Frame::text(text))
    .collect();
    all.push(Frame::binary(&progress_text));
    all
}
