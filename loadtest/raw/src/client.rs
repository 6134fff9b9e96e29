//! The client of the injection port.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::{BufMut as _, Bytes, BytesMut};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::timeout;

use crate::injection::{BATCH, LENGTH, Order, PREFACE, REPORT, take_whole};
use crate::{Delivery, InjectError, Report};

/// To connect.
const CONNECT: Duration = Duration::from_secs(5);
/// In which the server takes not a single byte.
const STALL: Duration = Duration::from_secs(60);
/// Bytes that are not written yet.
const UNWRITTEN: usize = 1024 * 1024;
/// Batches that are not written yet.
const QUEUE: usize = 1024;
/// Batches that leave together.
const TOGETHER: usize = 64;
const READ: usize = 64 * 1024;

type Queued = (BytesMut, OwnedSemaphorePermit);

/// Hands messages to a server. Dropping it ends the connection, and with it the [`Acks`]; what was sent is written first.
#[derive(Debug)]
pub struct Injector {
    queue: mpsc::Sender<Queued>,
    space: Arc<Semaphore>,
    failure: Arc<OnceLock<String>>,
}

/// What became of the messages. To be read all the time: the server takes no more deliveries from an injector that does not.
#[derive(Debug)]
pub struct Acks {
    socket: OwnedReadHalf,
    input: BytesMut,
}

impl Injector {
    /// Connects to a server's injection port. To be called within a tokio runtime.
    ///
    /// # Errors
    /// If there is no connection within 5 seconds.
    pub async fn connect(address: SocketAddr) -> Result<(Injector, Acks), InjectError> {
        let connected = timeout(CONNECT, TcpStream::connect(address)).await;
        let socket = connected.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
        socket.set_nodelay(true)?;
        let (reading, writing) = socket.into_split();
        let (queue, queued) = mpsc::channel(QUEUE);
        let failure = Arc::new(OnceLock::new());
        tokio::spawn(write_on(writing, queued, Arc::clone(&failure)));
        let space = Arc::new(Semaphore::new(UNWRITTEN));
        Ok((Injector { queue, space, failure }, Acks { socket: reading, input: BytesMut::new() }))
    }

    /// Tells what the users are called (user N is `<prefix>-<N>`), and whether all that is sent to them is transient. To be called
    /// first, if at all.
    ///
    /// # Errors
    /// If the prefix is longer than 100 bytes, or the connection has ended.
    pub async fn users(&self, prefix: &str, transient: bool) -> Result<(), InjectError> {
        for batch in batches([Order::Users { prefix: prefix.to_owned(), transient }])? {
            self.enqueue(batch).await?;
        }
        Ok(())
    }

    /// Sends messages, in their order; those that fit into a batch of 256 KiB travel and are handled together. Waits while more
    /// than 1 MiB is not written. Given up halfway, it has sent the first batches or none.
    ///
    /// # Errors
    /// If a payload is too long (nothing is sent then), or the connection has ended.
    pub async fn send(&self, deliveries: &[Delivery]) -> Result<(), InjectError> {
        let orders = deliveries.iter().map(|delivery| Order::Deliver(delivery.clone()));
        for batch in batches(orders)? {
            self.enqueue(batch).await?;
        }
        Ok(())
    }

    /// Sends a message to every session.
    ///
    /// # Errors
    /// As [`Injector::send`].
    pub async fn broadcast(&self, id: u64, payload: &Bytes) -> Result<(), InjectError> {
        for batch in batches([Order::Broadcast { id, payload: payload.clone() }])? {
            self.enqueue(batch).await?;
        }
        Ok(())
    }

    async fn enqueue(&self, batch: BytesMut) -> Result<(), InjectError> {
        let permit = Arc::clone(&self.space).acquire_many_owned(batch.len() as u32).await;
        let permit = permit.map_err(|_| self.ended())?;
        self.queue.send((batch, permit)).await.map_err(|_| self.ended())
    }

    fn ended(&self) -> InjectError {
        InjectError::Ended(self.failure.get().map_or_else(String::new, |why| format!(": {why}")))
    }
}

impl Acks {
    /// The next reports, as many as have come; none when the connection has ended. It may be given up and called again.
    ///
    /// # Errors
    /// If the connection failed or what came is not the protocol.
    pub async fn next(&mut self) -> Result<Option<Report>, InjectError> {
        loop {
            let mut report = Report::default();
            while let Some(body) = take_whole(&mut self.input, REPORT)? {
                report.add(&body)?;
            }
            if report != Report::default() {
                return Ok(Some(report));
            }
            self.input.reserve(READ);
            if self.socket.read_buf(&mut self.input).await? == 0 {
                return Ok(None);
            }
        }
    }
}

/// The orders in as few batches as they fit into.
fn batches(orders: impl IntoIterator<Item = Order>) -> Result<Vec<BytesMut>, InjectError> {
    let mut batches: Vec<BytesMut> = Vec::new();
    for order in orders {
        let length = order.wire_len()?;
        let batch = match batches.last_mut() {
            Some(last) if last.len() + length <= LENGTH + BATCH => last,
            _ => {
                let mut batch = BytesMut::new();
                batch.put_u32_le(0);
                batches.push(batch);
                batches.last_mut().expect("it was put there above")
            }
        };
        order.put(batch);
    }
    for batch in &mut batches {
        let length = (batch.len() - LENGTH) as u32;
        batch[..LENGTH].copy_from_slice(&length.to_le_bytes());
    }
    Ok(batches)
}

/// Writes what is queued until the injector is gone or the connection has failed.
async fn write_on(
    mut socket: OwnedWriteHalf,
    mut queue: mpsc::Receiver<Queued>,
    failure: Arc<OnceLock<String>>,
) {
    if let Err(error) = write_all(&mut socket, &mut queue).await {
        // It is the only one that says why.
        let _ = failure.set(error.to_string());
    }
}

async fn write_all(socket: &mut OwnedWriteHalf, queue: &mut mpsc::Receiver<Queued>) -> io::Result<()> {
    let mut bytes = BytesMut::from(&PREFACE[..]);
    let mut batches = Vec::with_capacity(TOGETHER);
    loop {
        while !bytes.is_empty() {
            let write = timeout(STALL, socket.write_buf(&mut bytes)).await;
            let stalled = |_| io::Error::new(io::ErrorKind::TimedOut, "it takes nothing any more");
            if write.map_err(stalled)?? == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
        }
        // Their permits come back here.
        batches.clear();
        if queue.recv_many(&mut batches, TOGETHER).await == 0 {
            return Ok(());
        }
        batches.iter().for_each(|(batch, _)| bytes.extend_from_slice(batch));
    }
}
