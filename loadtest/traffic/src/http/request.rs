//! Requests to a center: what their heads have in common.

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, Request, Uri, header};

use super::body::Whole;
use crate::address::{BadApi, Center};

/// Makes requests to one center.
#[derive(Clone, Debug)]
pub(crate) struct Requests {
    center: Center,
    host: HeaderValue,
}

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
const JSON: HeaderValue = HeaderValue::from_static("application/json");

impl Requests {
    pub(crate) fn new(center: Center) -> Result<Requests, BadApi> {
        let host = HeaderValue::try_from(center.address.as_str())
            .map_err(|_| BadApi::Address(center.address.clone()))?;
        Ok(Requests { center, host })
    }

    /// host:port.
    pub(crate) fn address(&self) -> &str {
        &self.center.address
    }

    /// A POST of JSON, which a repeat with the same key does not do twice.
    pub(crate) fn post(&self, path: &'static str, key: Option<String>, body: Bytes) -> Request<Whole> {
        let mut request = Request::new(Whole::new(body));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = Uri::from_static(path);
        let headers = request.headers_mut();
        headers.reserve(4);
        headers.insert(header::HOST, self.host.clone());
        headers.insert(header::AUTHORIZATION, self.center.authorization.clone());
        headers.insert(header::CONTENT_TYPE, JSON);
        if let Some(key) = key.and_then(|key| HeaderValue::try_from(key).ok()) {
            headers.insert(IDEMPOTENCY_KEY, key);
        }
        request
    }
}
