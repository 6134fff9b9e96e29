//! Driving broadcasts: every center claims some of the unfinished ones from the savers, has every room walk its sessions, and
//! reports how far they are. A center that dies loses its claims with their lease, and another goes on.

mod claims;
mod drive;
pub(crate) mod room;

pub(crate) use claims::Driver;
