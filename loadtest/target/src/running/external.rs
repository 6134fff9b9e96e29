//! A system that runs already, and that the run is pointed at.

use anyhow::ensure;
use longline_load_scenario::External;
use reqwest::Client;

use super::Places;
use crate::Versions;
use crate::admin::{Admin, Node, Product, Wishes, check_key};
use crate::metrics::Source;

/// What is known of it.
pub(super) struct Found {
    pub(super) places: Places,
    pub(super) product: Product,
    pub(super) owns_product: bool,
    pub(super) admin: Option<Admin>,
    pub(super) versions: Versions,
}

/// Finds out what there is. With the admin key the run gets a product of its own; without it, it uses the one that is given.
pub(super) async fn find(external: &External, wishes: &Wishes, client: &Client) -> anyhow::Result<Found> {
    let admin = match (&external.admin_key, external.api.first()) {
        (Some(key), Some(center)) => Some(Admin::new(client.clone(), center, key)),
        _ => None,
    };
    let (nodes, product) = match &admin {
        Some(admin) => (admin.nodes().await?, admin.create_product(wishes).await?),
        None => (Vec::new(), given_product(external, wishes)?),
    };
    for center in &external.api {
        check_key(client, center, &product.key).await?;
    }
    let places = places(external, &nodes, admin.as_ref());
    Ok(Found { places, product, owns_product: admin.is_some(), admin, versions: Versions::reported(&nodes) })
}

fn given_product(external: &External, wishes: &Wishes) -> anyhow::Result<Product> {
    ensure!(
        *wishes == Wishes::default(),
        "user tokens and uplinks need a product of the run's own: give servers.admin_key, so that one can be created"
    );
    Ok(Product { id: external.product, key: external.key.clone(), token_key: None })
}

fn places(external: &External, nodes: &[Node], admin: Option<&Admin>) -> Places {
    let rooms = nodes.iter().filter(|node| node.role == "room" && node.state == "ready");
    Places {
        api: external.api.clone(),
        dispatchers: vec![external.dispatcher.clone()],
        rooms: rooms.filter_map(|node| node.public.first().cloned()).collect(),
        injection: None,
        metrics: admin
            .map(|admin| ("the cluster".to_owned(), Source::Cluster(admin.clone())))
            .into_iter()
            .collect(),
    }
}
