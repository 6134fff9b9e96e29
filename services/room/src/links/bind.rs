//! Who may bind: the product must exist and the token, if it wants one, must be good, or a ticket of another room stand for it. Then
//! the register is asked.

use std::sync::Arc;

use longline_pb::client::BindResult;
use longline_products::Product;
use longline_types::now_ms;

use super::{Links, routes};
use crate::link::{Answer, BindOutcome, BindProof, BindRequest, Refusal};

/// When a device tries again that was refused since something was not reachable.
const RETRY_AFTER_MS: u32 = 2_000;

/// Decides on binds and passes those that may be made on to the register. Products that are not in memory are asked for on the
/// side, so that one does not hold up the others.
pub(crate) fn decide(links: &Arc<Links>, requests: Vec<BindRequest>) {
    let mut allowed = Vec::with_capacity(requests.len());
    let mut refused = Vec::new();
    for request in requests {
        match links.products.get(request.address.product) {
            Some(product) => match admit(links, &product, &request) {
                Ok(()) => allowed.push(routes::Operation::Bind { request, product }),
                Err(refusal) => refused.push(answer(links, request, refusal)),
            },
            None => {
                let asking = ask(links.clone(), request);
                links.tasks.spawn(asking);
            }
        }
    }
    links.answers.send(refused);
    routes::submit(links, allowed);
}

/// A bind of a product that is not in memory.
async fn ask(links: Arc<Links>, request: BindRequest) {
    let decision = match links.products.find(request.address.product).await {
        Ok(Some(product)) => admit(&links, &product, &request).map(|()| product),
        Ok(None) => Err(unknown(&request)),
        Err(error) => Err(unavailable(error.message)),
    };
    match decision {
        Ok(product) => routes::submit(&links, vec![routes::Operation::Bind { request, product }]),
        Err(refusal) => links.answers.send([answer(&links, request, refusal)]),
    }
}

fn admit(links: &Links, product: &Product, request: &BindRequest) -> Result<(), Refusal> {
    if product.disabled {
        return Err(refusal(BindResult::UnknownProduct, format!("product {} is disabled", product.id)));
    }
    let token = match &request.proof {
        _ if !product.require_token => return Ok(()),
        BindProof::Held => return Ok(()),
        BindProof::Token(token) => token,
        BindProof::Ticket(shown) => {
            if links.tickets.admits(&shown.ticket, request.device, &request.address) {
                return Ok(());
            }
            &shown.token
        }
    };
    product
        .token_keys
        .verify(token, &request.address.user, product.id, now_ms())
        .map_err(|error| refusal(BindResult::BadToken, error.to_string()))
}

fn unknown(request: &BindRequest) -> Refusal {
    let detail = format!("there is no product {}", request.address.product);
    refusal(BindResult::UnknownProduct, detail)
}

fn refusal(result: BindResult, detail: String) -> Refusal {
    Refusal { result, retry_after_ms: 0, detail }
}

/// Nobody could be reached; the device tries again.
pub(crate) fn unavailable(detail: String) -> Refusal {
    Refusal { result: BindResult::Unavailable, retry_after_ms: RETRY_AFTER_MS, detail }
}

/// The answer that refuses a bind.
pub(crate) fn answer(links: &Links, request: BindRequest, refusal: Refusal) -> Answer {
    links.metrics.binds.with_label_values(&[name(refusal.result)]).inc();
    Answer::Bind { bind: request.bind, address: request.address, outcome: BindOutcome::Refused(refusal) }
}

/// The result's name in metrics.
pub(crate) fn name(result: BindResult) -> &'static str {
    match result {
        BindResult::Ok => "ok",
        BindResult::UnknownProduct => "unknown_product",
        BindResult::BadToken => "bad_token",
        BindResult::Stale => "stale",
        BindResult::Unavailable => "unavailable",
        _ => "other",
    }
}
