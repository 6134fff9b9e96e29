//! Partitions of the table of messages, by the day of expiry: made ahead, dropped when they are past and empty (S6).
//!
//! What has ended is purged row by row after its retention, so that the account stays exact; a day that is past and purged costs
//! nothing to drop, while its pages would otherwise never be given back.

use longline_types::Error;
use sqlx::Row as _;

use super::Core;
use super::row::day;
use super::sql::query;

/// Two savers must not change the table at once.
const LOCK: &str = "longline partitions of messages";
const LATER: &str = "later";

impl Core {
    /// Adds days up to the configured number, drops past ones that are empty.
    pub(super) async fn maintain_partitions(&self) -> Result<(), Error> {
        self.sql.run(self.change_partitions()).await
    }

    async fn change_partitions(&self) -> Result<(), sqlx::Error> {
        let mut connection = self.sql.pool.acquire().await?;
        let lock = sqlx::query("SELECT COALESCE(GET_LOCK(CONCAT(DATABASE(), ' ', ?), 0), 0)").bind(LOCK);
        if lock.fetch_one(&mut *connection).await?.try_get::<i64, _>(0)? != 1 {
            return Ok(());
        }
        let outcome = self.change_locked(&mut connection).await;
        let unlock = sqlx::query("DO RELEASE_LOCK(CONCAT(DATABASE(), ' ', ?))").bind(LOCK);
        unlock.execute(&mut *connection).await?;
        outcome
    }

    async fn change_locked(&self, c: &mut sqlx::mysql::MySqlConnection) -> Result<(), sqlx::Error> {
        let today = day(self.clock.now());
        let select = sqlx::query(
            "SELECT CAST(PARTITION_NAME AS CHAR) FROM information_schema.PARTITIONS \
             WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME = 'messages' ORDER BY PARTITION_ORDINAL_POSITION",
        );
        let mut days = Vec::new();
        for row in select.fetch_all(&mut *c).await? {
            let name: String = row.try_get(0)?;
            days.extend(name.strip_prefix('d').and_then(|d| d.parse::<u32>().ok()));
        }
        let first = days.last().map_or(today, |last| last + 1);
        let end = today.saturating_add(self.config.partition_days);
        if first < end {
            let new: Vec<String> =
                (first..end).map(|d| format!("PARTITION d{d} VALUES LESS THAN ({})", d + 1)).collect();
            let new = new.join(", ");
            let text = format!(
                "ALTER TABLE messages REORGANIZE PARTITION {LATER} INTO ({new}, PARTITION {LATER} VALUES LESS THAN MAXVALUE)"
            );
            sqlx::raw_sql(sqlx::AssertSqlSafe(text)).execute(&mut *c).await?;
        }
        // The first also takes what was put with an expiry before it, so it is the only one whose days are not known; it goes last.
        for past in days.iter().filter(|d| **d + 1 < today) {
            let text = format!("SELECT EXISTS (SELECT 1 FROM messages PARTITION (d{past}))");
            if query(text).fetch_one(&mut *c).await?.try_get::<i64, _>(0)? == 0 {
                tracing::info!(day = past, "dropping an empty partition of past messages");
                let text = format!("ALTER TABLE messages DROP PARTITION d{past}");
                sqlx::raw_sql(sqlx::AssertSqlSafe(text)).execute(&mut *c).await?;
            }
        }
        Ok(())
    }
}
