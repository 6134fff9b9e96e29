//! What the API's answers say.

use std::borrow::Cow;
use std::time::Duration;

use http::{Response, StatusCode, header};
use serde::Deserialize;

use crate::desk::{BAD_ANSWER, Outcome, Reply};

/// The part of an answer's head that matters.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Head {
    pub(crate) status: StatusCode,
    /// How long not to ask again.
    pub(crate) retry_after: Option<Duration>,
}

/// Longest pause that is honoured.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

impl Head {
    pub(crate) fn of<B>(response: &Response<B>) -> Head {
        let status = response.status();
        let asks = matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE);
        let value = response.headers().get(header::RETRY_AFTER).filter(|_| asks);
        let seconds = value.and_then(|value| value.to_str().ok()?.trim().parse().ok());
        let retry_after = seconds.map(|s| Duration::from_secs(s).min(LONGEST_PAUSE));
        Head { status, retry_after }
    }
}

/// The API's answer to a send.
#[derive(Deserialize)]
struct Accepted<'a> {
    #[serde(borrow)]
    messages: Vec<Sent<'a>>,
}

#[derive(Deserialize)]
struct Sent<'a> {
    #[serde(borrow)]
    id: Option<Cow<'a, str>>,
    #[serde(borrow)]
    error: Option<Problem<'a>>,
}

#[derive(Deserialize)]
struct Problem<'a> {
    #[serde(borrow)]
    code: Cow<'a, str>,
}

/// What an answer with this body says of so many messages, told to `take`: it borrows from the body.
pub(crate) fn messages<T>(head: Head, body: &[u8], count: usize, take: impl FnOnce(Reply<'_>) -> T) -> T {
    if !head.status.is_success() {
        return failure(head.status, body, |outcome| take(Reply::Whole(outcome)));
    }
    match serde_json::from_slice::<Accepted<'_>>(body) {
        Ok(accepted) if accepted.messages.len() == count => {
            take(Reply::Each(accepted.messages.iter().map(outcome).collect()))
        }
        _ => take(Reply::Whole(Outcome::Unknown(BAD_ANSWER))),
    }
}

/// The id of an accepted broadcast, or why there is none, told to `take`.
pub(crate) fn broadcast<T>(head: Head, body: &[u8], take: impl FnOnce(Outcome<'_>) -> T) -> T {
    #[derive(Deserialize)]
    struct Accepted<'a> {
        #[serde(borrow)]
        id: Cow<'a, str>,
    }
    if !head.status.is_success() {
        return failure(head.status, body, take);
    }
    let accepted = serde_json::from_slice::<Accepted<'_>>(body);
    let id = accepted.ok().and_then(|accepted| accepted.id.parse().ok());
    take(id.map_or(Outcome::Unknown(BAD_ANSWER), Outcome::Accepted))
}

/// By the status: whether something may have been done. By the problem's code, if there is one: why.
fn failure<T>(status: StatusCode, body: &[u8], take: impl FnOnce(Outcome<'_>) -> T) -> T {
    let problem = serde_json::from_slice::<Problem<'_>>(body);
    let code = match &problem {
        Ok(problem) => Cow::Borrowed(problem.code.as_ref()),
        Err(_) => Cow::Owned(format!("http_{}", status.as_u16())),
    };
    let nothing_was_done = status.is_client_error() || status == StatusCode::SERVICE_UNAVAILABLE;
    take(if nothing_was_done { Outcome::Refused(&code) } else { Outcome::Unknown(&code) })
}

fn outcome<'a>(sent: &'a Sent<'_>) -> Outcome<'a> {
    match sent {
        Sent { error: Some(problem), .. } => Reply::outcome_of(&problem.code),
        Sent { id: Some(id), .. } => id.parse().map_or(Outcome::Unknown(BAD_ANSWER), Outcome::Accepted),
        _ => Outcome::Unknown(BAD_ANSWER),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(status: u16) -> Head {
        Head { status: StatusCode::from_u16(status).unwrap(), retry_after: None }
    }

    fn said(status: u16, body: &str, count: usize) -> String {
        messages(head(status), body.as_bytes(), count, |reply| format!("{reply:?}"))
    }

    #[test]
    fn ids_and_errors_of_each_message() {
        let body = r#"{"messages":[{"user":"a","id":"17"},{"user":"b","error":{"code":"unavailable","detail":"x\"y"}},
            {"user":"c","error":{"code":"deadline_exceeded","detail":""}},{"user":"d","id":"1x"}]}"#;
        let expected = r#"Each([Accepted(17), Refused("unavailable"), Unknown("deadline_exceeded"), Unknown("bad_answer")])"#;
        assert_eq!(said(202, body, 4), expected);
        assert_eq!(said(202, body, 3), r#"Whole(Unknown("bad_answer"))"#);
        assert_eq!(said(202, "<html>", 1), r#"Whole(Unknown("bad_answer"))"#);
    }

    #[test]
    fn problems_refuse_or_leave_it_open() {
        let problem = |code: &str| format!(r#"{{"type":"x","code":"{code}","detail":"d"}}"#);
        for (status, code) in [(400, "invalid_user"), (429, "resource_exhausted"), (503, "unavailable")] {
            assert_eq!(said(status, &problem(code), 2), format!("Whole(Refused({code:?}))"));
        }
        for (status, code) in [(500, "internal"), (504, "deadline_exceeded")] {
            assert_eq!(said(status, &problem(code), 2), format!("Whole(Unknown({code:?}))"));
        }
        assert_eq!(said(502, "<b>bad", 1), r#"Whole(Unknown("http_502"))"#);
        assert_eq!(said(302, "", 1), r#"Whole(Unknown("http_302"))"#);
    }

    #[test]
    fn broadcasts_have_one_id() {
        let said = |status, body: &str| broadcast(head(status), body.as_bytes(), |o| format!("{o:?}"));
        assert_eq!(said(202, r#"{"id":"18"}"#), "Accepted(18)");
        assert_eq!(said(202, "{}"), r#"Unknown("bad_answer")"#);
        assert_eq!(said(409, r#"{"code":"conflict"}"#), r#"Refused("conflict")"#);
    }

    #[test]
    fn a_pause_is_bounded_and_only_of_refusals() {
        let of = |status: u16, value: &str| {
            Head::of(&Response::builder().status(status).header("retry-after", value).body(()).unwrap())
        };
        assert_eq!(of(429, "2").retry_after, Some(Duration::from_secs(2)));
        assert_eq!(of(503, "100000").retry_after, Some(LONGEST_PAUSE));
        for (status, value) in [(202, "2"), (429, "-1"), (429, "Wed, 21 Oct 2015 07:28:00 GMT")] {
            assert_eq!(of(status, value).retry_after, None);
        }
    }
}
