//! Ending a user's session, wherever it is.

use std::time::Duration;

use longline_pb::register::LookupRequest;
use longline_pb::room::KickRequest;
use longline_pb::room::room_client::RoomClient;
use longline_rpc::methods::RegisterLookup;
use longline_rpc::{Peers, Pipelines};
use longline_types::{Address, Error, ErrorCode, Route};
use tokio::time::Instant;

/// Longest text told to the device, in bytes.
const DETAIL: usize = 256;
/// A user who reconnects faster than we ask is given up on after so many sessions.
const ROUNDS: usize = 3;
const PAUSE: Duration = Duration::from_millis(50);

/// Finds sessions and ends them.
#[derive(Clone)]
pub(crate) struct Kicks {
    pub(crate) peers: Peers,
    pub(crate) lookups: Pipelines<RegisterLookup>,
    /// For a kick as a whole.
    pub(crate) timeout: Duration,
}

impl Kicks {
    /// Ends the user's session; false if the user is not connected. If nobody can tell (R3), an error, not false.
    pub(crate) async fn kick(&self, address: &Address, detail: &str) -> Result<bool, Error> {
        if detail.len() > DETAIL {
            return Err(Error::invalid(format!("detail has at most {DETAIL} bytes")));
        }
        let until = Instant::now() + self.timeout;
        let mut asked = None;
        for _ in 0..ROUNDS {
            let route = self.find(address, until).await?;
            match route {
                // Gone, or it never was there; a route that the room does not know is a stale one.
                None => return Ok(false),
                Some(_) if route == asked => return Ok(false),
                Some(route) => {
                    if self.end(address, route, detail, until).await? {
                        return Ok(true);
                    }
                }
            }
            asked = route;
        }
        Ok(false)
    }

    /// The user's route; none if the owner of the slot knows that there is none. Asks again while nobody can tell.
    async fn find(&self, address: &Address, until: Instant) -> Result<Option<Route>, Error> {
        let mut views = self.peers.views();
        let mut said = None;
        loop {
            views.mark_unchanged();
            let error = match self.look_up(address, until).await {
                Err(error) if may_ask_again(&error) => error,
                found => return found,
            };
            // That the time was up says less than what was said before.
            if said.is_none() || error.code != ErrorCode::DeadlineExceeded {
                said = Some(error);
            }
            if Instant::now() + PAUSE >= until {
                return Err(said.unwrap_or_else(|| Error::unavailable("no register answers")));
            }
            tokio::select! {
                () = tokio::time::sleep(PAUSE) => {}
                Ok(()) = views.changed() => {}
            }
        }
    }

    async fn look_up(&self, address: &Address, until: Instant) -> Result<Option<Route>, Error> {
        let view = self.peers.view();
        let owner = view.owner(address.slot()).ok_or_else(|| Error::unavailable("no register lives"))?;
        let request = LookupRequest { key: Some(address.key().into()), view: view.number };
        let reply = self.lookups.call(owner.node, request, left(until)).await?;
        match reply.error {
            Some(error) => Err(error.into()),
            None => Ok(reply.route.map(Route::from)),
        }
    }

    /// Asks the route's room to end the session; false if it is not there (any more).
    async fn end(
        &self,
        address: &Address,
        route: Route,
        detail: &str,
        until: Instant,
    ) -> Result<bool, Error> {
        let view = self.peers.view();
        if view.node(route.node).is_none_or(|room| room.incarnation != route.incarnation) {
            return Ok(false);
        }
        let request = KickRequest {
            address: Some(address.into()),
            route: Some(route.into()),
            detail: detail.to_owned(),
        };
        let kick = |channel| async move { RoomClient::new(channel).kick(request).await };
        match self.peers.unary_to(route.node, left(until), kick).await {
            Ok(reply) => Ok(reply.found),
            Err(error) if error.code == ErrorCode::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }
}

fn left(until: Instant) -> Duration {
    until.saturating_duration_since(Instant::now())
}

/// A lookup changes nothing, so it may also be repeated if its outcome is unknown.
fn may_ask_again(error: &Error) -> bool {
    error.code.is_safe_to_retry() || error.code == ErrorCode::DeadlineExceeded
}
