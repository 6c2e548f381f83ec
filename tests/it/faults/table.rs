//! The faults, as data.

use std::time::{Duration, SystemTime};

use super::network::{Deed, Kind, Script, When};
use super::sockets::Sock;
use super::wire::{Answer, Frame, Told};

/// How a run ends that a fault befell.
#[derive(Clone, Copy, Debug)]
pub(super) enum End {
    /// With every file, each job done once.
    Right,
    /// With every file; a job whose server forgot it is done again.
    Again,
    /// With every file, or with a complaint; what files there are, are right.
    Either,
    /// With an exit code and these words; what files there are, are right, and no job was done twice.
    Says(i32, &'static str),
}

/// What befalls the server itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Blow {
    None,
    /// It is killed after so many hundredths of the jobs were submitted, and started again without a memory.
    Restart(usize),
    /// Nobody is let in for a while after so many hundredths of them.
    Away(usize, Duration),
}

/// A fault and what comes of it.
#[derive(Clone, Copy)]
pub(super) struct Fault {
    pub(super) name: &'static str,
    pub(super) script: Script,
    pub(super) blow: Blow,
    /// On a `ComfyUI`, and on Comfy Cloud.
    pub(super) ends: [Option<End>; 2],
    /// It waits for a minute or more, or moves hundreds of megabytes.
    pub(super) slow: bool,
}

impl Fault {
    fn on(self, comfy: End, cloud: End) -> Self {
        Self {
            ends: [Some(comfy), Some(cloud)],
            ..self
        }
    }

    fn cloud(self, end: End) -> Self {
        Self {
            ends: [self.ends[0], Some(end)],
            ..self
        }
    }

    /// Comfy Cloud does it anyway.
    fn comfy_alone(self) -> Self {
        Self {
            ends: [self.ends[0], None],
            ..self
        }
    }

    fn slow(self) -> Self {
        Self { slow: true, ..self }
    }
}

fn fault(name: &'static str, kind: Kind, when: When, deed: Deed) -> Fault {
    Fault {
        name,
        script: Script {
            kind,
            when,
            deed,
            socket: Sock::Pass,
        },
        blow: Blow::None,
        ends: [Some(End::Right); 2],
        slow: false,
    }
}

fn socket(name: &'static str, socket: Sock) -> Fault {
    let mut fault = fault(name, Kind::Socket, When::Always, Deed::Pass);
    fault.script.socket = socket;
    fault
}

fn blow(name: &'static str, blow: Blow) -> Fault {
    Fault {
        blow,
        ..fault(name, Kind::Socket, When::Always, Deed::Pass)
    }
}

fn page(status: u16) -> Answer {
    let body = "<html>\r\n<head><title>nginx</title></head>\r\n<body><center><h1>nginx</h1></center></body>\r\n</html>\r\n";
    Answer::of(status, "text/html", body)
}

fn ok_page() -> Answer {
    page(200)
}

fn page_500() -> Answer {
    page(500)
}

fn page_502() -> Answer {
    page(502)
}

fn page_503() -> Answer {
    page(503)
}

fn page_404() -> Answer {
    page(404)
}

fn trouble() -> Answer {
    let body = "500 Internal Server Error\n\nServer got itself in trouble";
    Answer::of(500, "text/plain", body)
}

fn busy() -> Answer {
    page(429)
}

fn busy_for_a_second() -> Answer {
    busy().with("retry-after", "1")
}

fn busy_until_a_date() -> Answer {
    let until = SystemTime::now() + Duration::from_secs(2);
    busy().with("retry-after", &httpdate::fmt_http_date(until))
}

fn queue_full() -> Answer {
    let body = r#"{"error":{"type":"QUEUE_LIMIT","message":"your queue is full"}}"#;
    Answer::of(429, "application/json", body)
}

fn null() -> Answer {
    Answer::of(200, "application/json", "null")
}

fn list() -> Answer {
    Answer::of(200, "application/json", "[]")
}

fn deep() -> Answer {
    Answer::of(200, "application/json", &"[".repeat(100_000))
}

fn half(answer: &mut Answer) {
    answer.body.truncate(answer.body.len() / 2);
}

