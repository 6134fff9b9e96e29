//! What a watch of the view is sent.

use std::sync::Arc;
use std::time::Duration;

use longline_pb::keeper::view_event::What;
use longline_pb::keeper::{self, LoadReport, NodeLoad, ViewEvent};
use longline_types::View;
use tokio::sync::{mpsc, watch};
use tokio::time::MissedTickBehavior;
use tonic::Status;

use crate::desk::Loads;

/// Views follow each other at this distance at least, so that a cluster that starts sends one for many changes.
const APART: Duration = Duration::from_millis(50);
/// A report of loads comes this often, also if nothing changed: it is the sign of life that a watch waits for.
const REPORT_EVERY: Duration = Duration::from_secs(1);

/// Sends the current view, then the latest whenever there is a newer one (a slow reader misses those in between), and what
/// changed in the loads every second. Ends when the desk or the reader does.
pub(crate) async fn send(
    mut views: watch::Receiver<Arc<View>>,
    mut loads: watch::Receiver<Arc<Loads>>,
    to: mpsc::Sender<Result<ViewEvent, Status>>,
) {
    let mut report = tokio::time::interval(REPORT_EVERY);
    report.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let view = views.borrow_and_update().clone();
        let mut sent = loads.borrow_and_update().clone();
        if !give(&to, What::View(with_loads(&view, &sent))).await {
            return;
        }
        tokio::time::sleep(APART).await;
        loop {
            tokio::select! {
                changed = views.changed() => match changed {
                    Ok(()) => break,
                    Err(_) => return,
                },
                _ = report.tick() => {
                    let now = loads.borrow_and_update().clone();
                    if !give(&to, What::Loads(difference(&sent, &now))).await {
                        return;
                    }
                    sent = now;
                }
            }
        }
    }
}

/// The view on the wire, each node with its latest load.
pub(crate) fn with_loads(view: &View, loads: &Loads) -> keeper::View {
    let mut view = keeper::View::from(view);
    for node in &mut view.nodes {
        node.load = loads.get(&node.number).map(|load| (*load).into());
    }
    view
}

async fn give(to: &mpsc::Sender<Result<ViewEvent, Status>>, what: What) -> bool {
    to.send(Ok(ViewEvent { what: Some(what) })).await.is_ok()
}

fn difference(before: &Loads, now: &Loads) -> LoadReport {
    let changed = now.iter().filter(|(number, load)| before.get(number) != Some(load));
    LoadReport {
        loads: changed
            .map(|(number, load)| NodeLoad { number: *number, load: Some((*load).into()) })
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use longline_types::Load;

    use super::*;

    #[test]
    fn only_changed_loads_are_reported() {
        let load = |sessions| Load { sessions, ..Load::default() };
        let before = Loads::from([(1, load(5)), (2, load(6))]);
        let now = Loads::from([(1, load(5)), (2, load(7)), (3, load(0))]);
        let mut numbers: Vec<u32> = difference(&before, &now).loads.iter().map(|l| l.number).collect();
        numbers.sort_unstable();
        assert_eq!(numbers, [2, 3]);
        assert!(difference(&now, &now).loads.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_reader_gets_the_latest_view_only() {
        let view = |number| Arc::new(View::new(number, [], Vec::new()));
        let (views, watched) = watch::channel(view(1));
        let (_loads, loads) = watch::channel(Arc::new(Loads::new()));
        let (to, mut events) = mpsc::channel(1);
        let sending = tokio::spawn(send(watched, loads, to));
        let mut next_view = async || loop {
            match events.recv().await.unwrap().unwrap().what.unwrap() {
                What::View(view) => return view.number,
                What::Loads(_) => {}
            }
        };
        assert_eq!(next_view().await, 1);
        for number in 2..=9 {
            views.send_replace(view(number));
        }
        assert_eq!(next_view().await, 9);
        drop(views);
        drop(events);
        sending.await.unwrap();
    }
}
