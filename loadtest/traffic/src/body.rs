//! Request bodies, written by hand into buffers that are used again.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::{BufMut, Bytes, BytesMut};

use crate::job::Job;
use crate::load::Unicasts;

/// Writes the bodies of one connection's requests.
#[derive(Debug)]
pub(crate) struct Bodies {
    prefix: String,
    /// The fields that are the same in each.
    tail: String,
    many: bool,
    payload: Vec<u8>,
    text: BytesMut,
}

impl Bodies {
    /// For users named `<prefix>-<number>`.
    pub(crate) fn new(load: &Unicasts, prefix: &str) -> Bodies {
        let class = if load.transient { r#","class":"transient""# } else { "" };
        let ttl = load.ttl_s.map(|ttl| format!(r#","ttl_seconds":{ttl}"#)).unwrap_or_default();
        Bodies {
            prefix: escaped(prefix),
            tail: format!("\"{class}{ttl}}}"),
            many: load.via.shares_payloads(),
            payload: Vec::new(),
            text: BytesMut::new(),
        }
    }

    /// The body for what is open of this job. The same job has the same payload each time.
    pub(crate) fn message(&mut self, job: &Job) -> Bytes {
        job.header.payload(job.bytes as usize, &mut self.payload);
        self.text.put_slice(if self.many { br#"{"to":{"users":["# } else { br#"{"to":{"user":"# });
        for (n, message) in job.open.iter().enumerate() {
            if n > 0 {
                self.text.put_u8(b',');
            }
            put_user(&mut self.text, &self.prefix, message.user);
        }
        self.text.put_slice(if self.many { b"]}" } else { b"}" });
        self.text.put_slice(br#","payload_base64":""#);
        put_base64(&mut self.text, &self.payload);
        self.text.put_slice(self.tail.as_bytes());
        self.text.split().freeze()
    }
}

/// A JSON body with this payload, and with `tail`: further fields, each after a comma.
pub(crate) fn broadcast(payload: &[u8], tail: &str) -> Bytes {
    let mut text = BytesMut::with_capacity(payload.len() * 4 / 3 + 64);
    text.put_slice(br#"{"payload_base64":""#);
    put_base64(&mut text, payload);
    text.put_u8(b'"');
    text.put_slice(tail.as_bytes());
    text.put_u8(b'}');
    text.freeze()
}

fn put_user(text: &mut BytesMut, prefix: &str, user: u32) {
    text.put_u8(b'"');
    text.put_slice(prefix.as_bytes());
    text.put_u8(b'-');
    put_number(text, user);
    text.put_u8(b'"');
}

fn put_number(text: &mut BytesMut, mut number: u32) {
    let mut digits = [0; 10];
    let mut first = digits.len();
    loop {
        first -= 1;
        digits[first] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    text.put_slice(&digits[first..]);
}

fn put_base64(text: &mut BytesMut, payload: &[u8]) {
    let start = text.len();
    text.resize(start + payload.len().div_ceil(3) * 4, 0);
    STANDARD.encode_slice(payload, &mut text[start..]).expect("four characters for every three bytes");
}

/// The text as it stands between the quotes of a JSON string.
fn escaped(text: &str) -> String {
    let quoted = serde_json::Value::from(text).to_string();
    quoted[1..quoted.len() - 1].to_owned()
}

#[cfg(test)]
mod tests {
    use longline_load_truth::{Header, Kind};
    use serde_json::{Value, json};

    use super::*;
    use crate::load::{Pace, Via};

    fn load(via: Via) -> Unicasts {
        Unicasts::new(Pace::Open { per_second: 1.0 }, via)
    }

    fn job(users: &[u32]) -> Job {
        let header = Header { run: 7, agent: 1, kind: Kind::Unicast, user: users[0], sequence: 40, due: 5 };
        Job::batch(header, 100, users, (40..).take(users.len()).collect())
    }

    fn read(body: &Bytes) -> Value {
        serde_json::from_slice(body).unwrap()
    }

    #[test]
    fn a_message_to_one_user() {
        let mut bodies = Bodies::new(&load(Via::Http), "r\"ü\\");
        let body = read(&bodies.message(&job(&[0])));
        assert_eq!(body["to"], json!({"user": "r\"ü\\-0"}));
        let payload = STANDARD.decode(body["payload_base64"].as_str().unwrap()).unwrap();
        assert_eq!(payload.len(), 100);
        assert_eq!(Header::read(&payload).unwrap().sequence, 40);
        assert_eq!(body.as_object().unwrap().len(), 2);
    }

    #[test]
    fn a_message_to_many_with_all_options() {
        let load = Unicasts { transient: true, ttl_s: Some(60), ..load(Via::Batch { users: 3 }) };
        let mut bodies = Bodies::new(&load, "p");
        let body = read(&bodies.message(&job(&[1, 20, u32::MAX])));
        assert_eq!(body["to"], json!({"users": ["p-1", "p-20", "p-4294967295"]}));
        assert_eq!((&body["class"], &body["ttl_seconds"]), (&json!("transient"), &json!(60)));
    }

    #[test]
    fn a_repeat_has_the_same_bytes_and_the_buffer_is_used_again() {
        let mut bodies = Bodies::new(&load(Via::Http), "p");
        let first = bodies.message(&job(&[1]));
        let text = first.to_vec();
        drop(first);
        for _ in 0..100 {
            assert_eq!(bodies.message(&job(&[1])), text);
        }
        assert!(bodies.text.capacity() < 4096, "{}", bodies.text.capacity());
    }
}
