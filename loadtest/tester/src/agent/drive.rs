//! The stream between a controller and this agent.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};

use super::work::Work;
use crate::link::service::agent_server;
use crate::link::{Order, Report};

/// Reports that wait for the connection. A controller that takes none for so long is as good as dead.
const REPORTS_AHEAD: usize = 64;

/// Answers one controller at a time.
pub(crate) struct Agent {
    free: Arc<Semaphore>,
    stop: CancellationToken,
}

impl Agent {
    pub(crate) fn new(stop: CancellationToken) -> Agent {
        Agent { free: Arc::new(Semaphore::new(1)), stop }
    }
}

#[tonic::async_trait]
impl agent_server::Agent for Agent {
    type DriveStream = ReceiverStream<Result<Report, Status>>;

    async fn drive(&self, orders: Request<Streaming<Order>>) -> Result<Response<Self::DriveStream>, Status> {
        let busy = |_| Status::resource_exhausted("this agent works for another controller");
        let turn = Arc::clone(&self.free).try_acquire_owned().map_err(busy)?;
        let (reports, stream) = mpsc::channel(REPORTS_AHEAD);
        tokio::spawn(serve(orders.into_inner(), reports, self.stop.clone(), turn));
        Ok(Response::new(ReceiverStream::new(stream)))
    }
}

type Reports = mpsc::Sender<Result<Report, Status>>;

/// Follows the orders until the stream ends or one cannot be followed; then whatever runs is dropped.
async fn serve(
    mut orders: Streaming<Order>,
    reports: Reports,
    stop: CancellationToken,
    _turn: OwnedSemaphorePermit,
) {
    let mut work: Option<Work> = None;
    loop {
        let report = tokio::select! {
            biased;
            () = stop.cancelled() => Err("the agent was stopped".to_owned()),
            () = reports.closed() => break,
            order = orders.message() => match order {
                Ok(Some(order)) => follow(&mut work, order).await,
                Ok(None) | Err(_) => break,
            },
        };
        let last = report.is_err();
        let Some(report) = report.unwrap_or_else(|why| Some(Report::Failed(why))) else { continue };
        let found = matches!(report, Report::Findings(_));
        if reports.send(Ok(report)).await.is_err() || last {
            break;
        }
        if found && let Some(done) = work.take() {
            done.stop().await;
        }
    }
    if let Some(work) = work {
        work.stop().await;
    }
}

/// Does what is asked; what there is to answer, or why it cannot be done.
async fn follow(work: &mut Option<Work>, order: Order) -> Result<Option<Report>, String> {
    let order = match order {
        Order::Assign(assignment) => {
            if let Some(before) = work.take() {
                before.stop().await;
            }
            *work = Some(Work::start(*assignment).await.map_err(|e| format!("{e:#}"))?);
            return Ok(Some(Report::Ready));
        }
        Order::Finish => {
            let done = work.as_mut().ok_or("nothing was assigned")?;
            return Ok(Some(Report::Findings(Box::new(done.finish().await?))));
        }
        order => order,
    };
    let work = work.as_mut().ok_or("nothing was assigned")?;
    match order {
        Order::Connect { per_second } => work.connect(per_second),
        Order::Begin => work.begin(),
        Order::Measure => work.measure(),
        Order::DropAll => work.drop_all(),
        Order::Broadcast(sent) => work.broadcast(&sent),
        Order::Look => {
            return match work.failed() {
                Some(why) => Err(why.clone()),
                None => Ok(Some(Report::Sample(Box::new(work.sample())))),
            };
        }
        Order::Settle => work.settle(),
        Order::Assign(_) | Order::Finish => {}
    }
    Ok(None)
}
