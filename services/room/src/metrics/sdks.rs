use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{PoisonError, RwLock};

/// SDKs that are told apart at once. Devices say what they are, and may say anything.
const MOST: usize = 64;
/// Longest name of an SDK that is told apart, in bytes.
const NAME: usize = 24;
/// Numbers of its version that are, and their digits.
const NUMBERS: usize = 3;
const DIGITS: usize = 5;
const LONGEST: usize = NAME + NUMBERS * (DIGITS + 1);

/// The device did not say.
const UNSPECIFIED: (u8, &str) = (0, "unspecified");
/// What it said is no name and version, or there were too many others.
const OTHER: (u8, &str) = (1, "other");
const RESERVED: usize = 2;

/// The sessions of a room by SDK and version. At most 64 are told apart; the place of one without sessions is given away when
/// another needs it, so what nonsense devices say is forgotten when they are gone.
#[derive(Debug)]
pub(crate) struct Sdks {
    places: RwLock<HashMap<Box<str>, u8>>,
    sessions: [AtomicU64; RESERVED + MOST],
}

impl Default for Sdks {
    fn default() -> Sdks {
        Sdks { places: RwLock::default(), sessions: std::array::from_fn(|_| AtomicU64::new(0)) }
    }
}

impl Sdks {
    /// Counts a session whose device says that this is its SDK; it is to be told to [`Sdks::leave`] under the same number.
    pub(crate) fn enter(&self, sdk: &str) -> u8 {
        let mut buffer = [0; LONGEST];
        match normalised(sdk, &mut buffer) {
            "" if sdk.is_empty() => self.count(UNSPECIFIED.0),
            "" => self.count(OTHER.0),
            name if name == UNSPECIFIED.1 => self.count(UNSPECIFIED.0),
            name if name == OTHER.1 => self.count(OTHER.0),
            name => self.known(name).unwrap_or_else(|| self.added(name)),
        }
    }

    /// A session has ended.
    pub(crate) fn leave(&self, place: u8) {
        if let Some(sessions) = self.sessions.get(usize::from(place)) {
            sessions.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// SDKs that have sessions, and how many.
    pub(crate) fn sessions(&self) -> Vec<(String, u64)> {
        let places = self.places.read().unwrap_or_else(PoisonError::into_inner);
        let named = places.iter().map(|(name, place)| (*place, &**name));
        let mut sessions: Vec<(String, u64)> = [UNSPECIFIED, OTHER]
            .into_iter()
            .chain(named)
            .map(|(place, name)| (name.to_owned(), self.at(place)))
            .filter(|(_, sessions)| *sessions > 0)
            .collect();
        sessions.sort();
        sessions
    }

    fn known(&self, name: &str) -> Option<u8> {
        let places = self.places.read().unwrap_or_else(PoisonError::into_inner);
        // Counted before the lock is let go: nobody gives its place away meanwhile.
        places.get(name).map(|place| self.count(*place))
    }

    fn added(&self, name: &str) -> u8 {
        let mut places = self.places.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(place) = places.get(name) {
            return self.count(*place);
        }
        if places.len() >= MOST {
            places.retain(|_, place| self.at(*place) > 0);
        }
        let taken: u128 = places.values().fold(0, |taken, place| taken | 1 << place);
        let free = (RESERVED..RESERVED + MOST).find(|place| taken >> place & 1 == 0);
        let Some(free) = free.map(|place| place as u8) else { return self.count(OTHER.0) };
        places.insert(name.into(), free);
        self.count(free)
    }

    fn count(&self, place: u8) -> u8 {
        self.sessions[usize::from(place)].fetch_add(1, Ordering::Relaxed);
        place
    }

    fn at(&self, place: u8) -> u64 {
        self.sessions[usize::from(place)].load(Ordering::Relaxed)
    }
}

/// `name/1.2.3` in lower case, without what follows the third number; without a version the name alone. Empty if it is neither.
fn normalised<'a>(sdk: &str, buffer: &'a mut [u8; LONGEST]) -> &'a str {
    let (name, version) = sdk.split_once('/').unwrap_or((sdk, ""));
    let is_name = !name.is_empty()
        && name.len() <= NAME
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b));
    if !is_name {
        return "";
    }
    let version = version.strip_prefix(['v', 'V']).unwrap_or(version);
    let mut length = name.len();
    buffer[..length].copy_from_slice(name.as_bytes());
    buffer[..length].make_ascii_lowercase();
    let mut mark = b'/';
    for part in version.split('.').take(NUMBERS) {
        let digits = part.bytes().take_while(u8::is_ascii_digit).count();
        if digits == 0 || digits > DIGITS {
            break;
        }
        buffer[length] = mark;
        buffer[length + 1..length + 1 + digits].copy_from_slice(&part.as_bytes()[..digits]);
        length += 1 + digits;
        mark = b'.';
        // "1.2-beta.3": a pre-release, or something else.
        if digits < part.len() {
            break;
        }
    }
    std::str::from_utf8(&buffer[..length]).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn label(sdk: &str) -> String {
        normalised(sdk, &mut [0; LONGEST]).to_owned()
    }

    #[test]
    fn names_and_versions_are_kept_and_the_rest_is_not() {
        for (sdk, expected) in [
            ("rust/0.1.0", "rust/0.1.0"),
            ("Longline-Android/v2.13.4-beta.1+sha", "longline-android/2.13.4"),
            ("ios/1.2.3.4", "ios/1.2.3"),
            ("ios/1.2-rc.3", "ios/1.2"),
            ("ios", "ios"),
            ("ios/", "ios"),
            ("ios/nightly", "ios"),
            ("ios/123456", "ios"),
            ("", ""),
            ("/1", ""),
            ("two words/1", ""),
            ("ünïcode/1", ""),
            ("a-name-of-more-than-24-bytes/1", ""),
        ] {
            assert_eq!(label(sdk), expected, "{sdk}");
        }
    }

    #[test]
    fn sessions_are_counted_by_sdk_while_they_last() {
        let sdks = Sdks::default();
        let places = ["rust/1.0", "RUST/1.0", "", "!", "other", "unspecified"].map(|sdk| sdks.enter(sdk));
        let counts =
            [("other", 2), ("rust/1.0", 2), ("unspecified", 2)].map(|(name, n)| (name.to_owned(), n));
        assert_eq!(sdks.sessions(), counts);
        places.into_iter().for_each(|place| sdks.leave(place));
        assert!(sdks.sessions().is_empty());
    }

    #[test]
    fn devices_that_say_anything_fill_the_table_only_while_they_are_there() {
        let sdks = Sdks::default();
        let nonsense: Vec<u8> = (0..200).map(|n| sdks.enter(&format!("nonsense/{n}"))).collect();
        assert_eq!(sdks.sessions().len(), MOST + 1);
        assert_eq!(sdks.at(OTHER.0), 200 - MOST as u64);
        let honest = sdks.enter("rust/0.1.0");
        assert_eq!(honest, OTHER.0);
        nonsense.into_iter().for_each(|place| sdks.leave(place));
        let honest = [honest, sdks.enter("rust/0.1.0")];
        assert_eq!(sdks.sessions(), [("other", 1), ("rust/0.1.0", 1)].map(|(s, n)| (s.to_owned(), n)));
        honest.into_iter().for_each(|place| sdks.leave(place));
    }

    proptest! {
        #[test]
        fn whatever_a_device_says_its_label_is_short_and_plain(sdk in ".{0,64}") {
            let label = label(&sdk);
            prop_assert!(label.len() <= LONGEST);
            let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._-/".contains(&b);
            prop_assert!(label.bytes().all(plain), "{}", label);
        }
    }
}
