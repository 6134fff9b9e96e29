//! Product records and their revisions.

use longline_pb::saver::Product;
use longline_types::{Error, ErrorCode, ProductId};
use prost::Message as _;
use sqlx::mysql::{MySqlConnection, MySqlRow};
use sqlx::{Acquire as _, Row as _};

use super::Core;
use super::messages::damaged;
use super::sql::retrying;

impl Core {
    /// [`Store::products`](crate::store::Store::products).
    pub(super) async fn products(&self, above: u64) -> Result<Vec<Product>, Error> {
        let select =
            sqlx::query("SELECT record FROM products WHERE revision > ? ORDER BY revision").bind(above);
        let read = async { select.fetch_all(&self.sql.pool).await?.iter().map(read_record).collect() };
        self.sql.run(read).await
    }

    /// [`Store::product`](crate::store::Store::product).
    pub(super) async fn product(&self, id: ProductId) -> Result<Option<Product>, Error> {
        self.sql.run(async { read(&mut *self.sql.pool.acquire().await?, id.0).await }).await
    }

    /// [`Store::write_product`](crate::store::Store::write_product).
    pub(super) async fn write_product(&self, product: Product, expected: u64) -> Result<Product, Error> {
        self.sql.run(async { retrying!(self.try_write_product(product.clone(), expected)) }).await?
    }

    async fn try_write_product(
        &self,
        mut product: Product,
        expected: u64,
    ) -> Result<Result<Product, Error>, sqlx::Error> {
        let mut connection = self.sql.pool.acquire().await?;
        let mut tx = connection.begin().await?;
        // Writers take turns at this row, so that revisions become readable in order.
        let select = sqlx::query("SELECT revision FROM product_revision WHERE one = 1 FOR UPDATE");
        let revision = select.fetch_one(&mut *tx).await?.try_get::<u64, _>("revision")? + 1;
        if product.id == 0 {
            let select = sqlx::query("SELECT CAST(COALESCE(MAX(id), 0) AS UNSIGNED) FROM products");
            let last: u64 = select.fetch_one(&mut *tx).await?.try_get(0)?;
            product.id = u32::try_from(last + 1).map_err(damaged)?;
        }
        let stored = read(&mut tx, product.id).await?;
        let namesake = sqlx::query("SELECT id FROM products WHERE name = ? AND id <> ?");
        let namesake =
            namesake.bind(product.name.as_bytes()).bind(product.id).fetch_optional(&mut *tx).await?;
        if let Err(refusal) = check(&product, stored.as_ref(), expected, namesake.is_some()) {
            return Ok(Err(refusal));
        }
        product.changed_at_ms = self.clock.now();
        product.created_at_ms = stored.map_or(product.changed_at_ms, |s| s.created_at_ms);
        product.revision = revision;
        let write = "INSERT INTO products (id, name, revision, record) VALUES (?, ?, ?, ?) ON DUPLICATE KEY UPDATE \
                     name = VALUES(name), revision = VALUES(revision), record = VALUES(record)";
        let write = sqlx::query(write).bind(product.id).bind(product.name.as_bytes()).bind(revision);
        write.bind(product.encode_to_vec()).execute(&mut *tx).await?;
        let count = sqlx::query("UPDATE product_revision SET revision = ? WHERE one = 1").bind(revision);
        count.execute(&mut *tx).await?;
        tx.commit().await?;
        Ok(Ok(product))
    }
}

fn check(product: &Product, stored: Option<&Product>, expected: u64, name_taken: bool) -> Result<(), Error> {
    let conflict = |why: String| Err(Error::new(ErrorCode::Conflict, why));
    match stored {
        None if expected != 0 => return Err(Error::not_found(format!("there is no product {}", product.id))),
        Some(_) if expected == 0 => return conflict(format!("product {} exists already", product.id)),
        Some(s) if s.revision != expected => {
            return conflict(format!(
                "product {} has revision {}, not {expected}: read it again",
                product.id, s.revision
            ));
        }
        _ => {}
    }
    match name_taken {
        true => conflict(format!("another product has the name `{}` already", product.name)),
        false => Ok(()),
    }
}

async fn read(c: &mut MySqlConnection, id: u32) -> Result<Option<Product>, sqlx::Error> {
    let select = sqlx::query("SELECT record FROM products WHERE id = ?").bind(id);
    select.fetch_optional(c).await?.as_ref().map(read_record).transpose()
}

fn read_record(row: &MySqlRow) -> Result<Product, sqlx::Error> {
    Product::decode(row.try_get::<&[u8], _>("record")?).map_err(damaged)
}
