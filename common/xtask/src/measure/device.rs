//! A device that is as small as it can be: connects, binds one user, acknowledges everything.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context as _, bail};
use longline_pb::client::{Ack, Bind, BindResult, Bound, Close, Hello, Welcome};
use longline_wire::{FrameType, Limits, PREFACE, decode, encode};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// What all devices count together.
#[derive(Default)]
pub(crate) struct Counts {
    /// Messages that came.
    pub(crate) received: AtomicU64,
}

/// For the room to answer HELLO.
const HELLO_DEADLINE: Duration = Duration::from_secs(60);

/// Connects and binds; what comes then is acknowledged by the future that is returned, until the connection ends.
pub(crate) async fn connect(
    room: &str,
    product: u32,
    user: String,
    counts: Arc<Counts>,
) -> anyhow::Result<impl Future<Output = ()> + Send + 'static> {
    let mut socket = TcpStream::connect(room).await.with_context(|| format!("cannot connect to {room}"))?;
    socket.set_nodelay(true)?;
    let mut out = PREFACE.to_vec();
    encode(&hello(product, &user), &mut out)?;
    socket.write_all(&out).await?;
    let mut input = Vec::with_capacity(512);
    tokio::time::timeout(HELLO_DEADLINE, bound(&mut socket, &mut input))
        .await
        .context("the room did not answer HELLO in time")??;
    Ok(async move {
        if let Err(error) = acknowledge(socket, input, &counts).await {
            eprintln!("{user} lost its connection: {error:#}");
        }
    })
}

fn hello(product: u32, user: &str) -> Hello {
    Hello {
        device: format!("measure-{user}"),
        connection_counter: 1,
        sdk: "measure".to_owned(),
        binds: vec![Bind { index: 0, product, user: user.to_owned(), ..Bind::default() }],
        ..Hello::default()
    }
}

/// Reads until the bind stands.
async fn bound(socket: &mut TcpStream, input: &mut Vec<u8>) -> anyhow::Result<()> {
    loop {
        let mut used = 0;
        while let Some((frame, length)) = decode(&input[used..], &Limits::FROM_ROOM)? {
            let decided: Vec<Bound> = match frame.kind {
                FrameType::Welcome => frame.parse::<Welcome>()?.binds,
                FrameType::Bound => vec![frame.parse::<Bound>()?],
                FrameType::Close => bail!("closed: {:?}", frame.parse::<Close>()?),
                _ => Vec::new(),
            };
            if let Some(bound) = decided.first() {
                if bound.result() != BindResult::Ok {
                    bail!("not bound: {bound:?}");
                }
                input.drain(..used + length);
                return Ok(());
            }
            used += length;
        }
        input.drain(..used);
        read(socket, input).await?;
    }
}

/// Acknowledges what came together together.
async fn acknowledge(mut socket: TcpStream, mut input: Vec<u8>, counts: &Counts) -> anyhow::Result<()> {
    let mut out = Vec::new();
    loop {
        let (mut used, mut ids) = (0, Vec::new());
        while let Some((frame, length)) = decode(&input[used..], &Limits::FROM_ROOM)? {
            match frame.kind {
                FrameType::Push => ids.push(frame.parse_push()?.1.id),
                FrameType::Close => bail!("closed: {:?}", frame.parse::<Close>()?),
                _ => {}
            }
            used += length;
        }
        input.drain(..used);
        if input.is_empty() && input.capacity() > 512 {
            input = Vec::new();
        }
        if !ids.is_empty() {
            counts.received.fetch_add(ids.len() as u64, Ordering::Relaxed);
            out.clear();
            encode(&Ack { index: 0, ids }, &mut out)?;
            socket.write_all(&out).await?;
        }
        read(&mut socket, &mut input).await?;
    }
}

async fn read(socket: &mut TcpStream, input: &mut Vec<u8>) -> anyhow::Result<()> {
    if socket.read_buf(input).await? == 0 {
        bail!("the room closed the connection");
    }
    Ok(())
}
