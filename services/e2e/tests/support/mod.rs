//! What the tests of real processes share.
#![allow(clippy::unwrap_used, missing_docs, unreachable_pub)]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use longline_e2e::{Api, Device, SOON};
use longline_procs::Cluster;
use longline_testkit::eventually;
use longline_types::MessageId;
use serde_json::json;

/// Business servers that push without pause, one per center, and everything that was accepted.
pub struct Traffic {
    stop: Arc<AtomicBool>,
    count: Arc<AtomicUsize>,
    senders: Vec<tokio::task::JoinHandle<Vec<(String, MessageId)>>>,
}

impl Traffic {
    /// To these many users in turn: `user-0`, `user-1`, …
    pub fn start(cluster: &Cluster, users: usize) -> Traffic {
        let (stop, count) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let senders = cluster.api().into_iter().enumerate().map(|(sender, url)| {
            let api = Api::new(url, cluster.product().key.clone());
            tokio::spawn(send(api, sender, users, stop.clone(), count.clone()))
        });
        Traffic { senders: senders.collect(), stop, count }
    }

    /// Stops once there were at least so many, and tells what was accepted.
    pub async fn accepted(self, least: usize) -> Vec<(String, MessageId)> {
        eventually(SOON, "traffic", async || self.count.load(Ordering::Relaxed) >= least).await;
        self.stop.store(true, Ordering::Relaxed);
        let mut all = Vec::new();
        for sender in self.senders {
            all.extend(sender.await.unwrap());
        }
        all
    }
}

/// Every message has a key of its own, and is sent again under it until it is accepted: what a business does.
async fn send(
    api: Api,
    sender: usize,
    users: usize,
    stop: Arc<AtomicBool>,
    count: Arc<AtomicUsize>,
) -> Vec<(String, MessageId)> {
    let mut accepted = Vec::new();
    for number in 0.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let user = format!("user-{}", number % users);
        let body = json!({ "to": { "user": user }, "payload": number });
        let key = format!("{sender}-{number}");
        let id = loop {
            match api.send(body.clone(), Some(&key)).await {
                Ok(id) => break id,
                Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        };
        accepted.push((user, id));
        count.fetch_add(1, Ordering::Relaxed);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    accepted
}

/// Nothing lost, nothing foreign, nothing twice (the SDK drops what comes again), and nothing left in the store.
pub async fn check(cluster: &Cluster, devices: &[(String, Device)], accepted: &[(String, MessageId)]) {
    for (user, device) in devices {
        let ids: Vec<MessageId> = accepted.iter().filter(|(u, _)| u == user).map(|(_, id)| *id).collect();
        device.until_has(&ids).await.unwrap();
        let received = device.received();
        assert!(received.messages.iter().all(|m| ids.contains(&m.id)), "{user} got a foreign message");
        assert_eq!(received.messages.len(), ids.len(), "{user} got a message twice");
        assert!(received.closed.is_none(), "{user}: {:?}", received.closed);
    }
    let api = Api::new(cluster.api().remove(0), cluster.product().key.clone());
    for (user, _) in devices {
        eventually(SOON, &format!("{user} has acknowledged all"), async || {
            api.waiting(user).await.is_ok_and(|waiting| waiting == 0)
        })
        .await;
    }
}
