//! A connection and the exchange of one request and its answer. It is driven by whoever uses it, not by a task of its own, so
//! that an answer wakes one task instead of two.

use std::io;
use std::pin::{Pin, pin};
use std::time::Duration;

use http::Request;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::body::{Unread, Whole, read};
use super::reply::Head;

/// For a connection to be there.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// Longest answer that is read, in bytes: a thousand users with ids and errors are a quarter of this.
const LONGEST_ANSWER: usize = 1024 * 1024;

/// An open connection to a center.
pub(crate) struct Connection {
    sending: http1::SendRequest<Whole>,
    /// None once it has ended.
    driving: Option<Driving>,
}

type Driving = Pin<Box<http1::Connection<TokioIo<TcpStream>, Whole>>>;

/// Why there is no answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Broken {
    /// Nothing of the request has left.
    NotSent,
    /// It may have arrived.
    NoAnswer,
    /// An answer began that cannot be used.
    BadAnswer,
}

impl Connection {
    /// Connects to host:port.
    pub(crate) async fn open(address: &str) -> io::Result<Connection> {
        let connecting = tokio::time::timeout(CONNECT_TIMEOUT, TcpStream::connect(address));
        let socket = connecting.await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
        socket.set_nodelay(true)?;
        let (sending, driving) = http1::handshake(TokioIo::new(socket)).await.map_err(io::Error::other)?;
        Ok(Connection { sending, driving: Some(Box::pin(driving)) })
    }

    /// Until the other side closes it. To be waited for while nothing is under way.
    pub(crate) async fn closed(&mut self) {
        if let Some(driving) = &mut self.driving {
            // Whether it ended well or in an error, it is of no use.
            let _ = driving.await;
            self.driving = None;
        }
    }

    /// Sends the request and reads the answer's body into `body`. After an error the connection is not to be used again.
    pub(crate) async fn exchange(
        &mut self,
        request: Request<Whole>,
        body: &mut Vec<u8>,
    ) -> Result<Head, Broken> {
        let Connection { sending, driving } = self;
        drive(driving, sending.ready()).await.map_err(|_| Broken::NotSent)?;
        let response = drive(driving, sending.send_request(request)).await;
        let response = response.map_err(|e| match e {
            e if e.is_canceled() => Broken::NotSent,
            e if e.is_parse() => Broken::BadAnswer,
            _ => Broken::NoAnswer,
        })?;
        let head = Head::of(&response);
        match drive(driving, read(response.into_body(), LONGEST_ANSWER, body)).await {
            Ok(()) => Ok(head),
            Err(Unread::Broken) => Err(Broken::NoAnswer),
            Err(Unread::TooLong) => Err(Broken::BadAnswer),
        }
    }
}

/// Does the work while the connection does its own. What the connection had received when it ended is still there.
async fn drive<T>(driving: &mut Option<Driving>, work: impl Future<Output = T>) -> T {
    let mut work = pin!(work);
    if let Some(connection) = driving {
        tokio::select! {
            biased;
            done = &mut work => return done,
            _ = connection => {}
        }
        *driving = None;
    }
    work.await
}
