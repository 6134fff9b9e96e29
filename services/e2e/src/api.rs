//! A business server, as far as the tests need one.

use anyhow::{Context as _, ensure};
use longline_types::MessageId;
use reqwest::Method;
use serde_json::{Value, json};

/// Calls the HTTP API of one center with one key.
#[derive(Clone, Debug)]
pub struct Api {
    url: String,
    key: String,
    http: reqwest::Client,
}

/// Status and body of an answer.
#[derive(Clone, Debug)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// JSON body; null if it is none.
    pub body: Value,
}

impl Answer {
    /// The stable code of a problem document; empty if it is none.
    pub fn code(&self) -> &str {
        self.body["code"].as_str().unwrap_or_default()
    }
}

impl Api {
    /// The API at this URL (`http://host:port`) with this key.
    pub fn new(url: impl Into<String>, key: impl Into<String>) -> Api {
        let http = reqwest::Client::builder().timeout(crate::SOON).build().expect("a client without options");
        Api { url: url.into(), key: key.into(), http }
    }

    /// The same API with another key.
    pub fn with_key(&self, key: impl Into<String>) -> Api {
        Api { key: key.into(), ..self.clone() }
    }

    /// One request. An error only if there is no answer at all.
    pub async fn call(
        &self,
        method: Method,
        path: &str,
        body: Option<Value>,
        headers: &[(&str, &str)],
    ) -> anyhow::Result<Answer> {
        let mut request = self.http.request(method, format!("{}{path}", self.url)).bearer_auth(&self.key);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if let Some(body) = body {
            request = request.json(&body);
        }
        let response = request.send().await.with_context(|| format!("no answer to {path}"))?;
        let status = response.status().as_u16();
        let bytes = response.bytes().await?;
        Ok(Answer { status, body: serde_json::from_slice(&bytes).unwrap_or(Value::Null) })
    }

    /// GET.
    pub async fn get(&self, path: &str) -> anyhow::Result<Answer> {
        self.call(Method::GET, path, None, &[]).await
    }

    /// POST.
    pub async fn post(&self, path: &str, body: Value) -> anyhow::Result<Answer> {
        self.call(Method::POST, path, Some(body), &[]).await
    }

    /// PATCH.
    pub async fn patch(&self, path: &str, body: Value) -> anyhow::Result<Answer> {
        self.call(Method::PATCH, path, Some(body), &[]).await
    }

    /// DELETE.
    pub async fn delete(&self, path: &str) -> anyhow::Result<Answer> {
        self.call(Method::DELETE, path, None, &[]).await
    }

    /// Pushes to one user; the id of what was accepted.
    pub async fn push(&self, user: &str, payload: Value) -> anyhow::Result<MessageId> {
        self.send(json!({ "to": { "user": user }, "payload": payload }), None).await
    }

    /// POST /v1/messages to one user with an idempotency key, if any; the id of what was accepted.
    pub async fn send(&self, body: Value, key: Option<&str>) -> anyhow::Result<MessageId> {
        let headers: Vec<(&str, &str)> = key.map(|k| ("Idempotency-Key", k)).into_iter().collect();
        let answer = self.call(Method::POST, "/v1/messages", Some(body), &headers).await?;
        ensure!(answer.status == 202, "not accepted: {answer:?}");
        id(&answer.body["messages"][0]["id"])
    }

    /// The state of a message: `stored`, `written`, `acked`, …
    pub async fn state(&self, message: MessageId) -> anyhow::Result<String> {
        let answer = self.get(&format!("/v1/messages/{message}")).await?;
        ensure!(answer.status == 200, "no state: {answer:?}");
        Ok(answer.body["state"].as_str().unwrap_or_default().to_owned())
    }

    /// Messages waiting for a user.
    pub async fn waiting(&self, user: &str) -> anyhow::Result<u64> {
        let answer = self.get(&format!("/v1/users/{user}")).await?;
        answer.body["waiting"].as_u64().with_context(|| format!("no count: {answer:?}"))
    }

    /// Whether a user is `online`, `offline` or `unknown`.
    pub async fn presence(&self, user: &str) -> anyhow::Result<String> {
        let answer = self.get(&format!("/v1/users/{user}")).await?;
        Ok(answer.body["presence"].as_str().with_context(|| format!("no presence: {answer:?}"))?.to_owned())
    }
}

fn id(value: &Value) -> anyhow::Result<MessageId> {
    value.as_str().context("no id")?.parse().context("the id is no decimal number")
}
