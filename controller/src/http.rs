//! What alert and influx share as HTTP clients: one way to build the client, to read
//! `Retry-After` and to wait longer after each failure.

use reqwest::header::{HeaderMap, RETRY_AFTER};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::Duration;

/// A client that gives up on a request after `timeout` and follows no redirects: a token must
/// not travel to a place nobody configured.
///
/// # Errors
/// What the TLS or resolver set-up said.
pub fn client(timeout: Duration) -> Result<reqwest::Client, reqwest::Error> {
    // Fails only if a provider is installed already, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder()
        .timeout(timeout)
        .redirect(reqwest::redirect::Policy::none())
        .user_agent(concat!("headroom-controller/", env!("CARGO_PKG_VERSION")))
        .build()
}

/// The pause a server asks for, in the form of seconds (RFC 9110, section 10.2.3), at most an hour.
pub fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds: u64 = headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds.min(3600)))
}

/// The pause after the `failures`-th failure in a row: doubling from `first` to `longest`, less up
/// to a quarter by chance so that many clients do not come back together.
pub fn pause(failures: u32, first: Duration, longest: Duration) -> Duration {
    let full = first.saturating_mul(2u32.saturating_pow(failures.saturating_sub(1))).min(longest);
    let chance = RandomState::new().build_hasher().finish() as f64 / u64::MAX as f64;
    full.mul_f64(1.0 - 0.25 * chance)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pause_doubles_and_has_an_end() {
        let (first, longest) = (Duration::from_secs(1), Duration::from_secs(60));
        for (failures, seconds) in [(1, 1.0), (2, 2.0), (4, 8.0), (7, 60.0), (400, 60.0)] {
            let p = pause(failures, first, longest).as_secs_f64();
            assert!((seconds * 0.75..=seconds).contains(&p), "{failures}: {p}");
        }
    }

    #[test]
    fn only_seconds_are_taken_from_retry_after() {
        let mut headers = HeaderMap::new();
        assert_eq!(retry_after(&headers), None);
        headers.insert(RETRY_AFTER, "7".parse().unwrap());
        assert_eq!(retry_after(&headers), Some(Duration::from_secs(7)));
        headers.insert(RETRY_AFTER, "soon".parse().unwrap());
        assert_eq!(retry_after(&headers), None);
    }
}
