use std::future::Future;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use longline_pb::keeper::keeper_client::KeeperClient;
use longline_rpc::MAX_MESSAGE;
use longline_types::{Error, ErrorCode};
use tonic::transport::Channel;
use tonic::{Response, Status};

use crate::JoinError;

/// The keepers of the configuration, and which of them answered last.
pub(crate) struct Keepers {
    clients: Vec<KeeperClient<Channel>>,
    current: AtomicUsize,
}

impl Keepers {
    /// Connects to nobody yet.
    pub(crate) fn new(addresses: &[String]) -> Result<Keepers, JoinError> {
        if addresses.is_empty() {
            return Err(JoinError::NoKeepers);
        }
        let clients = addresses.iter().map(|address| client(address)).collect::<Result<_, _>>()?;
        Ok(Keepers { clients, current: AtomicUsize::new(0) })
    }

    /// Asks the keepers in turn, beginning with the one that answered last, until one answers, be it with an error. Each has
    /// `deadline`.
    pub(crate) async fn ask<R, F, Fut>(&self, deadline: Duration, call: F) -> Result<R, Error>
    where
        F: Fn(KeeperClient<Channel>) -> Fut,
        Fut: Future<Output = Result<Response<R>, Status>>,
    {
        let first = self.current.load(Ordering::Relaxed);
        let mut silence = Error::unavailable("no keeper answers");
        for offset in 0..self.clients.len() {
            let index = (first + offset) % self.clients.len();
            let answer = match tokio::time::timeout(deadline, call(self.clients[index].clone())).await {
                Ok(answer) => answer.map(Response::into_inner).map_err(longline_rpc::error),
                Err(_) => Err(Error::new(ErrorCode::DeadlineExceeded, "the keeper does not answer in time")),
            };
            match answer {
                Err(error) if is_silence(&error) => silence = error,
                answer => {
                    self.current.store(index, Ordering::Relaxed);
                    return answer;
                }
            }
        }
        Err(silence)
    }
}

/// Whether another keeper may answer where this one did not.
fn is_silence(error: &Error) -> bool {
    matches!(error.code, ErrorCode::Unavailable | ErrorCode::DeadlineExceeded)
}

fn client(address: &str) -> Result<KeeperClient<Channel>, JoinError> {
    let bad = || JoinError::BadKeeper(address.to_owned());
    let (host, port) = address.rsplit_once(':').ok_or_else(bad)?;
    if host.is_empty() || port.parse::<u16>().is_err() {
        return Err(bad());
    }
    let channel = longline_rpc::endpoint(address).map_err(|_| bad())?.connect_lazy();
    Ok(KeeperClient::new(channel).max_decoding_message_size(MAX_MESSAGE))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn addresses_are_checked() {
        assert!(matches!(Keepers::new(&[]), Err(JoinError::NoKeepers)));
        for bad in ["", "keeper", ":7000", "keeper:", "keeper:70000", "a b:1"] {
            assert!(matches!(Keepers::new(&[bad.to_owned()]), Err(JoinError::BadKeeper(_))), "{bad:?}");
        }
        assert!(Keepers::new(&["keeper:7000".to_owned(), "[::1]:7000".to_owned()]).is_ok());
    }
}
