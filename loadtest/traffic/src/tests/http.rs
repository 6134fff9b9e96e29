//! Unicasts over HTTP, one by one and in batches.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use longline_load_truth::{Counts, Header, Kind};

use super::center::{Behave, Center};
use super::{AGENT, RUN, Sender, USERS, ledger, load, open};
use crate::{Api, TrafficCounts, Unicasts, Via};

const LONG: Duration = Duration::from_secs(10);

fn clean(counts: &Counts) -> bool {
    let Counts { duplicated, foreign, reordered, late, lost, .. } = *counts;
    (duplicated, foreign, reordered, late, lost) == (0, 0, 0, 0, 0)
}

/// One request to this server, sent with this deadline; what was counted, and the server.
async fn one(
    script: Vec<Behave>,
    rest: Behave,
    deadline: Duration,
    load: Unicasts,
) -> (TrafficCounts, Counts, Center) {
    let ledger = ledger();
    let center = Center::start(&ledger, script, rest).await;
    let users = load.via.users() as u64;
    let load = Unicasts { pace: open(2.0 * users as f64), connections: 1, ..load };
    let sender = Sender::start(load, center.api(), ledger.clone(), deadline);
    // The second would be due half a second later.
    super::eventually("a request is planned", || sender.ledger.counts().planned >= users).await;
    let counts = sender.end().await;
    (counts, ledger.counts(), center)
}

#[tokio::test]
async fn every_message_is_planned_sent_accepted_and_received() {
    let ledger = ledger();
    let centers = [
        Center::start(&ledger, [], Behave::Accept).await,
        Center::start(&ledger, [], Behave::Accept).await,
        Center::start(&ledger, [], Behave::Accept).await,
    ];
    let api = Api { centers: centers.iter().map(|c| c.url.clone()).collect(), ..centers[0].api() };
    let load = Unicasts { ttl_s: Some(60), ..load(open(2_000.0), Via::Http) };
    let sender = Sender::start(load, api, ledger.clone(), LONG);
    let counts = sender.until("300 accepted", |s| s.ledger.counts().accepted >= 300).await;

    let truth = ledger.counts();
    assert_eq!((truth.planned, truth.received), (truth.accepted, truth.accepted));
    assert!(clean(&truth), "{truth:?}");
    assert_eq!((counts.requests, counts.answered, counts.skipped), (truth.planned, truth.planned, 0));
    assert_eq!((counts.connects, counts.repeats), (4, 0));
    let mut keys = HashSet::new();
    let mut turns: HashMap<u32, u64> = HashMap::new();
    for (number, center) in centers.iter().enumerate() {
        for call in center.calls() {
            let user = call.users()[0];
            assert_eq!(user as usize % 3, number, "a user's messages go through one center");
            assert_eq!((call.path.as_str(), call.authorization.as_str()), ("/v1/messages", "Bearer ll_1_x"));
            assert_eq!((call.payload().len(), &call.body["ttl_seconds"]), (100, &60.into()));
            let header = Header::read(&call.payload()).unwrap();
            assert_eq!(
                (header.run, header.agent, header.kind, header.user),
                (RUN, AGENT, Kind::Unicast, user)
            );
            assert!(keys.insert(call.key), "a key is used once");
            *turns.entry(user).or_default() += 1;
        }
    }
    let (least, most) = (turns.values().min().unwrap(), turns.values().max().unwrap());
    assert!(turns.len() == USERS.len() && most - least <= 1, "{turns:?}");
}

#[tokio::test]
async fn a_batch_has_one_payload_and_each_user_an_outcome() {
    let ledger = ledger();
    let script = [Behave::Partly(3, "resource_exhausted"), Behave::Accept];
    let center = Center::start(&ledger, script, Behave::Accept).await;
    let load = Unicasts { connections: 1, ..load(open(10_000.0), Via::Batch { users: 40 }) };
    let sender = Sender::start(load, center.api(), ledger.clone(), LONG);
    let counts = sender.until("10 batches", |s| s.ledger.counts().accepted >= 399).await;
    let truth = ledger.counts();
    assert_eq!((truth.refused, truth.received), (1, truth.accepted));
    assert_eq!((truth.planned, clean(&truth)), (truth.accepted + 1, true));
    assert_eq!(counts.refused, [("resource_exhausted".to_owned(), 1)].into());
    assert_eq!(counts.requests * 40, truth.planned);
    for call in center.calls() {
        assert_eq!(call.users().len(), 40);
        assert_eq!(Header::read(&call.payload()).unwrap().kind, Kind::Batch);
    }
}

#[tokio::test]
async fn what_is_refused_is_counted_by_code_and_the_connection_pauses() {
    let ledger = ledger();
    let script = [Behave::Problem(400, "invalid_user", 0), Behave::Problem(429, "resource_exhausted", 1)];
    let center = Center::start(&ledger, script, Behave::Accept).await;
    let load = Unicasts { connections: 1, ..load(open(500.0), Via::Http) };
    let sender = Sender::start(load, center.api(), ledger.clone(), LONG);
    let counts = sender.until("one after the pause", |s| s.ledger.counts().accepted >= 1).await;
    let calls = center.calls();
    assert!(calls[1].at - calls[0].at < Duration::from_millis(500), "no pause after 400");
    assert!(calls[2].at - calls[1].at >= Duration::from_millis(990), "{:?}", calls[2].at - calls[1].at);
    let expected = [("invalid_user".to_owned(), 1), ("resource_exhausted".to_owned(), 1)];
    assert_eq!(counts.refused, expected.into());
    assert_eq!(ledger.counts().refused, 2);
    assert_eq!(ledger.counts().planned, ledger.counts().accepted + 2, "what waited meanwhile was sent");
}

