//! Who may command, where the console's API does more than show. The console has no users, so: whoever has the
//! token (`token_env`); without a token, whoever is on this machine. A page in an operator's
//! browser is neither, whatever site it came from.

use crate::influx::Token;
use std::net::{IpAddr, SocketAddr};

/// Why not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// A token is configured and another or none was sent.
    #[error("send the token of token_env as `authorization: Bearer TOKEN`")]
    Token,
    /// No token is configured and the request came from elsewhere.
    #[error("only from this machine; set token_env in [serve] to allow it from others")]
    Elsewhere,
    /// A browser can send this without asking its user.
    #[error("send `content-type: application/json`")]
    Form,
}

/// The headers that matter.
#[derive(Debug, Clone, Copy, Default)]
pub struct Headers<'a> {
    /// `host`
    pub host: Option<&'a str>,
    /// `content-type`
    pub content_type: Option<&'a str>,
    /// `authorization`
    pub authorization: Option<&'a str>,
    /// Whether a proxy handed it on (`forwarded`, `x-forwarded-for`, `via`).
    pub forwarded: bool,
}

/// Whether a request may command.
///
/// # Errors
/// [`Denied`].
pub fn may_command(peer: SocketAddr, headers: Headers<'_>, token: Option<&Token>) -> Result<(), Denied> {
    // Forms and other "simple requests" of a foreign page cannot carry this type; with it the browser
    // asks us first, and we do not answer such questions.
    let content_type = headers.content_type.and_then(|t| t.split(';').next()).map(str::trim);
    if content_type != Some("application/json") {
        return Err(Denied::Form);
    }
    match token {
        Some(token) => {
            let sent = headers.authorization.and_then(|a| a.strip_prefix("Bearer ")).unwrap_or_default();
            if token.is(sent) { Ok(()) } else { Err(Denied::Token) }
        }
        // A name that merely resolves to this machine is how a foreign page would get around the
        // browser's rules (DNS rebinding); a proxy on this machine speaks for others.
        None if peer.ip().to_canonical().is_loopback() && !headers.forwarded && headers.host.is_some_and(is_here) => {
            Ok(())
        }
        None => Err(Denied::Elsewhere),
    }
}

/// Whether a `host` header names this machine by address or as `localhost`.
fn is_here(host: &str) -> bool {
    let name = match host.parse::<SocketAddr>() {
        Ok(address) => return address.ip().to_canonical().is_loopback(),
        Err(_) => host.rsplit_once(':').map_or(host, |(name, _)| name),
    };
    name == "localhost" || name.trim_matches(['[', ']']).parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    const JSON: Headers<'_> = Headers {
        host: Some("127.0.0.1:7878"),
        content_type: Some("application/json"),
        authorization: None,
        forwarded: false,
    };

    fn here() -> SocketAddr {
        "127.0.0.1:5000".parse().unwrap()
    }

    fn there() -> SocketAddr {
        "192.0.2.7:5000".parse().unwrap()
    }

    #[test]
    fn without_a_token_only_this_machine_itself_may() {
        assert_eq!(may_command(here(), JSON, None), Ok(()));
        for host in ["localhost", "localhost:7878", "[::1]:7878", "127.0.0.1"] {
            assert_eq!(may_command(here(), Headers { host: Some(host), ..JSON }, None), Ok(()), "{host}");
        }
        assert_eq!(may_command(there(), JSON, None), Err(Denied::Elsewhere));
        assert_eq!(may_command(here(), Headers { forwarded: true, ..JSON }, None), Err(Denied::Elsewhere));
        for host in [Some("evil.example"), Some("localhost.evil.example:7878"), Some("192.0.2.1:7878"), None] {
            assert_eq!(may_command(here(), Headers { host, ..JSON }, None), Err(Denied::Elsewhere), "{host:?}");
        }
    }

    #[test]
    fn a_page_in_a_browser_cannot_post_a_form_here() {
        for content_type in [None, Some("text/plain"), Some("application/x-www-form-urlencoded")] {
            assert_eq!(may_command(here(), Headers { content_type, ..JSON }, None), Err(Denied::Form));
        }
        assert_eq!(
            may_command(here(), Headers { content_type: Some("application/json; charset=utf-8"), ..JSON }, None),
            Ok(())
        );
    }

    #[test]
    fn with_a_token_only_whoever_has_it_may_from_wherever() {
        let token = Token::new("s3cret");
        let with =
            |authorization| may_command(there(), Headers { authorization, host: Some("site:1"), ..JSON }, Some(&token));
        assert_eq!(with(Some("Bearer s3cret")), Ok(()));
        for wrong in [None, Some("Bearer "), Some("Bearer s3cre"), Some("Bearer s3crets"), Some("s3cret")] {
            assert_eq!(with(wrong), Err(Denied::Token));
        }
        assert_eq!(may_command(here(), JSON, Some(&token)), Err(Denied::Token));
    }
}
