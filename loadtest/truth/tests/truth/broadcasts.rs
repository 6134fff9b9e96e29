//! The rules about broadcasts.

use longline_load_truth::Fault;

use crate::support::{FIRST, NONE, Story, broadcast, faults};

/// A user of the story's beginning.
const A: u32 = FIRST;

#[test]
fn owed_to_those_who_had_come_before() {
    let story = Story::new(3);
    let header = broadcast(1, story.at(10_000));
    story.ledger.broadcast(1, story.at(10_000), 5, None);
    assert_eq!(story.ledger.outstanding(), 3);
    for user in [A, A + 1] {
        let receipt = story.push(user, 1, &header, 5, 10_010);
        story.ack(user, 1, receipt, 10_020);
    }
    assert_eq!(story.ledger.outstanding(), 1);
    let findings = story.findings();
    let counts = findings.counts;
    assert_eq!((counts.broadcast_expected, counts.broadcast_received, counts.broadcast_acked), (3, 2, 2));
    assert_eq!((counts.broadcast_missing, faults(&counts)), (1, [1, 0, 0, 0, 0, 0]));
    assert_eq!((findings.examples[0].what, findings.examples[0].user), (Fault::BroadcastMissing, A + 2));
    assert_eq!(story.verdict().reasons, ["1 of 3 deliveries of broadcasts was missing"]);
    let latencies = story.ledger.take_latencies().all;
    assert_eq!((latencies.broadcast.len(), latencies.received.len()), (2, 0));
}

#[test]
fn a_receipt_before_the_announcement_counts() {
    let story = Story::new(2);
    let header = broadcast(9, story.at(10_000));
    story.push(A, 1, &header, 5, 10_010);
    assert_eq!(story.ledger.outstanding(), 0);
    story.ledger.broadcast(9, story.at(10_000), 5, None);
    story.ledger.broadcast(9, story.at(10_000), 5, None);
    assert_eq!(story.ledger.outstanding(), 1);
    story.push(A + 1, 1, &header, 5, 10_020);
    let counts = story.counts();
    assert_eq!((counts.broadcast_expected, counts.broadcast_received, faults(&counts)), (2, 2, NONE));
}

#[test]
fn who_came_about_then_may_get_it_or_not() {
    let story = Story::new(1);
    story.ledger.broadcast(1, story.at(999), 5, None);
    assert_eq!((story.counts().broadcast_expected, story.ledger.outstanding()), (0, 0));
    story.push(A, 1, &broadcast(1, story.at(999)), 5, 1_200);
    let counts = story.counts();
    assert_eq!((counts.broadcast_received, faults(&counts)), (1, NONE));
    story.ledger.broadcast(2, story.at(1_000), 6, None);
    assert_eq!(story.counts().broadcast_expected, 1, "a second before is before");
}

#[test]
fn a_user_who_is_away_at_the_end_is_unreachable() {
    let story = Story::new(2);
    story.ledger.broadcast(1, story.at(10_000), 5, None);
    story.ledger.disconnected(A, 1, story.at(10_001));
    assert_eq!(faults(&story.counts()), [1, 1, 0, 0, 0, 0]);
}

#[test]
fn further_receipts_follow_the_rule_of_unicasts() {
    let story = Story::new(1);
    let header = broadcast(1, story.at(10_000));
    story.ledger.broadcast(1, story.at(10_000), 5, None);
    let receipt = story.push(A, 1, &header, 5, 10_010);
    story.push_as(A, 1, &header, 5, true, 10_020);
    assert_eq!(
        (story.counts().redelivered, story.counts().duplicated),
        (1, 0),
        "marked and not acknowledged"
    );
    story.push(A, 1, &header, 5, 10_030);
    assert_eq!((story.counts().redelivered, story.counts().duplicated), (1, 1), "not marked");
    story.ack(A, 1, receipt, 10_040);
    story.reconnect(A, (1, 20_000), (2, 21_000));
    story.push(A, 2, &header, 5, 21_001);
    assert_eq!(
        (story.counts().redelivered, story.counts().duplicated),
        (1, 2),
        "acknowledged long before the end"
    );
    story.reconnect(A, (2, 22_000), (3, 23_000));
    story.push(A, 3, &header, 5, 23_001);
    assert_eq!(
        (story.counts().redelivered, story.counts().duplicated),
        (2, 2),
        "not acknowledged on the last one"
    );
}

