//! /v1/admin/nodes and /v1/admin/accounting

use std::collections::{BTreeMap, HashMap};

use axum::Json;
use axum::extract::State;
use longline_types::{Node, NodeState, Role, View, rfc3339};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::Api;
use super::extract::{Operator, Query};
use crate::Failure;

/// The cluster as this center sees it.
#[derive(Serialize, ToSchema)]
pub(crate) struct NodeList {
    /// Number of the view; it rises with each change.
    view: u64,
    /// Live nodes, by role and number.
    nodes: Vec<NodeView>,
}

/// A live node.
#[derive(Serialize, ToSchema)]
pub(crate) struct NodeView {
    number: u32,
    /// Of this start of the process, as text: it may be larger than numbers in JSON are exact.
    incarnation: String,
    #[schema(example = "room")]
    role: String,
    name: String,
    idc: String,
    /// host:port of its gRPC.
    rpc: String,
    /// host:port for devices or for HTTP.
    public: Vec<String>,
    /// `starting`, `ready` or `draining`.
    state: String,
    version: String,
    registered_at: String,
    load: LoadView,
    /// Registers: slots owned, of 4,096.
    #[serde(skip_serializing_if = "Option::is_none")]
    slots: Option<usize>,
}

/// What a node reports of itself.
#[derive(Serialize, ToSchema)]
pub(crate) struct LoadView {
    /// Rooms: sessions now.
    sessions: u64,
    /// Rooms: sessions it is meant to hold; 0 unknown.
    capacity: u64,
    /// Thousandths of a core.
    cpu_permille: u32,
    resident_bytes: u64,
}

/// Whose messages to account for.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct AccountQuery {
    /// A product's id; by default all.
    #[serde(default)]
    product: Option<u32>,
}

/// Where every accepted durable message is: accepted is the sum of the states.
#[derive(Serialize, ToSchema)]
pub(crate) struct AccountView {
    accepted: u64,
    /// Messages by state: `waiting`, `acked`, `expired`, `collapsed`, `recalled`, `overflowed`, `quarantined`.
    states: BTreeMap<String, u64>,
}

/// The nodes of the cluster
#[utoipa::path(get, path = "/v1/admin/nodes", tag = "admin",
    responses((status = 200, body = NodeList, description = "Live nodes")),
    security(("admin_key" = [])))]
pub(crate) async fn nodes(_: Operator, State(api): State<Api>) -> Json<NodeList> {
    let view = api.ops.view();
    let slots = slots_by_node(&view);
    let mut nodes: Vec<&Node> = view.nodes().collect();
    let place = |role: Role| Role::ALL.iter().position(|r| *r == role);
    nodes.sort_by_key(|node| (place(node.role), node.number));
    let shown = |node: &&Node| NodeView::of(node, slots.get(&node.number).copied());
    Json(NodeList { view: view.number, nodes: nodes.iter().map(shown).collect() })
}

/// Account for every message
///
/// From stored states: accepted = waiting + ended by reason. Counting takes the store a while on large data.
#[utoipa::path(get, path = "/v1/admin/accounting", tag = "admin", params(AccountQuery),
    responses((status = 200, body = AccountView, description = "Messages by state")),
    security(("admin_key" = [])))]
pub(crate) async fn accounting(
    _: Operator,
    State(api): State<Api>,
    Query(query): Query<AccountQuery>,
) -> Result<Json<AccountView>, Failure> {
    let accounting = api.ops.accounting(query.product).await?;
    let states = accounting.counts.into_iter().map(|(state, n)| (state.name().to_owned(), n)).collect();
    Ok(Json(AccountView { accepted: accounting.accepted, states }))
}

fn slots_by_node(view: &View) -> HashMap<u32, usize> {
    let mut slots = HashMap::new();
    for owner in view.slots() {
        *slots.entry(owner.node).or_insert(0) += 1;
    }
    slots
}

impl NodeView {
    fn of(node: &Node, slots: Option<usize>) -> NodeView {
        let state = match node.state {
            NodeState::Starting => "starting",
            NodeState::Ready => "ready",
            NodeState::Draining => "draining",
        };
        NodeView {
            number: node.number,
            incarnation: node.incarnation.to_string(),
            role: node.role.name().to_owned(),
            name: node.name.clone(),
            idc: node.idc.clone(),
            rpc: node.rpc.clone(),
            public: node.public.clone(),
            state: state.to_owned(),
            version: node.version.clone(),
            registered_at: rfc3339(node.registered_at_ms),
            load: LoadView {
                sessions: node.load.sessions,
                capacity: node.load.capacity,
                cpu_permille: node.load.cpu_permille,
                resident_bytes: node.load.resident_bytes,
            },
            slots: (node.role == Role::Register).then(|| slots.unwrap_or(0)),
        }
    }
}
