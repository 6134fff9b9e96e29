//! /v1/admin/products

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use longline_auth::StoredKey;
use longline_pb::saver;
use longline_products::Product;
use longline_types::{Durability, SlowReader, now_ms, rfc3339};
use serde::{Deserialize, Deserializer, Serialize};
use utoipa::ToSchema;

use super::Api;
use super::extract::{Body, BodyOrDefault, IfMatch, Operator, ProductNumber};
use super::messages::DurabilityName;
use crate::Failure;
use crate::ops::{Changes, Field, RouteChange};

/// A product to create. What is left out has its default.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CreateProduct {
    /// At least 1; by default the store chooses.
    #[serde(default)]
    #[schema(minimum = 1)]
    id: Option<u32>,
    /// 1 to 64 bytes, unique.
    #[schema(example = "shop")]
    name: String,
    #[serde(default)]
    disabled: bool,
    /// Devices need a user token signed with the token key.
    #[serde(default)]
    require_token: bool,
    #[serde(default)]
    inbox_limit: Option<u32>,
    #[serde(default)]
    window: Option<u32>,
    #[serde(default)]
    ack_timeout_seconds: Option<u32>,
    #[serde(default)]
    default_ttl_seconds: Option<u32>,
    #[serde(default)]
    max_ttl_seconds: Option<u32>,
    #[serde(default)]
    durability: Option<DurabilityName>,
    #[serde(default)]
    max_heartbeat_seconds: Option<u32>,
    #[serde(default)]
    slow_reader: Option<SlowReaderName>,
    #[serde(default)]
    max_queued_bytes: Option<u32>,
    #[serde(default)]
    routes: Vec<UplinkRoute>,
    #[serde(default)]
    presence_url: Option<String>,
}

/// Changes to a product. What is left out stays; `null` sets the default.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ChangeProduct {
    /// Change only this revision. `If-Match` says the same.
    #[serde(default)]
    revision: Option<u64>,
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    disabled: Option<bool>,
    #[serde(default)]
    require_token: Option<bool>,
    /// Waiting messages per user, 1 to 100,000.
    #[serde(default, deserialize_with = "field")]
    #[schema(value_type = Option<u32>)]
    inbox_limit: Field<u32>,
    /// Messages in flight per bind, 1 to 1,024.
    #[serde(default, deserialize_with = "field")]
    #[schema(value_type = Option<u32>)]
    window: Field<u32>,
    /// 1 to 3,600.
    #[serde(default, deserialize_with = "field")]
    #[schema(value_type = Option<u32>)]
    ack_timeout_seconds: Field<u32>,
    #[serde(default, deserialize_with = "field")]
    #[schema(value_type = Option<u32>)]
    default_ttl_seconds: Field<u32>,
    #[serde(default, deserialize_with = "field")]
    #[schema(value_type = Option<u32>)]
    max_ttl_seconds: Field<u32>,
    #[serde(default, deserialize_with = "field")]
    #[schema(value_type = Option<DurabilityName>)]
    durability: Field<DurabilityName>,
    /// 10 to 3,600; the shorter, the sooner a lost device is noticed.
    #[serde(default, deserialize_with = "field")]
    #[schema(value_type = Option<u32>)]
    max_heartbeat_seconds: Field<u32>,
    /// For a device that does not read as fast as messages come.
    #[serde(default, deserialize_with = "field")]
    #[schema(value_type = Option<SlowReaderName>)]
    slow_reader: Field<SlowReaderName>,
    /// Unwritten bytes of a session up to which messages are queued for its device, 4,096 to 16,777,216. By default as many as the room
    /// allows, which is never more.
    #[serde(default, deserialize_with = "field")]
    #[schema(value_type = Option<u32>)]
    max_queued_bytes: Field<u32>,
    /// All routes: those not named are gone.
    #[serde(default)]
    routes: Option<Vec<UplinkRoute>>,
    /// Where presence callbacks go.
    #[serde(default, deserialize_with = "field")]
    #[schema(value_type = Option<String>)]
    presence_url: Field<String>,
}

/// Where uplinks of a route number go.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct UplinkRoute {
    number: u32,
    #[schema(example = "https://shop.example/uplink")]
    url: String,
}

/// What becomes of a session whose device does not read as fast as messages come. Durable messages stay in the inbox, transient ones
/// are dropped, whichever it is. A change is in force in a room once a user of the product has bound there.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum SlowReaderName {
    /// It goes on, and loads its inbox when it has space. The default.
    Inbox,
    /// It is closed (1004), and comes back to its inbox after a wait of seconds.
    Close,
}

