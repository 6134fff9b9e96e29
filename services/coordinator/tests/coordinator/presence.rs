//! Who came and went, told to those who ask.

use longline_pb::coordinator::PresenceRequest;
use longline_testkit::eventually;

use crate::support::business::{Behave, Business};
use crate::support::saver::FakeSaver;
use crate::support::{Running, SOON, address, config, product};

fn presence(product: u32, online: bool, session: u64) -> PresenceRequest {
    PresenceRequest {
        address: address(product),
        online,
        device: "d1".into(),
        session,
        at_ms: 1_735_689_599_001,
        reason: if online { String::new() } else { "heartbeat_timeout".into() },
        node: 4,
    }
}

#[tokio::test]
async fn presence_reaches_those_who_ask_with_retries() {
    let business = Business::start().await;
    business.behave([Behave::Answer(503)]);
    let mut asks = product(7, String::new());
    asks.presence_url = business.url("/presence");
    let saver = FakeSaver::start(1, vec![asks, product(8, business.url("/hook"))]).await;
    let running = Running::start(config(), vec![saver.node.clone()]).await;
    running.presence(presence(7, true, 99)).await.unwrap();
    eventually(SOON, "online told", async || saver.queue().len() == 1 && saver.all_finished()).await;
    running.presence(presence(7, false, 99)).await.unwrap();
    eventually(SOON, "offline told", async || saver.queue().len() == 2 && saver.all_finished()).await;
    running.presence(presence(8, true, 1)).await.unwrap();
    running.presence(presence(9, true, 1)).await.unwrap();
    assert_eq!(saver.queue().len(), 2, "nothing is stored for products that do not ask");

    let calls = business.calls().clone();
    assert_eq!(calls.len(), 3);
    assert_eq!(calls[0].json(), calls[1].json());
    let (online, offline) = (calls[1].json(), calls[2].json());
    assert_eq!((&online["type"], &online["event"]), (&"presence".into(), &"online".into()));
    assert_eq!((&offline["event"], &offline["reason"]), (&"offline".into(), &"heartbeat_timeout".into()));
    assert_eq!((&offline["session"], &offline["room"]), (&"99".into(), &4.into()));
    assert_eq!(offline["at"], "2024-12-31T23:59:59.001Z");
    assert_eq!(calls[2].path, "/presence");
}
