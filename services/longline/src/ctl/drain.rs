//! `longline ctl drain` and `undrain`: a room is emptied, and takes sessions again.

use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use longline_pb::keeper::view_event::What;
use longline_pb::keeper::{ViewEvent, WatchViewRequest};
use longline_room::drain_key;
use longline_types::{Load, Node, NodeState, Role, View};
use tokio::time::timeout;
use tonic::Streaming;

use super::config::Keeper;

/// The keeper tells loads every second.
const SILENCE: Duration = Duration::from_secs(10);
/// How long a room may take to say that it has heard of an order.
const HEARD: Duration = Duration::from_secs(20);

#[derive(clap::Args)]
pub(crate) struct Args {
    /// The room: its name, its number, or an address of it, as GET /v1/admin/nodes shows them
    room: String,
    /// The keeper's gRPC, host:port
    #[arg(long, value_name = "ADDR", env = "LONGLINE_KEEPER", default_value = "127.0.0.1:7700")]
    keeper: String,
}

#[derive(clap::Args)]
pub(crate) struct DrainArgs {
    #[command(flatten)]
    common: Args,
    /// Also if no other room takes sessions: its users are then without a connection
    #[arg(long)]
    force: bool,
    /// Do not wait until the room is empty
    #[arg(long)]
    no_wait: bool,
}

/// Has the room emptied. It stays up, empty, until it is stopped or this is called off.
pub(crate) async fn drain(args: DrainArgs) -> anyhow::Result<()> {
    let keeper = Keeper::new(&args.common.keeper)?;
    let mut views = Views::open(&keeper).await?;
    let room = find(&views.view, &args.common.room)?.clone();
    let others = views.view.ready(Role::Room).filter(|other| other.number != room.number).count();
    ensure!(
        others > 0 || args.force,
        "{} is the only room that takes sessions: its users had nowhere to go. Start another, or say --force",
        room.name
    );
    forget_the_gone(&keeper, &views.view).await?;
    keeper.write(drain_key(room.incarnation), Some(room.name.clone().into_bytes()), None).await?;
    views.until(&room, NodeState::Draining).await?;
    println!("{} takes no more sessions", room.name);
    if args.no_wait { Ok(()) } else { views.until_empty(&room).await }
}

/// Calls it off.
pub(crate) async fn undrain(args: Args) -> anyhow::Result<()> {
    let keeper = Keeper::new(&args.keeper)?;
    let mut views = Views::open(&keeper).await?;
    let room = find(&views.view, &args.room)?.clone();
    let mut found = false;
    // Also one that was given before the room had to join anew.
    for entry in keeper.list(longline_room::DRAIN_PREFIX).await? {
        if entry.key == drain_key(room.incarnation) || entry.value == room.name.as_bytes() {
            keeper.write(entry.key, None, Some(entry.revision)).await?;
            found = true;
        }
    }
    ensure!(found, "nobody has said that {} is to be drained", room.name);
    views.until(&room, NodeState::Ready).await?;
    println!("{} takes sessions again", room.name);
    Ok(())
}

/// Deletes orders for rooms that are gone.
async fn forget_the_gone(keeper: &Keeper, view: &View) -> anyhow::Result<()> {
    for entry in keeper.list(longline_room::DRAIN_PREFIX).await? {
        let lives =
            |room: &Node| room.name.as_bytes() == entry.value || drain_key(room.incarnation) == entry.key;
        if !view.live(Role::Room).any(lives) {
            keeper.write(entry.key, None, Some(entry.revision)).await?;
        }
    }
    Ok(())
}

