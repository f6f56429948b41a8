//! The sockets of an inner shim that has gone.

use std::fs;
use std::io;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::thread;
use std::time::Duration;

/// How often to look whether an inner shim that has ended still listens, and how long to
/// wait between.
const LISTENING: (u32, Duration) = (500, Duration::from_millis(2));

/// Removes a socket that nobody listens on.
pub(crate) fn remove_dead(socket: &Path) {
    // A process that ends closes what it has open in no order that one could count on: it
    // may listen for a moment longer than it is connected.
    for _ in 0..LISTENING.0 {
        match UnixStream::connect(socket) {
            Ok(_) => thread::sleep(LISTENING.1),
            Err(error) => {
                if error.kind() == io::ErrorKind::ConnectionRefused {
                    // Somebody else may have been quicker.
                    let _ = fs::remove_file(socket);
                }
                return;
            }
        }
    }
}
