//! Where a user is, and ending a session.

use longline_pb::coordinator::{KickRequest, coordinator_client::CoordinatorClient};
use longline_pb::room::InspectReply;
use longline_pb::saver::{ReadInboxRequest, saver_client::SaverClient};
use longline_products::Product;
use longline_types::{Address, ProductId, Role, Route, User};

use super::Ops;
use super::send::check_key;
use crate::Failure;
use crate::routes::Whereabouts;

/// Whether a user is connected.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Presence {
    /// A room holds a session.
    Online,
    /// No room does.
    Offline,
    /// It cannot be told now: a register is refilling, or a room does not answer (R3).
    Unknown,
}

impl Presence {
    /// Its name in the API.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Presence::Online => "online",
            Presence::Offline => "offline",
            Presence::Unknown => "unknown",
        }
    }
}

/// A user as seen now. A user who never connected is offline.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct UserStatus {
    pub(crate) user: User,
    pub(crate) presence: Presence,
    pub(crate) session: Option<Session>,
    /// Stored messages and broadcasts that the user has not acknowledged.
    pub(crate) waiting: u64,
}

/// The session of a user who is online.
#[derive(Clone, PartialEq, Debug, Default)]
pub(crate) struct Session {
    /// As the room names it.
    pub(crate) id: u64,
    pub(crate) room: u32,
    /// host:port for devices; empty if the view does not say.
    pub(crate) room_endpoint: String,
    /// What the room says of it.
    pub(crate) seen: InspectReply,
}

/// Most bytes of what a kicked device is told.
const KICK_DETAIL: usize = 256;

impl Ops {
    /// Presence, session and number of waiting messages.
    pub(crate) async fn user(&self, product: &Product, user: &str) -> Result<UserStatus, Failure> {
        self.user_of(product.id, user).await
    }

    /// The same for an operator, who may ask for a user of any product.
    pub(crate) async fn user_of_any(&self, product: u32, user: &str) -> Result<UserStatus, Failure> {
        self.read_product(product).await?;
        self.user_of(ProductId(product), user).await
    }

    async fn user_of(&self, product: ProductId, user: &str) -> Result<UserStatus, Failure> {
        let address = Address { product, user: User::new(user)? };
        let ((presence, session), waiting) = tokio::join!(self.presence(&address), self.waiting(&address));
        Ok(UserStatus { user: address.user, presence, session, waiting: waiting? })
    }

    /// Ends the user's session, whose device is told `detail`. False: the user was not connected.
    pub(crate) async fn kick(&self, product: &Product, user: &str, detail: String) -> Result<bool, Failure> {
        let address = Address { product: product.id, user: User::new(user)? };
        check_key("detail", &detail, KICK_DETAIL)?;
        let request = KickRequest { address: Some((&address).into()), detail };
        let call = |channel| {
            let request = request.clone();
            async move { CoordinatorClient::new(channel).kick(request).await }
        };
        let key = address.key().high;
        let reply = self.shared.peers.unary(Role::Coordinator, key, self.shared.ask_timeout, call).await?;
        Ok(reply.kicked)
    }

    async fn presence(&self, address: &Address) -> (Presence, Option<Session>) {
        let key = address.key();
        match self.shared.routes.find_one(key).await {
            Whereabouts::Nowhere => (Presence::Offline, None),
            Whereabouts::Unknown(_) => (Presence::Unknown, None),
            Whereabouts::At(route) => match self.session(address, route).await {
                Ok(Some(session)) => (Presence::Online, Some(session)),
                Ok(None) => self.presence_again(address, route).await,
                Err(_) => (Presence::Unknown, None),
            },
        }
    }

    /// The route was stale: the user may have come back elsewhere meanwhile, or is gone.
    async fn presence_again(&self, address: &Address, stale: Route) -> (Presence, Option<Session>) {
        match self.shared.routes.find_one(address.key()).await {
            Whereabouts::At(route) if route != stale => match self.session(address, route).await {
                Ok(Some(session)) => (Presence::Online, Some(session)),
                Ok(None) | Err(_) => (Presence::Unknown, None),
            },
            Whereabouts::Unknown(_) => (Presence::Unknown, None),
            Whereabouts::At(_) | Whereabouts::Nowhere => (Presence::Offline, None),
        }
    }

    async fn session(&self, address: &Address, route: Route) -> Result<Option<Session>, Failure> {
        let seen = self.inspect(address, route).await?;
        let room_endpoint = || {
            let view = self.shared.peers.view();
            view.node(route.node).and_then(|room| room.public.first().cloned()).unwrap_or_default()
        };
        Ok(seen.found.then(|| Session {
            id: route.session.0,
            room: route.node,
            room_endpoint: room_endpoint(),
            seen,
        }))
    }

    async fn waiting(&self, address: &Address) -> Result<u64, Failure> {
        let request = ReadInboxRequest { address: Some(address.into()) };
        let call = |channel| {
            let request = request.clone();
            async move { SaverClient::new(channel).read_inbox(request).await }
        };
        let key = address.key().high;
        let reply = self.shared.peers.unary(Role::Saver, key, self.shared.ask_timeout, call).await?;
        Ok(reply.waiting.saturating_add(reply.broadcasts_waiting))
    }
}
