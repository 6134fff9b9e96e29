//! What a message costs the sender: unicasts over HTTP to a server that does nothing, each on a thread of its own.
//!
//! `cargo run --release -p longline-load-traffic --example traffic_cost`

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::Response;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use longline_load_traffic::{Api, Pace, Progress, Traffic, Unicasts, Via, unicasts};
use longline_load_truth::{Clock, Graces, Ledger, LedgerOptions};
use rustix::time::{ClockId, clock_gettime};
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};
use tokio_util::sync::CancellationToken;

const SECONDS: u64 = 3;
const USERS: std::ops::Range<u32> = 0..20_000;

fn main() -> std::io::Result<()> {
    let address = serve()?;
    for (connections, window) in [(16, 16), (64, 64), (256, 256)] {
        measure(address, connections, window)?;
    }
    Ok(())
}

fn measure(address: SocketAddr, connections: usize, window: usize) -> std::io::Result<()> {
    let clock = Clock::new();
    let options = LedgerOptions { run: 1, agent: 1, users: USERS, clock, graces: Graces::default() };
    let (ledger, progress) = (Arc::new(Ledger::new(options)), Arc::<Progress>::default());
    // A transient message leaves the window when it is accepted: nobody receives anything here.
    let load = Unicasts {
        payload: vec![(256, 1.0)],
        transient: true,
        connections,
        ..Unicasts::new(Pace::Closed { window }, Via::Http)
    };
    let api = Api { centers: vec![format!("http://{address}")], key: "ll_1_key".to_owned(), injector: None };
    let traffic = Traffic {
        load,
        api,
        users: USERS,
        prefix: "cost".to_owned(),
        ledger: Arc::clone(&ledger),
        clock,
        seed: 1,
    };
    let stop = CancellationToken::new();
    let (began, cpu) = (Instant::now(), cpu_of_thread());
    runtime()?.block_on(async {
        let stopping = stop.clone();
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_secs(SECONDS)).await;
            stopping.cancel();
        });
        unicasts(traffic, Arc::clone(&progress), stop).await.map_err(std::io::Error::other)
    })?;
    let (wall, cpu) = (began.elapsed().as_secs_f64(), (cpu_of_thread() - cpu).as_secs_f64());
    let accepted = ledger.counts().accepted as f64;
    println!(
        "{connections:>4} connections: {:>7.0} accepted/s, {:.2} us of CPU each: {:>7.0} a second and core",
        accepted / wall,
        cpu * 1e6 / accepted,
        accepted / cpu,
    );
    Ok(())
}

fn cpu_of_thread() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

fn runtime() -> std::io::Result<Runtime> {
    Builder::new_current_thread().enable_all().build()
}

/// A server that accepts everything under the same id.
fn serve() -> std::io::Result<SocketAddr> {
    let runtime = runtime()?;
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0"))?;
    let address = listener.local_addr()?;
    std::thread::spawn(move || {
        runtime.block_on(async {
            while let Ok((stream, _)) = listener.accept().await {
                let _ = stream.set_nodelay(true);
                tokio::spawn(
                    http1::Builder::new().serve_connection(TokioIo::new(stream), service_fn(accept)),
                );
            }
        });
    });
    Ok(address)
}

async fn accept(request: http::Request<Incoming>) -> Result<Response<Answer>, Infallible> {
    let mut body = std::pin::pin!(request.into_body());
    while futures::future::poll_fn(|cx| body.as_mut().poll_frame(cx)).await.is_some() {}
    let answer = Bytes::from_static(br#"{"messages":[{"user":"cost-1234","id":"250211106803712001"}]}"#);
    let mut response = Response::new(Answer(Some(answer)));
    *response.status_mut() = http::StatusCode::ACCEPTED;
    Ok(response)
}

struct Answer(Option<Bytes>);

impl Body for Answer {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        std::task::Poll::Ready(self.0.take().map(|bytes| Ok(Frame::data(bytes))))
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.0.as_ref().map_or(0, |bytes| bytes.len() as u64))
    }
}
