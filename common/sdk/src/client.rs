//! The application's handles.

use std::time::Duration;

use bytes::Bytes;
use longline_types::{Address, limits};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout_at};

use crate::inputs::{Command, Handles};
use crate::uplinks::UplinkRequest;
use crate::{BindError, BindId, Builder, ClientGone, Event, Message, UplinkError};

/// One device. Clones are the same device. It lives until [`Client::close`], until its [`Events`] are dropped, or until the room
/// closes it for good.
#[derive(Clone, Debug)]
pub struct Client {
    pub(crate) handles: Handles,
}

/// What happens to the device, in order. Bounded: an application that does not take its events makes the client stop reading
/// from the room, and the room stop sending.
#[derive(Debug)]
pub struct Events {
    pub(crate) queue: mpsc::Receiver<Event>,
    pub(crate) acks: mpsc::Sender<(BindId, longline_types::MessageId)>,
    pub(crate) auto_ack: bool,
}

impl Client {
    /// Starts to describe a device by its id: 1 to 128 bytes, the same for each run of this installation.
    pub fn builder(device: impl Into<String>) -> Builder {
        Builder::new(device.into())
    }

    /// Binds one more address, now if connected and with every later connection. [`Event::Bound`] or [`Event::BindEnded`] tells
    /// what came of it. The token is empty if the product wants none.
    pub async fn bind(&self, product: u32, user: &str, token: &str) -> Result<BindId, BindError> {
        let address = Address::new(product, user)?;
        let (reply, answer) = oneshot::channel();
        let command = Command::Bind { address, token: token.to_owned(), reply };
        self.handles.commands.send(command).await.map_err(|_| ClientGone)?;
        answer.await.map_err(|_| ClientGone)?
    }

    /// Takes a bind away; false if there is none. Messages of it that are in [`Events`] already are still told.
    pub async fn unbind(&self, bind: BindId) -> Result<bool, ClientGone> {
        let (reply, answer) = oneshot::channel();
        self.handles.commands.send(Command::Unbind { bind, reply }).await.map_err(|_| ClientGone)?;
        answer.await.map_err(|_| ClientGone)
    }

    /// Says that the application has this message safe. Only needed without [`Builder::auto_ack`]; for a transient message it
    /// does nothing. Waits while very many acknowledgements are on their way.
    pub async fn ack(&self, message: &Message) -> Result<(), ClientGone> {
        if message.transient {
            return Ok(());
        }
        self.handles.acks.send((message.bind, message.id)).await.map_err(|_| ClientGone)
    }

    /// Sends data to the business and waits until it is safe in the cluster or taken, for at most `within`, over any number of
    /// connections. The payload has at most 64 KiB; `route` is the business's own number for the kind of data.
    ///
    /// # Errors
    /// After [`UplinkError::Deadline`] and [`UplinkError::Gone`] it is not known whether the data was taken.
    pub async fn uplink(
        &self,
        bind: BindId,
        route: u32,
        payload: impl Into<Bytes>,
        within: Duration,
    ) -> Result<(), UplinkError> {
        let payload = payload.into();
        if payload.len() > limits::PAYLOAD {
            return Err(UplinkError::TooLarge);
        }
        let deadline = Instant::now() + within;
        let (reply, answer) = oneshot::channel();
        let request = UplinkRequest { bind, route, payload, deadline, reply };
        let answered = async {
            self.handles.uplinks.send(request).await.map_err(|_| ClientGone)?;
            answer.await.map_err(|_| ClientGone)?
        };
        timeout_at(deadline, answered).await.unwrap_or(Err(UplinkError::Deadline))
    }

    /// Sends the acknowledgements that were made, says goodbye, and ends the client; a few seconds at most. The events end.
    pub async fn close(&self) {
        let (done, closed) = oneshot::channel();
        if self.handles.commands.send(Command::Close { done }).await.is_ok() {
            let _ = closed.await;
        }
    }
}

impl Events {
    /// The next event; none once the client has ended. Safe to cancel. With automatic acknowledgement a message is acknowledged
    /// as it is taken here.
    pub async fn recv(&mut self) -> Option<Event> {
        if !self.auto_ack {
            return self.queue.recv().await;
        }
        // The place for the acknowledgement first: once the event is taken, nothing may be waited for.
        let place = self.acks.reserve().await.ok();
        let event = self.queue.recv().await?;
        if let (Some(place), Event::Message(message)) = (place, &event)
            && !message.transient
        {
            place.send((message.bind, message.id));
        }
        Some(event)
    }
}
