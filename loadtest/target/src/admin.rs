//! What a run asks of the system's admin API.

use std::fmt;
use std::time::Duration;

use anyhow::{Context as _, bail};
use reqwest::{Client, Method, RequestBuilder};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::UPLINK_ROUTE;

/// For one request, its answer included.
const DEADLINE: Duration = Duration::from_secs(10);

/// The admin API at one center.
#[derive(Clone)]
pub(crate) struct Admin {
    client: Client,
    center: String,
    key: String,
}

/// The product of a run.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Product {
    pub(crate) id: u32,
    pub(crate) key: String,
    /// Signs user tokens (HS256; the text's bytes are the key). Known only of a product created here.
    pub(crate) token_key: Option<String>,
}

/// What a run asks of its product.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Wishes {
    /// Devices need user tokens.
    pub(crate) tokens: bool,
    /// Where uplinks of [`UPLINK_ROUTE`] go.
    pub(crate) uplink_url: Option<String>,
}

/// A node as `/v1/admin/nodes` tells of it.
#[derive(Deserialize, Debug)]
pub(crate) struct Node {
    pub(crate) role: String,
    pub(crate) public: Vec<String>,
    pub(crate) state: String,
    pub(crate) version: String,
    pub(crate) load: Load,
}

/// What a node reports of itself.
#[derive(Deserialize, Debug)]
pub(crate) struct Load {
    pub(crate) sessions: u64,
    pub(crate) cpu_permille: u64,
    pub(crate) resident_bytes: u64,
}

/// The client of all requests of this crate: loopback addresses are not for a proxy.
pub(crate) fn client() -> anyhow::Result<Client> {
    Client::builder().no_proxy().timeout(DEADLINE).build().context("cannot make an HTTP client")
}

/// An error unless the center takes this product key.
pub(crate) async fn check_key(client: &Client, center: &str, key: &str) -> anyhow::Result<()> {
    let request = client.get(format!("{center}/v1/users/nobody")).bearer_auth(key);
    success::<Value>(request)
        .await
        .map(drop)
        .with_context(|| format!("the API at {center} does not serve the key"))
}

impl Admin {
    /// With the operators' key, at the center of this URL.
    pub(crate) fn new(client: Client, center: &str, key: &str) -> Admin {
        Admin { client, center: center.trim_end_matches('/').to_owned(), key: key.to_owned() }
    }

    pub(crate) fn key(&self) -> &str {
        &self.key
    }

    /// Creates a product that nobody else has.
    pub(crate) async fn create_product(&self, wishes: &Wishes) -> anyhow::Result<Product> {
        #[derive(Deserialize)]
        struct Created {
            product: Id,
            key: String,
            token_key: String,
        }
        #[derive(Deserialize)]
        struct Id {
            id: u32,
        }
        let mut body = json!({ "name": unique_name()?, "require_token": wishes.tokens });
        if let Some(url) = &wishes.uplink_url {
            body["routes"] = json!([{ "number": UPLINK_ROUTE, "url": url }]);
        }
        let created = success::<Created>(self.request(Method::POST, "products").json(&body)).await;
        let Created { product, key, token_key } = created.context("cannot create a product for the run")?;
        Ok(Product { id: product.id, key, token_key: Some(token_key) })
    }

    /// Lets nobody use the product any more; there is no way to remove one.
    pub(crate) async fn disable_product(&self, id: u32) -> anyhow::Result<()> {
        let request =
            self.request(Method::PATCH, &format!("products/{id}")).json(&json!({ "disabled": true }));
        success::<Value>(request).await.map(drop).with_context(|| format!("cannot disable the product {id}"))
    }

    /// The nodes of the system.
    pub(crate) async fn nodes(&self) -> anyhow::Result<Vec<Node>> {
        #[derive(Deserialize)]
        struct List {
            nodes: Vec<Node>,
        }
        let list =
            success::<List>(self.request(Method::GET, "nodes")).await.context("cannot list the nodes")?;
        Ok(list.nodes)
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, format!("{}/v1/admin/{path}", self.center)).bearer_auth(&self.key)
    }
}

impl fmt::Debug for Admin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Admin").field("center", &self.center).finish_non_exhaustive()
    }
}

/// The answer if it is a good one; else what the API says is wrong.
async fn success<T: DeserializeOwned>(request: RequestBuilder) -> anyhow::Result<T> {
    let answer = request.send().await?;
    let (status, path) = (answer.status(), answer.url().path().to_owned());
    if !status.is_success() {
        bail!("{path} answered {status}: {}", answer.text().await.unwrap_or_default());
    }
    answer.json().await.with_context(|| format!("{path} answered something else than expected"))
}

fn unique_name() -> anyhow::Result<String> {
    let random =
        std::fs::read_to_string("/proc/sys/kernel/random/uuid").context("cannot read a random number")?;
    Ok(format!("loadtest-{}", random.trim()))
}