fn half_without_length(answer: &mut Answer) {
    half(answer);
    answer.told = Some(Told::Nothing);
}

fn half_by_length(answer: &mut Answer) {
    answer.told = Some(Told::Length(answer.body.len() / 2));
}

fn longer_by_length(answer: &mut Answer) {
    answer.told = Some(Told::Length(answer.body.len() + 10));
}

fn without_length(answer: &mut Answer) {
    answer.told = Some(Told::Nothing);
}

fn without_end(answer: &mut Answer) {
    answer.told = Some(Told::Unended);
}

fn empty(answer: &mut Answer) {
    answer.body.clear();
}

fn without_tag(answer: &mut Answer) {
    answer.headers.retain(|(name, _)| name != "etag");
}

fn other_type(answer: &mut Answer) {
    answer.set("content-type", "application/x-unheard-of; charset=klingon");
}

/// One bit of what it holds is another one.
fn flipped(answer: &mut Answer) {
    let middle = answer.body.len() / 2;
    if let Some(byte) = answer.body.get_mut(middle) {
        *byte ^= 0x10;
    }
}

/// The record of a job that a node failed, whatever its status says.
fn with_an_error(answer: &mut Answer) {
    let text = String::from_utf8_lossy(&answer.body);
    answer.body = text
        .replace("execution_success", "execution_error")
        .into_bytes();
}

/// Few enough that nothing is struck three times, after which a job or a file is given up.
const SOME: When = When::First(10);
const MANY: When = When::OneIn(4);
const PAUSE: Duration = Duration::from_millis(4);

/// Nobody but the server knows what it calls a job whose answer was lost.
const UNCLEAR: End = End::Says(5, "may or may not");

/// Jobs on their way to the server.
pub(super) fn posts() -> Vec<Fault> {
    let post = |name, when, deed| fault(name, Kind::Post, when, deed);
    let unclear = |name, deed| post(name, SOME, deed).cloud(UNCLEAR);
    vec![
        unclear("posts: closed before they arrive", Deed::Close),
        unclear("posts: reset before they are read", Deed::Reset),
        unclear("posts: their answers are lost", Deed::Swallow),
        unclear("posts: 500 from the server", Deed::Refuse(trouble)),
        unclear("posts: a page with 500", Deed::Refuse(page_500)),
        unclear("posts: a page with 502", Deed::Refuse(page_502)),
        unclear("posts: a page with 503", Deed::Refuse(page_503)),
        unclear("posts: done, and 500", Deed::Instead(trouble)),
        unclear("posts: done, and a page with 502", Deed::Instead(page_502)),
        unclear("posts: done, and a page with 503", Deed::Instead(page_503)),
        unclear("posts: done, and a page with 200", Deed::Instead(ok_page)),
        unclear("posts: done, and null", Deed::Instead(null)),
        unclear("posts: done, and a list", Deed::Instead(list)),
        unclear("posts: done, and brackets without end", Deed::Instead(deep)),
        unclear("posts: half an answer", Deed::Edit(half)),
        unclear("posts: an empty answer", Deed::Edit(empty)),
        unclear("posts: the answer is cut", Deed::Cut(50)),
        unclear(
            "posts: the answer has no last chunk",
            Deed::Edit(without_end),
        ),
        post("posts: never answered", When::First(2), Deed::HangAfter)
            .cloud(UNCLEAR)
            .slow(),
        post("posts: never taken", When::First(2), Deed::Hang)
            .cloud(UNCLEAR)
            .slow(),
    ]
}

/// Answers to posts that tell what became of the job, in odd ways.
pub(super) fn odd_posts() -> Vec<Fault> {
    let post = |name, when, deed| fault(name, Kind::Post, when, deed);
    vec![
        post("posts: 429", MANY, Deed::Refuse(busy)),
        post(
            "posts: 429 for a second",
            When::First(8),
            Deed::Refuse(busy_for_a_second),
        ),
        post(
            "posts: 429 until a date",
            MANY,
            Deed::Refuse(busy_until_a_date),
        ),
        post("posts: the queue is full", MANY, Deed::Refuse(queue_full)),
        post(
            "posts: of another type",
            When::Always,
            Deed::Edit(other_type),
        ),
        post(
            "posts: answers without a length",
            When::Always,
            Deed::Edit(without_length),
        ),
        post("posts: answers drip", MANY, Deed::Drip(3, PAUSE)),
        post(
            "posts: answers come late",
            MANY,
            Deed::Late(Duration::from_millis(700)),
        ),
        post(
            "posts: sent elsewhere by 302",
            When::Always,
            Deed::Elsewhere(302),
        )
        .on(ASTRAY, ASTRAY),
        post(
            "posts: sent elsewhere by 307",
            When::Always,
            Deed::Elsewhere(307),
        )
        .on(ASTRAY, ASTRAY),
    ]
}

