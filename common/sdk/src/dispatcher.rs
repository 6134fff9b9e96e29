//! Asking the dispatcher which rooms to try.

use std::collections::HashMap;
use std::time::Duration;

use longline_noise::PublicKey;
use longline_pb::client::Network;
use longline_types::Address;
use serde::Deserialize;

/// Longest answer that is read, in bytes.
const LONGEST: usize = 64 * 1024;
/// Most rooms that are taken from an answer.
const MOST: usize = 16;
/// How long an answer is kept at least and at most.
const TTL_S: std::ops::RangeInclusive<u64> = 1..=24 * 3600;

/// The dispatchers that may be asked.
#[derive(Clone, Debug)]
pub(crate) struct Dispatcher {
    urls: Vec<String>,
    network: Network,
    http: reqwest::Client,
}

/// A group of rooms.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Group {
    pub(crate) endpoints: Vec<String>,
    /// The public keys of those that speak Noise.
    pub(crate) noise_keys: HashMap<String, PublicKey>,
    pub(crate) ttl: Duration,
}

#[derive(Deserialize)]
struct Answer {
    endpoints: Vec<String>,
    #[serde(default)]
    noise_keys: HashMap<String, String>,
    #[serde(default)]
    ttl_s: u64,
}

impl Dispatcher {
    pub(crate) fn new(
        urls: Vec<String>,
        network: Network,
        timeout: Duration,
    ) -> Result<Dispatcher, reqwest::Error> {
        // Asked rarely: a connection kept for the next time would only be found dead. Rooms are reached directly, so a proxy
        // that only the dispatcher is asked through would hide where the device is.
        let http = reqwest::Client::builder()
            .timeout(timeout)
            .connect_timeout(timeout)
            .pool_max_idle_per_host(0)
            .no_proxy()
            .build()?;
        Ok(Dispatcher { urls, network, http })
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.urls.is_empty()
    }

    /// Asks one after the other, beginning with another one at each attempt. An error names the last that was asked.
    pub(crate) async fn ask(&self, address: Address, attempt: u32) -> Result<Group, (String, String)> {
        let mut failure = (String::new(), "there is no dispatcher".to_owned());
        for i in 0..self.urls.len() {
            let url = &self.urls[(i + attempt as usize) % self.urls.len()];
            match self.ask_one(url, &address, attempt).await {
                Ok(group) => return Ok(group),
                Err(error) => failure = (url.clone(), error),
            }
        }
        Err(failure)
    }

    async fn ask_one(&self, url: &str, address: &Address, attempt: u32) -> Result<Group, String> {
        let (product, attempt) = (address.product.to_string(), attempt.to_string());
        let query = [
            ("product", product.as_str()),
            ("user", address.user.as_str()),
            ("network", network_name(self.network)),
            ("attempt", &attempt),
        ];
        let url = format!("{}/v1/route", url.trim_end_matches('/'));
        let url = reqwest::Url::parse_with_params(&url, query).map_err(|error| error.to_string())?;
        let mut response = self.http.get(url).send().await.map_err(describe)?;
        if !response.status().is_success() {
            return Err(format!("the dispatcher answered {}", response.status()));
        }
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(describe)? {
            body.extend_from_slice(&chunk);
            if body.len() > LONGEST {
                return Err("the dispatcher's answer is too long".to_owned());
            }
        }
        parse(&body)
    }
}

fn parse(body: &[u8]) -> Result<Group, String> {
    let mut answer: Answer = serde_json::from_slice(body)
        .map_err(|error| format!("the dispatcher's answer is not one: {error}"))?;
    answer.endpoints.truncate(MOST);
    if answer.endpoints.is_empty() {
        return Err("the dispatcher knows no room".to_owned());
    }
    let ttl = Duration::from_secs(answer.ttl_s.clamp(*TTL_S.start(), *TTL_S.end()));
    // A key that is none is as good as none.
    let key = |endpoint: &String| {
        let key = answer.noise_keys.get(endpoint)?.parse().ok()?;
        Some((endpoint.clone(), key))
    };
    let noise_keys = answer.endpoints.iter().filter_map(key).collect();
    Ok(Group { endpoints: answer.endpoints, noise_keys, ttl })
}

fn network_name(network: Network) -> &'static str {
    match network {
        Network::Unspecified => "",
        Network::Wifi => "wifi",
        Network::Ethernet => "ethernet",
        Network::Network2g => "2g",
        Network::Network3g => "3g",
        Network::Network4g => "4g",
        Network::Network5g => "5g",
    }
}

/// An error with its causes, since reqwest keeps the useful part there.
fn describe(error: reqwest::Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(&error);
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read_with_care() {
        let key = "hSDwCYkwp1R0i33ctD73Wg2/Og0mOBr066SpjqqbTmo=";
        let keys = format!(r#"{{"a:1":"{key}","b:2":"AAAA","c:3":"{key}"}}"#);
        let answer = format!(r#"{{"endpoints":["a:1","b:2"],"noise_keys":{keys},"ttl_s":30,"more":true}}"#);
        let endpoints = vec!["a:1".into(), "b:2".into()];
        let noise_keys = HashMap::from([("a:1".into(), key.parse().unwrap())]);
        let ttl = Duration::from_secs(30);
        assert_eq!(parse(answer.as_bytes()).unwrap(), Group { endpoints, noise_keys, ttl });
        assert_eq!(parse(br#"{"endpoints":["a:1"]}"#).unwrap().ttl, Duration::from_secs(1));
        assert!(parse(br#"{"endpoints":[],"ttl_s":30}"#).is_err());
        assert!(parse(b"<html>").is_err());
        let many = serde_json::json!({ "endpoints": vec!["a:1"; 1000] }).to_string();
        assert_eq!(parse(many.as_bytes()).unwrap().endpoints.len(), MOST);
    }
}
