//! What handlers take out of a request. Every refusal is a problem that says what to change.

use std::sync::Arc;

use axum::extract::rejection::PathRejection;
use axum::extract::{FromRequest, FromRequestParts, Path, Request};
use bytes::Bytes;
use futures::StreamExt;
use http::request::Parts;
use http::{HeaderMap, header};
use longline_products::Product;
use longline_types::{ErrorCode, MessageId};
use serde::de::DeserializeOwned;

use super::Api;
use crate::Failure;
use crate::auth;

/// The product whose key the request has.
pub(crate) struct Caller(pub(crate) Arc<Product>);

impl FromRequestParts<Api> for Caller {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Caller, Failure> {
        auth::product(&api.ops, authorization(&parts.headers)?).await.map(Caller)
    }
}

/// The request has the admin key.
pub(crate) struct Operator;

impl FromRequestParts<Api> for Operator {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Operator, Failure> {
        api.admin.check(authorization(&parts.headers)?).map(|()| Operator)
    }
}

/// The header `Idempotency-Key`; empty if there is none.
pub(crate) struct IdempotencyKey(pub(crate) String);

impl FromRequestParts<Api> for IdempotencyKey {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _: &Api) -> Result<IdempotencyKey, Failure> {
        match single_header(&parts.headers, "idempotency-key")? {
            None => Ok(IdempotencyKey(String::new())),
            Some("") => {
                Err(Failure::invalid("the header Idempotency-Key is empty; leave it out or give a key"))
            }
            Some(key) => Ok(IdempotencyKey(key.to_owned())),
        }
    }
}

/// The revision in the header `If-Match`, with or without quotes.
pub(crate) struct IfMatch(pub(crate) Option<u64>);

impl FromRequestParts<Api> for IfMatch {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _: &Api) -> Result<IfMatch, Failure> {
        match single_header(&parts.headers, "if-match")? {
            None | Some("*") => Ok(IfMatch(None)),
            Some(tag) => match tag.trim_matches('"').parse() {
                Ok(revision) => Ok(IfMatch(Some(revision))),
                Err(_) => Err(Failure::invalid("If-Match is the product's revision, such as \"3\"")),
            },
        }
    }
}

/// The user name in the path.
pub(crate) struct UserName(pub(crate) String);

impl FromRequestParts<Api> for UserName {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<UserName, Failure> {
        path(parts, api).await.map(UserName)
    }
}

/// The message or broadcast id in the path.
pub(crate) struct Id(pub(crate) MessageId);

impl FromRequestParts<Api> for Id {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Id, Failure> {
        let text: String = path(parts, api).await?;
        canonical::<u64>(&text).map(|id| Id(MessageId(id))).ok_or_else(|| {
            Failure::new(
                ErrorCode::InvalidArgument,
                "invalid_id",
                "an id is a decimal number as the API gave it",
            )
        })
    }
}

/// The product id in the path.
pub(crate) struct ProductNumber(pub(crate) u32);

impl FromRequestParts<Api> for ProductNumber {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<ProductNumber, Failure> {
        product_number(&path::<String>(parts, api).await?).map(ProductNumber)
    }
}

/// Parameters behind the question mark.
pub(crate) struct Query<T>(pub(crate) T);

impl<T: DeserializeOwned> FromRequestParts<Api> for Query<T> {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _: &Api) -> Result<Query<T>, Failure> {
        axum::extract::Query::try_from_uri(&parts.uri)
            .map(|axum::extract::Query(query)| Query(query))
            .map_err(|e| Failure::invalid(e.body_text()))
    }
}

/// A JSON body. Read within the bounds and the deadline; unknown fields are refused by its type.
pub(crate) struct Body<T>(pub(crate) T);

impl<T: DeserializeOwned> FromRequest<Api> for Body<T> {
    type Rejection = Failure;

    async fn from_request(request: Request, api: &Api) -> Result<Body<T>, Failure> {
        let body = json(request, api).await?;
        if is_empty(&body) {
            return Err(malformed("the body is empty; send a JSON object"));
        }
        parse(&body).map(Body)
    }
}

/// A JSON body that may be left out.
pub(crate) struct BodyOrDefault<T>(pub(crate) T);

impl<T: DeserializeOwned + Default> FromRequest<Api> for BodyOrDefault<T> {
    type Rejection = Failure;

    async fn from_request(request: Request, api: &Api) -> Result<BodyOrDefault<T>, Failure> {
        let body = json(request, api).await?;
        if is_empty(&body) { Ok(BodyOrDefault(T::default())) } else { parse(&body).map(BodyOrDefault) }
    }
}

async fn json(request: Request, api: &Api) -> Result<Bytes, Failure> {
    check_content_type(request.headers())?;
    read(request, api).await
}

fn is_empty(body: &Bytes) -> bool {
    body.iter().all(u8::is_ascii_whitespace)
}

fn parse<T: DeserializeOwned>(body: &Bytes) -> Result<T, Failure> {
    serde_json::from_slice(body).map_err(|e| match e.classify() {
        serde_json::error::Category::Data => {
            Failure::invalid(format!("the body is not as it should be: {e}"))
        }
        _ => malformed(format!("the body is no valid JSON: {e}")),
    })
}

fn malformed(message: impl std::fmt::Display) -> Failure {
    Failure::new(ErrorCode::InvalidArgument, "malformed_json", message)
}

/// Bytes beyond the limit are read and thrown away up to this multiple of it, so that a client that sends first and reads then
/// gets to see the answer.
const READ_ON: usize = 8;