/// A product, with the defaults where it says nothing. Secrets are never shown again.
#[derive(Serialize, ToSchema)]
pub(crate) struct ProductView {
    id: u32,
    name: String,
    revision: u64,
    disabled: bool,
    keys: Vec<KeyView>,
    require_token: bool,
    /// Whether user tokens can be checked at all.
    has_token_key: bool,
    inbox_limit: u32,
    window: u32,
    ack_timeout_seconds: u64,
    default_ttl_seconds: u64,
    max_ttl_seconds: u64,
    durability: DurabilityName,
    max_heartbeat_seconds: Option<u64>,
    slow_reader: SlowReaderName,
    /// Null: as many as the room allows.
    max_queued_bytes: Option<u32>,
    routes: Vec<UplinkRoute>,
    presence_url: Option<String>,
    created_at: String,
    changed_at: String,
}

/// A product key, by what may be known of it.
#[derive(Serialize, ToSchema)]
pub(crate) struct KeyView {
    /// First 8 hex digits of its SHA-256.
    sha256: String,
    /// After this it is not accepted; null: it does not end.
    expires_at: Option<String>,
}

/// Every product, by id.
#[derive(Serialize, ToSchema)]
pub(crate) struct ProductList {
    products: Vec<ProductView>,
}

/// A new product with its secrets, which are shown this once.
#[derive(Serialize, ToSchema)]
pub(crate) struct CreatedProduct {
    product: ProductView,
    /// For the API: `Authorization: Bearer <key>`.
    key: String,
    /// Signs user tokens (HS256; the text's bytes are the key).
    token_key: String,
    /// Checks callbacks (HMAC-SHA256; the text's bytes are the key).
    webhook_secret: String,
}

/// How a product key is rotated.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RotateKey {
    /// How long the earlier keys stay valid, up to 90 days.
    #[schema(default = 86400, maximum = 7776000)]
    grace_seconds: u32,
}

/// How a token key is rotated.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RotateTokenKey {
    /// Refuse tokens signed with the key before this one at once, instead of at the next rotation.
    drop_old: bool,
}

/// A new secret, shown this once.
#[derive(Serialize, ToSchema)]
pub(crate) struct NewSecret {
    /// The secret.
    key: String,
    product: ProductView,
}

const DEFAULT_GRACE_S: u32 = 24 * 60 * 60;
const MAX_GRACE_S: u32 = 90 * 24 * 60 * 60;

/// Create a product
#[utoipa::path(post, path = "/v1/admin/products", tag = "admin", request_body = CreateProduct,
    responses((status = 201, body = CreatedProduct, description = "Created; the secrets are shown this once"),
        (status = 409, description = "The name or the id is taken")),
    security(("admin_key" = [])))]
pub(crate) async fn create(
    _: Operator,
    State(api): State<Api>,
    Body(body): Body<CreateProduct>,
) -> Result<Response, Failure> {
    let id = body.id;
    let created = api.ops.create_product(id, body.into()).await?;
    let location = format!("/v1/admin/products/{}", created.record.id);
    let reply = CreatedProduct {
        product: created.record.into(),
        key: created.key.expose().to_owned(),
        token_key: created.token_key,
        webhook_secret: created.webhook_secret,
    };
    let mut response = (StatusCode::CREATED, Json(reply)).into_response();
    if let Ok(location) = HeaderValue::try_from(location) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    Ok(response)
}

/// List all products
#[utoipa::path(get, path = "/v1/admin/products", tag = "admin",
    responses((status = 200, body = ProductList, description = "By id")),
    security(("admin_key" = [])))]
pub(crate) async fn list(_: Operator, State(api): State<Api>) -> Result<Json<ProductList>, Failure> {
    let products = api.ops.list_products()?;
    Ok(Json(ProductList { products: products.iter().map(|product| ProductView::from(&**product)).collect() }))
}

/// Read a product
#[utoipa::path(get, path = "/v1/admin/products/{id}", tag = "admin", params(("id" = u32, Path)),
    responses((status = 200, body = ProductView, description = "The product; its revision is the ETag"),
        (status = 404, description = "No such product")),
    security(("admin_key" = [])))]
pub(crate) async fn read(
    _: Operator,
    State(api): State<Api>,
    ProductNumber(id): ProductNumber,
) -> Result<Response, Failure> {
    Ok(tagged(api.ops.read_product(id).await?))
}

