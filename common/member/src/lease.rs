//! Getting a lease, keeping it, and getting another when it was lost (R4).

use std::sync::Arc;
use std::time::{Duration, Instant};

use longline_pb::convert::required;
use longline_pb::keeper::{self, LeaveRequest, RegisterRequest, RenewRequest};
use longline_types::{Error, ErrorCode, IdGrant, TimeMs, View, now_ms};
use tokio_util::sync::CancellationToken;

use crate::backoff::Backoff;
use crate::keepers::Keepers;
use crate::shared::{FirstTerm, Shared};
use crate::{JoinError, Options, view};

/// How long a keeper may take to register a node.
const REGISTER_DEADLINE: Duration = Duration::from_secs(3);
/// The keeper decides the lease; shorter ones than this are taken as this, so that a wrong answer makes no storm.
const SHORTEST_LEASE: Duration = Duration::from_millis(100);

/// Who a node is in the cluster, by its current registration.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Identity {
    /// Below 1,024; unique among live nodes.
    pub number: u32,
    /// Unique for ever.
    pub incarnation: u64,
    /// Until when the keeper has last confirmed it; moved on by each renewal.
    pub lease_until: Instant,
}

/// A registration as the keeper answered it.
struct Term {
    identity: Identity,
    lease: Duration,
    grant: IdGrant,
    view: View,
    cluster: String,
}

/// Registers for the first time, trying until a keeper accepts or refuses. `stop` will end the member's tasks.
pub(crate) async fn join(options: Options, stop: CancellationToken) -> Result<Shared, JoinError> {
    let keepers = Keepers::new(&options.node.keepers)?;
    let about = about(&options)?;
    let mut backoff = Backoff::new();
    loop {
        match register(&keepers, about.clone()).await {
            Ok(term) => {
                tracing::info!(
                    role = %options.role, cluster = term.cluster, number = term.identity.number,
                    incarnation = term.identity.incarnation, "joined"
                );
                let first = FirstTerm { lease: term.lease, grant: term.grant, cluster: term.cluster };
                return Ok(Shared::new(keepers, about, term.identity, term.view, first, stop));
            }
            Err(error) if error.code == ErrorCode::InvalidArgument => return Err(JoinError::Refused(error)),
            Err(error) => {
                let pause = backoff.pause();
                tracing::warn!(role = %options.role, %error, ?pause, "cannot join yet");
                tokio::time::sleep(pause).await;
            }
        }
    }
}

/// Renews the lease every third of it until the member stops; registers again when the keeper does not know it any more.
///
/// A lease that ran out in silence is renewed, not replaced, as soon as a keeper answers: whether it has ended is the keeper's to
/// say (NOT_FOUND), and a keeper that was away for longer than a lease would otherwise renumber the whole cluster.
pub(crate) async fn keep(shared: Arc<Shared>) {
    let mut keeping = Keeping {
        lease: shared.first.lease,
        grant: shared.first.grant,
        cluster: shared.first.cluster.clone(),
        backoff: Backoff::new(),
        shared,
    };
    let stop = keeping.shared.stop.clone();
    let forever = async {
        let mut pause = keeping.lease / 3;
        loop {
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = keeping.shared.report_now.notified() => {}
            }
            pause = keeping.turn().await;
        }
    };
    tokio::select! {
        biased;
        () = stop.cancelled() => {}
        () = forever => {}
    }
}

/// Tells a keeper that this node is gone.
pub(crate) async fn leave(shared: &Shared, deadline: Duration) {
    let mut last = *shared.identity.borrow();
    shared.identity.send_if_modified(|identity| {
        last = *identity;
        identity.lease_until = Instant::now();
        false
    });
    let request = LeaveRequest { number: last.number, incarnation: last.incarnation };
    let asking = shared.keepers.ask(deadline, |mut client| async move { client.leave(request).await });
    match tokio::time::timeout(deadline, asking).await {
        Ok(Ok(_)) => tracing::info!(number = last.number, "left"),
        Ok(Err(error)) => tracing::warn!(%error, "could not tell the keeper of leaving; the lease runs out"),
        Err(_) => tracing::warn!("no keeper heard of leaving in time; the lease runs out"),
    }
}

struct Keeping {
    shared: Arc<Shared>,
    lease: Duration,
    grant: IdGrant,
    cluster: String,
    backoff: Backoff,
}

impl Keeping {
    /// One renewal, or a new registration if there is nothing to renew. Returns when the next is due.
    async fn turn(&mut self) -> Duration {
        if self.shared.pulse.stands_still() {
            tracing::error!("this node's work stands still: its lease is not renewed");
            return self.lease / 3;
        }
        let result = match self.renew().await {
            Err(error) if error.code == ErrorCode::NotFound => self.replace().await,
            result => result,
        };
        match result {
            Ok(()) => {
                self.backoff.reset();
                self.lease / 3
            }
            Err(error) => {
                let pause = self.backoff.pause();
                tracing::warn!(%error, ?pause, "lease not renewed");
                pause
            }
        }
    }

