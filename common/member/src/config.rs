//! Following the keeper's configuration.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use longline_pb::keeper::{ConfigEntry, ConfigEvent, WatchConfigRequest};
use longline_types::Error;
use tokio::sync::watch;
use tonic::Streaming;

use crate::backoff::Backoff;
use crate::shared::Shared;

/// How long a keeper may take to answer a watch.
const OPEN_DEADLINE: Duration = Duration::from_secs(3);

/// The configuration entries under a prefix, as they were last known.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Entries {
    entries: BTreeMap<String, Entry>,
    known: bool,
}

/// One configuration entry.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Entry {
    /// What it says; the format is its reader's.
    pub value: Vec<u8>,
    /// Of the change that made it so; rises over all entries of the cluster.
    pub revision: u64,
}

impl Entries {
    /// Whether a keeper has answered yet: if not, that an entry is not here says nothing.
    pub fn are_known(&self) -> bool {
        self.known
    }

    /// The entry with exactly this key.
    pub fn get(&self, key: &str) -> Option<&Entry> {
        self.entries.get(key)
    }

    /// All of them, in order of their keys.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Entry)> {
        self.entries.iter().map(|(key, entry)| (key.as_str(), entry))
    }

    fn take(&mut self, changed: Vec<ConfigEntry>) {
        for ConfigEntry { key, value, revision, deleted } in changed {
            match deleted {
                true => self.entries.remove(&key),
                false => self.entries.insert(key, Entry { value, revision }),
            };
        }
    }
}

/// Watches the entries under the prefix until the member stops or nobody reads them any more; the last ones stand while no keeper
/// answers.
pub(crate) async fn follow(shared: Arc<Shared>, prefix: String, to: watch::Sender<Arc<Entries>>) {
    let forever = async {
        let mut backoff = Backoff::new();
        loop {
            let error = match watch(&shared, &prefix).await {
                Ok(events) => {
                    backoff.reset();
                    take(events, &to).await
                }
                Err(error) => error,
            };
            let pause = backoff.pause();
            tracing::debug!(%error, prefix, ?pause, "not watching the configuration");
            tokio::time::sleep(pause).await;
        }
    };
    tokio::select! {
        biased;
        () = shared.stop.cancelled() => {}
        () = to.closed() => {}
        () = forever => {}
    }
}

async fn watch(shared: &Shared, prefix: &str) -> Result<Streaming<ConfigEvent>, Error> {
    let asking = shared.keepers.ask(OPEN_DEADLINE, |mut client| {
        let request = WatchConfigRequest { prefix: prefix.to_owned() };
        async move { client.watch_config(request).await }
    });
    asking.await
}

/// Takes events until the watch ends; says why it did. That a keeper is gone without a word is found by the connection's keepalive.
async fn take(mut events: Streaming<ConfigEvent>, to: &watch::Sender<Arc<Entries>>) -> Error {
    let mut next = Entries::default();
    loop {
        let event = match events.message().await {
            Ok(Some(event)) => event,
            Ok(None) => return Error::unavailable("the keeper has ended the watch"),
            Err(status) => return longline_rpc::error(status),
        };
        if event.snapshot {
            next = Entries { known: true, ..Entries::default() };
        }
        next.take(event.entries);
        // A snapshot is shown as a whole: what has not come yet would look deleted.
        if next.known && !event.more {
            to.send_if_modified(|now| {
                let changes = **now != next;
                if changes {
                    *now = Arc::new(next.clone());
                }
                changes
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_are_taken_over_and_deletions_too() {
        let entry = |key: &str, value: &str, revision, deleted| ConfigEntry {
            key: key.into(),
            value: value.into(),
            revision,
            deleted,
        };
        let mut entries = Entries::default();
        entries.take(vec![entry("a", "1", 1, false), entry("b", "2", 2, false)]);
        entries.take(vec![entry("a", "3", 3, false), entry("b", "", 4, true)]);
        let all: Vec<_> = entries.iter().map(|(k, e)| (k, e.value.as_slice(), e.revision)).collect();
        assert_eq!(all, [("a", b"3".as_slice(), 3)]);
        assert!(entries.get("b").is_none() && !entries.are_known());
    }
}
