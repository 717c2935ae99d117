//! Eclipse Mosquitto, the broker most sites have.

use crate::parts::until;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// A running Mosquitto, killed when dropped.
#[derive(Debug)]
pub struct Mosquitto(Child);

impl Mosquitto {
    /// Starts it with this config in `dir`; `LISTENER` in the text becomes a free port of 127.0.0.1,
    /// whose address is the second thing returned.
    ///
    /// # Panics
    /// When it refuses the config or is not there.
    pub fn start(dir: &Path, text: &str) -> (Self, String) {
        let port = TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a free port").port();
        let config = dir.join("mosquitto.conf");
        // Under another user it could not read the test's files.
        std::fs::write(&config, text.replace("LISTENER", &format!("listener {port} 127.0.0.1\nuser root")))
            .expect("a file");
        let log = std::fs::File::create(dir.join("mosquitto.log")).expect("a log");
        let child = Command::new("mosquitto")
            .arg("-c")
            .arg(&config)
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a log"))
            .stderr(log)
            .spawn()
            .unwrap_or_else(|why| panic!("mosquitto: {why}; install mosquitto or run ./tests/run"));
        let mut broker = Self(child);
        let address = format!("127.0.0.1:{port}");
        until("mosquitto", || {
            let ended = broker.0.try_wait().ok().flatten();
            let log = || std::fs::read_to_string(dir.join("mosquitto.log")).unwrap_or_default();
            assert!(ended.is_none(), "mosquitto refuses the config:\n{}", log());
            std::net::TcpStream::connect(&address).ok()
        });
        (broker, address)
    }
}

impl Mosquitto {
    /// Its process id.
    pub fn id(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for Mosquitto {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