/// The one room that is meant.
fn find<'a>(view: &'a View, word: &str) -> anyhow::Result<&'a Node> {
    let is_meant = |node: &&Node| {
        node.name == word
            || word.parse() == Ok(node.number)
            || node.rpc == word
            || node.public.iter().any(|public| public == word)
    };
    let found: Vec<&Node> = view.nodes().filter(is_meant).collect();
    match found[..] {
        [node] if node.role == Role::Room => Ok(node),
        [node] => bail!("{} is a {}: only rooms are drained", node.name, node.role),
        [] => {
            let mut names: Vec<&str> = view.live(Role::Room).map(|room| room.name.as_str()).collect();
            names.sort_unstable();
            bail!("there is no room `{word}`; there are: {}", names.join(", "))
        }
        _ => bail!("`{word}` means {} nodes: say the number of the one you mean", found.len()),
    }
}

/// The room as it is now.
fn now<'a>(view: &'a View, room: &Node) -> anyhow::Result<&'a Node> {
    view.node(room.number)
        .filter(|node| node.incarnation == room.incarnation)
        .with_context(|| format!("{} has left the cluster", room.name))
}

/// The view and its changes.
struct Views {
    view: View,
    events: Streaming<ViewEvent>,
}

impl Views {
    async fn open(keeper: &Keeper) -> anyhow::Result<Views> {
        let mut client = keeper.client();
        let events = keeper.answer(client.watch_view(WatchViewRequest {})).await?.into_inner();
        let mut views = Views { view: View::default(), events };
        while views.view.number == 0 {
            views.next().await?;
        }
        Ok(views)
    }

    /// Waits for the next view or the next loads.
    async fn next(&mut self) -> anyhow::Result<()> {
        let event = timeout(SILENCE, self.events.message()).await.context("the keeper has fallen silent")?;
        match event?.context("the keeper has ended the watch")?.what {
            Some(What::View(view)) => self.view = view.into(),
            Some(What::Loads(loads)) => {
                for report in loads.loads {
                    if let Some(node) = self.view.node_mut(report.number) {
                        node.load = report.load.map_or_else(Load::default, Load::from);
                    }
                }
            }
            None => {}
        }
        Ok(())
    }

    /// Waits until the room has no sessions, and tells how many are left.
    async fn until_empty(&mut self, room: &Node) -> anyhow::Result<()> {
        loop {
            let sessions = now(&self.view, room)?.load.sessions;
            if sessions == 0 {
                println!("{} is empty", room.name);
                return Ok(());
            }
            println!("{} has {sessions} sessions left", room.name);
            self.next().await?;
        }
    }

    /// Waits until the room is in this state.
    async fn until(&mut self, room: &Node, state: NodeState) -> anyhow::Result<()> {
        let heard = async {
            while now(&self.view, room)?.state != state {
                self.next().await?;
            }
            anyhow::Ok(())
        };
        timeout(HEARD, heard).await.with_context(|| format!("{} does not react", room.name))?
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(number: u32, role: Role, name: &str) -> Node {
        Node {
            number,
            incarnation: u64::from(number),
            role,
            name: name.into(),
            idc: "default".into(),
            rpc: format!("10.0.0.{number}:7704"),
            public: vec![format!("10.0.0.{number}:9000")],
            noise_key: String::new(),
            state: NodeState::Ready,
            load: Load::default(),
            registered_at_ms: 0,
            version: String::new(),
        }
    }

    #[test]
    fn a_room_is_found_by_name_number_or_address_and_nothing_else_is_drained() {
        let nodes = [
            node(1, Role::Room, "room-1"),
            node(2, Role::Room, "twin"),
            node(3, Role::Room, "twin"),
            node(4, Role::Saver, "saver-1"),
        ];
        let view = View::new(1, nodes, Vec::new());
        for word in ["room-1", "1", "10.0.0.1:7704", "10.0.0.1:9000"] {
            assert_eq!(find(&view, word).unwrap().number, 1, "{word}");
        }
        let refused = |word| find(&view, word).unwrap_err().to_string();
        assert!(refused("twin").contains("number"), "{}", refused("twin"));
        assert!(refused("saver-1").contains("only rooms"), "{}", refused("saver-1"));
        assert!(refused("room-9").contains("room-1, twin, twin"), "{}", refused("room-9"));
    }
}
