//! What is asked of the processes over HTTP: little enough to need no client library.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde::Deserialize;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::Product;

const DEADLINE: Duration = Duration::from_secs(10);

/// None if the process is ready, else what it says is missing.
pub(crate) async fn readyz(admin: &str) -> anyhow::Result<Option<String>> {
    let (status, text) = ask(admin, "GET /readyz", "", "").await?;
    Ok((status != 200).then_some(text))
}

/// The metrics as text.
pub(crate) async fn metrics(admin: &str) -> anyhow::Result<String> {
    let (status, text) = ask(admin, "GET /metrics", "", "").await?;
    ensure!(status == 200, "{status}: {text}");
    Ok(text)
}

/// Creates a product at the center on host:port and returns it with its key.
pub(crate) async fn create_product(center: &str, admin_key: &str, name: &str) -> anyhow::Result<Product> {
    #[derive(Deserialize)]
    struct Created {
        product: Id,
        key: String,
    }
    #[derive(Deserialize)]
    struct Id {
        id: u32,
    }
    let headers = format!("authorization: Bearer {admin_key}\r\ncontent-type: application/json\r\n");
    let body = serde_json::json!({ "name": name }).to_string();
    let (status, text) = ask(center, "POST /v1/admin/products", &headers, &body).await?;
    ensure!((200..300).contains(&status), "the center did not create the product {name}: {status} {text}");
    let created: Created =
        serde_json::from_str(&text).with_context(|| format!("not what was expected: {text}"))?;
    Ok(Product { id: created.product.id, name: name.to_owned(), key: created.key })
}

/// One request on a connection of its own; the status and the body of the answer.
async fn ask(address: &str, what: &str, headers: &str, body: &str) -> anyhow::Result<(u16, String)> {
    let length = body.len();
    let request = format!(
        "{what} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n{headers}content-length: {length}\r\n\r\n{body}"
    );
    let exchange = async {
        let mut socket = TcpStream::connect(address).await?;
        socket.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        socket.read_to_string(&mut answer).await?;
        std::io::Result::Ok(answer)
    };
    let answer = timeout(DEADLINE, exchange).await.with_context(|| format!("no answer from {address}"))?;
    let answer = answer.with_context(|| format!("cannot ask {address}"))?;
    parse(&answer).with_context(|| format!("not an answer that is understood here: {answer}"))
}

/// Status and body of an answer whose end is the end of the connection.
fn parse(answer: &str) -> Option<(u16, String)> {
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let status = head.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok()?;
    (!head.to_ascii_lowercase().contains("transfer-encoding")).then(|| (status, body.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_taken_apart() {
        assert_eq!(
            parse("HTTP/1.1 503 Service Unavailable\r\nx: y\r\n\r\nnot yet"),
            Some((503, "not yet".into()))
        );
        assert_eq!(parse("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello"), None);
        assert_eq!(parse("HTTP/1.1 2"), None);
    }
}
