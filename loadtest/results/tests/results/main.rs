//! Tests of what a run is turned into, on runs that were never run.

mod compare;
mod figures;
mod made_up;
mod report;
mod schema;
mod terminal;
