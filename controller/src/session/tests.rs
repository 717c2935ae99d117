//! The connection against a broker made by hand, which sends what it is told to each connection.

use super::*;
use crate::stop;
use headroom_tls::LARGEST_PACKET;
use rumqttc::MqttOptions;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

struct Nobody;

impl Listener for Nobody {
    fn connected(&mut self) {}
    fn heard(&mut self, _: &str, _: &Publish) {}
    fn lost(&mut self, _: &ConnectionError, _: u32) {}
    fn goodbye(&mut self) -> bool {
        false
    }
}

/// Whether CONNECT asks for a clean session; accepts it, and answers with `more`.
async fn accept(stream: &mut TcpStream, more: &[u8]) -> Option<bool> {
    let mut head = [0; 10];
    stream.read_exact(&mut head).await.ok()?;
    stream.write_all(&[0x20, 2, 0, 0]).await.ok()?;
    stream.write_all(more).await.ok()?;
    // Fixed header, length, "MQTT", level, flags (MQTT 3.1.1, 3.1.2.3).
    Some(head[9] & 2 != 0)
}

#[tokio::test]
async fn a_message_that_cannot_be_received_is_forgotten_and_the_next_try_waits_longer() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (tell, mut told) = mpsc::channel(64);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let tell = tell.clone();
            tokio::spawn(async move {
                // A PUBLISH of 255 MiB begins.
                if let Some(clean) = accept(&mut stream, &[0x32, 0xff, 0xff, 0xff, 0x7f, 0, 1, b'x']).await {
                    tell.send((clean, Instant::now())).await.unwrap();
                }
                let _ = stream.read_to_end(&mut Vec::new()).await;
            });
        }
    });
    let mut options = MqttOptions::new("test", ("127.0.0.1", port));
    options.set_clean_session(false).set_max_packet_size(LARGEST_PACKET, LARGEST_PACKET);
    let (client, eventloop) = AsyncClient::builder(options).capacity(8).build();
    let (stopper, stopped) = stop::channel();
    let kept = tokio::spawn(keep(client, eventloop, Nobody, stopped));
    let mut seen: Vec<(bool, Instant)> = Vec::new();
    let fourth_try = async {
        while seen.iter().filter(|(clean, _)| !clean).count() < 4 {
            seen.push(told.recv().await.unwrap());
        }
    };
    tokio::time::timeout(Duration::from_secs(60), fourth_try).await.expect("a fourth try");
    stopper.stop();
    kept.await.unwrap();
    let first: Vec<bool> = seen[..3].iter().map(|(clean, _)| *clean).collect();
    assert_eq!(first, [false, true, false], "kept, then forgotten, then kept again");
    let tries: Vec<Instant> = seen.iter().filter(|(clean, _)| !clean).map(|(_, at)| *at).collect();
    for (failures, pair) in (1..).zip(tries.windows(2)) {
        // Each pause is twice the one before, less up to a quarter by chance.
        let (least, paused) = (FIRST_PAUSE * 2_u32.pow(failures - 1) * 3 / 4, pair[1] - pair[0]);
        assert!(paused >= least, "after failure {failures} it waits {paused:?}, not {least:?}");
    }
}