#[tokio::test]
async fn an_unknown_outcome_is_asked_for_again_with_the_same_key() {
    let script = vec![
        Behave::Break,
        Behave::Problem(504, "deadline_exceeded", 0),
        Behave::Problem(503, "unavailable", 1),
    ];
    let (counts, truth, center) = one(script, Behave::Accept, LONG, load(open(1.0), Via::Http)).await;
    let calls = center.calls();
    assert_eq!(calls.len(), 4);
    assert!(calls.iter().all(|call| !call.key.is_empty() && call.key == calls[0].key));
    assert!(calls.iter().all(|call| call.body == calls[0].body));
    assert_eq!((truth.planned, truth.accepted, truth.received, truth.refused), (1, 1, 1, 0));
    assert_eq!((counts.requests, counts.repeats, counts.answered), (4, 3, 3));
    assert!(clean(&truth) && counts.refused.is_empty() && counts.unknown.is_empty());
}

#[tokio::test]
async fn a_refusal_after_an_unknown_try_settles_nothing() {
    let deadline = Duration::from_millis(500);
    let rest = Behave::Problem(503, "unavailable", 0);
    let (counts, truth, _) = one(vec![Behave::Break], rest, deadline, load(open(1.0), Via::Http)).await;
    assert_eq!((truth.unknown, truth.refused, truth.received), (1, 0, 1), "the first try was taken");
    assert_eq!(counts.unknown, [("unavailable".to_owned(), 1)].into());
    assert!(clean(&truth));
}

#[tokio::test]
async fn without_a_key_nothing_is_sent_twice() {
    let transient = Unicasts { transient: true, ..load(open(1.0), Via::Http) };
    let careless = Unicasts { idempotent: false, ..load(open(1.0), Via::Http) };
    for load in [transient, careless] {
        let (counts, truth, center) = one(vec![Behave::Break], Behave::Accept, LONG, load).await;
        assert_eq!((center.calls().len(), center.calls()[0].key.as_str()), (1, ""));
        assert_eq!((truth.unknown, counts.repeats), (1, 0));
        assert_eq!(counts.unknown, [("connection".to_owned(), 1)].into());
    }
}

#[tokio::test]
async fn who_never_answers_is_given_up_at_the_deadline() {
    let deadline = Duration::from_millis(300);
    let began = std::time::Instant::now();
    let (counts, truth, _) = one(vec![], Behave::Never, deadline, load(open(1.0), Via::Http)).await;
    assert!(began.elapsed() >= deadline && began.elapsed() < 10 * deadline, "{:?}", began.elapsed());
    assert_eq!((truth.unknown, counts.unknown["no_answer"], counts.answered), (1, 1, 0));
}

#[tokio::test]
async fn only_the_users_in_doubt_of_a_batch_are_asked_for_again() {
    let script = vec![Behave::Partly(1, "deadline_exceeded")];
    let batch = load(open(1.0), Via::Batch { users: 3 });
    let (counts, truth, center) = one(script, Behave::Accept, LONG, batch).await;
    let calls = center.calls();
    assert_eq!(calls[1].users(), [calls[0].users()[1]]);
    assert_eq!((&calls[1].key, calls[1].payload()), (&calls[0].key, calls[0].payload()));
    assert_eq!((truth.accepted, truth.received, counts.requests), (3, 3, 2));
}

#[tokio::test]
async fn answers_that_are_none_leave_it_unknown() {
    for text in ["", "{}", r#"{"messages":[]}"#, r#"{"messages":[{"user":"u","id":"x"}]}"#] {
        let load = Unicasts { idempotent: false, ..load(open(1.0), Via::Http) };
        let (counts, truth, _) = one(vec![], Behave::Say(text), LONG, load).await;
        assert_eq!((truth.unknown, counts.unknown["bad_answer"]), (1, 1), "{text}");
    }
}

#[tokio::test]
async fn a_center_that_is_not_there_is_tried_until_the_end_and_nothing_is_lost_from_sight() {
    let ledger = ledger();
    let closed = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let api = Api { centers: vec![format!("http://{}", closed.local_addr().unwrap())], ..Api::default() };
    drop(closed);
    let load = load(open(5_000.0), Via::Http);
    let sender = Sender::start(load, api, ledger.clone(), Duration::from_millis(200));
    let counts = sender.until("the backlog is full", |s| s.progress.counts().skipped > 100).await;
    let truth = ledger.counts();
    assert_eq!((truth.planned, truth.skipped), (5_000, 5_000), "what waited");
    assert!(counts.skipped > 5_100 && counts.connect_failures > 0, "and what found no room: {counts:?}");
    assert_eq!((counts.requests, counts.backlog_max), (0, 5_000));
}

#[tokio::test]
async fn what_cannot_be_an_address_is_said_at_once() {
    use crate::{BadApi, Progress, Traffic, unicasts};
    let traffic = |centers: Vec<String>| Traffic {
        load: load(open(1.0), Via::Http),
        api: Api { centers, ..Api::default() },
        users: USERS,
        prefix: String::new(),
        ledger: ledger(),
        clock: longline_load_truth::Clock::new(),
        seed: 0,
    };
    let send =
        |centers| unicasts(traffic(centers), std::sync::Arc::<Progress>::default(), Default::default());
    assert_eq!(send(vec![]).await, Err(BadApi::Missing));
    assert!(matches!(send(vec!["localhost".into()]).await, Err(BadApi::Address(_))));
}
