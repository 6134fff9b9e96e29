//! Conversions between generated code and `longline-types`. From the wire they check; a missing or bad field is an
//! [`ErrorCode::InvalidArgument`](longline_types::ErrorCode).

use longline_types as t;

use crate::{keeper, register, saver, types};

/// A required sub-message, or an error that names it.
pub fn required<T>(field: Option<T>, name: &str) -> Result<T, t::Error> {
    field.ok_or_else(|| t::Error::invalid(format!("field `{name}` is missing")))
}

impl From<&t::Address> for types::Address {
    fn from(a: &t::Address) -> Self {
        Self { product: a.product.0, user: a.user.as_str().to_owned() }
    }
}

impl TryFrom<&types::Address> for t::Address {
    type Error = t::Error;

    fn try_from(a: &types::Address) -> Result<Self, t::Error> {
        t::Address::new(a.product, &a.user).map_err(t::Error::invalid)
    }
}

/// A required address, checked.
pub fn address(field: &Option<types::Address>) -> Result<t::Address, t::Error> {
    required(field.as_ref(), "address")?.try_into()
}

impl From<t::AddressKey> for register::AddressKey {
    fn from(k: t::AddressKey) -> Self {
        Self { high: k.high, low: k.low }
    }
}

impl From<register::AddressKey> for t::AddressKey {
    fn from(k: register::AddressKey) -> Self {
        Self { high: k.high, low: k.low }
    }
}

impl From<t::Stamp> for types::Stamp {
    fn from(s: t::Stamp) -> Self {
        Self { generation: s.generation, counter: s.counter }
    }
}

impl From<types::Stamp> for t::Stamp {
    fn from(s: types::Stamp) -> Self {
        Self { generation: s.generation, counter: s.counter }
    }
}

impl From<t::Route> for types::Route {
    fn from(r: t::Route) -> Self {
        Self { stamp: Some(r.stamp.into()), node: r.node, incarnation: r.incarnation, session: r.session.0 }
    }
}

impl From<types::Route> for t::Route {
    fn from(r: types::Route) -> Self {
        Self {
            stamp: r.stamp.unwrap_or_default().into(),
            node: r.node,
            incarnation: r.incarnation,
            session: t::SessionId(r.session),
        }
    }
}

impl From<t::Device> for register::Device {
    fn from(d: t::Device) -> Self {
        Self { hash: d.hash, counter: d.counter }
    }
}

impl From<register::Device> for t::Device {
    fn from(d: register::Device) -> Self {
        Self { hash: d.hash, counter: d.counter }
    }
}

impl From<t::Class> for types::Class {
    fn from(c: t::Class) -> Self {
        match c {
            t::Class::Durable => types::Class::Durable,
            t::Class::Transient => types::Class::Transient,
        }
    }
}

impl From<types::Class> for t::Class {
    /// Unspecified means durable.
    fn from(c: types::Class) -> Self {
        match c {
            types::Class::Transient => t::Class::Transient,
            types::Class::Unspecified | types::Class::Durable => t::Class::Durable,
        }
    }
}

impl From<t::Durability> for types::Durability {
    fn from(d: t::Durability) -> Self {
        match d {
            t::Durability::Synced => types::Durability::Synced,
            t::Durability::Fast => types::Durability::Fast,
        }
    }
}

impl From<types::Durability> for t::Durability {
    /// Unspecified means synced.
    fn from(d: types::Durability) -> Self {
        match d {
            types::Durability::Fast => t::Durability::Fast,
            types::Durability::Unspecified | types::Durability::Synced => t::Durability::Synced,
        }
    }
}

impl From<t::SlowReader> for saver::SlowReader {
    fn from(s: t::SlowReader) -> Self {
        match s {
            t::SlowReader::Inbox => saver::SlowReader::Inbox,
            t::SlowReader::Close => saver::SlowReader::Close,
        }
    }
}

impl From<saver::SlowReader> for t::SlowReader {
    /// Unspecified means inbox.
    fn from(s: saver::SlowReader) -> Self {
        match s {
            saver::SlowReader::Close => t::SlowReader::Close,
            saver::SlowReader::Unspecified | saver::SlowReader::Inbox => t::SlowReader::Inbox,
        }
    }
}

impl From<t::MessageState> for types::MessageState {
    fn from(s: t::MessageState) -> Self {
        match s {
            t::MessageState::Waiting => types::MessageState::Waiting,
            t::MessageState::Acked => types::MessageState::Acked,
            t::MessageState::Expired => types::MessageState::Expired,
            t::MessageState::Collapsed => types::MessageState::Collapsed,
            t::MessageState::Recalled => types::MessageState::Recalled,
            t::MessageState::Overflowed => types::MessageState::Overflowed,
            t::MessageState::Quarantined => types::MessageState::Quarantined,
        }
    }
}

/// The state with this number on the wire.
pub fn message_state(number: i32) -> Option<t::MessageState> {
    u8::try_from(number).ok().and_then(t::MessageState::from_number)
}

