//! One payload for several users.

use longline_load_truth::{
    Clock, Counts, Graces, Header, Kind, Ledger, LedgerOptions, Plan, Receipt, Received,
};

const USERS: u32 = 100;

fn ledger(agent: u16) -> Ledger {
    let clock = Clock::new();
    let ledger =
        Ledger::new(LedgerOptions { run: 7, agent, users: 0..USERS, clock, graces: Graces::default() });
    for user in 0..USERS {
        ledger.bound(user, 1, clock.now());
    }
    ledger
}

fn plan() -> Plan {
    Plan { user: 0, due: Clock::new().now(), stream: 0, transient: false, expires: None }
}

fn receive(ledger: &Ledger, user: u32, header: &Header, id: u64) -> Receipt {
    let mut payload = Vec::new();
    header.payload(64, &mut payload);
    ledger.received(user, 1, &Received { id, payload: &payload, redelivered: false }, header.due + 1_000)
}

#[test]
fn each_user_of_a_batch_has_a_message_of_its_own() {
    let ledger = ledger(1);
    let users = [3, 99, 11, 0, 4];
    // Others between them, and a batch before.
    ledger.plan_batch(&[3, 4, 5], plan());
    ledger.plan(Plan { user: 11, ..plan() });
    let (header, sequences) = ledger.plan_batch(&users, plan());
    assert_eq!((header.kind, header.sequence), (Kind::Batch, 1));
    for (place, (&user, &sequence)) in users.iter().zip(&sequences).enumerate() {
        let id = 1000 + place as u64;
        ledger.accepted(sequence, id, header.due + 500);
        assert_eq!(ledger.outstanding(), 1);
        let receipt = receive(&ledger, user, &header, id);
        assert_ne!(receipt, Receipt::NONE);
        ledger.acked(user, 1, &[receipt], header.due + 1_500);
        assert_eq!((ledger.outstanding(), ledger.under_way()), (0, 9 - 1 - place as u64));
    }
    let expected = Counts { planned: 9, accepted: 5, received: 5, acked: 5, ..Counts::default() };
    assert_eq!(ledger.counts(), expected);
}

#[test]
fn faults_are_seen_as_with_single_messages() {
    let ledger = ledger(1);
    let (header, sequences) = ledger.plan_batch(&[3, 4, 5], plan());
    ledger.accepted(sequences[0], 30, header.due);
    ledger.refused(sequences[1]);
    receive(&ledger, 3, &header, 30);
    receive(&ledger, 3, &header, 30);
    receive(&ledger, 4, &header, 40);
    assert_eq!(receive(&ledger, 9, &header, 50), Receipt::NONE, "not in the batch");
    let other = self::ledger(2).plan_batch(&[9], plan()).0;
    assert_eq!(receive(&ledger, 9, &other, 60), Receipt::NONE, "another agent's");
    assert_eq!(receive(&ledger, 3, &Header { sequence: 1, ..header }, 70), Receipt::NONE, "no such batch");
    let counts = ledger.counts();
    assert_eq!((counts.received, counts.duplicated, counts.unexpected, counts.foreign), (2, 1, 1, 4));
}

#[test]
fn what_was_never_sent_must_not_arrive() {
    let ledger = ledger(1);
    let header = ledger.plan(plan());
    ledger.skipped(header.sequence);
    ledger.refused(header.sequence);
    let counts = ledger.counts();
    assert_eq!((counts.skipped, counts.refused, counts.unanswered()), (1, 0, 0));
    assert_eq!(ledger.under_way(), 0);
    receive(&ledger, 0, &header, 5);
    assert_eq!(ledger.counts().unexpected, 1);
}
