//! What the application's handles send to the client's task.

use longline_types::{Address, MessageId};
use tokio::sync::{mpsc, oneshot};

use crate::uplinks::UplinkRequest;
use crate::{BindError, BindId};

/// Most acknowledgements on their way to the task.
const ACKS: usize = 1024;
/// Most commands or uplinks on their way to the task.
const CALLS: usize = 16;

/// A rare request, answered at once.
#[derive(Debug)]
pub(crate) enum Command {
    Bind { address: Address, token: String, reply: oneshot::Sender<Result<BindId, BindError>> },
    Unbind { bind: BindId, reply: oneshot::Sender<bool> },
    Close { done: oneshot::Sender<()> },
}

/// Anything that the application asks of the task.
#[derive(Debug)]
pub(crate) enum Input {
    Command(Command),
    Ack(BindId, MessageId),
    Uplink(UplinkRequest),
}

/// The ends that the handles keep.
#[derive(Clone, Debug)]
pub(crate) struct Handles {
    pub(crate) commands: mpsc::Sender<Command>,
    pub(crate) acks: mpsc::Sender<(BindId, MessageId)>,
    pub(crate) uplinks: mpsc::Sender<UplinkRequest>,
}

/// The ends that the task keeps.
#[derive(Debug)]
pub(crate) struct Inputs {
    commands: mpsc::Receiver<Command>,
    acks: mpsc::Receiver<(BindId, MessageId)>,
    uplinks: mpsc::Receiver<UplinkRequest>,
}

pub(crate) fn channel() -> (Handles, Inputs) {
    let (commands, commands_rx) = mpsc::channel(CALLS);
    let (acks, acks_rx) = mpsc::channel(ACKS);
    let (uplinks, uplinks_rx) = mpsc::channel(CALLS);
    (
        Handles { commands, acks, uplinks },
        Inputs { commands: commands_rx, acks: acks_rx, uplinks: uplinks_rx },
    )
}

impl Inputs {
    /// The next input; safe to cancel. Waits for ever where there is none, also when the application has dropped its handles.
    pub(crate) async fn next(&mut self, take_uplinks: bool) -> Input {
        tokio::select! {
            Some((bind, id)) = self.acks.recv() => Input::Ack(bind, id),
            Some(command) = self.commands.recv() => Input::Command(command),
            Some(uplink) = self.uplinks.recv(), if take_uplinks => Input::Uplink(uplink),
            else => std::future::pending().await,
        }
    }

    /// The acknowledgements that were made before now.
    pub(crate) fn waiting_acks(&mut self) -> Vec<(BindId, MessageId)> {
        std::iter::from_fn(|| self.acks.try_recv().ok()).take(ACKS).collect()
    }
}
