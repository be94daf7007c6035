//! A server at some distance: every message is delayed.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use anyhow::Result;

/// A proxy in front of a server on this machine. Its threads end with the connections that they serve.
pub(super) struct Far {
    pub(super) port: u16,
}

impl Far {
    /// Holds up each direction for half of `round_trip`.
    pub(super) fn start(server: u16, round_trip: Duration) -> Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0))?;
        let port = listener.local_addr()?.port();
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                // A peer that is not served notices that by itself.
                let _ = serve(&client, server, round_trip / 2);
            }
        });
        Ok(Self { port })
    }
}

fn serve(client: &TcpStream, server: u16, delay: Duration) -> Result<()> {
    let server = TcpStream::connect(("127.0.0.1", server))?;
    for (from, to) in [(client, &server), (&server, client)] {
        from.set_nodelay(true)?;
        let (mut from, to) = (from.try_clone()?, to.try_clone()?);
        let (sender, pieces) = channel();
        std::thread::spawn(move || deliver(&pieces, to));
        std::thread::spawn(move || {
            let mut buffer = vec![0; 64 * 1024];
            while let Ok(read @ 1..) = from.read(&mut buffer) {
                if sender.send((Instant::now() + delay, buffer[..read].to_vec())).is_err() {
                    break;
                }
            }
        });
    }
    Ok(())
}

/// Writes each piece when its time has come.
fn deliver(pieces: &Receiver<(Instant, Vec<u8>)>, mut to: TcpStream) {
    for (due, piece) in pieces {
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        if to.write_all(&piece).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Write);
}
