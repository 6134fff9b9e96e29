//! What people may want to know of a device.

use std::collections::HashSet;
use std::sync::Arc;

/// Names that a shard keeps once for all its sessions. A fleet has a few hundred; whoever makes up more pays for them.
const MOST_NAMES: usize = 1024;

/// Who a device says it is. Every session has one for as long as it lives, so it is compact.
#[derive(Debug)]
pub(crate) struct Profile {
    pub(crate) device: Arc<str>,
    /// SDK, then platform.
    software: Arc<str>,
    sdk_bytes: u8,
}

impl Profile {
    /// `sdk` has at most 64 bytes.
    pub(crate) fn new(device: &str, sdk: &str, platform: &str) -> Profile {
        let software = [sdk, platform].concat().into();
        Profile { device: device.into(), software, sdk_bytes: sdk.len() as u8 }
    }

    /// The same, sharing what other sessions have too.
    pub(crate) fn sharing(self, names: &mut Names) -> Profile {
        Profile { software: names.shared(self.software), ..self }
    }

    /// Bytes of memory that it takes beside itself and what is shared.
    pub(crate) fn memory(&self) -> usize {
        self.device.len()
    }

    pub(crate) fn sdk(&self) -> &str {
        &self.software[..usize::from(self.sdk_bytes)]
    }

    pub(crate) fn platform(&self) -> &str {
        &self.software[usize::from(self.sdk_bytes)..]
    }
}

/// Names that many sessions have.
#[derive(Default)]
pub(crate) struct Names {
    known: HashSet<Arc<str>>,
    /// Unknown names that came while there was no space, since there was last looked for some.
    turned_away: usize,
}

impl Names {
    fn shared(&mut self, name: Arc<str>) -> Arc<str> {
        if let Some(known) = self.known.get(&name) {
            return Arc::clone(known);
        }
        if self.known.len() >= MOST_NAMES {
            self.turned_away += 1;
            // To look through all of them for each would be too dear.
            if self.turned_away >= MOST_NAMES {
                self.turned_away = 0;
                self.known.retain(|name| Arc::strong_count(name) > 1);
            }
        }
        if self.known.len() < MOST_NAMES {
            self.known.insert(Arc::clone(&name));
        }
        name
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_kept_once_and_those_that_nobody_has_any_more_make_space() {
        let mut names = Names::default();
        let mut profile = |sdk: &str, platform: &str| Profile::new("d", sdk, platform).sharing(&mut names);
        let (one, other) = (profile("rust/1", "android 16"), profile("rust/1", "android 16"));
        assert!(Arc::ptr_eq(&one.software, &other.software));
        assert_eq!((other.sdk(), other.platform()), ("rust/1", "android 16"));
        let split = profile("rust/1an", "droid 16");
        assert_eq!((split.sdk(), split.platform()), ("rust/1an", "droid 16"));

        let made_up: Vec<Profile> = (0..3 * MOST_NAMES).map(|n| profile(&n.to_string(), "")).collect();
        assert_eq!(names.known.len(), MOST_NAMES, "bounded");
        drop(made_up);
        for n in 0..MOST_NAMES + MOST_NAMES / 2 {
            let _ = Profile::new("d", &format!("new {n}"), "").sharing(&mut names);
        }
        let (a, b) = (Profile::new("d", "later", ""), Profile::new("d", "later", ""));
        let (a, b) = (a.sharing(&mut names), b.sharing(&mut names));
        assert!(Arc::ptr_eq(&a.software, &b.software), "there is space again");
        assert!(names.known.contains(&one.software), "what somebody has stays");
    }
}
