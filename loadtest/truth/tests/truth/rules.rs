//! Each rule about unicasts, told as a story.

use longline_load_truth::{Fault, Graces, Header, Kind, Receipt, Received};

use crate::support::{Class, FIRST, NONE, Story, broadcast, faults};

const A: u32 = FIRST;
const B: u32 = FIRST + 1;

#[test]
fn a_message_goes_its_way() {
    let story = Story::new(2);
    story.ledger.set_measuring(false);
    let header = story.accepted(A, 5, 100);
    assert_eq!(
        (header.run, header.agent, header.kind, header.user),
        (crate::support::RUN, crate::support::AGENT, Kind::Unicast, A)
    );
    assert_eq!(story.ledger.outstanding(), 1);
    let receipt = story.push(A, 1, &header, 5, 110);
    assert_eq!(story.ledger.outstanding(), 0);
    story.ack(A, 1, receipt, 130);
    let counts = story.counts();
    assert_eq!((counts.planned, counts.accepted, counts.received, counts.acked), (1, 1, 1, 1));
    assert_eq!(faults(&counts), NONE);
    assert!(story.verdict().ok);
    let all = story.ledger.take_latencies().all;
    let near = |value: u64, ms: u64| value.abs_diff(ms * 1_000) <= ms;
    assert!(near(all.accepted.max(), 1) && near(all.received.max(), 10) && near(all.acked.max(), 30));
}

#[test]
fn a_receipt_before_the_answer_is_normal() {
    let story = Story::new(1);
    let header = story.send(A, Class::default(), 0);
    let receipt = story.push(A, 1, &header, 5, 10);
    assert_eq!(story.ledger.outstanding(), 0);
    story.ack(A, 1, receipt, 11);
    story.accept(&header, 5, 20);
    let counts = story.counts();
    assert_eq!((counts.accepted, counts.received, counts.acked, story.ledger.outstanding()), (1, 1, 1, 0));
    assert_eq!(faults(&counts), NONE);
}

#[test]
fn an_id_other_than_the_answers_is_wrong_whichever_comes_first() {
    let story = Story::new(1);
    let header = story.send(A, Class::default(), 0);
    story.push(A, 1, &header, 5, 10);
    story.accept(&header, 6, 20);
    let header = story.accepted(A, 7, 30);
    story.push(A, 1, &header, 8, 40);
    let counts = story.counts();
    assert_eq!((counts.wrong_id, counts.received), (2, 2));
    assert_eq!(faults(&counts), [0, 0, 0, 0, 2, 0]);
}

#[test]
fn lost_is_what_was_accepted_and_never_received() {
    let story = Story::new(2);
    let lost = story.accepted(A, 5, 0);
    story.send(A, Class::default(), 1);
    let findings = story.findings();
    assert_eq!(faults(&findings.counts), [1, 0, 0, 0, 0, 0]);
    let example = &findings.examples[0];
    assert_eq!((example.what, example.user, example.id), (Fault::Lost, A, 5));
    assert_eq!((example.sequence, example.due), (lost.sequence, lost.due));
    assert_eq!(story.verdict().reasons, ["1 of 1 accepted messages was never received"]);
}

#[test]
fn who_never_came_back_is_unreachable_and_not_a_loss() {
    let story = Story::new(1);
    story.accepted(A, 5, 0);
    story.ledger.disconnected(A, 1, story.at(10));
    assert_eq!(faults(&story.counts()), [0, 1, 0, 0, 0, 0]);
    assert_eq!(story.findings().examples[0].what, Fault::Unreachable);
    story.ledger.bound(A, 2, story.at(20));
    assert_eq!(faults(&story.counts()), [1, 0, 0, 0, 0, 0]);
}

#[test]
fn who_has_only_just_come_back_is_unreachable_too() {
    let grace = Graces::default().back.as_millis() as u64;
    for (ago, expected) in [(0, [0, 1, 0, 0, 0, 0]), (2 * grace, [1, 0, 0, 0, 0, 0])] {
        let story = Story::new(2);
        story.accepted(A, 5, 0);
        story.ledger.broadcast(1, story.at(10_000), 6, None);
        let got = broadcast(1, story.at(10_000));
        story.push(A + 1, 1, &got, 6, 10_001);
        story.reconnect(A, (1, 10), (2, story.now() - ago));
        assert_eq!(faults(&story.counts()), expected.map(|n| 2 * n), "{ago} ms ago");
    }
}

