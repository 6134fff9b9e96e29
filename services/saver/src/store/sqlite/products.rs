//! Product records. Revisions come from one counter, so the highest one seen tells what is new.

use longline_pb::saver::Product;
use longline_types::{Error, ErrorCode, ProductId, TimeMs};
use prost::Message;
use sqlx::sqlite::{SqliteConnection, SqlitePool};

use super::sql::{Failure, corrupt, int, unsigned};

pub(super) async fn list(readers: &SqlitePool, above: u64) -> sqlx::Result<Vec<Product>> {
    let records: Vec<Vec<u8>> =
        sqlx::query_scalar("SELECT record FROM products WHERE revision > ? ORDER BY revision")
            .bind(int(above))
            .fetch_all(readers)
            .await?;
    records.iter().map(|record| parse(record)).collect()
}

pub(super) async fn read(readers: &SqlitePool, id: ProductId) -> sqlx::Result<Option<Product>> {
    let record: Option<Vec<u8>> = sqlx::query_scalar("SELECT record FROM products WHERE id = ?")
        .bind(id.0)
        .fetch_optional(readers)
        .await?;
    record.map(|record| parse(&record)).transpose()
}

pub(super) async fn write(
    tx: &mut SqliteConnection,
    mut product: Product,
    expected_revision: u64,
    now: TimeMs,
) -> Result<Product, Failure> {
    let (last_id, last_revision): (i64, i64) =
        sqlx::query_as("SELECT coalesce(max(id), 0), coalesce(max(revision), 0) FROM products")
            .fetch_one(&mut *tx)
            .await?;
    if product.id == 0 {
        product.id = u32::try_from(last_id + 1).map_err(corrupt)?;
    }
    let stored: Option<Vec<u8>> = sqlx::query_scalar("SELECT record FROM products WHERE id = ?")
        .bind(product.id)
        .fetch_optional(&mut *tx)
        .await?;
    let stored = stored.map(|record| parse(&record)).transpose()?;
    match (&stored, expected_revision) {
        (None, 0) => product.created_at_ms = now,
        (None, _) => return Err(Error::not_found(format_args!("there is no product {}", product.id)).into()),
        (Some(_), 0) => return Err(conflict(format_args!("product {} exists already", product.id))),
        (Some(stored), expected) if stored.revision != expected => {
            return Err(conflict(format_args!(
                "product {} has revision {}, not {expected}: read it again",
                product.id, stored.revision
            )));
        }
        (Some(stored), _) => product.created_at_ms = stored.created_at_ms,
    }
    let namesake: Option<i64> = sqlx::query_scalar("SELECT id FROM products WHERE name = ? AND id <> ?")
        .bind(product.name.as_str())
        .bind(product.id)
        .fetch_optional(&mut *tx)
        .await?;
    if let Some(other) = namesake {
        return Err(conflict(format_args!("product {other} has the name `{}` already", product.name)));
    }
    product.revision = unsigned(last_revision) + 1;
    product.changed_at_ms = now;
    sqlx::query(
        "INSERT INTO products (id, name, revision, record) VALUES (?, ?, ?, ?)
         ON CONFLICT (id) DO UPDATE SET name = excluded.name, revision = excluded.revision, record = excluded.record",
    )
    .bind(product.id)
    .bind(product.name.as_str())
    .bind(int(product.revision))
    .bind(product.encode_to_vec())
    .execute(tx)
    .await?;
    Ok(product)
}

fn conflict(why: std::fmt::Arguments<'_>) -> Failure {
    Error::new(ErrorCode::Conflict, why).into()
}

fn parse(record: &[u8]) -> sqlx::Result<Product> {
    Product::decode(record).map_err(corrupt)
}