/// Change a product
#[utoipa::path(patch, path = "/v1/admin/products/{id}", tag = "admin", request_body = ChangeProduct,
    params(("id" = u32, Path), ("If-Match" = Option<String>, Header, description = "The expected revision.")),
    responses((status = 200, body = ProductView, description = "The product as it is now"),
        (status = 404, description = "No such product"),
        (status = 409, description = "It has another revision, or the name is taken")),
    security(("admin_key" = [])))]
pub(crate) async fn change(
    _: Operator,
    State(api): State<Api>,
    ProductNumber(id): ProductNumber,
    IfMatch(if_match): IfMatch,
    Body(body): Body<ChangeProduct>,
) -> Result<Response, Failure> {
    let expected = match (body.revision, if_match) {
        (Some(a), Some(b)) if a != b => {
            return Err(Failure::invalid("revision and If-Match differ; give one"));
        }
        (a, b) => a.or(b),
    };
    Ok(tagged(api.ops.change_product(id, expected, body.into()).await?))
}

/// Give a product a new key
#[utoipa::path(post, path = "/v1/admin/products/{id}/rotate-key", tag = "admin", request_body = RotateKey,
    params(("id" = u32, Path)),
    responses((status = 200, body = NewSecret, description = "The new key; earlier ones end after the grace"),
        (status = 404, description = "No such product")),
    security(("admin_key" = [])))]
pub(crate) async fn rotate_key(
    _: Operator,
    State(api): State<Api>,
    ProductNumber(id): ProductNumber,
    BodyOrDefault(body): BodyOrDefault<RotateKey>,
) -> Result<Json<NewSecret>, Failure> {
    if body.grace_seconds > MAX_GRACE_S {
        return Err(Failure::invalid(format!(
            "grace_seconds is at most {MAX_GRACE_S}, not {}",
            body.grace_seconds
        )));
    }
    let grace = Duration::from_secs(body.grace_seconds.into());
    let (record, key) = api.ops.rotate_key(id, grace).await?;
    Ok(Json(NewSecret { key: key.expose().to_owned(), product: record.into() }))
}

/// Give a product a new token key
#[utoipa::path(post, path = "/v1/admin/products/{id}/rotate-token-key", tag = "admin", request_body = RotateTokenKey,
    params(("id" = u32, Path)),
    responses((status = 200, body = NewSecret, description = "The new key; the one before stays accepted if not dropped"),
        (status = 404, description = "No such product")),
    security(("admin_key" = [])))]
pub(crate) async fn rotate_token_key(
    _: Operator,
    State(api): State<Api>,
    ProductNumber(id): ProductNumber,
    BodyOrDefault(body): BodyOrDefault<RotateTokenKey>,
) -> Result<Json<NewSecret>, Failure> {
    let (record, key) = api.ops.rotate_token_key(id, body.drop_old).await?;
    Ok(Json(NewSecret { key, product: record.into() }))
}

/// Give a product a new webhook secret
///
/// Callbacks are signed with it from now on.
#[utoipa::path(post, path = "/v1/admin/products/{id}/rotate-webhook-secret", tag = "admin",
    params(("id" = u32, Path)),
    responses((status = 200, body = NewSecret, description = "The new secret"),
        (status = 404, description = "No such product")),
    security(("admin_key" = [])))]
pub(crate) async fn rotate_webhook_secret(
    _: Operator,
    State(api): State<Api>,
    ProductNumber(id): ProductNumber,
) -> Result<Json<NewSecret>, Failure> {
    let (record, key) = api.ops.rotate_webhook_secret(id).await?;
    Ok(Json(NewSecret { key, product: record.into() }))
}

/// A product with its revision as ETag.
fn tagged(record: saver::Product) -> Response {
    let tag = format!("\"{}\"", record.revision);
    let mut response = Json(ProductView::from(record)).into_response();
    if let Ok(tag) = HeaderValue::try_from(tag) {
        response.headers_mut().insert(header::ETAG, tag);
    }
    response
}

/// A field that is there: `null` resets it.
fn field<'de, T: Deserialize<'de>, D: Deserializer<'de>>(deserializer: D) -> Result<Field<T>, D::Error> {
    Ok(Option::<T>::deserialize(deserializer)?.map_or(Field::Reset, Field::Set))
}

impl Default for RotateKey {
    fn default() -> RotateKey {
        RotateKey { grace_seconds: DEFAULT_GRACE_S }
    }
}

