//! The description and the routes say the same.

use reqwest::Method;
use serde_json::Value;

use crate::support::{Cluster, answer};

#[tokio::test]
async fn every_described_operation_is_routed_and_every_error_is_a_problem() {
    let cluster = Cluster::start().await;
    let center = cluster.center().await;
    let document = answer(center.bare(Method::GET, "/openapi.json")).await;
    assert_eq!(
        (document.status.as_u16(), &document.headers["content-type"]),
        (200, &"application/json".parse().unwrap())
    );
    let document = document.body;
    assert!(document["openapi"].as_str().unwrap().starts_with("3."));
    let mut operations = 0;
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            operations += 1;
            let place = format!("{method} {path}");
            let method = Method::from_bytes(method.to_uppercase().as_bytes()).unwrap();
            let real = path.replace("{id}", "5").replace("{user}", "a");
            // Without a key, a route that exists asks for one.
            answer(center.bare(method, &real)).await.is_problem(401, "unauthenticated");
            check(&document, &place, path, operation);
        }
    }
    assert_eq!(operations, 17, "all of the API");
}

fn check(document: &Value, place: &str, path: &str, operation: &Value) {
    let scheme = if path.starts_with("/v1/admin/") { "admin_key" } else { "product_key" };
    assert!(operation["security"][0].get(scheme).is_some(), "{place}");
    assert_eq!(document["components"]["securitySchemes"][scheme]["scheme"], "bearer");
    assert!(!operation["summary"].as_str().unwrap_or_default().is_empty(), "{place}");
    let responses = operation["responses"].as_object().unwrap();
    assert!(responses.keys().any(|status| status.starts_with('2')), "{place}");
    for (status, response) in responses {
        let content = response["content"].as_object().unwrap_or_else(|| panic!("{place} {status}: no body"));
        let is_error = status.starts_with(['4', '5']);
        let expected = if is_error { "application/problem+json" } else { "application/json" };
        let schema = &content.get(expected).unwrap_or_else(|| panic!("{place} {status}"))["schema"];
        let name = schema["$ref"].as_str().unwrap().strip_prefix("#/components/schemas/").unwrap();
        assert!(document["components"]["schemas"].get(name).is_some(), "{place} {status}: {name}");
        assert_eq!(name == "Problem", is_error, "{place} {status}");
    }
    for status in ["400", "401", "403", "429", "503", "504"] {
        assert!(responses.contains_key(status), "{place} {status}");
    }
    if operation.get("requestBody").is_some() {
        assert!(responses.contains_key("413") && responses.contains_key("415"), "{place}");
    }
}
