//! MySQL: the pool, statements over many rows, what its errors mean, and its time.

use std::time::Duration;

use longline_types::{Error, ErrorCode};
use sqlx::mysql::{MySql, MySqlArguments, MySqlPool, MySqlPoolOptions};
use sqlx::query::Query;
use sqlx::{AssertSqlSafe, Executor};

use crate::store::schema;

/// Rows per statement. Each number is a statement that has to be prepared, so there are few.
const LADDER: [usize; 5] = [256, 64, 16, 4, 1];
/// Most bytes of values in a statement of several rows.
const STATEMENT_BYTES: usize = 1 << 20;
/// Longest wait for another saver that changes the schema.
const MIGRATION_TURN_S: i64 = 300;
/// Tries of a transaction that another one got in the way of.
pub(super) const TRIES: u32 = 8;

/// A query over one or many rows.
pub(super) type MyQuery<'q> = Query<'q, MySql, MySqlArguments>;

/// Runs a future again while it fails because other transactions got in its way.
macro_rules! retrying {
    ($work:expr) => {{
        let mut tries = 1;
        loop {
            match $work.await {
                Err(e)
                    if tries < $crate::store::cluster::sql::TRIES
                        && $crate::store::cluster::sql::is_contention(&e) =>
                {
                    let pause = std::time::Duration::from_millis(
                        u64::from(tries) * 3 + u64::from(rand::random::<u8>()) / 32,
                    );
                    tokio::time::sleep(pause).await;
                    tries += 1;
                }
                outcome => break outcome,
            }
        }
    }};
}
pub(super) use retrying;

/// The database.
#[derive(Clone)]
pub(super) struct Sql {
    pub(super) pool: MySqlPool,
    timeout: Duration,
}

impl Sql {
    /// A pool over this database; connects at first use.
    pub(super) fn new(url: &str, connections: u32, timeout: Duration) -> Result<Sql, sqlx::Error> {
        let options = url.parse::<sqlx::mysql::MySqlConnectOptions>()?.statement_cache_capacity(256);
        let pool = MySqlPoolOptions::new()
            .max_connections(connections.max(1))
            .acquire_timeout(timeout.min(Duration::from_secs(5)))
            .after_connect(|connection, _| {
                Box::pin(async move {
                    // What we compare we lock; gap locks would only get in the way.
                    connection.execute("SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED").await?;
                    connection.execute("SET SESSION innodb_lock_wait_timeout = 5").await?;
                    Ok(())
                })
            })
            .connect_lazy_with(options);
        Ok(Sql { pool, timeout })
    }

    /// Brings the schema up to date. Savers that start together take turns: sqlx asks for a lock too, but without an end to the
    /// waiting, which MariaDB takes for no waiting at all.
    pub(super) async fn migrate(&self) -> Result<(), sqlx::migrate::MigrateError> {
        let mut connection = self.pool.acquire().await?;
        let locked: Option<i64> = sqlx::query_scalar("SELECT GET_LOCK(CONCAT('longline ', DATABASE()), ?)")
            .bind(MIGRATION_TURN_S)
            .fetch_one(&mut *connection)
            .await?;
        if locked != Some(1) {
            tracing::warn!("another saver has been changing the schema for long; going on beside it");
        }
        let migrated = schema::MYSQL.run(&self.pool).await;
        // The lock would go with the connection; but that goes back into the pool.
        sqlx::query("SELECT RELEASE_LOCK(CONCAT('longline ', DATABASE()))").execute(&mut *connection).await?;
        migrated
    }

    /// Waits for the work, at most for the configured time.
    pub(super) async fn run<T>(
        &self,
        work: impl Future<Output = Result<T, sqlx::Error>>,
    ) -> Result<T, Error> {
        match tokio::time::timeout(self.timeout, work).await {
            Ok(outcome) => outcome.map_err(failure),
            Err(_) => Err(Error::new(ErrorCode::DeadlineExceeded, "no answer from the database in time")),
        }
    }
}

/// What a failure of the database means to the caller. Everything it may be asked to do again does no harm when done twice, so
/// what broke off counts as not done.
fn failure(error: sqlx::Error) -> Error {
    match &error {
        sqlx::Error::Database(e) if !is_contention(&error) && !is_away(e.as_ref()) => {
            tracing::error!(%error, "the database refused a statement");
            Error::internal("the database refused a statement")
        }
        sqlx::Error::Io(_)
        | sqlx::Error::Tls(_)
        | sqlx::Error::PoolTimedOut
        | sqlx::Error::PoolClosed
        | sqlx::Error::WorkerCrashed
        | sqlx::Error::Protocol(_)
        | sqlx::Error::Database(_) => Error::unavailable(format!("the database cannot be reached: {error}")),
        _ => {
            tracing::error!(%error, "the database gave an answer that makes no sense");
            Error::internal("the database gave an answer that makes no sense")
        }
    }
}

