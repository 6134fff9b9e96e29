//! Which session a user has.

/// Most users: their numbers are below this. A number comes from a device, and the table grows to it.
pub(crate) const USERS: u32 = 4 * 1024 * 1024;

const NOBODY: u32 = u32::MAX;

/// The connection of each user, by the user's number.
#[derive(Default)]
pub(crate) struct Users(Vec<u32>);

impl Users {
    pub(crate) fn connection(&self, user: u32) -> Option<u32> {
        self.0.get(user as usize).copied().filter(|connection| *connection != NOBODY)
    }

    /// Gives the user this connection, and says which it had before. The number is below [`USERS`].
    pub(crate) fn bind(&mut self, user: u32, connection: u32) -> Option<u32> {
        let place = user as usize;
        if place >= self.0.len() {
            self.0.resize((place + 1).next_power_of_two(), NOBODY);
        }
        Some(std::mem::replace(&mut self.0[place], connection)).filter(|before| *before != NOBODY)
    }

    /// Takes the connection from the user, unless a later one has its place.
    pub(crate) fn unbind(&mut self, user: u32, connection: u32) {
        if self.connection(user) == Some(connection) {
            self.0[user as usize] = NOBODY;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_later_connection_has_the_place_and_keeps_it() {
        let mut users = Users::default();
        assert_eq!((users.connection(5), users.bind(5, 1)), (None, None));
        assert_eq!(users.bind(5, 2), Some(1));
        users.unbind(5, 1);
        assert_eq!(users.connection(5), Some(2));
        users.unbind(5, 2);
        assert_eq!((users.connection(5), users.connection(USERS)), (None, None));
    }
}
