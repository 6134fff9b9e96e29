//! What a client asks, checked. One set of rules for HTTP and gRPC.

use longline_pb::dispatcher::RouteRequest;
use longline_types::{Address, Error};

/// Endpoints that a client may report as failed in one question.
const MOST_FAILED: usize = 16;
/// Longest of them, in bytes: a DNS name and a port.
const LONGEST_ENDPOINT: usize = 262;
const NETWORKS: [&str; 7] = ["", "wifi", "ethernet", "2g", "3g", "4g", "5g"];

/// A checked question.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Query {
    pub(crate) address: Address,
    pub(crate) attempt: u32,
    /// Endpoints that this client could not use.
    pub(crate) failed: Vec<String>,
}

impl Query {
    /// Checks a question over gRPC. An error names the field and what to change.
    pub(crate) fn of_request(request: RouteRequest) -> Result<Query, Error> {
        let address = Address::new(request.product, &request.user)
            .map_err(|e| Error::invalid(format!("`user` cannot be that: {e}")))?;
        if !NETWORKS.contains(&request.network.as_str()) {
            let known = NETWORKS[1..].join(", ");
            return Err(Error::invalid(format!("`network` is one of {known}, or left out")));
        }
        if request.failed.len() > MOST_FAILED {
            return Err(Error::invalid(format!("`failed` names at most {MOST_FAILED} endpoints")));
        }
        if request.failed.iter().any(|endpoint| endpoint.len() > LONGEST_ENDPOINT) {
            return Err(Error::invalid("`failed` is a list of host:port, separated by commas"));
        }
        Ok(Query { address, attempt: request.attempt, failed: request.failed })
    }

    /// Checks a question over HTTP. Parameters that this version does not know are passed over.
    pub(crate) fn of_parameters(parameters: Vec<(String, String)>) -> Result<Query, Error> {
        let (mut product, mut user, mut network, mut attempt, mut failed) = (None, None, None, None, None);
        for (name, value) in parameters {
            let place = match name.as_str() {
                "product" => &mut product,
                "user" => &mut user,
                "network" => &mut network,
                "attempt" => &mut attempt,
                "failed" => &mut failed,
                _ => continue,
            };
            if place.replace(value).is_some() {
                return Err(Error::invalid(format!("`{name}` is there more than once: give it once")));
            }
        }
        let missing =
            |name| Error::invalid(format!("`{name}` is missing: ask for /v1/route?product=1&user=alice"));
        let product = product.ok_or_else(|| missing("product"))?;
        let failed = failed.unwrap_or_default();
        Query::of_request(RouteRequest {
            product: number("product", &product)?,
            user: user.ok_or_else(|| missing("user"))?,
            network: network.unwrap_or_default(),
            attempt: attempt.map_or(Ok(0), |text| number("attempt", &text))?,
            failed: failed.split(',').filter(|endpoint| !endpoint.is_empty()).map(str::to_owned).collect(),
        })
    }
}

fn number(name: &str, text: &str) -> Result<u32, Error> {
    text.parse().map_err(|_| Error::invalid(format!("`{name}` is a number from 0 to {}", u32::MAX)))
}

#[cfg(test)]
mod tests {
    use longline_types::ErrorCode;

    use super::*;

    fn read(parameters: &[(&str, &str)]) -> Result<Query, Error> {
        Query::of_parameters(parameters.iter().map(|(n, v)| (n.to_string(), v.to_string())).collect())
    }

    #[test]
    fn a_question_is_read() {
        let query = read(&[
            ("product", "7"),
            ("user", "a b"),
            ("network", "4g"),
            ("attempt", "2"),
            ("failed", "a:1,b:2,"),
            ("of_a_later_version", "x"),
        ])
        .unwrap();
        assert_eq!(query.address, Address::new(7, "a b").unwrap());
        assert_eq!((query.attempt, query.failed), (2, vec!["a:1".to_owned(), "b:2".to_owned()]));
        assert_eq!(read(&[("product", "7"), ("user", "a"), ("network", "")]).unwrap().attempt, 0);
    }

    #[test]
    fn an_error_names_the_parameter() {
        let long = "x".repeat(129);
        let many = "a:1,".repeat(17);
        let wide = "x".repeat(263);
        for (name, parameters) in [
            ("product", vec![("user", "a")]),
            ("user", vec![("product", "7")]),
            ("product", vec![("product", "-7"), ("user", "a")]),
            ("product", vec![("product", "4294967296"), ("user", "a")]),
            ("product", vec![("product", ""), ("user", "a")]),
            ("user", vec![("product", "7"), ("user", "")]),
            ("user", vec![("product", "7"), ("user", &long)]),
            ("user", vec![("product", "7"), ("user", "a\n")]),
            ("user", vec![("product", "7"), ("user", "a"), ("user", "b")]),
            ("network", vec![("product", "7"), ("user", "a"), ("network", "6g")]),
            ("attempt", vec![("product", "7"), ("user", "a"), ("attempt", "first")]),
            ("failed", vec![("product", "7"), ("user", "a"), ("failed", &many)]),
            ("failed", vec![("product", "7"), ("user", "a"), ("failed", &wide)]),
        ] {
            let error = read(&parameters).unwrap_err();
            assert_eq!(error.code, ErrorCode::InvalidArgument);
            assert!(error.message.contains(&format!("`{name}`")), "{parameters:?}: {error}");
        }
    }
}