#[test]
fn another_id_is_wrong_before_and_after_the_announcement() {
    let story = Story::new(3);
    let header = broadcast(1, story.at(10_000));
    story.push(A, 1, &header, 4, 10_010);
    story.push(A + 1, 1, &header, 4, 10_010);
    story.ledger.broadcast(1, story.at(10_000), 5, None);
    assert_eq!(story.counts().wrong_id, 2);
    story.push(A + 2, 1, &header, 6, 10_020);
    let counts = story.counts();
    assert_eq!((counts.wrong_id, faults(&counts)), (3, [0, 0, 0, 0, 3, 0]));
}

#[test]
fn expiry_ends_what_is_owed_and_makes_receipts_late() {
    let story = Story::new(3);
    let header = broadcast(1, story.at(10_000));
    story.ledger.broadcast(1, story.at(10_000), 5, Some(story.at(15_000)));
    assert_eq!(story.ledger.outstanding(), 0, "it is over");
    story.push(A, 1, &header, 5, 16_000);
    assert_eq!(story.counts().late, 0);
    story.push(A + 1, 1, &header, 5, 16_001);
    let counts = story.counts();
    assert_eq!((counts.late, counts.expired, counts.lost), (1, 1, 0));
}

#[test]
fn of_older_ones_is_known_who_received_and_who_is_done() {
    // Three users of one shard; the others are as many as lie between them, and get nothing.
    let (b, c, others) = (A + 8, A + 16, 14);
    let story = Story::new(17);
    for number in 1..=20 {
        let at = 10_000 * number;
        let header = broadcast(number, story.at(at));
        story.ledger.broadcast(number, story.at(at), number, None);
        let receipt = story.push(A, 1, &header, number, at + 1);
        story.ack(A, 1, receipt, at + 2);
        story.push(b, 1, &header, number, at + 1);
        if number != 1 {
            let receipt = story.push(c, 1, &header, number, at + 1);
            story.ack(c, 1, receipt, at + 2);
        }
    }
    assert_eq!(story.ledger.outstanding(), 1 + 20 * others);
    assert_eq!(faults(&story.counts()), [1 + 20 * others, 0, 0, 0, 0, 0]);
    story.reconnect(A, (1, 300_000), (2, 300_001));
    story.reconnect(b, (1, 300_000), (2, 300_001));
    let first = broadcast(1, story.at(10_000));
    story.push(A, 2, &first, 1, 300_002);
    assert_eq!((story.counts().redelivered, story.counts().duplicated), (0, 1), "it was done");
    let receipt = story.push(b, 2, &first, 1, 300_002);
    assert_eq!((story.counts().redelivered, story.counts().duplicated), (1, 1), "it was not acknowledged");
    story.ack(b, 2, receipt, 300_003);
    story.push(c, 1, &first, 1, 300_002);
    let counts = story.counts();
    assert_eq!((counts.lost, counts.broadcast_received, counts.broadcast_acked), (20 * others, 60, 40));
}

#[test]
fn an_ack_that_may_still_die_is_not_done_when_the_broadcast_gets_old() {
    let story = Story::new(1);
    let header = broadcast(1, story.at(10_000));
    story.ledger.broadcast(1, story.at(10_000), 1, None);
    let receipt = story.push(A, 1, &header, 1, 10_001);
    story.ack(A, 1, receipt, 10_002);
    (2..20).for_each(|number| story.ledger.broadcast(number, story.at(10_000 + number), number, None));
    story.reconnect(A, (1, 11_000), (2, 12_000));
    story.push(A, 2, &header, 1, 12_001);
    assert_eq!((story.counts().redelivered, story.counts().duplicated), (1, 0));
}

#[test]
fn broadcasts_that_nobody_sent_are_not_believed_without_end() {
    let story = Story::new(1);
    for number in 0..1_000 {
        story.push(A, 1, &broadcast(number, story.at(0)), 5, 10);
    }
    assert_eq!(story.counts().foreign, 1_000 - 256);
}