async fn read(request: Request, api: &Api) -> Result<Bytes, Failure> {
    let limit = api.max_body_bytes;
    let too_large = || {
        let message = format!("the body has at most {limit} bytes; send to fewer users at once");
        Failure::new(ErrorCode::InvalidArgument, "body_too_large", message)
    };
    let announced = single_header(request.headers(), "content-length")?.and_then(|n| n.parse::<usize>().ok());
    if announced.is_some_and(|n| n > limit.saturating_mul(READ_ON)) {
        return Err(too_large());
    }
    let mut chunks = request.into_body().into_data_stream();
    let reading = async {
        let (mut body, mut total) = (Vec::with_capacity(announced.unwrap_or(0).min(limit)), 0usize);
        while let Some(chunk) = chunks.next().await {
            let chunk =
                chunk.map_err(|e| Failure::invalid(format!("the body could not be read to its end: {e}")))?;
            total = total.saturating_add(chunk.len());
            if total <= limit {
                body.extend_from_slice(&chunk);
            } else if total > limit.saturating_mul(READ_ON) {
                break;
            }
        }
        if total > limit { Err(too_large()) } else { Ok(Bytes::from(body)) }
    };
    match tokio::time::timeout(api.body_timeout, reading).await {
        Ok(result) => result,
        Err(_) => {
            let message = format!("the body did not arrive within {:?}", api.body_timeout);
            Err(Failure::new(ErrorCode::InvalidArgument, "body_timeout", message))
        }
    }
}

/// JSON or nothing said.
fn check_content_type(headers: &HeaderMap) -> Result<(), Failure> {
    let Some(value) = single_header(headers, "content-type")? else { return Ok(()) };
    let essence = value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    if essence == "application/json" || essence.starts_with("application/") && essence.ends_with("+json") {
        return Ok(());
    }
    let message =
        format!("the body is JSON: send the header `Content-Type: application/json`, not {essence:?}");
    Err(Failure::new(ErrorCode::InvalidArgument, "unsupported_media_type", message))
}

fn authorization(headers: &HeaderMap) -> Result<Option<&str>, Failure> {
    single_header(headers, header::AUTHORIZATION.as_str()).map_err(|f| Failure::unauthenticated(f.message))
}

/// The header's value; refused if it comes twice or is no text.
fn single_header<'a>(headers: &'a HeaderMap, name: &str) -> Result<Option<&'a str>, Failure> {
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(Failure::invalid(format!("the header {name} is given more than once")));
    }
    let text = std::str::from_utf8(value.as_bytes());
    text.map(Some).map_err(|_| Failure::invalid(format!("the header {name} is not UTF-8")))
}

/// The product id and the user name in the path.
pub(crate) struct ProductAndUser(pub(crate) u32, pub(crate) String);

impl FromRequestParts<Api> for ProductAndUser {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<ProductAndUser, Failure> {
        let (product, user) = path::<(String, String)>(parts, api).await?;
        Ok(ProductAndUser(product_number(&product)?, user))
    }
}

fn product_number(text: &str) -> Result<u32, Failure> {
    canonical::<u32>(text).filter(|id| *id > 0).ok_or_else(|| {
        let message = format!("a product's id is a number from 1 to {}", u32::MAX);
        Failure::new(ErrorCode::InvalidArgument, "invalid_id", message)
    })
}

async fn path<T: DeserializeOwned + Send>(parts: &mut Parts, api: &Api) -> Result<T, Failure> {
    let path: Result<Path<T>, PathRejection> = Path::from_request_parts(parts, api).await;
    path.map(|Path(text)| text)
        .map_err(|e| Failure::new(ErrorCode::InvalidArgument, "invalid_path", e.body_text()))
}

/// The number, if the text is its one decimal form.
fn canonical<N: std::str::FromStr + ToString>(text: &str) -> Option<N> {
    text.parse::<N>().ok().filter(|number| number.to_string() == text)
}

/// Whether every `%` of a path is followed by two hex digits.
pub(crate) fn is_well_encoded(path: &str) -> bool {
    path.split('%').skip(1).all(|rest| {
        let mut digits = rest.bytes();
        [digits.next(), digits.next()].iter().all(|d| d.is_some_and(|d| d.is_ascii_hexdigit()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percent_signs_have_two_digits() {
        for right in ["/v1/users/a", "/a%20b", "/%C3%BC%2F"] {
            assert!(is_well_encoded(right), "{right}");
        }
        for wrong in ["/a%", "/a%2", "/a%zz", "/%20%", "/%%20"] {
            assert!(!is_well_encoded(wrong), "{wrong}");
        }
    }

    #[test]
    fn ids_have_one_form() {
        assert_eq!(canonical::<u64>("12"), Some(12));
        for wrong in ["", "012", "+12", "-1", "1.0", "0x1", "99999999999999999999", "１"] {
            assert_eq!(canonical::<u64>(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn bodies_are_json() {
        let of = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert("content-type", value.parse().unwrap());
            check_content_type(&headers)
        };
        for right in ["application/json", "Application/JSON; charset=utf-8", "application/vnd.x+json"] {
            assert!(of(right).is_ok(), "{right}");
        }
        for wrong in ["text/plain", "application/x-www-form-urlencoded", "jsonx"] {
            assert_eq!(of(wrong).unwrap_err().code, "unsupported_media_type");
        }
        assert!(check_content_type(&HeaderMap::new()).is_ok());
    }
}
