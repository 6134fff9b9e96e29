//! What a watch of the configuration is sent.

use longline_pb::keeper::{ConfigEntry, ConfigEvent};
use tokio::sync::{broadcast, mpsc};
use tonic::Status;

use crate::desk::{Ask, DeskHandle};
use crate::state::Entry;
use crate::store::config_entry;

/// Entries are cut into events of about this many bytes, far below what a receiver takes.
const EVENT_BYTES: usize = 2 * 1024 * 1024;

/// Sends all entries under the prefix, then each as it changes; a reader that falls too far behind gets all anew. Ends when the
/// desk or the reader does.
pub(crate) async fn send(desk: DeskHandle, prefix: String, to: mpsc::Sender<Result<ConfigEvent, Status>>) {
    // Subscribed before the list is read, so that no change falls between them.
    while let Some(mut changes) = desk.changes() {
        let listing = desk.ask(|reply| Ask::List { prefix: prefix.clone(), reply });
        let (entries, revision) = match listing.await {
            Ok(list) => list,
            Err(error) => {
                let _ = to.send(Err(longline_rpc::status(error))).await;
                return;
            }
        };
        if !give_all(&to, entries).await {
            return;
        }
        loop {
            match changes.recv().await {
                Ok(entry) if entry.revision > revision && entry.key.starts_with(&prefix) => {
                    if !give(&to, change(entry)).await {
                        return;
                    }
                }
                Ok(_) => {}
                Err(broadcast::error::RecvError::Lagged(_)) => break,
                Err(broadcast::error::RecvError::Closed) => return,
            }
        }
    }
}

async fn give_all(to: &mpsc::Sender<Result<ConfigEvent, Status>>, entries: Vec<Entry>) -> bool {
    let mut pieces = pieces(entries).into_iter().enumerate().peekable();
    while let Some((number, entries)) = pieces.next() {
        let event = ConfigEvent { entries, snapshot: number == 0, more: pieces.peek().is_some() };
        if !give(to, event).await {
            return false;
        }
    }
    true
}

/// All of a snapshot, in events that a receiver takes; at least one.
fn pieces(entries: Vec<Entry>) -> Vec<Vec<ConfigEntry>> {
    let mut pieces = vec![Vec::new()];
    let mut bytes = 0;
    for entry in entries {
        if bytes >= EVENT_BYTES {
            pieces.push(Vec::new());
            bytes = 0;
        }
        bytes += entry.key.len() + entry.value.len();
        if let Some(last) = pieces.last_mut() {
            last.push(config_entry(entry));
        }
    }
    pieces
}

/// One that has changed.
fn change(entry: Entry) -> ConfigEvent {
    ConfigEvent { entries: vec![config_entry(entry)], ..ConfigEvent::default() }
}

async fn give(to: &mpsc::Sender<Result<ConfigEvent, Status>>, event: ConfigEvent) -> bool {
    to.send(Ok(event)).await.is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_large_snapshot_comes_in_pieces_of_which_the_first_and_the_last_say_so() {
        let entry =
            |n: u64| Entry { key: format!("k{n}"), value: vec![0; 1024 * 1024], revision: n, deleted: false };
        for (entries, pieces) in [(0, vec![0]), (2, vec![2]), (5, vec![2, 2, 1])] {
            let (to, mut events) = mpsc::channel(16);
            assert!(give_all(&to, (1..=entries).map(entry).collect()).await);
            drop(to);
            let mut seen = Vec::new();
            while let Some(event) = events.recv().await {
                let event = event.unwrap();
                assert_eq!(event.snapshot, seen.is_empty());
                seen.push(event.entries.len());
                assert_eq!(event.more, seen.len() < pieces.len());
            }
            assert_eq!(seen, pieces);
        }
    }
}
