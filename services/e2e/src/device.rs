//! A device that keeps what it received.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{Context as _, bail};
use longline_sdk::{Builder, Client, Closed, Event, MessageId};
use tokio::sync::watch;

/// A device on the SDK. Everything it is told is kept, for as long as it lives.
pub struct Device {
    /// To bind, unbind, send uplinks, acknowledge.
    pub client: Client,
    shared: Arc<Shared>,
    changes: watch::Receiver<u64>,
}

/// What a device was told.
#[derive(Clone, Debug, Default)]
pub struct Received {
    /// In the order of their coming; each once, as the SDK promises.
    pub messages: Vec<longline_sdk::Message>,
    /// The endpoints it was connected to, one for each connection.
    pub connections: Vec<String>,
    /// How many of them went on with the session before.
    pub resumed: usize,
    /// Times that a bind was told to stand.
    pub bound: usize,
    /// The binds that were, in that order.
    pub binds: Vec<longline_sdk::BindId>,
    /// Binds that ended, with the result's name.
    pub ended: Vec<longline_sdk::BindResult>,
    /// Why it stopped for good, if it did.
    pub closed: Option<Closed>,
}

#[derive(Default)]
struct Shared {
    received: Mutex<Received>,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Received> {
        self.received.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Device {
    /// Starts the device and keeps what it is told.
    pub fn start(builder: Builder) -> anyhow::Result<Device> {
        let (client, mut events) = builder.start()?;
        let shared = Arc::new(Shared::default());
        let (changed, changes) = watch::channel(0);
        let keeping = shared.clone();
        tokio::spawn(async move {
            while let Some(event) = events.recv().await {
                keep(&mut keeping.lock(), event);
                changed.send_modify(|n| *n += 1);
            }
        });
        Ok(Device { client, shared, changes })
    }

    /// A device that binds one user of a product without tokens, and is bound.
    pub async fn bound(rooms: &[String], product: u32, user: &str) -> anyhow::Result<Device> {
        let builder = Client::builder(format!("device of {user}")).rooms(rooms).bind(product, user, "");
        let device = Device::start(builder)?;
        device.until("it is bound", |r| r.bound > 0).await?;
        Ok(device)
    }

    /// What it was told until now.
    pub fn received(&self) -> Received {
        self.shared.lock().clone()
    }

    /// The payloads that came, in their order, as text.
    pub fn texts(&self) -> Vec<String> {
        let received = self.shared.lock();
        received.messages.iter().map(|m| String::from_utf8_lossy(&m.payload).into_owned()).collect()
    }

    /// Waits until what it was told is enough.
    pub async fn until(&self, what: &str, enough: impl Fn(&Received) -> bool) -> anyhow::Result<()> {
        let mut changes = self.changes.clone();
        let waiting = async {
            loop {
                changes.borrow_and_update();
                if enough(&self.shared.lock()) {
                    return Ok(());
                }
                if changes.changed().await.is_err() {
                    bail!("the device has ended; it was told {:?}", self.received());
                }
            }
        };
        let waited = tokio::time::timeout(crate::SOON, waiting).await;
        waited.with_context(|| format!("waited for: {what}; it was told {:?}", self.received()))?
    }

    /// Waits until each of these messages has come.
    pub async fn until_has(&self, ids: &[MessageId]) -> anyhow::Result<()> {
        let missing = |r: &Received| {
            let counts = counts(r);
            ids.iter().filter(|id| !counts.contains_key(id)).count()
        };
        self.until(&format!("{} messages", ids.len()), |r| missing(r) == 0).await
    }

    /// Says goodbye.
    pub async fn close(self) {
        self.client.close().await;
    }
}

fn counts(received: &Received) -> HashMap<MessageId, usize> {
    let mut counts = HashMap::new();
    for message in &received.messages {
        *counts.entry(message.id).or_default() += 1;
    }
    counts
}

fn keep(received: &mut Received, event: Event) {
    match event {
        Event::Message(message) => received.messages.push(message),
        Event::Connected { endpoint, resumed, .. } => {
            received.connections.push(endpoint);
            received.resumed += usize::from(resumed);
        }
        Event::Bound { bind, .. } => {
            received.bound += 1;
            received.binds.push(bind);
        }
        Event::BindEnded { result, .. } => received.ended.push(result),
        Event::Closed(closed) => received.closed = Some(closed),
        Event::ConnectFailed { .. } | Event::Disconnected { .. } => {}
    }
}