impl From<CreateProduct> for Changes {
    fn from(body: CreateProduct) -> Changes {
        fn set<T>(value: Option<T>) -> Field<T> {
            value.map_or(Field::Keep, Field::Set)
        }
        Changes {
            name: Some(body.name),
            disabled: Some(body.disabled),
            require_token: Some(body.require_token),
            inbox_limit: set(body.inbox_limit),
            window: set(body.window),
            ack_timeout_s: set(body.ack_timeout_seconds),
            default_ttl_s: set(body.default_ttl_seconds),
            max_ttl_s: set(body.max_ttl_seconds),
            durability: set(body.durability.map(Durability::from)),
            max_heartbeat_s: set(body.max_heartbeat_seconds),
            slow_reader: set(body.slow_reader.map(SlowReader::from)),
            max_queued_bytes: set(body.max_queued_bytes),
            routes: Some(body.routes.into_iter().map(RouteChange::from).collect()),
            presence_url: set(body.presence_url),
        }
    }
}

impl From<ChangeProduct> for Changes {
    fn from(body: ChangeProduct) -> Changes {
        Changes {
            name: body.name,
            disabled: body.disabled,
            require_token: body.require_token,
            inbox_limit: body.inbox_limit,
            window: body.window,
            ack_timeout_s: body.ack_timeout_seconds,
            default_ttl_s: body.default_ttl_seconds,
            max_ttl_s: body.max_ttl_seconds,
            durability: body.durability.map(Durability::from),
            max_heartbeat_s: body.max_heartbeat_seconds,
            slow_reader: body.slow_reader.map(SlowReader::from),
            max_queued_bytes: body.max_queued_bytes,
            routes: body.routes.map(|routes| routes.into_iter().map(RouteChange::from).collect()),
            presence_url: body.presence_url,
        }
    }
}

impl From<UplinkRoute> for RouteChange {
    fn from(route: UplinkRoute) -> RouteChange {
        RouteChange { number: route.number, url: route.url }
    }
}

impl From<SlowReaderName> for SlowReader {
    fn from(name: SlowReaderName) -> SlowReader {
        match name {
            SlowReaderName::Inbox => SlowReader::Inbox,
            SlowReaderName::Close => SlowReader::Close,
        }
    }
}

impl From<SlowReader> for SlowReaderName {
    fn from(slow_reader: SlowReader) -> SlowReaderName {
        match slow_reader {
            SlowReader::Inbox => SlowReaderName::Inbox,
            SlowReader::Close => SlowReaderName::Close,
        }
    }
}

impl From<saver::Product> for ProductView {
    fn from(record: saver::Product) -> ProductView {
        ProductView::from(&Product::from_record(record))
    }
}

impl From<&Product> for ProductView {
    fn from(product: &Product) -> ProductView {
        let now_ms = now_ms();
        let is_accepted = |key: &&StoredKey| key.expires_at_ms == 0 || key.expires_at_ms > now_ms;
        let route = |(number, url): (&u32, &String)| UplinkRoute { number: *number, url: url.clone() };
        let mut routes: Vec<UplinkRoute> = product.routes.iter().map(route).collect();
        routes.sort_by_key(|route| route.number);
        ProductView {
            id: product.id.0,
            name: product.name.clone(),
            revision: product.revision,
            disabled: product.disabled,
            keys: product.keys.iter().filter(is_accepted).map(KeyView::from).collect(),
            require_token: product.require_token,
            has_token_key: !product.token_keys.is_empty(),
            inbox_limit: product.inbox_limit,
            window: product.window,
            ack_timeout_seconds: product.ack_timeout.as_secs(),
            default_ttl_seconds: product.default_ttl.as_secs(),
            max_ttl_seconds: product.max_ttl.as_secs(),
            durability: product.durability.into(),
            max_heartbeat_seconds: product.max_heartbeat.map(|h| h.as_secs()),
            slow_reader: product.slow_reader.into(),
            max_queued_bytes: product.max_queued_bytes,
            routes,
            presence_url: product.presence_url.clone(),
            created_at: rfc3339(product.created_at_ms),
            changed_at: rfc3339(product.changed_at_ms),
        }
    }
}

impl From<&StoredKey> for KeyView {
    fn from(key: &StoredKey) -> KeyView {
        KeyView {
            sha256: key.sha256.iter().take(4).map(|byte| format!("{byte:02x}")).collect(),
            expires_at: (key.expires_at_ms > 0).then(|| rfc3339(key.expires_at_ms)),
        }
    }
}
