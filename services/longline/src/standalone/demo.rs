//! The ready-made product `demo`, with a key that stays the same from start to start.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::bail;
use reqwest::{Client, Method, RequestBuilder, Response, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};

use super::DataDir;
use super::banner::reachable;

const ID: u32 = 1;
const NAME: &str = "demo";
const KEY_FILE: &str = "demo.key";
const DEADLINE: Duration = Duration::from_secs(10);

/// The product `demo`.
pub(crate) struct Demo {
    /// Its number.
    pub(crate) id: u32,
    /// Its name: `demo`, unless somebody has renamed it.
    pub(crate) name: String,
    /// Its key.
    pub(crate) key: String,
}

/// Makes the product through the API if it is not there. Its key is kept in the data folder; if that does not work (the file is
/// lost, or a start was cut short between product and file), it is replaced by a new one.
pub(crate) async fn ensure(http: SocketAddr, admin_key: &str, data: &DataDir) -> anyhow::Result<Demo> {
    let client = Client::builder().no_proxy().timeout(DEADLINE).build()?;
    let api = Api { client, base: format!("http://{}", reachable(http)), admin_key };
    let Some(name) = api.product_name().await? else {
        let key = api.new_key("/v1/admin/products", json!({ "id": ID, "name": NAME })).await?;
        data.write_secret(KEY_FILE, &key)?;
        return Ok(Demo { id: ID, name: NAME.to_owned(), key });
    };
    if let Some(key) = data.secret(KEY_FILE)?
        && api.accepts(&key).await?
    {
        return Ok(Demo { id: ID, name, key });
    }
    let key = api.new_key(&format!("/v1/admin/products/{ID}/rotate-key"), json!({})).await?;
    data.write_secret(KEY_FILE, &key)?;
    Ok(Demo { id: ID, name, key })
}

/// The API as it is asked here.
struct Api<'a> {
    client: Client,
    base: String,
    admin_key: &'a str,
}

impl Api<'_> {
    /// The product's name, if it exists.
    async fn product_name(&self) -> anyhow::Result<Option<String>> {
        #[derive(Deserialize)]
        struct Product {
            name: String,
        }
        let reply = self.admin(Method::GET, &format!("/v1/admin/products/{ID}")).send().await?;
        if reply.status() == StatusCode::NOT_FOUND {
            return Ok(None);
        }
        Ok(Some(success(reply).await?.json::<Product>().await?.name))
    }

    /// The key that comes with what is posted there.
    async fn new_key(&self, path: &str, body: Value) -> anyhow::Result<String> {
        #[derive(Deserialize)]
        struct WithKey {
            key: String,
        }
        let reply = self.admin(Method::POST, path).json(&body).send().await?;
        Ok(success(reply).await?.json::<WithKey>().await?.key)
    }

    /// Whether the product's API takes this key.
    async fn accepts(&self, key: &str) -> anyhow::Result<bool> {
        let reply = self.client.get(format!("{}/v1/users/alice", self.base)).bearer_auth(key).send().await?;
        Ok(reply.status() != StatusCode::UNAUTHORIZED)
    }

    fn admin(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, format!("{}{path}", self.base)).bearer_auth(self.admin_key)
    }
}

/// The answer if it is a good one; else what the API says is wrong.
async fn success(reply: Response) -> anyhow::Result<Response> {
    let (status, path) = (reply.status(), reply.url().path().to_owned());
    if status.is_success() {
        return Ok(reply);
    }
    bail!("{path} answered {status}: {}", reply.text().await.unwrap_or_default())
}