const ASTRAY: End = End::Says(5, "redirects to");

/// Questions about jobs.
pub(super) fn records() -> Vec<Fault> {
    let record = |name, deed| fault(name, Kind::Record, When::OneIn(3), deed);
    let failed = End::Says(4, "failed");
    vec![
        record("records: closed", Deed::Close),
        record("records: reset", Deed::Reset),
        record("records: answers are lost", Deed::Swallow),
        record("records: 500", Deed::Refuse(trouble)),
        record("records: a page with 502", Deed::Refuse(page_502)),
        record("records: a page with 503", Deed::Refuse(page_503)),
        record("records: 429", Deed::Refuse(busy)),
        record("records: a page with 200", Deed::Refuse(ok_page)),
        record("records: null", Deed::Refuse(null)),
        record("records: a list", Deed::Refuse(list)),
        record("records: brackets without end", Deed::Refuse(deep)),
        record("records: half", Deed::Edit(half)),
        record("records: empty", Deed::Edit(empty)),
        record("records: cut", Deed::Cut(50)),
        record("records: without a last chunk", Deed::Edit(without_end)),
        record("records: drip", Deed::Drip(40, PAUSE)),
        record("records: late", Deed::Late(Duration::from_millis(300))),
        record("records: sent round and round", Deed::Round),
        fault(
            "records: absent at first",
            Kind::Record,
            When::EachOnce,
            Deed::Refuse(page_404),
        ),
        fault(
            "records: an error that is called a success",
            Kind::Record,
            When::Always,
            Deed::Edit(with_an_error),
        )
        .on(failed, failed),
        fault(
            "records: never answered",
            Kind::Record,
            When::EachOnce,
            Deed::Hang,
        )
        .slow(),
    ]
}

/// Files from the server.
pub(super) fn files() -> Vec<Fault> {
    let view = |name, deed| fault(name, Kind::View, When::EachOnce, deed);
    let always = |name, deed| fault(name, Kind::View, When::Always, deed);
    vec![
        view("files: closed", Deed::Close),
        view("files: reset", Deed::Reset),
        view("files: lost", Deed::Swallow),
        view("files: 500", Deed::Refuse(trouble)),
        view("files: 429", Deed::Refuse(busy)),
        view("files: a page with 200", Deed::Instead(ok_page)).on(PAGE, PAGE),
        view("files: a page with 502", Deed::Refuse(page_502)),
        view("files: a page with 503", Deed::Refuse(page_503)),
        view("files: half, cut", Deed::Cut(50)),
        view("files: nothing, cut", Deed::Cut(0)),
        view("files: all but the end, cut", Deed::Cut(98)),
        view("files: half, and called whole", Deed::Edit(half)),
        view(
            "files: half, without a length",
            Deed::Edit(half_without_length),
        ),
        view("files: whole, and called half", Deed::Edit(half_by_length)),
        view(
            "files: whole, and called longer",
            Deed::Edit(longer_by_length),
        ),
        view("files: without a last chunk", Deed::Edit(without_end)),
        view("files: empty", Deed::Edit(empty)),
        view("files: one bit is another", Deed::Edit(flipped)),
        view("files: drip", Deed::Drip(64, PAUSE)),
        always("files: without a length", Deed::Edit(without_length)),
        always("files: without a tag", Deed::Edit(without_tag)),
        always("files: of another type", Deed::Edit(other_type)),
        always("files: at another host", Deed::Elsewhere(302)).comfy_alone(),
        always("files: sent round and round", Deed::Round).on(LOOP, LOOP),
        fault(
            "files: never answered",
            Kind::View,
            When::First(6),
            Deed::Hang,
        )
        .slow(),
    ]
}

