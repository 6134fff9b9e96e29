//! A connection that has not said who it is: it may send the preface and one HELLO, and cannot be pushed to.

use std::sync::Arc;

use longline_pb::client::{self, BindResult, Hello};
use longline_types::{Address, CloseReason, Device, limits};
use longline_wire::{FrameType, Limits, PREFACE_LEN, decode, decode_preface};

use super::bind::Bind;
use super::ending::{Ending, refused};
use super::heartbeat::Wish;
use super::profile::Profile;

/// Longest name of an SDK or a platform, in bytes.
const NAME: usize = 64;

/// What has come so far.
#[derive(Debug)]
pub(crate) struct Greeting {
    /// The connection is closed if there is no HELLO by then.
    pub(crate) deadline: u64,
    step: Step,
}

/// What comes next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Step {
    Preface,
    /// Nothing that can be read before Noise has opened it.
    Noise,
    Hello,
}

/// A valid HELLO.
#[derive(Debug)]
pub(crate) struct Introduction {
    pub(crate) device: Device,
    pub(crate) profile: Profile,
    pub(crate) wish: Wish,
    /// Of the room that sent it here; for the binds of HELLO.
    pub(crate) ticket: Option<Arc<[u8]>>,
    /// What it wants to bind; what is wrong with a single bind does not end the connection.
    pub(crate) binds: Vec<Result<WantedBind, client::Bound>>,
    /// Shown to get a session back; empty: none.
    pub(crate) resume_token: Box<[u8]>,
    /// What the device has acknowledged of that session, not knowing whether it arrived. At most 1,024 ids.
    pub(crate) have: Vec<client::Ack>,
}

/// A bind that may be asked for.
#[derive(Debug)]
pub(crate) struct WantedBind {
    pub(crate) index: u8,
    pub(crate) address: Address,
    pub(crate) token: Box<str>,
    pub(crate) seen_broadcast: u64,
}

impl WantedBind {
    /// Whether it is this bind of a session.
    pub(super) fn is(&self, bind: &Bind) -> bool {
        bind.index == self.index && bind.address == self.address
    }
}

impl Greeting {
    pub(crate) fn new(deadline: u64) -> Greeting {
        Greeting { deadline, step: Step::Preface }
    }

    /// Whether its preface was read.
    pub(crate) fn has_begun(&self) -> bool {
        self.step != Step::Preface
    }

    /// True once: the preface was that of Noise, and what follows is for that.
    pub(crate) fn takes_noise(&mut self) -> bool {
        let takes = self.step == Step::Noise;
        if takes {
            self.step = Step::Hello;
        }
        takes
    }

    /// Reads preface and HELLO from the start of `bytes`: how many were used, and the HELLO if it is whole.
    pub(crate) fn read(
        &mut self,
        bytes: &[u8],
        hello_bytes: usize,
    ) -> Result<(usize, Option<Introduction>), Ending> {
        let mut used = 0;
        if self.step == Step::Preface {
            used = PREFACE_LEN;
            if bytes.starts_with(&longline_noise::PREFACE) {
                self.step = Step::Noise;
            } else if decode_preface(bytes)?.is_some() {
                self.step = Step::Hello;
            } else {
                return Ok((0, None));
            }
        }
        if self.step == Step::Noise {
            return Ok((used, None));
        }
        let rest = &bytes[used..];
        if let Some(kind) = rest.first().and_then(|number| FrameType::from_number(*number))
            && kind != FrameType::Hello
        {
            let detail = format!("{kind} came before HELLO");
            return Err(Ending::new(CloseReason::UnexpectedFrame, detail));
        }
        let limits = Limits::FROM_DEVICE.tightened(FrameType::Hello, hello_bytes);
        match decode(rest, &limits)? {
            None => Ok((used, None)),
            Some((frame, length)) => Ok((used + length, Some(introduction(frame.parse()?)?))),
        }
    }
}

/// Checks what HELLO says of the device. Its binds are checked one by one.
fn introduction(hello: Hello) -> Result<Introduction, Ending> {
    let device = &hello.device;
    if device.is_empty() || !is_name(device, limits::DEVICE) {
        return Err(bad_field("`device` has 1 to 128 bytes without control characters"));
    }
    if !is_name(&hello.sdk, NAME) || !is_name(&hello.platform, NAME) {
        return Err(bad_field("`sdk` and `platform` have at most 64 bytes without control characters"));
    }
    if hello.ticket.len() > limits::TICKET {
        return Err(bad_field("`ticket` has at most 512 bytes"));
    }
    if hello.binds.is_empty() {
        return Err(Ending::new(CloseReason::NoBind, "HELLO has 1 to 16 binds"));
    }
    if hello.have.iter().map(|ack| ack.ids.len()).sum::<usize>() > limits::ACK_IDS {
        return Err(bad_field("`have` has at most 1024 ids"));
    }
    let network = hello.network();
    Ok(Introduction {
        device: Device::new(device, hello.connection_counter),
        wish: Wish { network, min_s: hello.heartbeat_min_s, max_s: hello.heartbeat_max_s },
        profile: Profile::new(&hello.device, &hello.sdk, &hello.platform),
        ticket: (!hello.ticket.is_empty()).then(|| hello.ticket.into()),
        binds: hello.binds.into_iter().map(wanted_bind).collect(),
        resume_token: hello.resume_token.into(),
        have: hello.have,
    })
}

