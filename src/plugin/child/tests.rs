//! What a process says, however broken it is: it ends one call, or says nothing, and never more than may be taken.

use std::cell::RefCell;
use std::sync::Mutex;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

/// Notes what a process wants of kiln.
#[derive(Default)]
struct Noted(Mutex<Vec<String>>);

impl Noted {
    fn note(&self, line: String) {
        self.0.lock().unwrap().push(line);
    }

    fn all(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }
}

impl Sink for Noted {
    fn log(&self, level: u32, text: String) {
        self.note(format!("log {level} {text}"));
    }

    fn progress(&self, call: u64, fraction: f64, note: String) {
        self.note(format!("progress {call} {fraction} {note}"));
    }

    fn is_cancelled(&self, _: u64) -> bool {
        false
    }

    fn add_artifact(&self, call: u64, artifact: Value, length: usize) -> bool {
        self.note(format!("artifact {call} {artifact} {length}"));
        true
    }
}

/// What is sent to a process, for a look afterwards.
#[derive(Clone, Default)]
struct Sent(Arc<Mutex<Vec<u8>>>);

impl Write for Sent {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A process that says this, and then ends.
fn saying(bytes: Vec<u8>) -> (Away, Arc<Noted>, Sent) {
    let (noted, sent) = (Arc::<Noted>::default(), Sent::default());
    let away = Away {
        path: PathBuf::from("/nowhere"),
        settings: String::new(),
        sink: Arc::<Noted>::clone(&noted),
        control: Control::default(),
        pipe: Some(Pipe {
            to: Arc::new(Mutex::new(Box::new(sent.clone()))),
            from: BufReader::new(Box::new(io::Cursor::new(bytes))),
        }),
        // Nobody starts another one.
        restarted: true,
    };
    (away, noted, sent)
}

fn message(tag: Tag, parts: &[&[u8]]) -> Vec<u8> {
    let mut bytes = Vec::new();
    frame::write(&mut bytes, tag, parts).unwrap();
    bytes
}

fn died() -> Fault {
    Fault::Died("ended".to_owned())
}

#[test]
fn what_is_wanted_before_the_answer_is_done_in_order() {
    let number = 7_u64.to_le_bytes();
    let half = 0.5_f64.to_bits().to_le_bytes();
    let all = [
        message(Tag::Log, &[&2_u64.to_le_bytes(), b"hear"]),
        message(Tag::Progress, &[&number, &half, b"half"]),
        message(Tag::Artifact, &[&number, b"{\"text\": 1}"]),
        message(Tag::Answer, &[b"{}"]),
        message(Tag::Answer, &[b"second"]),
    ];
    let (mut away, noted, sent) = saying(all.concat());
    assert_eq!(away.call(7, "step", b"{\"a\":1}"), Ok(b"{}".to_vec()));
    assert_eq!(
        noted.all(),
        [
            "log 2 hear",
            "progress 7 0.5 half",
            "artifact 7 {\"text\":1} 11"
        ]
    );
    let sent = sent.0.lock().unwrap().clone();
    let asked = [&number[..], b"step\0{\"a\":1}"].concat();
    assert_eq!(
        frame::read(&mut sent.as_slice()).unwrap(),
        Some((Tag::Call, asked))
    );
    // The next answer is that of the next question.
    assert_eq!(away.event(b"{}"), Ok(()));
    assert_eq!(away.event(b"{}"), Err(died()));
    assert_eq!(
        away.event(b"{}"),
        Err(Fault::GivenUp),
        "it is not started a third time"
    );
}

#[test]
fn a_fault_is_what_the_process_says_or_that_it_cannot_say_it() {
    let fault = json!({ "Said": "no" }).to_string();
    let told = |body: &[u8]| saying(message(Tag::Fault, &[body])).0.event(b"{}");
    assert_eq!(told(fault.as_bytes()), Err(Fault::Said("no".to_owned())));
    assert_eq!(told(b"{\"Unheard\": 1}"), Err(Fault::NotText));
    assert_eq!(told(b"\xff"), Err(Fault::NotText));
}

#[test]
fn broken_messages_are_the_end_of_the_process_and_odd_ones_are_nothing() {
    let answer = message(Tag::Answer, &[b"x"]);
    for broken in [
        vec![0, 0, 0, 0, 99],
        vec![255, 255, 255, 255, 101],
        answer[..3].to_vec(),
        answer[..5].to_vec(),
        Vec::new(),
    ] {
        let (mut away, noted, _) = saying(broken.clone());
        assert_eq!(away.event(b"{}"), Err(died()), "{broken:?}");
        assert_eq!(noted.all(), [""; 0]);
    }
    let odd = [
        message(Tag::Log, &[b"short"]),
        message(Tag::Progress, &[&1_u64.to_le_bytes(), b"short"]),
        message(Tag::Artifact, &[&1_u64.to_le_bytes(), b"no json"]),
        // What only kiln says.
        message(Tag::Call, &[&1_u64.to_le_bytes()]),
        message(Tag::End, &[]),
        answer,
    ];
    let (mut away, noted, _) = saying(odd.concat());
    assert_eq!(away.preview(b"{}", b"picture"), Ok(()));
    assert_eq!(noted.all(), [""; 0]);
}

#[test]
fn what_a_process_logs_is_no_longer_than_it_may_be() {
    let long = "ä".repeat(LONGEST);
    let huge = u64::MAX.to_le_bytes();
    let all = [
        message(Tag::Log, &[&huge, long.as_bytes()]),
        message(Tag::Answer, &[]),
    ];
    let (mut away, noted, _) = saying(all.concat());
    assert_eq!(away.event(b"{}"), Ok(()));
    let told = &noted.all()[0];
    assert!(told.starts_with(&format!("log {} ä", u32::MAX)), "{told}");
    assert!(told.len() < LONGEST + 20, "{}", told.len());
}

proptest! {
    /// Whatever comes, there is an answer or the process has ended: nothing hangs, and nothing panics.
    #[test]
    fn nothing_that_a_process_says_does_any_harm(bytes in prop::collection::vec(any::<u8>(), 0..300), tag in 100..107_u8) {
        // As it is, and as a message of a length that is right.
        let mut whole = u32::try_from(bytes.len()).unwrap().to_le_bytes().to_vec();
        whole.push(tag);
        whole.extend(&bytes);
        for said in [bytes, whole] {
            let (mut away, _, _) = saying(said);
            match away.event(b"{}") {
                Ok(()) | Err(Fault::NotText) => prop_assert!(away.pipe.is_some()),
                Err(fault) => {
                    prop_assert_eq!(fault, died());
                    prop_assert!(away.pipe.is_none());
                }
            }
        }
    }
}

#[test]
fn what_a_process_prints_is_told_line_by_line_and_no_line_is_endless() {
    let told = RefCell::new(Vec::new());
    let long = "x".repeat(3 * LONGEST);
    let printed = format!("one\n\n{long}\ntwo");
    lines(printed.as_bytes(), |line| told.borrow_mut().push(line));
    let told = told.into_inner();
    assert_eq!(told, ["one", "", &long[..LONGEST], "two"]);
}