macro_rules! same_names {
    ($a:ty, $b:ty, $unspecified:expr, { $($variant:ident),* $(,)? }) => {
        impl From<$a> for $b {
            fn from(value: $a) -> Self {
                match value { $( <$a>::$variant => <$b>::$variant, )* }
            }
        }
        impl From<$b> for $a {
            /// Unspecified and unknown become the least harmful value.
            fn from(value: $b) -> Self {
                match value { $( <$b>::$variant => <$a>::$variant, )* <$b>::Unspecified => $unspecified, }
            }
        }
    };
}

same_names!(t::ErrorCode, types::ErrorCode, t::ErrorCode::Internal, {
    InvalidArgument, Unauthenticated, PermissionDenied, NotFound, Conflict, ResourceExhausted, Unavailable,
    DeadlineExceeded, WrongNode, Refilling, Internal,
});
same_names!(t::NodeState, keeper::NodeState, t::NodeState::Starting, { Starting, Ready, Draining });

impl From<t::Error> for types::Error {
    fn from(e: t::Error) -> Self {
        Self { code: types::ErrorCode::from(e.code).into(), message: e.message }
    }
}

impl From<types::Error> for t::Error {
    fn from(e: types::Error) -> Self {
        t::Error::new(e.code().into(), e.message)
    }
}

/// An item's `error` field as a result.
pub fn ok_or_error(error: Option<types::Error>) -> Result<(), t::Error> {
    error.map_or(Ok(()), |e| Err(e.into()))
}

impl From<t::Role> for keeper::Role {
    fn from(r: t::Role) -> Self {
        match r {
            t::Role::Keeper => keeper::Role::Keeper,
            t::Role::Register => keeper::Role::Register,
            t::Role::Saver => keeper::Role::Saver,
            t::Role::Coordinator => keeper::Role::Coordinator,
            t::Role::Center => keeper::Role::Center,
            t::Role::Dispatcher => keeper::Role::Dispatcher,
            t::Role::Room => keeper::Role::Room,
        }
    }
}

/// The role, if this version knows it.
pub fn role(role: keeper::Role) -> Option<t::Role> {
    t::Role::ALL.into_iter().find(|r| keeper::Role::from(*r) == role)
}

impl From<t::Load> for keeper::Load {
    fn from(l: t::Load) -> Self {
        Self {
            sessions: l.sessions,
            capacity: l.capacity,
            cpu_permille: l.cpu_permille,
            resident_bytes: l.resident_bytes,
        }
    }
}

impl From<keeper::Load> for t::Load {
    fn from(l: keeper::Load) -> Self {
        Self {
            sessions: l.sessions,
            capacity: l.capacity,
            cpu_permille: l.cpu_permille,
            resident_bytes: l.resident_bytes,
        }
    }
}

impl From<&t::Node> for keeper::Node {
    fn from(n: &t::Node) -> Self {
        Self {
            number: n.number,
            incarnation: n.incarnation,
            role: keeper::Role::from(n.role).into(),
            name: n.name.clone(),
            idc: n.idc.clone(),
            rpc: n.rpc.clone(),
            public: n.public.clone(),
            noise_key: n.noise_key.clone(),
            state: keeper::NodeState::from(n.state).into(),
            load: Some(n.load.into()),
            registered_at_ms: n.registered_at_ms,
            version: n.version.clone(),
        }
    }
}

/// A node; none if its role is not known to this version.
pub fn node(n: keeper::Node) -> Option<t::Node> {
    Some(t::Node {
        number: n.number,
        incarnation: n.incarnation,
        role: role(n.role())?,
        state: n.state().into(),
        load: n.load.unwrap_or_default().into(),
        name: n.name,
        idc: n.idc,
        rpc: n.rpc,
        public: n.public,
        noise_key: n.noise_key,
        registered_at_ms: n.registered_at_ms,
        version: n.version,
    })
}

impl From<&t::View> for keeper::View {
    fn from(v: &t::View) -> Self {
        Self {
            number: v.number,
            nodes: v.nodes().map(keeper::Node::from).collect(),
            slot_owner: v.slots().iter().map(|s| s.node).collect(),
            slot_generation: v.slots().iter().map(|s| s.generation).collect(),
        }
    }
}

impl From<keeper::View> for t::View {
    /// Nodes of roles that this version does not know are left out.
    fn from(v: keeper::View) -> Self {
        let slots = v
            .slot_owner
            .iter()
            .zip(&v.slot_generation)
            .map(|(&node, &generation)| t::SlotOwner { node, generation })
            .collect();
        t::View::new(v.number, v.nodes.into_iter().filter_map(node), slots)
    }
}

impl From<t::IdGrant> for keeper::IdGrant {
    fn from(g: t::IdGrant) -> Self {
        Self { number: g.number, from_ms: g.from_ms, until_ms: g.until_ms }
    }
}

impl From<keeper::IdGrant> for t::IdGrant {
    fn from(g: keeper::IdGrant) -> Self {
        Self { number: g.number, from_ms: g.from_ms, until_ms: g.until_ms }
    }
}