/// Checks what a bind says; the answer to the device if it cannot be.
pub(crate) fn wanted_bind(bind: client::Bind) -> Result<WantedBind, client::Bound> {
    let bad = |detail: String| refused(bind.index, BindResult::BadRequest, detail);
    let index = u8::try_from(bind.index).ok().filter(|i| usize::from(*i) < limits::BINDS);
    let index = index.ok_or_else(|| bad("`index` is 0 to 15".into()))?;
    if bind.token.len() > limits::TOKEN {
        return Err(bad("`token` has at most 4096 bytes".into()));
    }
    let address = Address::new(bind.product, &bind.user).map_err(|e| bad(e.to_string()))?;
    Ok(WantedBind { index, address, token: bind.token.into(), seen_broadcast: bind.last_broadcast })
}

fn is_name(text: &str, longest: usize) -> bool {
    text.len() <= longest && !text.chars().any(char::is_control)
}

fn bad_field(detail: &str) -> Ending {
    Ending::new(CloseReason::BadField, detail)
}

#[cfg(test)]
mod tests {
    use longline_wire::PREFACE;

    use super::*;

    fn hello() -> Hello {
        let bind = client::Bind { product: 1, user: "alice".into(), ..client::Bind::default() };
        Hello {
            device: "d1".into(),
            sdk: "rust".into(),
            platform: "os".into(),
            binds: vec![bind],
            ..Hello::default()
        }
    }

    fn bytes(hello: &Hello) -> Vec<u8> {
        let mut bytes = PREFACE.to_vec();
        longline_wire::encode(hello, &mut bytes).unwrap();
        bytes
    }

    fn read(bytes: &[u8]) -> Result<(usize, Option<Introduction>), Ending> {
        Greeting::new(0).read(bytes, 1000)
    }

    fn reason(bytes: &[u8]) -> CloseReason {
        read(bytes).unwrap_err().reason
    }

    #[test]
    fn a_hello_is_taken_in_any_pieces() {
        let whole = bytes(&hello());
        let mut greeting = Greeting::new(0);
        let mut start = 0;
        for end in 0..whole.len() {
            let (used, hello) = greeting.read(&whole[start..end], 1000).unwrap();
            assert!(hello.is_none());
            start += used;
        }
        let (used, hello) = greeting.read(&whole[start..], 1000).unwrap();
        assert_eq!(start + used, whole.len());
        let hello = hello.unwrap();
        assert_eq!(hello.binds.len(), 1);
        assert_eq!(
            (&*hello.profile.device, hello.profile.sdk(), hello.profile.platform()),
            ("d1", "rust", "os")
        );
    }

    #[test]
    fn only_a_hello_within_its_limits_may_come_first() {
        assert_eq!(reason(b"GET / HTTP/1.1"), CloseReason::BadPreface);
        assert_eq!(reason(b"LL\x07\x00"), CloseReason::UnsupportedVersion);
        assert_eq!(reason(b"LL\x01\x00\x0a\x00"), CloseReason::UnexpectedFrame);
        assert_eq!(reason(b"LL\x01\x00\x63"), CloseReason::UnknownFrame);
        assert_eq!(reason(b"LL\x01\x00\x01\xff\xff\xff\xff"), CloseReason::FrameTooLong);
        assert_eq!(reason(b"LL\x01\x00\x01\xe9\x07"), CloseReason::FrameTooLong, "1,001 bytes");
        assert_eq!(reason(b"LL\x01\x00\x01\x02zz"), CloseReason::BadBody);
    }

    #[test]
    fn what_hello_says_is_checked() {
        let with = |change: fn(&mut Hello)| {
            let mut hello = hello();
            change(&mut hello);
            reason(&bytes(&hello))
        };
        assert_eq!(with(|h| h.device.clear()), CloseReason::BadField);
        assert_eq!(with(|h| h.device = "x".repeat(129)), CloseReason::BadField);
        assert_eq!(with(|h| h.sdk = "x".repeat(65)), CloseReason::BadField);
        assert_eq!(with(|h| h.platform = "a\nb".into()), CloseReason::BadField);
        assert_eq!(with(|h| h.ticket = vec![1; 513]), CloseReason::BadField);
        assert_eq!(with(|h| h.binds.clear()), CloseReason::NoBind);
        assert_eq!(with(|h| h.binds = vec![client::Bind::default(); 17]), CloseReason::BadField);
    }

    #[test]
    fn a_device_has_at_most_as_many_ids_as_an_ack_may_name() {
        let read = |ids: usize| {
            let have = vec![
                client::Ack { index: 0, ids: vec![7; ids] },
                client::Ack { index: 1, ids: vec![7; 512] },
            ];
            let bytes = bytes(&Hello { have, ..hello() });
            Greeting::new(0).read(&bytes, 100_000).map(|(_, hello)| hello.unwrap().have.len())
        };
        assert_eq!(read(512).unwrap(), 2);
        assert_eq!(read(513).unwrap_err().reason, CloseReason::BadField);
    }

    #[test]
    fn a_bad_bind_is_refused_alone() {
        let result = |bind: client::Bind| wanted_bind(bind).unwrap_err().result();
        let good = hello().binds.remove(0);
        assert!(wanted_bind(good.clone()).is_ok());
        assert_eq!(result(client::Bind { index: 16, ..good.clone() }), BindResult::BadRequest);
        assert_eq!(result(client::Bind { user: "".into(), ..good.clone() }), BindResult::BadRequest);
        assert_eq!(result(client::Bind { token: "x".repeat(4097), ..good }), BindResult::BadRequest);
    }
}
