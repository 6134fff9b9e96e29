//! The description at /openapi.json, made from the handlers.

use utoipa::OpenApi;
use utoipa::openapi::path::{Operation, PathItem};

use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{ContentBuilder, OpenApi as Document, Ref, RefOr, Response, ResponseBuilder};

use super::problem::{self, Problem};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Longline",
        description = "Push messages to devices: to one user, to many, to everybody. Errors are problem documents (RFC 9457) with a stable `code`; times are RFC 3339 in UTC; ids are decimal strings."
    ),
    components(schemas(Problem)),
    tags(
        (name = "messages", description = "Send to users, see what became of it, take it back"),
        (name = "broadcasts", description = "Send to everybody"),
        (name = "users", description = "Presence and sessions"),
        (name = "admin", description = "For operators, with the admin key")
    )
)]
struct Base;

/// Problems that every operation may answer.
const ALWAYS: [(&str, &str); 6] = [
    ("400", "The request is wrong: `detail` says what to change"),
    ("401", "No valid key"),
    ("403", "The key is valid but may not do this"),
    ("429", "A limit is reached; `Retry-After` says when to come again"),
    ("503", "Nobody can serve this now; nothing was done"),
    ("504", "The time was up; whether it was done is not known"),
];
/// Those of operations with a body.
const WITH_BODY: [(&str, &str); 3] = [
    ("408", "The body did not arrive in time"),
    ("413", "The body or the payload is too large"),
    ("415", "The body is not JSON"),
];

/// What the handlers' own descriptions are added to.
pub(super) fn base() -> Document {
    let mut document = Base::openapi();
    let components = document.components.get_or_insert_default();
    for (name, description) in
        [("product_key", "A product's key, `ll_…`."), ("admin_key", "The operators' key.")]
    {
        let scheme = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).description(Some(description)).build();
        components.add_security_scheme(name, SecurityScheme::Http(scheme));
    }
    document
}

/// Adds the problems that all operations share, and the problem's form to those a handler names itself.
pub(super) fn finish(document: &mut Document) {
    for operation in document.paths.paths.values_mut().flat_map(operations) {
        for response in operation.responses.responses.iter_mut().filter(|(status, _)| is_error(status)) {
            if let RefOr::T(response) = response.1 {
                *response = problem(&response.description);
            }
        }
        let with_body = if operation.request_body.is_some() { &WITH_BODY[..] } else { &[] };
        for (status, description) in ALWAYS.iter().chain(with_body) {
            let response = || RefOr::T(problem(description));
            operation.responses.responses.entry((*status).to_owned()).or_insert_with(response);
        }
    }
}

fn operations(item: &mut PathItem) -> impl Iterator<Item = &mut Operation> {
    [&mut item.get, &mut item.post, &mut item.patch, &mut item.put, &mut item.delete].into_iter().flatten()
}

fn is_error(status: &str) -> bool {
    status.starts_with(['4', '5'])
}

fn problem(description: &str) -> Response {
    let schema = RefOr::Ref(Ref::from_schema_name("Problem"));
    let content = ContentBuilder::new().schema(Some(schema)).build();
    ResponseBuilder::new().description(description).content(problem::CONTENT_TYPE, content).build()
}
