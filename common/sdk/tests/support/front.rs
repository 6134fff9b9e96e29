//! What stands before a room that speaks plain TCP, and speaks another transport to the device.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use longline_noise::{HANDSHAKE_LEN, PublicKey, Session, StaticKey, accept};
use longline_sdk::Transport;
use longline_websocket::{Control, Decoder, PATH, Side, decode_request, encode_data, encode_ping};
use longline_wire::{PREFACE, PREFACE_LEN};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;

/// What goes to the device is cut in pieces of this length.
const PIECE: usize = 100;

pub(crate) struct Front {
    /// With the transport's name.
    pub(crate) endpoint: String,
    pub(crate) noise_key: PublicKey,
    /// What the device said in WebSocket's control frames.
    pub(crate) controls: mpsc::UnboundedReceiver<Control>,
    folder: TempDir,
}

/// How bytes are wrapped.
enum Wrap {
    Not,
    WebSocket(Decoder),
    Noise(Session),
}

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

impl Front {
    /// Before the room at this address.
    pub(crate) async fn new(transport: Transport, room: &str) -> Front {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = listener.local_addr().expect("an address").port();
        let folder = tempfile::tempdir().expect("a folder");
        let tls = tls(&folder);
        let key = Arc::new(StaticKey::generate().expect("a key"));
        let noise_key = key.public();
        let (heard, controls) = mpsc::unbounded_channel();
        let room = room.to_owned();
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let (tls, key, room, heard) = (tls.clone(), Arc::clone(&key), room.clone(), heard.clone());
                tokio::spawn(async move {
                    let stream: Box<dyn Stream> = match transport {
                        Transport::Tls | Transport::Wss => Box::new(tls.accept(socket).await?),
                        _ => Box::new(socket),
                    };
                    serve(stream, transport, &key, &room, heard).await
                });
            }
        });
        Front { endpoint: format!("{transport}://localhost:{port}"), noise_key, controls, folder }
    }

    /// With the certificate that the front shows.
    pub(crate) fn ca_file(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }
}

/// Shows a new certificate for `localhost`.
fn tls(folder: &TempDir) -> TlsAcceptor {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).expect("a certificate");
    std::fs::write(folder.path().join("ca.pem"), made.cert.pem()).expect("a file");
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).expect("a key");
    let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .expect("a certificate with its key");
    TlsAcceptor::from(Arc::new(config))
}

async fn serve(
    mut device: Box<dyn Stream>,
    transport: Transport,
    key: &StaticKey,
    room: &str,
    heard: mpsc::UnboundedSender<Control>,
) -> io::Result<()> {
    let mut room = TcpStream::connect(room).await?;
    let (mut wrap, first) = match transport {
        Transport::Ws | Transport::Wss => upgrade(&mut device).await?,
        Transport::Noise => {
            let mut message = [0; PREFACE_LEN + HANDSHAKE_LEN];
            device.read_exact(&mut message).await?;
            assert_eq!(message[..PREFACE_LEN], longline_noise::PREFACE);
            let accepted = accept(key, &message[PREFACE_LEN..]).map_err(io::Error::other)?;
            let accepted = accepted.expect("a whole message");
            device.write_all(&accepted.answer).await?;
            room.write_all(&PREFACE).await?;
            (Wrap::Noise(accepted.session), Vec::new())
        }
        _ => (Wrap::Not, Vec::new()),
    };
    let (mut from_device, mut from_room) = (first, Vec::new());
    loop {
        open(&mut wrap, &mut from_device, &mut room, &heard).await?;
        tokio::select! {
            count = device.read_buf(&mut from_device) => {
                if count? == 0 {
                    room.shutdown().await?;
                    return tokio::io::copy(&mut room, &mut device).await.map(drop);
                }
            }
            count = room.read_buf(&mut from_room) => {
                if count? == 0 {
                    return device.shutdown().await;
                }
                let mut wire = Vec::new();
                match &mut wrap {
                    Wrap::Not => wire.append(&mut from_room),
                    Wrap::WebSocket(_) => encode_data(&from_room, None, &mut wire),
                    Wrap::Noise(session) => session.seal(&from_room, &mut wire).map_err(io::Error::other)?,
                }
                from_room.clear();
                for piece in wire.chunks(PIECE) {
                    device.write_all(piece).await?;
                    device.flush().await?;
                }
            }
        }
    }
}

/// Gives the room what the device has said.
async fn open(
    wrap: &mut Wrap,
    bytes: &mut Vec<u8>,
    room: &mut TcpStream,
    heard: &mpsc::UnboundedSender<Control>,
) -> io::Result<()> {
    let (payload, used) = match wrap {
        Wrap::Not => (bytes.len(), bytes.len()),
        Wrap::WebSocket(decoder) => {
            // The test may not listen.
            let payload = decoder.decode(bytes, |control| heard.send(control).unwrap_or_default());
            (payload.map_err(io::Error::other)?, bytes.len())
        }
        Wrap::Noise(session) => {
            let opened = session.open(bytes).map_err(io::Error::other)?;
            (opened.payload, opened.used)
        }
    };
    room.write_all(&bytes[..payload]).await?;
    bytes.drain(..used);
    Ok(())
}

/// Answers the request, and asks for a sign of life together with the answer.
async fn upgrade(device: &mut Box<dyn Stream>) -> io::Result<(Wrap, Vec<u8>)> {
    let mut request = Vec::new();
    loop {
        device.read_buf(&mut request).await?;
        if let Some((upgrade, used)) = decode_request(&request, PATH).map_err(io::Error::other)? {
            let mut answer = Vec::new();
            upgrade.encode(&mut answer);
            encode_ping(b"there?", None, &mut answer);
            device.write_all(&answer).await?;
            device.flush().await?;
            return Ok((Wrap::WebSocket(Decoder::new(Side::Client)), request.split_off(used)));
        }
    }
}
