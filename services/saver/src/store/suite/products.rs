//! Product records and their revisions.

use longline_pb::saver::{Product, ProductKey};
use longline_types::{ErrorCode, ProductId};

use crate::store::Store;

fn product(name: &str) -> Product {
    Product {
        name: name.to_owned(),
        keys: vec![ProductKey { sha256: vec![1; 32], expires_at_ms: 0 }],
        inbox_limit: 100,
        ..Product::default()
    }
}

pub(crate) async fn products_are_created_and_changed(store: &impl Store) {
    let demo = store.write_product(Product { id: 1, ..product("demo") }, 0).await.unwrap();
    assert_eq!(demo.id, 1);
    assert!(demo.revision > 0 && demo.created_at_ms > 0);
    let shop = store.write_product(product("shop"), 0).await.unwrap();
    assert_eq!(shop.id, 2, "the next free id");
    assert_eq!(store.product(ProductId(2)).await, Ok(Some(shop.clone())));
    assert_eq!(store.product(ProductId(3)).await, Ok(None));
    let changed = Product { window: 9, created_at_ms: 5, ..shop.clone() };
    let changed = store.write_product(changed, shop.revision).await.unwrap();
    assert!(changed.revision > shop.revision);
    assert_eq!((changed.window, changed.created_at_ms), (9, shop.created_at_ms));
    assert_eq!(store.product(ProductId(2)).await, Ok(Some(changed)));
}

pub(crate) async fn a_stale_revision_is_refused(store: &impl Store) {
    let first = store.write_product(product("demo"), 0).await.unwrap();
    let write = |window, revision| store.write_product(Product { window, ..first.clone() }, revision);
    let (a, b) = tokio::join!(write(1, first.revision), write(2, first.revision));
    assert_eq!([&a, &b].iter().filter(|r| r.is_ok()).count(), 1, "one of two writers wins");
    let (winner, loser) = if a.is_ok() { (a, b) } else { (b, a) };
    assert_eq!(loser.unwrap_err().code, ErrorCode::Conflict);
    assert_eq!(store.product(ProductId(first.id)).await, Ok(Some(winner.unwrap())));
    assert_eq!(write(3, first.revision).await.unwrap_err().code, ErrorCode::Conflict);
    assert_eq!(write(3, 0).await.unwrap_err().code, ErrorCode::Conflict, "it exists");
    let absent = Product { id: 99, ..product("absent") };
    assert_eq!(store.write_product(absent, 1).await.unwrap_err().code, ErrorCode::NotFound);
}

pub(crate) async fn product_names_are_unique(store: &impl Store) {
    store.write_product(product("demo"), 0).await.unwrap();
    let second = store.write_product(product("shop"), 0).await.unwrap();
    assert_eq!(store.write_product(product("demo"), 0).await.unwrap_err().code, ErrorCode::Conflict);
    let renamed = Product { name: "demo".to_owned(), ..second.clone() };
    assert_eq!(store.write_product(renamed, second.revision).await.unwrap_err().code, ErrorCode::Conflict);
    let renamed = Product { name: "store".to_owned(), ..second.clone() };
    store.write_product(renamed, second.revision).await.unwrap();
    store.write_product(product("shop"), 0).await.unwrap();
}

pub(crate) async fn changes_are_found_by_revision(store: &impl Store) {
    assert!(store.products(0).await.unwrap().is_empty());
    let a = store.write_product(product("a"), 0).await.unwrap();
    let b = store.write_product(product("b"), 0).await.unwrap();
    assert_eq!(store.products(0).await, Ok(vec![a.clone(), b.clone()]));
    let a2 = store.write_product(a.clone(), a.revision).await.unwrap();
    assert_eq!(store.products(b.revision).await, Ok(vec![a2.clone()]));
    assert_eq!(store.products(0).await, Ok(vec![b, a2.clone()]), "each once, by revision");
    assert!(store.products(a2.revision).await.unwrap().is_empty());
}
