//! What a handshake and a record cost: `cargo run --release -p longline-noise --example costs`.

use std::hint::black_box;
use std::time::{Duration, Instant};

use longline_noise::{Initiator, NoiseError, Session, StaticKey, accept};

/// How long each figure is measured.
const TIME: Duration = Duration::from_secs(1);

fn main() -> Result<(), NoiseError> {
    let key = StaticKey::generate()?;
    let (mut initiator, message) = Initiator::new(&key.public())?;
    let Some(mut accepted) = accept(&key, &message)? else { return Err(NoiseError::BadHandshake) };
    let Some(mut device) = initiator.finish(&accepted.answer)? else { return Err(NoiseError::BadHandshake) };
    println!("{} bytes per session", size_of::<Session>());
    measure("handshake, room's side", || accept(black_box(&key), black_box(&message)).map(drop));
    measure("handshake, device's side: its message", || Initiator::new(black_box(&key.public())).map(drop));
    for size in [2, 256, 4096, 16_384] {
        let (payload, mut wire) = (vec![7; size], Vec::new());
        measure(&format!("record of {size} bytes, sealed and opened"), || {
            wire.clear();
            device.seal(&payload, &mut wire)?;
            accepted.session.open(&mut wire).map(drop)
        });
    }
    Ok(())
}

fn measure(what: &str, mut once: impl FnMut() -> Result<(), NoiseError>) {
    let (start, mut count) = (Instant::now(), 0_u32);
    while start.elapsed() < TIME {
        if let Err(error) = once() {
            return println!("{what}: {error}");
        }
        count += 1;
    }
    println!("{what}: {:.2} µs", start.elapsed().as_secs_f64() * 1e6 / f64::from(count));
}
