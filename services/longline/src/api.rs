//! Answers of the API, as the tools read them.

use anyhow::{Context as _, anyhow, bail};
use reqwest::{Response, StatusCode};
use serde::Deserialize;

/// Longest answer that is read, in bytes.
const LONGEST: usize = 1024 * 1024;

/// The part of a problem document that says something.
#[derive(Deserialize)]
pub(crate) struct Problem {
    code: String,
    #[serde(default)]
    detail: String,
}

/// The whole body, unless it is far too long.
pub(crate) async fn read(mut response: Response) -> anyhow::Result<Vec<u8>> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.context("the answer broke off")? {
        body.extend_from_slice(&chunk);
        if body.len() > LONGEST {
            bail!("the answer is longer than {LONGEST} bytes");
        }
    }
    Ok(body)
}

/// Fails with what the API says is wrong, if it says so.
pub(crate) fn check(status: StatusCode, body: &[u8]) -> anyhow::Result<()> {
    if status.is_success() {
        return Ok(());
    }
    Err(match serde_json::from_slice::<Problem>(body) {
        Ok(problem) => refusal(&problem),
        Err(_) => anyhow!("the API answered {status}: {}", beginning(body)),
    })
}

/// A problem in a sentence.
pub(crate) fn refusal(problem: &Problem) -> anyhow::Error {
    if problem.detail.is_empty() {
        anyhow!("{}", problem.code)
    } else {
        anyhow!("{} ({})", problem.detail, problem.code)
    }
}

/// The first few words of an answer.
pub(crate) fn beginning(body: &[u8]) -> String {
    String::from_utf8_lossy(body).chars().filter(|c| !c.is_control()).take(200).collect()
}
