//! A connection to a room, over any transport, up to where the frames begin.

use std::io;
use std::time::Duration;

use longline_noise::{HANDSHAKE_LEN, Initiator, PREFACE};
use longline_pb::client;
use longline_websocket::{ClientKey, PATH, decode_response, encode_request};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::Disconnect;
use crate::layer::{Layer, Layered};
use crate::overheard::{FirstBytes, Overheard};
use crate::transport::{Target, Transport};
use crate::trust::Trust;

/// What anybody on the way can say makes a device wait no longer than this.
const LONGEST_IN_THE_CLEAR: Duration = Duration::from_secs(300);

/// A stream of frames in both directions.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

/// A connection that is open.
pub(crate) struct Link {
    pub(crate) stream: Box<dyn Stream>,
    /// The preface is to be sent; in Noise it was, before the handshake.
    pub(crate) wants_preface: bool,
}

/// Why there is no connection.
#[derive(Debug)]
pub(crate) struct NoLink {
    pub(crate) reason: Disconnect,
    /// The wait that the room has named.
    pub(crate) retry_after: Option<Duration>,
}

impl From<Disconnect> for NoLink {
    fn from(reason: Disconnect) -> NoLink {
        NoLink { reason, retry_after: None }
    }
}

impl From<client::Close> for NoLink {
    /// A room has turned the connection away.
    fn from(client::Close { reason, detail, retry_after_ms }: client::Close) -> NoLink {
        let wait = Duration::from_millis(retry_after_ms.into()).min(LONGEST_IN_THE_CLEAR);
        NoLink { reason: Disconnect::ByRoom { reason, detail }, retry_after: Some(wait) }
    }
}

/// Connects and shakes hands as the endpoint's transport wants it, all of it within `limit`.
pub(crate) async fn connect(
    endpoint: String,
    usual: Transport,
    trust: Trust,
    limit: Duration,
) -> Result<Link, NoLink> {
    let first = FirstBytes::default();
    let linked = timeout(limit, open(&endpoint, usual, &trust, first.clone()));
    let failure = match linked.await {
        Ok(Ok(link)) => return Ok(link),
        Ok(Err(reason)) => reason,
        Err(_) => Disconnect::ConnectTimeout,
    };
    Err(first.refusal().map_or_else(|| failure.into(), NoLink::from))
}

async fn open(
    endpoint: &str,
    usual: Transport,
    trust: &Trust,
    first: FirstBytes,
) -> Result<Link, Disconnect> {
    let target = Target::parse(endpoint, usual).map_err(|error| failed("", error))?;
    let socket = TcpStream::connect(target.address).await.map_err(|error| failed("", error))?;
    socket.set_nodelay(true).map_err(|error| failed("", error))?;
    if target.transport == Transport::Tcp {
        return Ok(Link { stream: Box::new(socket), wants_preface: true });
    }
    let socket = Overheard::new(socket, first);
    if target.transport.is_tls() {
        let name = trust.name_of(&target).map_err(|error| failed("TLS: ", error))?;
        let tls = trust.tls(target.transport).map_err(|error| failed("TLS: ", error))?;
        let stream = tls.connect(name, socket).await.map_err(|error| failed("TLS: ", error))?;
        inside(Box::new(stream), &target, trust).await
    } else {
        inside(Box::new(socket), &target, trust).await
    }
}

async fn inside(stream: Box<dyn Stream>, target: &Target<'_>, trust: &Trust) -> Result<Link, Disconnect> {
    if target.transport.is_websocket() {
        let stream = upgrade(stream, target.address).await.map_err(|error| failed("WebSocket: ", error))?;
        return Ok(Link { stream: Box::new(stream), wants_preface: true });
    }
    if target.transport == Transport::Noise {
        let stream = noise(stream, trust).await.map_err(|error| failed("Noise: ", error))?;
        return Ok(Link { stream: Box::new(stream), wants_preface: false });
    }
    Ok(Link { stream, wants_preface: true })
}

async fn upgrade(mut stream: Box<dyn Stream>, host: &str) -> io::Result<Layered<Box<dyn Stream>>> {
    let (key, mut request) = (ClientKey::new(rand::random()), Vec::new());
    encode_request(host, PATH, &key, &mut request).map_err(io::Error::other)?;
    stream.write_all(&request).await?;
    stream.flush().await?;
    let mut answer = Vec::new();
    loop {
        if stream.read_buf(&mut answer).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if let Some(used) = decode_response(&answer, &key).map_err(io::Error::other)? {
            return Layered::new(stream, Layer::websocket(), answer.split_off(used));
        }
    }
}

async fn noise(mut stream: Box<dyn Stream>, trust: &Trust) -> io::Result<Layered<Box<dyn Stream>>> {
    let key =
        trust.noise_key.ok_or_else(|| io::Error::other("the room's public key is not known; give one"))?;
    let (mut initiator, message) = Initiator::new(&key).map_err(io::Error::other)?;
    stream.write_all(&[&PREFACE[..], &message].concat()).await?;
    stream.flush().await?;
    let mut answer = [0; HANDSHAKE_LEN];
    stream.read_exact(&mut answer).await.map_err(|error| match error.kind() {
        io::ErrorKind::UnexpectedEof => io::Error::other("the room hung up: it may have another key"),
        _ => error,
    })?;
    let session = initiator.finish(&answer).map_err(io::Error::other)?;
    let session = session.ok_or(io::ErrorKind::UnexpectedEof)?;
    Layered::new(stream, Layer::noise(session), Vec::new())
}

/// Why there is no connection, with the part of it that failed.
fn failed(what: &str, error: impl std::fmt::Display) -> Disconnect {
    Disconnect::Io(format!("{what}{error}"))
}