    async fn renew(&mut self) -> Result<(), Error> {
        let identity = *self.shared.identity.borrow();
        let report = self.shared.report(|_| {});
        let request = RenewRequest {
            number: identity.number,
            incarnation: identity.incarnation,
            state: keeper::NodeState::from(report.state).into(),
            load: Some(report.load.into()),
            want_grant: is_half_used(self.grant, now_ms()),
        };
        let asked = Instant::now();
        let deadline = (self.lease / 3).max(SHORTEST_LEASE);
        let renewing =
            self.shared.keepers.ask(deadline, |mut client| async move { client.renew(request).await });
        let reply = renewing.await?;
        let lease_until = asked + self.lease;
        self.shared.identity.send_if_modified(|identity| {
            identity.lease_until = lease_until;
            false
        });
        if let Some(grant) = reply.grant {
            self.grant = grant.into();
            self.shared.ids.extend(self.grant);
        }
        Ok(())
    }

    /// The lease is lost: everything under the old number and incarnation is over (R4).
    async fn replace(&mut self) -> Result<(), Error> {
        let lost = *self.shared.identity.borrow();
        let request = RegisterRequest {
            state: keeper::NodeState::from(self.shared.report(|_| {}).state).into(),
            previous_incarnation: lost.incarnation,
            ..self.shared.about.clone()
        };
        let term = register(&self.shared.keepers, request).await?;
        tracing::warn!(
            lost_number = lost.number,
            lost_incarnation = lost.incarnation,
            number = term.identity.number,
            incarnation = term.identity.incarnation,
            "the lease was lost; registered anew"
        );
        // Another cluster's view numbers say nothing against this one's.
        let another = term.cluster != self.cluster;
        (self.lease, self.grant, self.cluster) = (term.lease, term.grant, term.cluster);
        self.shared.ids.extend(term.grant);
        view::adopt(&self.shared, term.view, another);
        self.shared.identity.send_replace(term.identity);
        Ok(())
    }
}

async fn register(keepers: &Keepers, request: RegisterRequest) -> Result<Term, Error> {
    let asked = Instant::now();
    let asking = keepers.ask(REGISTER_DEADLINE, |mut client| {
        let request = request.clone();
        async move { client.register(request).await }
    });
    let answer = asking.await?;
    let lease = Duration::from_millis(answer.lease_ms.into()).max(SHORTEST_LEASE);
    Ok(Term {
        identity: Identity {
            number: answer.number,
            incarnation: answer.incarnation,
            lease_until: asked + lease,
        },
        lease,
        grant: required(answer.grant, "grant")?.into(),
        view: required(answer.view, "view")?.into(),
        cluster: answer.cluster,
    })
}

fn about(options: &Options) -> Result<RegisterRequest, JoinError> {
    Ok(RegisterRequest {
        role: keeper::Role::from(options.role).into(),
        name: options.node.name.clone().unwrap_or_default(),
        idc: options.node.idc.clone(),
        rpc: options.node.advertised(options.rpc)?,
        public: options.public.clone(),
        noise_key: options.noise_key.clone(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        state: keeper::NodeState::Starting.into(),
        previous_incarnation: 0,
    })
}

fn is_half_used(grant: IdGrant, now_ms: TimeMs) -> bool {
    now_ms >= grant.from_ms + grant.until_ms.saturating_sub(grant.from_ms) / 2
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pulse::Pulse;

    #[test]
    fn a_grant_is_renewed_from_its_middle_on_i1() {
        let grant = IdGrant { number: 1, from_ms: 1000, until_ms: 2000 };
        assert!(!is_half_used(grant, 0));
        assert!(!is_half_used(grant, 1499));
        assert!(is_half_used(grant, 1500));
        assert!(is_half_used(grant, 9999));
    }

    /// As a node that has nothing but keepers that do not answer.
    fn keeping(pulse: Pulse) -> Keeping {
        let lease = Duration::from_secs(60);
        let grant = IdGrant { number: 1, from_ms: 0, until_ms: 1 };
        let first = FirstTerm { lease, grant, cluster: String::new() };
        let identity = Identity { number: 1, incarnation: 1, lease_until: Instant::now() };
        let keepers = Keepers::new(&["127.0.0.1:1".to_owned()]).unwrap();
        let about = RegisterRequest::default();
        let stop = CancellationToken::new();
        let mut shared = Shared::new(keepers, about, identity, View::default(), first, stop);
        shared.pulse = pulse;
        Keeping { shared: Arc::new(shared), lease, grant, cluster: String::new(), backoff: Backoff::new() }
    }

    #[tokio::test]
    async fn a_node_that_stands_still_does_not_renew_r4() {
        let pause = keeping(Pulse::new()).turn().await;
        assert!(pause < Duration::from_secs(20), "it has asked, and asks again soon");
        let pause = keeping(Pulse::silent_for(Duration::from_secs(31))).turn().await;
        assert_eq!(pause, Duration::from_secs(20), "it has not asked");
    }
}
