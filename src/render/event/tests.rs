//! Events as people and programs see them.

use std::io::Write;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::*;
use crate::execute::event::{DeferReason, Event, EventSink, Outcome, Stage};
use crate::model::point::BlockReason;
use crate::model::{ByteCount, Timestamp};
use crate::plan::document::{Action, Kind};
use crate::render::terminal::{ColorChoice, Device, Streams, Terminal};
use crate::render::{Printer, Talk, golden};

#[derive(Clone, Default)]
struct Buffer(Arc<Mutex<Vec<u8>>>);

impl Write for Buffer {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Buffer {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

fn printer(terminal: Terminal) -> (Arc<Printer>, Buffer, Buffer) {
    let (output, error) = (Buffer::default(), Buffer::default());
    let streams = Streams {
        input: Box::new(std::io::empty()),
        output: Box::new(output.clone()),
        error: Box::new(error.clone()),
        terminal,
    };
    (Arc::new(Printer::new(streams, ColorChoice::Auto, Talk::Normal).0), output, error)
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_micros(seconds * 1_000_000)
}

fn started(seconds: i64, id: &str, address: &str, kind: Kind, action: Action, region: &str) -> Event {
    Event::ActionStarted {
        at: at(seconds),
        id: id.to_owned(),
        address: address.parse().unwrap(),
        kind,
        action,
        regions: vec![region.parse().unwrap()],
    }
}

fn finished(seconds: i64, from: Event, outcome: Outcome, bytes: u64, message: Option<&str>) -> Event {
    let Event::ActionStarted { at: begun, id, address, kind, action, regions } = from else { unreachable!() };
    Event::ActionFinished {
        at: at(seconds),
        id,
        address,
        kind,
        action,
        regions,
        outcome,
        bytes: ByteCount(bytes),
        duration: at(seconds).since(begun),
        message: message.map(str::to_owned),
    }
}

fn story() -> Vec<Event> {
    let create = started(0, "create:vm.web-vm-1", "vm.web-vm-1", Kind::Resource, Action::Create, "us-west-1");
    let copy = |id: &str, vm: &str| started(1, id, vm, Kind::Sync, Action::Sync, "us-west-1");
    let progress = |seconds, done, total| Event::Progress {
        at: at(seconds),
        id: "s1".to_owned(),
        address: "vm.web-vm-1".parse().unwrap(),
        stage: Stage::Copying,
        bytes_done: ByteCount::mib(done),
        bytes_total: Some(ByteCount::mib(total)),
    };
    vec![
        create.clone(),
        finished(1, create, Outcome::Done, 0, None),
        copy("s1", "vm.web-vm-1"),
        progress(2, 10, 1000),
        progress(33, 450, 1000),
        finished(70, copy("s1", "vm.web-vm-1"), Outcome::Done, 1000 << 20, None),
        finished(71, copy("s2", "vm.web-vm-2"), Outcome::Unchanged, 0, None),
        finished(
            72,
            copy("s3", "vm.db-vm-1"),
            Outcome::Failed,
            5 << 20,
            Some("cannot read disk.raw: Input/output error"),
        ),
        finished(73, copy("s4", "vm.db-vm-2"), Outcome::Blocked, 0, Some("its source lost domain.xml\u{1b}[2J")),
        finished(73, copy("s5", "vm.db-vm-3"), Outcome::Skipped, 0, Some("vm.db-vm-2 did not succeed")),
        finished(74, copy("s6", "vm.db-vm-4"), Outcome::Interrupted, 1 << 20, None),
        Event::Blocked {
            at: at(75),
            address: "vm.db-vm-5".parse().unwrap(),
            region_id: Some("us-west-1".parse().unwrap()),
            reason: BlockReason::Suspicious,
            detail: "its source lost disk.raw".to_owned(),
        },
        Event::Deferred {
            at: at(75),
            address: "vm.db-vm-6".parse().unwrap(),
            region_id: "eu-west-1".parse().unwrap(),
            reason: DeferReason::Unobserved,
            detail: "connection refused".to_owned(),
        },
        Event::Summary {
            at: at(75),
            done: 2,
            renamed: 0,
            unchanged: 1,
            failed: 1,
            blocked: 1,
            deferred: 1,
            skipped: 1,
            interrupted: 1,
            bytes: ByteCount::mib(1006),
            duration: Duration::from_secs(75),
        },
    ]
}

#[test]
fn golden_lines() {
    for (name, utf8) in [("events.txt", true), ("events-ascii.txt", false)] {
        let (printer, output, error) = printer(Terminal { utf8, ..Terminal::default() });
        let feed = Feed::new(Box::new(Lines::new(printer, Tells::WhatIsStoppedToo)));
        story().iter().for_each(|event| feed.emit(event));
        feed.end();
        assert_eq!(output.text(), "", "results only on standard output");
        golden::check(name, &error.text());
    }
}

#[test]
fn every_event_is_one_json_object_on_a_line() {
    let (printer, output, error) = printer(Terminal::default());
    let feed = Feed::new(Box::new(JsonLines::new(printer)));
    story().iter().for_each(|event| feed.emit(event));
    feed.end();
    assert_eq!(error.text(), "");
    let lines: Vec<serde_json::Value> = output.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), story().len());
    let types: Vec<&str> = lines.iter().map(|line| line["type"].as_str().unwrap()).collect();
    assert_eq!(types[0], "action_started");
    assert_eq!(types[3], "progress");
    assert_eq!(types.last(), Some(&"summary"));
    assert!(!types[..types.len() - 1].contains(&"summary"));
}

#[test]
fn bars_leave_the_lines_behind() {
    let tty = Device { tty: true, width: Some(80) };
    let (printer, _, error) = printer(Terminal { error: tty, utf8: true, ..Terminal::default() });
    let bars = Bars::on(indicatif::ProgressDrawTarget::hidden(), printer, 7);
    let feed = Feed::new(Box::new(bars));
    story().iter().for_each(|event| feed.emit(event));
    feed.say("said between");
    feed.end();
    let text = anstream::adapter::strip_str(&error.text()).to_string();
    for part in ["create", "vm.web-vm-1 → us-west-1", "did not succeed", "said between", "interrupted"] {
        assert!(text.contains(part), "{part}: {text}");
    }
}
