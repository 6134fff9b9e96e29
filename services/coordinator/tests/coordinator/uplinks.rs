//! From a room's uplink to the business: at least once, signed, in the product's share, whoever dies or hangs.

use std::time::{Duration, Instant};

use longline_auth::webhook;
use longline_pb::saver::{UplinkKind, UplinkRecord};
use longline_testkit::eventually;
use longline_types::{Error, ErrorCode, IdGrant, IdMaker, limits, now_ms};

use crate::support::business::{Behave, Business};
use crate::support::saver::{FakeSaver, Row};
use crate::support::{Running, SECRET, SOON, address, config, product, uplink};

async fn start(config: longline_coordinator::Config) -> (Running, FakeSaver, Business) {
    let business = Business::start().await;
    let saver = FakeSaver::start(1, vec![product(7, business.url("/hook"))]).await;
    let running = Running::start(config, vec![saver.node.clone()]).await;
    (running, saver, business)
}

async fn all_finished(saver: &FakeSaver, count: usize) {
    eventually(SOON, "the queue to be finished", async || {
        saver.queue().len() == count && saver.all_finished()
    })
    .await;
}

#[tokio::test]
async fn an_uplink_is_stored_then_reaches_the_business_signed() {
    let (running, saver, business) = start(config()).await;
    running.uplink(uplink(7, 5, r#"{"temperature":21.50}"#)).await.unwrap();
    assert_eq!(saver.queue().len(), 1, "safe in the store before the answer");
    all_finished(&saver, 1).await;
    let calls = business.calls().clone();
    assert_eq!(calls.len(), 1);
    let (call, body) = (&calls[0], calls[0].json());
    let now_s = now_ms() / 1000;
    let signature = call.header(webhook::HEADER);
    webhook::verify(SECRET, signature, &call.body, now_s, webhook::TOLERANCE_S).unwrap();
    assert_eq!(call.path, "/hook");
    assert_eq!(call.header("content-type"), "application/json");
    assert_eq!(call.header("idempotency-key"), body["id"]);
    assert_eq!(body["type"], "uplink");
    assert_eq!(
        (&body["product"], &body["user"], &body["device"]),
        (&7.into(), &"alice".into(), &"d1".into())
    );
    assert_eq!((&body["route"], &body["sequence"]), (&1.into(), &5.into()));
    assert_eq!(body["payload"]["temperature"], 21.5);
    assert_eq!(body["id"], saver.queue()[0].record.id.to_string());
    assert_eq!(running.counter(r#"longline_coordinator_tries_total{outcome="taken"}"#), 1);
}

#[tokio::test]
async fn what_was_not_taken_is_tried_again_under_the_same_id() {
    let (running, saver, business) = start(config()).await;
    business.behave([Behave::Answer(500), Behave::Answer(404), Behave::Redirect]);
    running.uplink(uplink(7, 1, "1")).await.unwrap();
    all_finished(&saver, 1).await;
    let calls = business.calls().clone();
    assert_eq!(calls.len(), 4);
    assert!(calls.iter().all(|call| call.json() == calls[0].json()));
    assert!(calls.iter().all(|call| call.path == "/hook"), "redirects are not followed");
    assert_eq!(running.counter(r#"longline_coordinator_tries_total{outcome="refused"}"#), 3);
    assert_eq!(saver.queue()[0].record.attempts, 3);
}

#[tokio::test]
async fn a_try_that_gets_no_answer_ends_in_time() {
    let mut config = config();
    config.webhooks.timeout_ms = 100;
    let (running, saver, business) = start(config).await;
    business.behave([Behave::Hang]);
    running.uplink(uplink(7, 1, "1")).await.unwrap();
    all_finished(&saver, 1).await;
    assert_eq!(business.calls().len(), 2);
    assert_eq!(running.counter(r#"longline_coordinator_tries_total{outcome="timed_out"}"#), 1);
}

#[tokio::test]
async fn a_repeated_sequence_is_answered_and_delivered_once() {
    let (running, saver, business) = start(config()).await;
    running.uplink(uplink(7, 1, "1")).await.unwrap();
    all_finished(&saver, 1).await;
    running.uplink(uplink(7, 1, "1")).await.unwrap();
    running.uplink(uplink(7, 2, "2")).await.unwrap();
    all_finished(&saver, 2).await;
    assert_eq!(business.calls().len(), 2);
    assert_eq!(running.counter(r#"longline_coordinator_uplinks_total{result="repeated"}"#), 1);
}

#[tokio::test]
async fn gone_ends_it_at_once() {
    let (running, saver, business) = start(config()).await;
    business.behave([Behave::Answer(410)]);
    running.uplink(uplink(7, 1, "1")).await.unwrap();
    all_finished(&saver, 1).await;
    assert_eq!(business.calls().len(), 1);
}

#[tokio::test]
async fn what_the_product_does_not_take_is_not_stored() {
    let (running, saver, _business) = start(config()).await;
    let mut other_route = uplink(7, 1, "1");
    other_route.route = 2;
    let mut nobody = uplink(7, 1, "1");
    nobody.address.as_mut().unwrap().user = String::new();
    let mut no_device = uplink(7, 1, "1");
    no_device.device = "x".repeat(limits::DEVICE + 1);
    for (request, code) in [
        (other_route, ErrorCode::NotFound),
        (uplink(8, 1, "1"), ErrorCode::NotFound),
        (uplink(7, 1, &"x".repeat(limits::PAYLOAD + 1)), ErrorCode::InvalidArgument),
        (nobody, ErrorCode::InvalidArgument),
        (no_device, ErrorCode::InvalidArgument),
    ] {
        assert_eq!(running.uplink(request).await.unwrap_err().code, code);
    }
    assert!(saver.queue().is_empty());
    assert_eq!(running.counter(r#"longline_coordinator_uplinks_total{result="not_found"}"#), 2);
}

#[tokio::test]
async fn what_cannot_be_stored_is_not_answered_as_safe_and_not_delivered() {
    let (running, saver, business) = start(config()).await;
    saver.break_with(Error::new(ErrorCode::ResourceExhausted, "full"));
    assert_eq!(running.uplink(uplink(7, 1, "1")).await.unwrap_err().code, ErrorCode::ResourceExhausted);
    assert!(business.calls().is_empty());
}

/// An uplink that another coordinator stored, accepted this long ago, whose claim ends at the given time.
fn left_behind(age: Duration, due_at_ms: u64) -> Row {
    let at_ms = now_ms() - age.as_millis() as u64;
    let ids = IdMaker::new(IdGrant { number: 3, from_ms: at_ms, until_ms: at_ms + 1 });
    let record = UplinkRecord {
        id: ids.make(at_ms).unwrap().0,
        kind: UplinkKind::Data.into(),
        address: address(7),
        device: "d9".into(),
        sequence: 1,
        route: 1,
        payload: "2".into(),
        received_at_ms: at_ms,
        attempts: 4,
        detail: String::new(),
    };
    Row { record, due_at_ms, finished: false }
}

#[tokio::test]
async fn what_a_dead_coordinator_held_is_taken_over_when_its_claim_has_run_out() {
    let (_running, saver, business) = start(config()).await;
    let until_ms = now_ms() + 300;
    saver.queue().push(left_behind(Duration::from_secs(1), until_ms));
    eventually(SOON, "the take-over", async || !business.calls().is_empty()).await;
    assert!(now_ms() >= until_ms, "not before the claim has run out");
    assert_eq!(business.calls()[0].json()["device"], "d9");
    all_finished(&saver, 1).await;
}

#[tokio::test]
async fn what_nobody_took_for_a_day_is_given_up() {
    let (running, saver, business) = start(config()).await;
    business.behave([Behave::Answer(500), Behave::Answer(500)]);
    saver.queue().push(left_behind(Duration::from_secs(25 * 60 * 60), 0));
    all_finished(&saver, 1).await;
    assert_eq!(business.calls().len(), 1);
    assert_eq!(running.counter("longline_coordinator_given_up_total"), 1);
}

#[tokio::test]
async fn a_business_that_hangs_delays_no_other_and_loses_nothing() {
    let (hanging, swift) = (Business::start().await, Business::start().await);
    hanging.behave(std::iter::repeat_n(Behave::Hang, 1000));
    let products = vec![product(7, hanging.url("/")), product(8, swift.url("/"))];
    let saver = FakeSaver::start(1, products).await;
    let mut config = config();
    (config.webhooks.at_once, config.webhooks.at_once_per_product) = (8, 4);
    (config.webhooks.waiting, config.webhooks.waiting_per_product) = (64, 8);
    let running = Running::start(config, vec![saver.node.clone()]).await;
    for sequence in 1..=40 {
        running.uplink(uplink(7, sequence, "1")).await.unwrap();
    }
    eventually(SOON, "the share of the hanging product to be used", async || hanging.calls().len() == 4)
        .await;
    let began = Instant::now();
    for sequence in 1..=20 {
        running.uplink(uplink(8, sequence, "1")).await.unwrap();
    }
    eventually(SOON, "the other product's calls", async || swift.calls().len() == 20).await;
    assert!(began.elapsed() < Duration::from_secs(9), "a hanging call takes 10 s: {:?}", began.elapsed());
    assert_eq!(hanging.calls().len(), 4, "no more than its share at once");
    hanging.release();
    all_finished(&saver, 60).await;
}

#[tokio::test]
async fn a_stop_ends_in_time_and_gives_back_what_was_not_begun() {
    let mut config = config();
    config.node.shutdown_s = 2;
    config.webhooks.at_once_per_product = 1;
    let (running, saver, business) = start(config).await;
    business.behave([Behave::Hang]);
    for sequence in 1..=3 {
        running.uplink(uplink(7, sequence, "1")).await.unwrap();
    }
    eventually(SOON, "the first call", async || business.calls().len() == 1).await;
    running.shutdown.cancel();
    tokio::time::timeout(Duration::from_secs(5), running.ended).await.expect("in time").unwrap().unwrap();
    let now = now_ms();
    let given_back = saver.queue().iter().filter(|row| !row.finished && row.due_at_ms <= now).count();
    assert_eq!(given_back, 2);
    assert!(
        running.keeper.views().borrow().live(longline_types::Role::Coordinator).next().is_none(),
        "it has left"
    );
}
