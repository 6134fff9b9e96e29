//! proto/README.md says what is on the wire.

mod examples;

use examples::{all, hex};
use longline_types::CloseReason;
use longline_wire::{FrameType, Limits, Sender, decode};

const README: &str = include_str!("../../../proto/README.md");

/// The blocks marked `hex NAME`: the name, and the bytes without comments.
fn blocks() -> Vec<(String, Vec<u8>)> {
    let mut blocks = Vec::new();
    let mut lines = README.lines();
    while let Some(line) = lines.next() {
        let Some(name) = line.strip_prefix("```hex ") else { continue };
        let digits = lines.by_ref().take_while(|line| *line != "```");
        let bytes = digits
            .flat_map(|line| line.split('#').next().unwrap_or_default().split_whitespace())
            .map(|pair| u8::from_str_radix(pair, 16).expect("two hex digits"))
            .collect();
        blocks.push((name.to_owned(), bytes));
    }
    blocks
}

/// The rows of the table whose first column has this name.
fn table(first: &str) -> Vec<Vec<&'static str>> {
    let start = format!("| {first} |");
    README
        .lines()
        .skip_while(|line| !line.starts_with(&start))
        .skip(2)
        .take_while(|line| line.starts_with('|'))
        .map(|line| line.trim_matches('|').split('|').map(str::trim).collect())
        .collect()
}

fn number(text: &str) -> usize {
    text.replace(',', "").parse().expect("a number")
}

#[test]
fn every_example_is_what_the_code_writes() {
    let said: Vec<String> = blocks().iter().map(|(name, bytes)| format!("{name}: {}", hex(bytes))).collect();
    let written: Vec<String> = all().iter().map(|e| format!("{}: {}", e.name, hex(&e.bytes))).collect();
    assert_eq!(said, written);
}

#[test]
fn every_example_is_read_as_the_frame_it_is_named_after() {
    for (name, bytes) in blocks().into_iter().filter(|(name, _)| name != "preface") {
        let kind = name.split(' ').next().expect("a name");
        let sender = if kind_named(kind).is_sent_by(Sender::Device) { Sender::Device } else { Sender::Room };
        let (frame, used) = decode(&bytes, &Limits::of(sender)).expect(&name).expect(&name);
        assert_eq!((frame.kind.name(), used), (kind, bytes.len()));
    }
}

fn kind_named(name: &str) -> FrameType {
    FrameType::ALL.into_iter().find(|kind| kind.name() == name).expect("a frame of this name")
}

#[test]
fn the_table_of_frames_has_each_with_its_number_sender_and_limit() {
    let rows: Vec<(usize, &str, &str, usize)> =
        table("type").iter().map(|row| (number(row[0]), row[1], row[2], number(row[3]))).collect();
    let frames: Vec<(usize, &str, &str, usize)> = FrameType::ALL
        .into_iter()
        .map(|kind| {
            let from = match (kind.is_sent_by(Sender::Device), kind.is_sent_by(Sender::Room)) {
                (true, true) => "both",
                (true, false) => "device",
                _ => "room",
            };
            (kind.number().into(), kind.name(), from, kind.limit())
        })
        .collect();
    assert_eq!(rows, frames);
}

#[test]
fn the_table_of_reasons_has_each_with_its_name() {
    let rows: Vec<(usize, &str)> = table("reason").iter().map(|row| (number(row[0]), row[1])).collect();
    let reasons: Vec<(usize, &str)> =
        CloseReason::ALL.into_iter().map(|reason| (reason.number().into(), reason.name())).collect();
    assert_eq!(rows, reasons);
}

#[test]
fn the_tables_of_results_have_each() {
    use longline_pb::client::{BindResult, UplinkResult};
    let named = |first: &str| -> Vec<String> {
        table(first).iter().map(|row| row[0].trim_matches('`').to_owned()).collect()
    };
    let known = |names: Vec<&'static str>, prefix: &str| -> Vec<String> {
        names.iter().map(|name| name.trim_start_matches(prefix).to_owned()).collect()
    };
    let binds = (1..).map_while(|n| BindResult::try_from(n).ok()).map(|r| r.as_str_name()).collect();
    assert_eq!(named("result in BOUND"), known(binds, "BIND_RESULT_"));
    let uplinks = (1..).map_while(|n| UplinkResult::try_from(n).ok()).map(|r| r.as_str_name()).collect();
    assert_eq!(named("result"), known(uplinks, "UPLINK_RESULT_"));
}

#[test]
fn limits_are_those_of_the_code() {
    use longline_types::limits;
    let rows = table("what");
    let limit = |what: &str| {
        let row = rows.iter().find(|row| row[0] == what).expect("a row");
        let digits = |c: char| c.is_ascii_digit() || c == ',';
        row[1].split(|c| !digits(c)).filter(|part| !part.is_empty()).map(number).max().expect("a number")
    };
    assert_eq!(limit("device id"), limits::DEVICE);
    assert_eq!(limit("binds"), limits::BINDS);
    assert_eq!(limit("user name"), limits::USER);
    assert_eq!(limit("token"), limits::TOKEN);
    assert_eq!(limit("payload of a message or an uplink"), limits::PAYLOAD);
    assert_eq!(limit("ids in an ACK"), limits::ACK_IDS);
}