#[test]
fn refused_messages_must_not_arrive() {
    let story = Story::new(1);
    let before = story.send(A, Class::default(), 0);
    story.push(A, 1, &before, 5, 1);
    story.ledger.refused(before.sequence);
    let after = story.send(A, Class::default(), 2);
    story.ledger.refused(after.sequence);
    story.push(A, 1, &after, 6, 3);
    let silent = story.send(A, Class::default(), 4);
    story.ledger.refused(silent.sequence);
    let counts = story.counts();
    assert_eq!((counts.refused, counts.unexpected), (3, 2));
    assert_eq!(faults(&counts), [0, 0, 0, 0, 2, 0]);
}

#[test]
fn without_an_answer_it_may_arrive_or_not() {
    let story = Story::new(1);
    let headers = [0, 1].map(|ms| story.send(A, Class::default(), ms));
    for header in headers {
        story.ledger.unknown(header.sequence);
    }
    story.push(A, 1, &headers[0], 5, 10);
    let counts = story.counts();
    assert_eq!((counts.unknown, counts.received, counts.unanswered()), (2, 1, 0));
    assert_eq!((faults(&counts), story.ledger.outstanding()), (NONE, 0));
}

#[test]
fn the_first_answer_counts() {
    let story = Story::new(1);
    let header = story.accepted(A, 5, 0);
    story.ledger.refused(header.sequence);
    story.ledger.unknown(header.sequence);
    story.accept(&header, 6, 10);
    story.push(A, 1, &header, 5, 20);
    let counts = story.counts();
    assert_eq!((counts.accepted, counts.refused, counts.unknown), (1, 0, 0));
    assert_eq!(faults(&counts), NONE);
}

#[test]
fn what_is_anothers_is_foreign() {
    let story = Story::new(9);
    let header = story.accepted(A, 5, 0);
    let foreign = [
        header,
        Header { run: 1, user: B, ..header },
        Header { agent: 1, user: B, ..header },
        Header { user: B, ..header },
        Header { user: B, sequence: 1 << 40, ..header },
        Header { user: B, sequence: u64::MAX, ..header },
        Header { user: B, kind: Kind::Uplink, ..header },
        Header { run: 1, kind: Kind::Broadcast, ..header },
    ];
    for header in foreign {
        assert_eq!(story.push(B, 1, &header, 5, 10), Receipt::NONE, "{header:?}");
    }
    // The same shard, the right user, and another's sequence.
    let same_shard = FIRST + 8;
    let stolen = Header { user: same_shard, ..header };
    assert_eq!(story.push(same_shard, 1, &stolen, 5, 10), Receipt::NONE);
    story.push(FIRST + 1_000, 1, &Header { user: FIRST + 1_000, ..header }, 5, 10);
    assert_eq!(faults(&story.counts()), [1, 0, 0, 0, 10, 0], "and the message itself is still missing");
}

#[test]
fn a_payload_without_a_header_is_unreadable() {
    let story = Story::new(1);
    for payload in [b"".as_slice(), b"hello", &[0; 100]] {
        let push = Received { id: 5, payload, redelivered: false };
        assert_eq!(story.ledger.received(A, 1, &push, story.at(0)), Receipt::NONE);
    }
    story.ack(A, 1, Receipt::NONE, 1);
    let counts = story.counts();
    assert_eq!((counts.unreadable, counts.foreign, counts.acked), (3, 3, 0));
}

/// Received on connection 1 at 10 ms and acked at `acked`; the connection ends at 10 s; received again on the second one.
fn again_after_reconnect(acked: Option<u64>) -> Story {
    let story = Story::new(1);
    let header = story.accepted(A, 5, 0);
    let receipt = story.push(A, 1, &header, 5, 10);
    if let Some(ms) = acked {
        story.ack(A, 1, receipt, ms);
    }
    story.reconnect(A, (1, 10_000), (2, 11_000));
    let receipt = story.push(A, 2, &header, 5, 11_001);
    story.ack(A, 2, receipt, 11_002);
    story
}

#[test]
fn again_on_a_later_connection_is_right_unless_the_ack_must_have_arrived() {
    for (acked, redelivered) in
        [(None, 1), (Some(9_999), 1), (Some(8_001), 1), (Some(8_000), 0), (Some(20), 0)]
    {
        let story = again_after_reconnect(acked);
        let counts = story.counts();
        assert_eq!(
            (counts.redelivered, counts.duplicated),
            (redelivered, 1 - redelivered),
            "acked at {acked:?}"
        );
        assert_eq!((counts.received, counts.acked), (1, 1));
    }
}

