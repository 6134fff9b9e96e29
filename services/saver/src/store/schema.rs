//! The schemas, in steps that are never changed once they have been released.
//!
//! Listed by hand: sqlx's macro would have the databases' drivers built a second time, for the compiler.

use std::borrow::Cow;
use std::sync::LazyLock;

use sqlx::SqlStr;
use sqlx::migrate::{Migration, MigrationType, Migrator};

/// Of the SQLite store.
pub(crate) static SQLITE: LazyLock<Migrator> =
    LazyLock::new(|| migrator(&[("initial", include_str!("../../migrations/sqlite/0001_initial.sql"))]));

/// Of the cluster store's database.
pub(crate) static MYSQL: LazyLock<Migrator> =
    LazyLock::new(|| migrator(&[("initial", include_str!("../../migrations/mysql/0001_initial.sql"))]));

/// Names and statements, numbered from 1 as their files are.
fn migrator(steps: &[(&'static str, &'static str)]) -> Migrator {
    let steps = (1..).zip(steps).map(|(version, (name, sql))| {
        let (name, sql) = (Cow::Borrowed(*name), SqlStr::from_static(sql));
        Migration::new(version, name, MigrationType::Simple, sql, false)
    });
    Migrator::with_migrations(steps.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_step_in_the_folder_is_listed_under_its_number() {
        for (kind, migrator) in [("sqlite", &SQLITE), ("mysql", &MYSQL)] {
            let folder = format!("{}/migrations/{kind}", env!("CARGO_MANIFEST_DIR"));
            let listed = migrator.iter().map(|step| {
                let file = format!("{:04}_{}.sql", step.version, step.description);
                assert_eq!(std::fs::read_to_string(format!("{folder}/{file}")).unwrap(), step.sql.as_str());
            });
            assert_eq!(listed.count(), std::fs::read_dir(&folder).unwrap().count(), "{kind}");
        }
    }
}
