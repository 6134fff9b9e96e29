//! The users, by the prefix of their names and their numbers.

use longline_pb::types::Route;
use longline_types::{Error, ErrorCode};

use crate::inbox::Inbox;
use crate::post::Item;

/// Users' numbers are below this.
const NUMBERS: u32 = 4 * 1024 * 1024;
/// Prefixes at a time: one for each leg that still has somebody.
const SPACES: usize = 8;

/// Who a user is here. It means nobody any more once the user's prefix is forgotten.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct UserId {
    space: u32,
    pub(crate) number: u32,
}

/// What is known of a user.
#[derive(Default)]
pub(crate) struct User {
    /// The whole name.
    pub(crate) name: String,
    pub(crate) whereabouts: Whereabouts,
    pub(crate) inbox: Inbox,
    /// Broadcasts up to this sequence are none of the user's; none before the first load (S8).
    pub(crate) floor: Option<u64>,
    /// Sequences of the broadcasts above it that were acknowledged.
    pub(crate) acked_broadcasts: Vec<u64>,
}

/// Where a user is connected.
#[derive(Default)]
pub(crate) enum Whereabouts {
    /// To be asked at the register.
    #[default]
    Unknown,
    /// The register is being asked; what is to be delivered waits, in its order.
    Asked(Vec<Item>),
    /// There, until the room says otherwise.
    At(Route),
}

/// All of them.
#[derive(Default)]
pub(crate) struct Users {
    spaces: Vec<Space>,
    made: u32,
}

/// The users of one prefix.
struct Space {
    number: u32,
    prefix: String,
    /// How many injectors name it.
    injectors: usize,
    users: Vec<User>,
}

impl Users {
    /// An injector's users have this prefix. Says by which number the prefix goes.
    ///
    /// # Errors
    /// If too many prefixes are in use.
    pub(crate) fn enter(&mut self, prefix: &str) -> Result<u32, Error> {
        let space = self.space(prefix)?;
        space.injectors += 1;
        Ok(space.number)
    }

    /// The injector has gone.
    pub(crate) fn leave(&mut self, number: u32) {
        if let Some(space) = self.spaces.iter_mut().find(|space| space.number == number) {
            space.injectors = space.injectors.saturating_sub(1);
        }
    }

    /// The user with this number under a prefix that was entered.
    pub(crate) fn numbered(&self, space: u32, number: u32) -> Option<UserId> {
        (number < NUMBERS).then_some(UserId { space, number })
    }

    /// The user with this name.
    ///
    /// # Errors
    /// If it is no `<prefix>-<number>`, or too many prefixes are in use.
    pub(crate) fn named(&mut self, name: &str) -> Result<UserId, Error> {
        let wrong = || Error::invalid(format!("{name:?} is no <prefix>-<number below {NUMBERS}>"));
        let (prefix, number) = name.rsplit_once('-').ok_or_else(wrong)?;
        // Signs and leading zeros would be other names of the same user.
        let is_plain =
            number.bytes().all(|b| b.is_ascii_digit()) && (number == "0" || !number.starts_with('0'));
        let number = number.parse().ok().filter(|number| is_plain && *number < NUMBERS).ok_or_else(wrong)?;
        Ok(UserId { space: self.space(prefix)?.number, number })
    }

    /// What is known of a user; none once the prefix is forgotten.
    pub(crate) fn get_mut(&mut self, user: UserId) -> Option<&mut User> {
        let space = self.spaces.iter_mut().rfind(|space| space.number == user.space)?;
        let place = user.number as usize;
        if place >= space.users.len() {
            space.users.resize_with((place + 1).next_power_of_two(), User::default);
        }
        let known = &mut space.users[place];
        if known.name.is_empty() {
            known.name = format!("{}-{}", space.prefix, user.number);
        }
        Some(known)
    }

    /// That of a prefix. The oldest one that no injector names makes way for a new one.
    fn space(&mut self, prefix: &str) -> Result<&mut Space, Error> {
        if let Some(at) = self.spaces.iter().rposition(|space| space.prefix == prefix) {
            return Ok(&mut self.spaces[at]);
        }
        if self.spaces.len() >= SPACES {
            let idle = self.spaces.iter().position(|space| space.injectors == 0);
            let full = || Error::new(ErrorCode::ResourceExhausted, "too many prefixes of users are in use");
            self.spaces.remove(idle.ok_or_else(full)?);
        }
        self.made += 1;
        let (number, prefix) = (self.made, prefix.to_owned());
        self.spaces.push(Space { number, prefix, injectors: 0, users: Vec::new() });
        self.spaces.last_mut().ok_or_else(|| Error::internal("it was put there above"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_the_same_by_name_and_by_number() {
        let mut users = Users::default();
        let space = users.enter("run-1-a").unwrap();
        let user = users.named("run-1-a-17").unwrap();
        assert_eq!(users.numbered(space, 17), Some(user));
        assert_eq!(users.get_mut(user).unwrap().name, "run-1-a-17");
        assert_ne!(users.named("run-1-b-17").unwrap(), user);
        assert_eq!(users.numbered(space, NUMBERS), None);
    }

    #[test]
    fn what_is_no_name_of_a_user_is_refused() {
        let mut users = Users::default();
        for name in ["", "alice", "a-", "a-+1", "a-01", "a-x", "a-4194304", "a-99999999999"] {
            assert_eq!(users.named(name).unwrap_err().code, ErrorCode::InvalidArgument, "{name}");
        }
        assert!(users.spaces.is_empty());
    }

    #[test]
    fn old_prefixes_make_way_unless_an_injector_names_them() {
        let mut users = Users::default();
        let first = users.enter("first").unwrap();
        let (kept, gone) = (users.named("first-1").unwrap(), users.named("second-1").unwrap());
        for number in 0..SPACES {
            users.named(&format!("later{number}-1")).unwrap();
        }
        assert!(users.get_mut(kept).is_some() && users.get_mut(gone).is_none());
        users.leave(first);
        users.named("last-1").unwrap();
        assert!(users.get_mut(kept).is_none());
        for number in 0..SPACES {
            users.enter(&format!("busy{number}")).unwrap();
        }
        assert_eq!(users.named("more-1").unwrap_err().code, ErrorCode::ResourceExhausted);
    }
}
