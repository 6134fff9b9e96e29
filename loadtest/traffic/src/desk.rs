//! What becomes of a request: enters it in the ledger and decides whether it is tried again.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use longline_load_truth::{Clock, Ledger};
use tokio::time::Instant;

use crate::job::{Begun, Job};
use crate::progress::Progress;

/// What the API says of a message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Outcome<'a> {
    /// It has this id.
    Accepted(u64),
    /// Nothing was done, for this reason.
    Refused(&'a str),
    /// It may have been accepted or not.
    Unknown(&'a str),
}

/// What is known after a try.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Reply<'a> {
    /// Of each message, in the order of the request.
    Each(Vec<Outcome<'a>>),
    /// Of all of them.
    Whole(Outcome<'a>),
}

/// What is to be done with a job after a try.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Next {
    /// Nothing: it has ended.
    Done,
    /// What is open of it is to be sent again, not before then.
    Again(Instant),
}

/// Between a request's first try and its being given up.
pub(crate) const DEADLINE: Duration = Duration::from_secs(10);

/// Before a request is repeated that was answered, but not with an outcome.
pub(crate) const REPEAT_PAUSE: Duration = Duration::from_millis(100);

/// No answer came in time.
pub(crate) const NO_ANSWER: &str = "no_answer";
/// The connection ended before the answer.
pub(crate) const CONNECTION: &str = "connection";
/// The answer is not one of this API.
pub(crate) const BAD_ANSWER: &str = "bad_answer";

/// The sender's side of the ledger, shared by its connections.
pub(crate) struct Desk {
    pub(crate) ledger: Arc<Ledger>,
    clock: Clock,
    pub(crate) progress: Arc<Progress>,
    /// Between a request's first try and its end.
    deadline: Duration,
    /// Whether requests can be sent again without becoming new messages.
    pub(crate) idempotent: bool,
    /// When everything is given up, once that is known.
    end: OnceLock<Instant>,
}

impl Desk {
    pub(crate) fn new(
        ledger: Arc<Ledger>,
        clock: Clock,
        progress: Arc<Progress>,
        deadline: Duration,
        idempotent: bool,
    ) -> Desk {
        Desk { ledger, clock, progress, deadline, idempotent, end: OnceLock::new() }
    }

    /// What is under way, and what is still begun, ends within the deadline from now on. Returns that time.
    pub(crate) fn close(&self) -> Instant {
        *self.end.get_or_init(|| Instant::now() + self.deadline)
    }

    /// Right before a try with so many bytes goes out; returns when to stop waiting for its answer.
    pub(crate) fn begin(&self, job: &mut Job, bytes: usize) -> Instant {
        let begun = job.begun;
        self.progress.sent(bytes, begun.is_some_and(|begun| begun.uncertain));
        begun.unwrap_or_else(|| self.begin_first(job)).until
    }

    /// After a try was answered, or was not. A further one comes after `pause`, if there is time for it.
    pub(crate) fn settle(&self, job: &mut Job, reply: Reply<'_>, pause: Duration) -> Next {
        let at = self.clock.now();
        let was_uncertain = job.is_uncertain();
        let (mut place, mut doubt) = (0, BAD_ANSWER);
        job.open.retain(|message| {
            let outcome = reply.of(place);
            place += 1;
            match outcome {
                Outcome::Accepted(id) => self.ledger.accepted(message.sequence, id, at),
                Outcome::Refused(code) if !was_uncertain => {
                    self.ledger.refused(message.sequence);
                    self.progress.refused(code);
                }
                Outcome::Refused(code) | Outcome::Unknown(code) => {
                    doubt = code;
                    return true;
                }
            }
            false
        });
        if job.open.is_empty() {
            return Next::Done;
        }
        if let Some(begun) = &mut job.begun {
            begun.uncertain = true;
        }
        let next = Instant::now() + pause;
        if self.idempotent && job.begun.is_some_and(|begun| next < begun.until) {
            return Next::Again(next);
        }
        self.give_up(job, doubt);
        Next::Done
    }

    /// The try did not reach the wire.
    pub(crate) fn postpone(&self, job: &mut Job) -> Next {
        if Desk::is_over(job) {
            self.give_up(job, CONNECTION);
            return Next::Done;
        }
        Next::Again(Instant::now())
    }

    /// No further try. What may have been taken is unknown; what certainly never left was skipped.
    pub(crate) fn give_up(&self, job: &mut Job, code: &str) {
        if !job.is_uncertain() {
            return self.skip(job);
        }
        for message in job.open.drain(..) {
            self.ledger.unknown(message.sequence);
            self.progress.unknown(code);
        }
    }

    /// It was planned and never sent.
    pub(crate) fn skip(&self, job: &mut Job) {
        self.progress.skipped(job.open.len());
        for message in job.open.drain(..) {
            self.ledger.skipped(message.sequence);
        }
    }

    /// The time for tries is up. A job that has not begun has all its time.
    pub(crate) fn is_over(job: &Job) -> bool {
        job.begun.is_some_and(|begun| Instant::now() >= begun.until)
    }

    fn begin_first(&self, job: &mut Job) -> Begun {
        let at = self.clock.now();
        for message in &job.open {
            self.ledger.sent(&message.header(job), at);
        }
        let latest = Instant::now() + self.deadline;
        let until = self.end.get().map_or(latest, |end| latest.min(*end));
        *job.begun.insert(Begun { until, uncertain: false })
    }
}

impl<'a> Reply<'a> {
    /// Codes that leave it open whether something was done; all others say that nothing was.
    pub(crate) fn outcome_of(code: &'a str) -> Outcome<'a> {
        match code {
            "deadline_exceeded" | "internal" => Outcome::Unknown(code),
            code => Outcome::Refused(code),
        }
    }

    fn of(&self, place: usize) -> Outcome<'a> {
        match self {
            Reply::Whole(outcome) => *outcome,
            Reply::Each(outcomes) => outcomes.get(place).copied().unwrap_or(Outcome::Unknown(BAD_ANSWER)),
        }
    }
}
