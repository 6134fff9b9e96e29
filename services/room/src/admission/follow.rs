//! The limits that the keeper holds, taken over while the room runs.

use std::sync::Arc;
use std::time::Duration;

use longline_member::Entries;
use prometheus::{IntCounter, IntGauge, Registry};
use tokio::sync::watch;
use tokio::time::MissedTickBehavior;

use super::{Admission, BadAdmission};

/// The keeper's entry: a TOML document with keys of [`super::AdmissionConfig`].
pub const KEY: &str = "room/admission";
/// Addresses of which nothing has to be remembered are forgotten this often.
const FORGET_EVERY: Duration = Duration::from_secs(1);

/// What is known of the documents.
pub(crate) struct Documents {
    revision: IntGauge,
    rejected: IntCounter,
    callers: IntGauge,
}

impl Documents {
    /// Registers the metrics.
    pub(crate) fn new(registry: &Registry) -> prometheus::Result<Documents> {
        let documents = Documents {
            revision: IntGauge::new(
                "longline_room_admission_revision",
                "Revision of the keeper's entry room/admission that is in force; 0: the configuration file alone.",
            )?,
            rejected: IntCounter::new(
                "longline_room_admission_rejected_total",
                "Entries room/admission that could not be taken over; the limits before them stay in force.",
            )?,
            callers: IntGauge::new(
                "longline_room_callers",
                "Addresses whose connections are counted or remembered for their rate.",
            )?,
        };
        registry.register(Box::new(documents.revision.clone()))?;
        registry.register(Box::new(documents.rejected.clone()))?;
        registry.register(Box::new(documents.callers.clone()))?;
        Ok(documents)
    }
}

/// Names and labels of all of them.
#[cfg(test)]
pub(crate) fn metric_descriptions() -> Vec<prometheus::core::Desc> {
    use prometheus::core::Collector as _;
    let Documents { revision, rejected, callers } =
        Documents::new(&Registry::new()).expect("names and help are valid");
    [revision.desc(), rejected.desc(), callers.desc()].concat().into_iter().cloned().collect()
}

/// Takes over what the keeper's entry says, whenever it changes, until the entries end.
pub(crate) async fn follow(
    admission: Arc<Admission>,
    mut entries: watch::Receiver<Arc<Entries>>,
    documents: Documents,
) {
    let mut forget = tokio::time::interval(FORGET_EVERY);
    forget.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut seen = 0;
    loop {
        tokio::select! {
            changed = entries.changed() => {
                if changed.is_err() {
                    return;
                }
                let now = entries.borrow_and_update().clone();
                let revision = now.get(KEY).map_or(0, |entry| entry.revision);
                if now.are_known() && revision != seen {
                    seen = revision;
                    take_over(&admission, &now, &documents);
                }
            }
            _ = forget.tick() => {
                admission.forget_callers();
                documents.callers.set(admission.callers() as i64);
            }
        }
    }
}

fn take_over(admission: &Admission, entries: &Entries, documents: &Documents) {
    let entry = entries.get(KEY);
    let limits = match entry.map(|entry| std::str::from_utf8(&entry.value)) {
        None => admission.merged(None),
        Some(Ok(document)) => admission.merged(Some(document)),
        Some(Err(_)) => Err(BadAdmission::not_text()),
    };
    match limits {
        Ok(limits) => {
            let revision = entry.map_or(0, |entry| entry.revision);
            tracing::info!(revision, ?limits, "other admission limits are in force");
            documents.revision.set(revision as i64);
            admission.change(limits);
        }
        Err(error) => {
            tracing::warn!(%error, entry = KEY, "the limits before stay in force");
            documents.rejected.inc();
        }
    }
}
