//! One signed POST to a business.

use std::time::Duration;

use longline_auth::webhook;
use longline_types::now_ms;
use reqwest::header::{CONTENT_TYPE, HeaderName};
use reqwest::{Client, ClientBuilder, Response, StatusCode, Url, redirect};

/// The business's answer to one try.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// 2xx.
    Taken,
    /// 410: it does not want this, ever.
    Gone,
    /// Any other status, redirects among them.
    Status(u16),
    /// No answer in time.
    TimedOut,
    /// No connection, or one that broke, or an address that is none.
    Failed(String),
}

/// Posts callbacks. Clones share the connections.
#[derive(Clone)]
pub(crate) struct Webhooks {
    client: Client,
    timeout: Duration,
}

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const IDLE_PER_HOST: usize = 16;
/// Of an answer's body only this much is read, and only so that the connection can be used again.
const BODY_BYTES: usize = 16 * 1024;
const BODY_TIMEOUT: Duration = Duration::from_secs(1);

impl Webhooks {
    pub(crate) fn new(timeout: Duration) -> reqwest::Result<Webhooks> {
        let client = options(timeout).build().or_else(|error| {
            // A host without any CA certificates can still call businesses over plain HTTP.
            tracing::warn!(%error, "no CA certificates: webhooks over https will fail");
            options(timeout).tls_certs_only([]).build()
        })?;
        Ok(Webhooks { client, timeout })
    }

    /// How long one try takes at most.
    pub(crate) fn timeout(&self) -> Duration {
        self.timeout
    }

    /// One try. `id` is the same in every try of the same record.
    pub(crate) async fn post(&self, url: &str, secret: &[u8], id: u64, body: Vec<u8>) -> Answer {
        let url = match Url::parse(url) {
            Ok(url) if matches!(url.scheme(), "http" | "https") => url,
            _ => return Answer::Failed("the address is no http or https URL".to_owned()),
        };
        let sent = self
            .client
            .post(url)
            .header(CONTENT_TYPE, "application/json")
            .header(webhook::HEADER, webhook::sign(secret, now_ms() / 1000, &body))
            .header(IDEMPOTENCY_KEY, id)
            .body(body)
            .send()
            .await;
        match sent {
            Ok(response) => answer(response).await,
            Err(error) if error.is_timeout() => Answer::TimedOut,
            Err(error) => Answer::Failed(error.without_url().to_string()),
        }
    }
}

fn options(timeout: Duration) -> ClientBuilder {
    Client::builder()
        .user_agent(concat!("longline/", env!("CARGO_PKG_VERSION")))
        .redirect(redirect::Policy::none())
        // Where callbacks go is the product's to say, not the environment's.
        .no_proxy()
        .connect_timeout(timeout.min(CONNECT_TIMEOUT))
        .timeout(timeout)
        .pool_max_idle_per_host(IDLE_PER_HOST)
        .tcp_nodelay(true)
}

async fn answer(response: Response) -> Answer {
    let status = response.status();
    // What the body says, or whether it comes at all, changes nothing.
    let _ = tokio::time::timeout(BODY_TIMEOUT, drain(response)).await;
    match status {
        StatusCode::GONE => Answer::Gone,
        status if status.is_success() => Answer::Taken,
        status => Answer::Status(status.as_u16()),
    }
}

async fn drain(mut response: Response) {
    let mut left = BODY_BYTES;
    while let Ok(Some(chunk)) = response.chunk().await {
        match left.checked_sub(chunk.len()) {
            Some(rest) => left = rest,
            None => return,
        }
    }
}
