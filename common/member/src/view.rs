//! Following the keeper's view.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use longline_pb::keeper::view_event::What;
use longline_pb::keeper::{LoadReport, ViewEvent, WatchViewRequest};
use longline_types::{Error, Load, View};
use tonic::Streaming;

use crate::backoff::Backoff;
use crate::shared::Shared;

/// How long a keeper may take to answer a watch.
const OPEN_DEADLINE: Duration = Duration::from_secs(3);
/// The keeper reports loads every second, so a watch that says nothing for this long is dead.
const SILENCE: Duration = Duration::from_secs(10);

/// Watches the view until the member stops; the last one stands while no keeper answers.
pub(crate) async fn follow(shared: Arc<Shared>) {
    let forever = async {
        let mut backoff = Backoff::new();
        loop {
            let error = match watch(&shared).await {
                Ok(events) => {
                    backoff.reset();
                    take(&shared, events).await
                }
                Err(error) => error,
            };
            let pause = backoff.pause();
            tracing::debug!(%error, ?pause, "not watching the view");
            tokio::time::sleep(pause).await;
        }
    };
    tokio::select! {
        biased;
        () = shared.stop.cancelled() => {}
        () = forever => {}
    }
}

/// Makes `view` the current one unless it is older than that. `anew`: it is another cluster's, take it whatever its number.
pub(crate) fn adopt(shared: &Shared, view: View, anew: bool) {
    shared.view.send_if_modified(|current| {
        let changes = if anew { **current != view } else { follows(current, &view) };
        if changes {
            *current = Arc::new(view);
        }
        changes
    });
}

async fn watch(shared: &Shared) -> Result<Streaming<ViewEvent>, Error> {
    shared
        .keepers
        .ask(OPEN_DEADLINE, |mut client| async move { client.watch_view(WatchViewRequest {}).await })
        .await
}

/// Takes events until the watch ends or falls silent; says why it did.
async fn take(shared: &Shared, mut events: Streaming<ViewEvent>) -> Error {
    loop {
        match tokio::time::timeout(SILENCE, events.message()).await {
            Ok(Ok(Some(ViewEvent { what: Some(What::View(view)) }))) => adopt(shared, view.into(), false),
            Ok(Ok(Some(ViewEvent { what: Some(What::Loads(loads)) }))) => merge(shared, loads),
            // A kind of event that a later keeper has.
            Ok(Ok(Some(ViewEvent { what: None }))) => {}
            Ok(Ok(None)) => return Error::unavailable("the keeper has ended the watch"),
            Ok(Err(status)) => return longline_rpc::error(status),
            Err(_) => return Error::unavailable("the keeper has fallen silent"),
        }
    }
}

/// Whether `next` says something that `current` does not. Two views of one number differ in their loads only.
fn follows(current: &View, next: &View) -> bool {
    next.number > current.number || next.number == current.number && next != current
}

fn merge(shared: &Shared, report: LoadReport) {
    let loads: HashMap<u32, Load> =
        report.loads.into_iter().map(|l| (l.number, l.load.unwrap_or_default().into())).collect();
    shared.view.send_if_modified(|current| {
        let news = current.nodes().any(|node| loads.get(&node.number).is_some_and(|load| *load != node.load));
        if news {
            let view = Arc::make_mut(current);
            for (number, load) in loads {
                if let Some(node) = view.node_mut(number) {
                    node.load = load;
                }
            }
        }
        news
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn views_never_go_back() {
        let view = |number| View::new(number, [], Vec::new());
        assert!(follows(&view(4), &view(5)));
        assert!(!follows(&view(5), &view(5)));
        assert!(!follows(&view(6), &view(5)));
    }
}
