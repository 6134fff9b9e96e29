//! Checks of what nodes and operators send, before anything acts on it.

use longline_pb::convert;
use longline_pb::keeper::{self, RegisterRequest, WriteConfigRequest};
use longline_types::{Error, MessageId, NodeState, Role};

use crate::state::{About, NodeRef};

const NAME: usize = 128;
const IDC: usize = 64;
const VERSION: usize = 64;
const ENDPOINT: usize = 256;
/// 32 bytes in base64.
const NOISE_KEY: usize = 44;
const PUBLIC_ENDPOINTS: usize = 16;
const KEY: usize = 256;
const VALUE: usize = 1024 * 1024;

/// What a node says of itself, if all of it is usable.
pub(crate) fn about(request: RegisterRequest) -> Result<About, Error> {
    let role = match convert::role(request.role()) {
        Some(Role::Keeper) => return Err(Error::invalid("a keeper does not register with a keeper")),
        Some(role) => role,
        None => return Err(Error::invalid(format!("role {} does not exist", request.role))),
    };
    let state = state(request.state)?;
    text("name", &request.name, NAME)?;
    text("version", &request.version, VERSION)?;
    text("idc", &request.idc, IDC)?;
    if request.idc.is_empty() {
        return Err(Error::invalid("idc is empty"));
    }
    endpoint("rpc", &request.rpc)?;
    if request.public.len() > PUBLIC_ENDPOINTS {
        return Err(Error::invalid(format!("public has more than {PUBLIC_ENDPOINTS} endpoints")));
    }
    for public in &request.public {
        endpoint("public", public)?;
    }
    text("noise_key", &request.noise_key, NOISE_KEY)?;
    Ok(About {
        role,
        name: request.name,
        idc: request.idc,
        rpc: request.rpc,
        public: request.public,
        noise_key: request.noise_key,
        version: request.version,
        state,
    })
}

/// A state that exists.
pub(crate) fn state(number: i32) -> Result<NodeState, Error> {
    match keeper::NodeState::try_from(number) {
        Ok(keeper::NodeState::Unspecified) | Err(_) => {
            Err(Error::invalid(format!("node state {number} does not exist")))
        }
        Ok(state) => Ok(state.into()),
    }
}

/// A registration that could exist.
pub(crate) fn node(number: u32, incarnation: u64) -> Result<NodeRef, Error> {
    if number >= MessageId::NODES || incarnation == 0 {
        return Err(Error::invalid(format!("there can be no node {number} with incarnation {incarnation}")));
    }
    Ok(NodeRef { number, incarnation })
}

/// A configuration key: path-like, of letters, digits and `. _ - /`.
pub(crate) fn key(key: &str) -> Result<(), Error> {
    if key.is_empty() {
        return Err(Error::invalid("a configuration key has at least 1 byte"));
    }
    prefix(key)
}

/// The beginning of a configuration key; may be empty.
pub(crate) fn prefix(prefix: &str) -> Result<(), Error> {
    if prefix.len() > KEY {
        return Err(Error::invalid(format!("a configuration key has at most {KEY} bytes")));
    }
    if !prefix.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-/".contains(&b)) {
        return Err(Error::invalid("a configuration key has only letters, digits and . _ - /"));
    }
    Ok(())
}

/// The change that a request asks for: the new value, or none to delete.
pub(crate) fn change(request: &mut WriteConfigRequest) -> Result<Option<Vec<u8>>, Error> {
    key(&request.key)?;
    if request.value.len() > VALUE {
        return Err(Error::invalid(format!("a configuration value has at most {VALUE} bytes")));
    }
    Ok((!request.delete).then(|| std::mem::take(&mut request.value)))
}

fn text(field: &str, text: &str, longest: usize) -> Result<(), Error> {
    if text.len() > longest {
        return Err(Error::invalid(format!("{field} has more than {longest} bytes")));
    }
    if text.chars().any(char::is_control) {
        return Err(Error::invalid(format!("{field} has control characters")));
    }
    Ok(())
}

fn endpoint(field: &str, endpoint: &str) -> Result<(), Error> {
    text(field, endpoint, ENDPOINT)?;
    let parts = endpoint.rsplit_once(':').and_then(|(host, port)| Some((host, port.parse::<u16>().ok()?)));
    match parts {
        Some((host, port)) if port != 0 && !host.is_empty() && !host.contains([' ', '/', '@']) => Ok(()),
        _ => Err(Error::invalid(format!("{field} is no host:port: {endpoint:?}"))),
    }
}

#[cfg(test)]
mod tests {
    use longline_types::ErrorCode;

    use super::*;

    fn good() -> RegisterRequest {
        RegisterRequest {
            role: keeper::Role::Room.into(),
            name: "room-1".into(),
            idc: "east".into(),
            rpc: "10.0.0.1:7705".into(),
            public: vec!["push.example.com:443".into(), "[::1]:9000".into()],
            version: "0.1.0".into(),
            state: keeper::NodeState::Starting.into(),
            previous_incarnation: 0,
            noise_key: "k".repeat(44),
        }
    }

    #[test]
    fn a_good_registration_passes() {
        assert_eq!(about(good()).unwrap().role, Role::Room);
    }

    #[test]
    fn bad_registrations_are_refused() {
        type Change = fn(&mut RegisterRequest);
        let bad: [(&str, Change); 16] = [
            ("no role", |r| r.role = 0),
            ("a keeper", |r| r.role = keeper::Role::Keeper.into()),
            ("an unknown role", |r| r.role = 99),
            ("no state", |r| r.state = 0),
            ("an unknown state", |r| r.state = -1),
            ("a long name", |r| r.name = "n".repeat(129)),
            ("a name of two lines", |r| r.name = "a\nb".into()),
            ("no idc", |r| r.idc = String::new()),
            ("a long idc", |r| r.idc = "i".repeat(65)),
            ("no rpc", |r| r.rpc = String::new()),
            ("no port", |r| r.rpc = "host:".into()),
            ("port 0", |r| r.rpc = "host:0".into()),
            ("a url", |r| r.rpc = "http://host:80".into()),
            ("a bad public endpoint", |r| r.public.push("x".into())),
            ("a long key", |r| r.noise_key.push('k')),
            ("many endpoints", |r| r.public = vec!["h:1".into(); 17]),
        ];
        for (what, change) in bad {
            let mut request = good();
            change(&mut request);
            let error = about(request).expect_err(what);
            assert_eq!(error.code, ErrorCode::InvalidArgument, "{what}");
        }
    }

    #[test]
    fn keys_and_values_are_checked() {
        assert!(key("limits/room.max-sessions_1").is_ok());
        for bad in ["", "a b", "ä", &"k".repeat(257)] {
            assert!(key(bad).is_err(), "{bad:?}");
        }
        assert!(prefix("").is_ok() && prefix("a b").is_err());
        let request = |bytes, delete| WriteConfigRequest {
            key: "k".into(),
            value: vec![1; bytes],
            expected_revision: 0,
            delete,
        };
        assert_eq!(change(&mut request(2, false)).unwrap(), Some(vec![1, 1]));
        assert_eq!(change(&mut request(2, true)).unwrap(), None);
        assert!(change(&mut request(VALUE + 1, false)).is_err());
    }

    #[test]
    fn registrations_that_cannot_exist_are_refused() {
        assert!(node(1023, 1).is_ok());
        assert!(node(1024, 1).is_err() && node(1, 0).is_err());
    }
}