/// A deadlock, a lock that was not free in time, or (with a statement that inserts) a row that came in between.
pub(super) fn is_contention(error: &sqlx::Error) -> bool {
    matches!(number(error), Some(1020 | 1205 | 1213)) || is_duplicate(error)
}

/// A row with this key is there already.
pub(super) fn is_duplicate(error: &sqlx::Error) -> bool {
    number(error) == Some(1062)
}

/// Its server is going down, just coming up, has no connection left, or has become read-only.
fn is_away(error: &dyn sqlx::error::DatabaseError) -> bool {
    let number = error.try_downcast_ref::<sqlx::mysql::MySqlDatabaseError>().map(|e| e.number());
    matches!(number, Some(1040 | 1053 | 1077 | 1079 | 1152 | 1184 | 1203 | 1290 | 1317 | 1792 | 1836 | 1927))
}

fn number(error: &sqlx::Error) -> Option<u16> {
    let error = error.as_database_error()?.try_downcast_ref::<sqlx::mysql::MySqlDatabaseError>()?;
    Some(error.number())
}

/// Divides rows into statements: as long as the ladder and the bytes allow.
pub(super) fn rungs<T>(mut rows: &[T], bytes: impl Fn(&T) -> usize) -> Vec<&[T]> {
    let mut parts = Vec::new();
    while !rows.is_empty() {
        let mut sum = 0;
        let fitting = rows
            .iter()
            .take_while(|r| {
                sum += bytes(r);
                sum <= STATEMENT_BYTES
            })
            .count()
            .max(1);
        let rung = LADDER.into_iter().find(|&n| n <= fitting).unwrap_or(1);
        let (part, rest) = rows.split_at(rung);
        parts.push(part);
        rows = rest;
    }
    parts
}

/// Divides keys for `IN (…)` into lists whose lengths are on the ladder; the last is filled up by repeating its last key.
pub(super) fn padded<T: Clone>(keys: &[T]) -> Vec<Vec<T>> {
    keys.chunks(LADDER[0])
        .map(|chunk| {
            let length = LADDER.into_iter().rev().find(|&n| n >= chunk.len()).unwrap_or(LADDER[0]);
            let mut list = chunk.to_vec();
            if let Some(last) = chunk.last() {
                list.resize(length, last.clone());
            }
            list
        })
        .collect()
}

/// `?,?,…`
pub(super) fn marks(count: usize) -> String {
    let mut marks = "?,".repeat(count);
    marks.pop();
    marks
}

/// `(?,?),(?,?),…`
pub(super) fn rows(columns: usize, count: usize) -> String {
    let row = format!("({}),", marks(columns));
    let mut rows = row.repeat(count);
    rows.pop();
    rows
}

/// A statement whose text is made of our own words and marks only.
pub(super) fn query<'q>(text: String) -> MyQuery<'q> {
    sqlx::query(AssertSqlSafe(text))
}

/// The database's time now, in milliseconds, as an expression.
pub(super) const NOW_MS: &str = "CAST(UNIX_TIMESTAMP(NOW(3)) * 1000 AS UNSIGNED)";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements_have_lengths_of_the_ladder_and_bounded_bytes() {
        let rows: Vec<usize> = vec![100; 350];
        let lengths = |rows: &[usize]| rungs(rows, |b| *b).iter().map(|p| p.len()).collect::<Vec<_>>();
        assert_eq!(lengths(&rows), [256, 64, 16, 4, 4, 4, 1, 1]);
        assert_eq!(lengths(&[STATEMENT_BYTES * 2, 1]), [1, 1]);
        assert_eq!(lengths(&vec![STATEMENT_BYTES / 20; 40]), [16, 16, 4, 4]);
    }

    #[test]
    fn lists_are_filled_up_with_their_last_key() {
        assert_eq!(padded(&[1, 2, 3]), [vec![1, 2, 3, 3]]);
        let lists = padded(&(0..300).collect::<Vec<_>>());
        assert_eq!(lists.iter().map(Vec::len).collect::<Vec<_>>(), [256, 64]);
        assert!(padded::<u8>(&[]).is_empty());
    }

    #[test]
    fn marks_match_their_count() {
        assert_eq!(marks(3), "?,?,?");
        assert_eq!(rows(2, 2), "(?,?),(?,?)");
    }
}
