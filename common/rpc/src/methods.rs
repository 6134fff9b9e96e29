//! The pipelined methods of the cluster.

use longline_pb::{coordinator, register, room, saver};
use longline_types::Role;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;

use crate::MAX_MESSAGE;
use crate::method::{Method, Opening};

macro_rules! methods {
    ($( $(#[$doc:meta])* $marker:ident = $name:literal $package:ident :: $client_module:ident :: $client:ident . $call:ident
        ($requests:ident of $request:ident) -> ($replies:ident of $reply:ident), $role:ident, idempotent $idempotent:literal; )*) => { $(
        $(#[$doc])*
        #[derive(Debug)]
        pub struct $marker;

        impl Method for $marker {
            type Request = $package::$request;
            type Reply = $package::$reply;
            type Requests = $package::$requests;
            type Replies = $package::$replies;

            const NAME: &'static str = $name;
            const ROLE: Role = Role::$role;
            const IDEMPOTENT: bool = $idempotent;

            fn requests(first: u64, items: Vec<Self::Request>) -> Self::Requests {
                $package::$requests { first, items }
            }
            fn split_requests(batch: Self::Requests) -> (u64, Vec<Self::Request>) {
                (batch.first, batch.items)
            }
            fn replies(numbers: Vec<u64>, items: Vec<Self::Reply>) -> Self::Replies {
                $package::$replies { numbers, items }
            }
            fn split_replies(batch: Self::Replies) -> (Vec<u64>, Vec<Self::Reply>) {
                (batch.numbers, batch.items)
            }
            fn open(channel: Channel, batches: ReceiverStream<Self::Requests>) -> Opening<Self::Replies> {
                Box::pin(async move {
                    let mut client = $package::$client_module::$client::new(channel)
                        .max_decoding_message_size(MAX_MESSAGE)
                        .max_encoding_message_size(MAX_MESSAGE);
                    Ok(client.$call(batches).await?.into_inner())
                })
            }
        }
    )* };
}

methods! {
    /// Stores messages. Idempotent by message id.
    SaverPut = "saver.put" saver::saver_client::SaverClient.put
        (PutBatch of PutRequest) -> (PutReplies of PutReply), Saver, idempotent true;
    /// Reads waiting messages.
    SaverLoad = "saver.load" saver::saver_client::SaverClient.load
        (LoadBatch of LoadRequest) -> (LoadReplies of LoadReply), Saver, idempotent true;
    /// Asks which addresses have waiting messages.
    SaverCheck = "saver.check" saver::saver_client::SaverClient.check
        (CheckBatch of CheckRequest) -> (CheckReplies of CheckReply), Saver, idempotent true;
    /// Ends messages as acknowledged.
    SaverAck = "saver.ack" saver::saver_client::SaverClient.ack
        (AckBatch of AckRequest) -> (AckReplies of AckReply), Saver, idempotent true;
    /// Stores uplinks. Idempotent by the device's sequence.
    SaverPutUplink = "saver.put_uplink" saver::saver_client::SaverClient.put_uplink
        (PutUplinkBatch of PutUplinkRequest) -> (PutUplinkReplies of PutUplinkReply), Saver, idempotent true;
    /// Binds, unbinds and asserts routes, in order.
    RegisterChange = "register.change" register::register_client::RegisterClient.change
        (ChangeBatch of ChangeRequest) -> (ChangeReplies of ChangeReply), Register, idempotent false;
    /// Finds where addresses are connected.
    RegisterLookup = "register.lookup" register::register_client::RegisterClient.lookup
        (LookupBatch of LookupRequest) -> (LookupReplies of LookupReply), Register, idempotent true;
    /// Hands messages to sessions, as hints.
    RoomDeliver = "room.deliver" room::room_client::RoomClient.deliver
        (DeliverBatch of DeliverRequest) -> (DeliverReplies of DeliverReply), Room, idempotent false;
    /// Tells rooms of routes that are not current any more.
    RoomDisplace = "room.displace" room::room_client::RoomClient.displace
        (DisplaceBatch of DisplaceRequest) -> (DisplaceReplies of DisplaceReply), Room, idempotent true;
    /// Brings data from devices to the business. Idempotent by the device's sequence.
    CoordinatorUplink = "coordinator.uplink" coordinator::coordinator_client::CoordinatorClient.uplink
        (UplinkBatch of UplinkRequest) -> (UplinkReplies of UplinkReply), Coordinator, idempotent true;
    /// Reports who came and went.
    CoordinatorPresence = "coordinator.presence" coordinator::coordinator_client::CoordinatorClient.presence
        (PresenceBatch of PresenceRequest) -> (PresenceReplies of PresenceReply), Coordinator, idempotent true;
}
