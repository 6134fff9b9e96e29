//! The HTTP side: routes, thin handlers over the operations, and the bounds around them.

mod broadcasts;
mod extract;
mod guard;
mod messages;
mod nodes;
mod openapi;
mod payload;
mod problem;
mod products;
mod sessions;
mod users;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::header;
use axum::middleware::from_fn_with_state;
use axum::routing::get;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::auth::AdminKey;
use crate::config::{HttpConfig, millis};
use crate::ops::Ops;

/// What handlers have. Clones share all.
#[derive(Clone)]
pub(crate) struct Api {
    ops: Ops,
    admin: AdminKey,
    max_body_bytes: usize,
    body_timeout: Duration,
    request_timeout: Duration,
}

impl Api {
    pub(crate) fn new(ops: Ops, admin: AdminKey, config: &HttpConfig) -> Api {
        Api {
            ops,
            admin,
            max_body_bytes: config.max_body_bytes,
            body_timeout: millis(config.body_timeout_ms),
            request_timeout: millis(config.request_timeout_ms),
        }
    }
}

/// Every route of the API, its description, and a problem for everything else.
pub(crate) fn router(api: Api) -> Router {
    let (routes, mut document) = described().split_for_parts();
    openapi::finish(&mut document);
    // A document made of plain values cannot fail to be written.
    let text: Arc<str> = document.to_json().unwrap_or_default().into();
    let description =
        get(move || async move { ([(header::CONTENT_TYPE, "application/json")], text.to_string()) });
    routes
        .route("/openapi.json", description)
        .method_not_allowed_fallback(guard::method_not_allowed)
        .fallback(guard::unknown_path)
        .layer(from_fn_with_state(api.clone(), guard::guard))
        .with_state(api)
}

fn described() -> OpenApiRouter<Api> {
    OpenApiRouter::with_openapi(openapi::base())
        .routes(routes!(messages::send))
        .routes(routes!(messages::read, messages::recall))
        .routes(routes!(broadcasts::send))
        .routes(routes!(broadcasts::read))
        .routes(routes!(users::read))
        .routes(routes!(users::kick))
        .routes(routes!(products::create, products::list))
        .routes(routes!(products::read, products::change))
        .routes(routes!(products::rotate_key))
        .routes(routes!(products::rotate_token_key))
        .routes(routes!(products::rotate_webhook_secret))
        .routes(routes!(nodes::nodes))
        .routes(routes!(nodes::accounting))
        .routes(routes!(sessions::read))
}