const PAGE: End = End::Says(4, "a web page in place of the file");
const LOOP: End = End::Says(5, "and on and on");

/// Files to the server.
pub(super) fn uploads() -> Vec<Fault> {
    let upload = |name, deed| fault(name, Kind::Upload, When::First(6), deed);
    vec![
        upload("uploads: closed", Deed::Close),
        upload("uploads: reset", Deed::Reset),
        upload("uploads: answers are lost", Deed::Swallow),
        upload("uploads: 500", Deed::Refuse(trouble)),
        upload("uploads: a page with 502", Deed::Refuse(page_502)),
        upload(
            "uploads: done, and a page with 503",
            Deed::Instead(page_503),
        ),
        upload("uploads: 429", Deed::Refuse(busy)),
        upload("uploads: half an answer", Deed::Edit(half)),
        upload("uploads: the answer is cut", Deed::Cut(50)),
        upload("uploads: sent elsewhere by 307", Deed::Elsewhere(307)).on(ASTRAY, ASTRAY),
        upload("uploads: drip", Deed::Drip(5, PAUSE)),
    ]
}

fn unknown(_: &Frame) -> Vec<Frame> {
    vec![
        Frame::text(r#"{"type":"tomorrow","data":{"prompt_id":7}}"#),
        Frame::text(r#"{"type":"executing"}"#),
        Frame::text(r#"{"data":null,"type":null}"#),
        Frame::text("[1,2"),
        Frame::text(""),
        Frame::text(&"[".repeat(5000)),
        Frame::text(r#"{"type":"progress","data":{"value":NaN,"max":-Infinity,"node":[]}}"#),
        Frame::binary(&[]),
        Frame::binary(&[0, 0]),
        Frame::binary(&[0, 0, 0, 1, 0, 0, 0, 9]),
        Frame::binary(&[0, 0, 0, 3, 255, 255, 255, 255, 65]),
        Frame::binary(&[0, 0, 0, 4, 255, 255, 255, 255]),
        Frame::binary(&[9, 9, 9, 9, 9]),
    ]
}

/// The id of the job that a message is about.
fn id_in(frame: &Frame) -> Option<String> {
    let text = String::from_utf8_lossy(&frame.body).into_owned();
    let at = text.find("\"prompt_id\"")?;
    text[at + 11..].split('"').nth(1).map(str::to_owned)
}

/// Every message about a job is preceded by news of its end and of its failure.
fn lies(frame: &Frame) -> Vec<Frame> {
    let Some(id) = id_in(frame) else {
        return Vec::new();
    };
    [
        format!(r#"{{"type":"execution_error","data":{{"prompt_id":"{id}","node_id":"1","node_type":"X","exception_type":"E","exception_message":"a lie","traceback":[],"current_inputs":[],"executed":[]}}}}"#),
        format!(r#"{{"type":"execution_interrupted","data":{{"prompt_id":"{id}","node_id":"1","node_type":"X","executed":[]}}}}"#),
        format!(r#"{{"type":"execution_success","data":{{"prompt_id":"{id}"}}}}"#),
        format!(r#"{{"type":"executing","data":{{"node":null,"prompt_id":"{id}"}}}}"#),
    ]
    .iter()
    .map(|text| Frame::text(text))
    .collect()
}

/// A frame that claims more bytes than anything has.
fn endless() -> Vec<u8> {
    [&[0x82, 127][..], &(1_u64 << 40).to_be_bytes()].concat()
}

/// No text.
fn not_utf8() -> Vec<u8> {
    let first = 0x81;
    Frame {
        first,
        body: vec![0xff, 0xfe, 0x80],
    }
    .bytes()
}

/// A kind of frame that nobody knows.
fn reserved() -> Vec<u8> {
    vec![0xf3, 2, 1, 2]
}

/// A frame of a client.
fn masked() -> Vec<u8> {
    vec![0x81, 0x82, 1, 2, 3, 4, 5, 6]
}

/// A preview that is larger than all pictures.
fn preview() -> Vec<u8> {
    let mut body = vec![0; 80 << 20];
    body[..8].copy_from_slice(&[0, 0, 0, 1, 0, 0, 0, 2]);
    Frame::binary(&body).bytes()
}

/// What servers tell while they work.
pub(super) fn sockets() -> Vec<Fault> {
    vec![
        socket("sockets: refused with 403", Sock::Refused(403)),
        socket("sockets: refused with 502", Sock::Refused(502)),
        socket("sockets: closed in the handshake", Sock::Broken),
        socket("sockets: something else answers", Sock::Foreign),
        socket("sockets: the handshake is never answered", Sock::Unanswered),
        socket("sockets: open, and silent", Sock::Silent),
        socket("sockets: closed after the greeting", Sock::Cut(1)),
        socket("sockets: closed after 9 frames", Sock::Cut(9)),
        socket("sockets: closed after 60 frames", Sock::Cut(60)),
        socket("sockets: cut anywhere", Sock::CutWithin(30_000)),
        socket("sockets: half open after 30 frames", Sock::DeafAfter(30)),
        socket("sockets: deaf after a reconnect", Sock::DeafAgain(40)),
        socket("sockets: everything twice", Sock::Twice),
        socket("sockets: in another order", Sock::Shuffled(7)),
        socket("sockets: in quite another order", Sock::Shuffled(40)),
        socket("sockets: late", Sock::Late(Duration::from_millis(800))),
        socket(
            "sockets: without the ends",
            Sock::Without(&["executing", "execution_success"]),
        ),
        socket(
            "sockets: without results",
            Sock::Without(&["executed", "execution_start"]),
        ),
        socket("sockets: with gaps", Sock::Lossy(3)),
        socket("sockets: messages that nobody knows", Sock::Noise(unknown)),
        socket("sockets: lies", Sock::Noise(lies)),
        socket("sockets: a frame without end", Sock::Raw(12, endless)),
        socket("sockets: a text that is none", Sock::Raw(12, not_utf8)),
        socket(
            "sockets: a frame of a reserved kind",
            Sock::Raw(12, reserved),
        ),
        socket("sockets: a masked frame", Sock::Raw(12, masked)),
        socket(
            "sockets: a thousand foreign messages a second",
            Sock::Crowd(1000),
        ),
        socket("sockets: a preview of 80 MB", Sock::Raw(12, preview)).slow(),
    ]
}

/// What a server is and has, asked before anything runs.
pub(super) fn asks() -> Vec<Fault> {
    let ask = |name, when, deed| fault(name, Kind::Ask, when, deed);
    vec![
        ask("questions: closed", MANY, Deed::Close),
        ask("questions: reset", MANY, Deed::Reset),
        ask("questions: a page with 502", MANY, Deed::Refuse(page_502)),
        ask("questions: 429", MANY, Deed::Refuse(busy)),
        ask("questions: drip", When::Always, Deed::Drip(400, PAUSE)),
        ask(
            "questions: of another type",
            When::Always,
            Deed::Edit(other_type),
        ),
        ask("questions: half", When::Always, Deed::Edit(half)).on(FOREIGN, FOREIGN),
        ask(
            "questions: a page with 200",
            When::Always,
            Deed::Refuse(ok_page),
        )
        .on(FOREIGN, FOREIGN),
        ask("questions: sent round and round", When::Always, Deed::Round).on(ASTRAY, ASTRAY),
    ]
}

const FOREIGN: End = End::Says(5, "K0402");

/// Servers that go and come.
pub(super) fn blows() -> Vec<Fault> {
    let moment = Duration::from_millis(1500);
    let hours = Duration::from_hours(2);
    vec![
        blow("servers: restarted at the first job", Blow::Restart(0)).on(End::Again, End::Either),
        blow("servers: restarted in the middle", Blow::Restart(50)).on(End::Again, End::Either),
        blow("servers: away for a while", Blow::Away(40, moment)).cloud(End::Either),
        blow("servers: away at the first job", Blow::Away(0, moment)).cloud(End::Either),
        blow("servers: away for too long", Blow::Away(40, hours)).on(AWAY, End::Either),
    ]
}

/// It says that the server does not answer.
const AWAY: End = End::Says(5, "error[K");
