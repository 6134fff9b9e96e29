//! Whether a service can do its work, and if not, why.

use std::sync::Arc;

use tokio::sync::watch;

/// What a service says of itself.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Readiness {
    /// It takes work.
    Ready,
    /// It does not, for this reason.
    NotReady(String),
}

/// A service's readiness, shared between the service, which sets it, and whoever wants to know. Not ready at first.
#[derive(Clone, Debug)]
pub struct Health(Arc<watch::Sender<Readiness>>);

impl Default for Health {
    fn default() -> Health {
        Health(Arc::new(watch::Sender::new(Readiness::NotReady("starting".to_owned()))))
    }
}

impl Health {
    /// It takes work from now on.
    pub fn ready(&self) {
        self.set(Readiness::Ready);
    }

    /// It takes none; `why` is for the operator.
    pub fn not_ready(&self, why: impl Into<String>) {
        self.set(Readiness::NotReady(why.into()));
    }

    /// Now.
    pub fn now(&self) -> Readiness {
        self.0.borrow().clone()
    }

    /// Now and every change.
    pub fn watch(&self) -> watch::Receiver<Readiness> {
        self.0.subscribe()
    }

    /// Ends when it is ready.
    pub async fn wait_ready(&self) {
        // Cannot fail: the sender lives as long as `self`.
        let _ = self.0.subscribe().wait_for(|r| *r == Readiness::Ready).await;
    }

    fn set(&self, to: Readiness) {
        self.0.send_if_modified(|now| {
            let changes = *now != to;
            *now = to;
            changes
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn changes_are_seen_once() {
        let health = Health::default();
        let mut watch = health.watch();
        assert_eq!(health.now(), Readiness::NotReady("starting".into()));
        health.ready();
        health.clone().wait_ready().await;
        assert!(watch.has_changed().unwrap());
        watch.mark_unchanged();
        health.ready();
        assert!(!watch.has_changed().unwrap(), "nothing changed");
        health.not_ready("the keeper is away");
        assert_eq!(*watch.borrow_and_update(), Readiness::NotReady("the keeper is away".into()));
    }
}