#[test]
fn the_end_of_the_very_connection_counts_however_many_came_since() {
    for (acked, redelivered) in [(20, 0), (9_500, 1)] {
        let story = Story::new(1);
        let header = story.accepted(A, 5, 0);
        let receipt = story.push(A, 1, &header, 5, 10);
        story.ack(A, 1, receipt, acked);
        for connection in 1..4 {
            let end = 10_000 * u64::from(connection);
            story.reconnect(A, (connection, end), (connection + 1, end + 1));
        }
        story.push(A, 4, &header, 5, 40_000);
        assert_eq!(story.counts().redelivered, redelivered);
    }
}

#[test]
fn again_while_the_former_connection_is_not_known_to_have_ended() {
    for (acked, redelivered) in [(8_000, 1), (7_000, 0)] {
        let story = Story::new(1);
        let header = story.accepted(A, 5, 0);
        let receipt = story.push(A, 1, &header, 5, 10);
        story.ack(A, 1, receipt, acked);
        story.ledger.bound(A, 2, story.at(8_500));
        story.push(A, 2, &header, 5, 9_000);
        assert_eq!(story.counts().redelivered, redelivered);
    }
}

#[test]
fn again_on_the_same_connection_needs_the_flag_and_no_ack() {
    for (marked, acked, redelivered) in [
        (true, None, 1),
        (false, None, 0),
        (true, Some(4_500), 1),
        (true, Some(20), 0),
        (false, Some(4_999), 0),
    ] {
        let story = Story::new(1);
        let header = story.accepted(A, 5, 0);
        let receipt = story.push(A, 1, &header, 5, 10);
        if let Some(ms) = acked {
            story.ack(A, 1, receipt, ms);
        }
        story.push_as(A, 1, &header, 5, marked, 5_000);
        let counts = story.counts();
        assert_eq!(
            (counts.redelivered, counts.duplicated),
            (redelivered, 1 - redelivered),
            "{marked} {acked:?}"
        );
    }
}

#[test]
fn an_ack_on_another_connection_than_the_receipts_is_none() {
    let story = Story::new(1);
    let header = story.accepted(A, 5, 0);
    let receipt = story.push(A, 1, &header, 5, 10);
    story.reconnect(A, (1, 20), (2, 30));
    story.ack(A, 2, receipt, 40);
    assert_eq!(story.counts().acked, 0);
    let receipt = story.push(A, 2, &header, 5, 50);
    story.ack(A, 2, receipt, 60);
    let counts = story.counts();
    assert_eq!((counts.acked, counts.redelivered), (1, 1));
}

/// Two messages, the second sent at `second` ms, received in the wrong order.
fn swapped(second: u64, classes: [Class; 2], marked: bool, connection: u32) -> Story {
    let story = Story::new(1);
    let first = story.send(A, classes[0], 0);
    story.accept(&first, 5, 10);
    let later = story.send(A, classes[1], second);
    story.accept(&later, 6, second + 10);
    story.push(A, 1, &later, 6, second + 20);
    story.push_as(A, connection, &first, 5, marked, second + 21);
    story
}

#[test]
fn out_of_order_is_behind_one_that_was_sent_after_the_acceptance() {
    let one = Class::default();
    let reordered = |story: Story| story.counts().reordered;
    assert_eq!(reordered(swapped(11, [one, one], false, 1)), 1);
    assert_eq!(reordered(swapped(10, [one, one], false, 1)), 0, "under way together");
    assert_eq!(reordered(swapped(11, [one, Class { stream: 1, ..one }], false, 1)), 0, "another stream");
    assert_eq!(reordered(swapped(11, [one, Class { transient: true, ..one }], false, 1)), 0, "another class");
    assert_eq!(reordered(swapped(11, [one, one], true, 1)), 0, "redelivered");
    assert_eq!(reordered(swapped(11, [one, one], false, 2)), 0, "another connection");
}

#[test]
fn a_second_receipt_is_never_out_of_order() {
    let story = Story::new(1);
    let first = story.accepted(A, 5, 0);
    story.push(A, 1, &first, 5, 5);
    let later = story.accepted(A, 6, 10);
    story.push(A, 1, &later, 6, 15);
    story.push_as(A, 1, &first, 5, true, 20);
    assert_eq!(story.counts().reordered, 0);
}

