//! What all services have in common, so that the binary can treat them alike.

use std::net::SocketAddr;
use std::time::Duration;

use longline_boot::Deps;
use longline_config::NodeConfig;
use longline_types::Role;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio_util::sync::CancellationToken;

/// A service whose sockets are open.
pub(crate) trait Service: Send + Sized + 'static {
    /// What it does.
    const ROLE: Role;
    /// Its configuration.
    type Config: Default + DeserializeOwned + Serialize + 'static;

    /// What every node has.
    fn node(config: &Self::Config) -> &NodeConfig;
    /// How long its ordered stop may take beyond `node.shutdown_s`.
    fn departure(config: &Self::Config) -> Duration;
    /// How far the threads of the runtime stand behind those that it starts itself.
    fn runtime_nice(config: &Self::Config) -> u8;
    /// Opens its sockets.
    fn bind(config: Self::Config, deps: Deps) -> impl Future<Output = anyhow::Result<Self>>;
    /// Where gRPC listens.
    fn rpc(&self) -> SocketAddr;
    /// Where devices or HTTP clients connect.
    fn public(&self) -> Vec<SocketAddr>;
    /// Serves until `shutdown`.
    fn run(self, shutdown: CancellationToken) -> impl Future<Output = anyhow::Result<()>> + Send;
}

macro_rules! service {
    ($role:ident, $library:ident) => {
        service!($role, $library, |_| Duration::ZERO, |_| 0);
    };
    ($role:ident, $library:ident, $departure:expr, $runtime_nice:expr) => {
        impl Service for $library::Bound {
            const ROLE: Role = Role::$role;
            type Config = $library::Config;

            fn node(config: &Self::Config) -> &NodeConfig {
                &config.node
            }

            fn departure(config: &Self::Config) -> Duration {
                let departure: fn(&Self::Config) -> Duration = $departure;
                departure(config)
            }

            fn runtime_nice(config: &Self::Config) -> u8 {
                let runtime_nice: fn(&Self::Config) -> u8 = $runtime_nice;
                runtime_nice(config)
            }

            async fn bind(config: Self::Config, deps: Deps) -> anyhow::Result<Self> {
                $library::bind(config, deps).await
            }

            fn rpc(&self) -> SocketAddr {
                $library::Bound::rpc(self)
            }

            fn public(&self) -> Vec<SocketAddr> {
                $library::Bound::public(self)
            }

            fn run(self, shutdown: CancellationToken) -> impl Future<Output = anyhow::Result<()>> + Send {
                $library::Bound::run(self, shutdown)
            }
        }
    };
}

service!(Keeper, longline_keeper);
service!(Saver, longline_saver);
service!(Register, longline_register);
service!(Coordinator, longline_coordinator);
service!(Room, longline_room, |config| config.drain.deadline(), |config| config.runtime_nice);
service!(Center, longline_center);
service!(Dispatcher, longline_dispatcher);
