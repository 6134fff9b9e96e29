//! Broadcasts over HTTP.

use longline_load_truth::{Header, Kind};

use super::center::{Behave, Center};
use super::ledger;
use crate::{Api, SendError, broadcast};

fn header(number: u64) -> Header {
    Header { run: 7, agent: 0, kind: Kind::Broadcast, user: 0, sequence: number, due: 5 }
}

#[tokio::test]
async fn a_broadcast_is_repeated_until_it_is_answered() {
    let script = [Behave::Break, Behave::Problem(503, "unavailable", 0), Behave::Problem(500, "internal", 0)];
    let center = Center::start(&ledger(), script, Behave::Accept).await;
    assert_eq!(broadcast(&center.api(), header(3), 200, Some(60), 500).await.unwrap(), 1);
    let calls = center.calls();
    assert_eq!(calls.len(), 4);
    for call in calls {
        assert_eq!((call.path.as_str(), call.authorization.as_str()), ("/v1/broadcasts", "Bearer ll_1_x"));
        assert_eq!(call.key, "00000007-b-3");
        assert_eq!((&call.body["ttl_seconds"], &call.body["rate_per_second"]), (&60.into(), &500.into()));
        assert_eq!((call.payload().len(), Header::read(&call.payload())), (200, Some(header(3))));
    }
}

#[tokio::test]
async fn a_refusal_is_final() {
    let center = Center::start(&ledger(), [], Behave::Problem(403, "product_disabled", 0)).await;
    let refused = broadcast(&center.api(), header(3), 200, None, 0).await;
    assert!(matches!(&refused, Err(SendError::Refused(code)) if code == "product_disabled"), "{refused:?}");
    assert_eq!(center.calls().len(), 1);
    assert_eq!(center.calls()[0].body.get("ttl_seconds"), None);
}

#[tokio::test]
async fn centers_take_turns() {
    let ledger = ledger();
    let (one, other) =
        (Center::start(&ledger, [], Behave::Accept).await, Center::start(&ledger, [], Behave::Accept).await);
    let api = Api { centers: vec![one.url.clone(), other.url.clone()], ..one.api() };
    for number in 0..4 {
        broadcast(&api, header(number), 100, None, 0).await.unwrap();
    }
    assert_eq!((one.calls().len(), other.calls().len()), (2, 2));
    assert!(matches!(broadcast(&Api::default(), header(0), 100, None, 0).await, Err(SendError::Api(_))));
}