#[test]
fn a_sender_who_sends_before_due_spoils_no_order() {
    let story = Story::new(1);
    let first = story.accepted(A, 5, 0);
    let early = story.send(A, Class::default(), 10);
    story.ledger.sent(&early, story.at(0));
    story.push(A, 1, &early, 6, 15);
    story.push(A, 1, &first, 5, 16);
    assert_eq!(story.counts().reordered, 0);
}

#[test]
fn late_is_after_expiry_with_the_servers_time_and_a_grace() {
    for (received, late) in [(999, 0), (2_500, 0), (2_501, 1)] {
        let story = Story::new(1);
        let header = story.send(A, Class { ttl: Some(1_000), ..Class::default() }, 0);
        story.accept(&header, 5, 500);
        story.push(A, 1, &header, 5, received);
        let counts = story.counts();
        assert_eq!((counts.late, counts.expired, counts.received), (late, 0, 1), "at {received}");
    }
}

#[test]
fn a_redelivery_may_be_late_and_a_duplicate_is_only_one() {
    let story = Story::new(1);
    let header = story.send(A, Class { ttl: Some(1_000), ..Class::default() }, 0);
    story.accept(&header, 5, 1);
    story.push(A, 1, &header, 5, 10);
    story.push_as(A, 1, &header, 5, true, 5_000);
    story.push(A, 1, &header, 5, 6_000);
    assert_eq!(faults(&story.counts()), [0, 0, 1, 0, 0, 1]);
}

#[test]
fn expired_messages_are_no_loss_and_owed_no_more() {
    let story = Story::new(1);
    let class = Class { ttl: Some(1_000), ..Class::default() };
    let header = story.send(A, class, 0);
    story.accept(&header, 5, 1);
    let soon = Class { ttl: Some(3_600_000), ..class };
    let open = story.send(A, soon, story.now());
    story.accept(&open, 6, story.now());
    assert_eq!(story.ledger.outstanding(), 1);
    let counts = story.counts();
    assert_eq!((counts.expired, counts.lost), (1, 1));
    assert_eq!(story.ledger.counts().expired, 1);
    story.push(A, 1, &header, 5, 1_500);
    assert_eq!(story.counts().expired, 0, "it came after all");
}

#[test]
fn transient_messages_are_never_lost() {
    let story = Story::new(1);
    let class = Class { transient: true, ..Class::default() };
    let headers = [0, 1, 2].map(|ms| story.send(A, class, ms));
    for (id, header) in (5..).zip(&headers) {
        story.accept(header, id, 3);
    }
    assert_eq!(story.ledger.outstanding(), 0);
    story.push(A, 1, &headers[1], 6, 10);
    let counts = story.counts();
    assert_eq!((counts.transient_dropped, counts.received, faults(&counts)), (2, 1, NONE));
}

#[test]
fn what_ended_is_forgotten_but_a_further_receipt_is_seen() {
    let story = Story::new(8);
    // So many that several chunks of every shard fill.
    let headers: Vec<Header> = (0..40_000)
        .map(|i| {
            let (user, ms) = (FIRST + (i % 8) as u32, i / 100);
            let header = story.accepted(user, i + 1, ms);
            if i % 1_000 != 0 {
                let receipt = story.push(user, 1, &header, i + 1, ms + 2);
                story.ack(user, 1, receipt, ms + 3);
            }
            header
        })
        .collect();
    // Everything happened an hour ago; the ledger sees chunks for the first time now, and dissolves them when the graces are over.
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
    let again = |i: u64| story.push(headers[i as usize].user, 1, &headers[i as usize], i + 1, 5_000);
    let mut probe = 0;
    while !story
        .ledger
        .findings(1_000)
        .examples
        .iter()
        .any(|example| example.detail.contains("long after its end"))
    {
        assert!(std::time::Instant::now() < deadline, "nothing was forgotten");
        assert_eq!(story.ledger.outstanding(), 40);
        std::thread::sleep(std::time::Duration::from_millis(100));
        probe += 1;
        again(probe);
    }
    let counts = story.counts();
    assert!(counts.duplicated > 0 && counts.redelivered == 0);
    assert_eq!((counts.lost, counts.received, counts.acked), (40, 39_960, 39_960));
    // What is still open can arrive.
    let receipt = again(1_000);
    story.ack(headers[1_000].user, 1, receipt, 5_001);
    let counts = story.counts();
    assert_eq!((counts.lost, counts.received, counts.acked), (39, 39_961, 39_961));
    assert_eq!(story.ledger.outstanding(), 39);
}
