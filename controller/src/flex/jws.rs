//! JWS compact serialization (RFC 7515) with ES256 and RS256 (RFC 7518), the only two of DSX Flex. A key has
//! one algorithm, and a header that names another is refused: what a message says of itself decides
//! nothing (RFC 8725, 3.1). The cryptography is ring's.

use super::key::{Signer, Trusted};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;

/// Longest text taken: a target for every feed of a large site is some kilobytes.
const LONGEST: usize = 256 * 1024;

/// Why a text is not believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JwsError {
    /// It is no JWS at all.
    #[error("is no JWS in compact form: {0}")]
    Form(&'static str),
    /// Another algorithm than ES256 and RS256: none at all, or one with a shared secret.
    #[error("is signed with {0:?}; ES256 and RS256 are taken")]
    Algorithm(String),
    /// It does not say with which key.
    #[error("names no key: its header lacks \"kid\"")]
    NoKey,
    /// A key that is not configured for whom it comes from.
    #[error("is signed with key {0:?}, which is not configured for its sender")]
    UnknownKey(String),
    /// The key exists, for another algorithm.
    #[error("says {says}, but key {kid:?} is for {is}")]
    Confused {
        /// The key.
        kid: String,
        /// The header's algorithm.
        says: &'static str,
        /// The key's.
        is: &'static str,
    },
    /// It demands something of its reader that this one does not know.
    #[error("demands {0} of its reader, which is not known here")]
    Critical(String),
    /// The signature is not that of the key over this text.
    #[error("has a signature that key {0:?} did not make over it")]
    Signature(String),
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: Option<String>,
    crit: Option<serde_json::Value>,
    b64: Option<serde_json::Value>,
}

/// The payload of a text that one of `keys` has signed.
///
/// # Errors
/// [`JwsError`]; nothing of the text is to be believed then.
pub fn verify(text: &str, keys: &[Trusted]) -> Result<Vec<u8>, JwsError> {
    if text.len() > LONGEST {
        return Err(JwsError::Form("it is longer than 256 KiB"));
    }
    let parts: Vec<&str> = text.split('.').collect();
    let [header, payload, signature] = parts[..] else {
        return Err(JwsError::Form("three parts with dots between them are expected"));
    };
    let decode = |part: &str| URL_SAFE_NO_PAD.decode(part).map_err(|_| JwsError::Form("a part is not base64url"));
    let signed = &text[..header.len() + 1 + payload.len()];
    let (head, body, signature) = (decode(header)?, decode(payload)?, decode(signature)?);
    let head: Header =
        serde_json::from_slice(&head).map_err(|_| JwsError::Form("its header is no JSON with \"alg\""))?;
    let says = match head.alg.as_str() {
        "ES256" => "ES256",
        "RS256" => "RS256",
        _ => return Err(JwsError::Algorithm(head.alg)),
    };
    // RFC 7515, 4.1.11: who does not understand what is critical must refuse. RFC 7797's "b64" would
    // change what is signed.
    if let Some(what) = head.crit.or(head.b64.map(|b| serde_json::json!({ "b64": b }))) {
        return Err(JwsError::Critical(what.to_string()));
    }
    let kid = head.kid.ok_or(JwsError::NoKey)?;
    let mut named = keys.iter().filter(|k| k.kid == kid).peekable();
    if named.peek().is_none() {
        return Err(JwsError::UnknownKey(kid));
    }
    let Some(key) = named.find(|k| k.public.algorithm() == says) else {
        let is = if says == "ES256" { "RS256" } else { "ES256" };
        return Err(JwsError::Confused { kid, says, is });
    };
    match key.public.verify(signed.as_bytes(), &signature) {
        true => Ok(body),
        false => Err(JwsError::Signature(kid)),
    }
}

/// Signs a payload.
///
/// # Errors
/// When the system gives no random numbers.
pub fn sign(payload: &[u8], signer: &Signer) -> Result<String, ring::error::Unspecified> {
    let header = serde_json::json!({ "alg": signer.algorithm(), "kid": signer.kid() });
    let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(header.to_string()), URL_SAFE_NO_PAD.encode(payload));
    let signature = signer.sign(signed.as_bytes())?;
    Ok(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 7515, A.3: the ES256 example, with its key.
    const RFC_KEY: &str = r#"{"kty":"EC","crv":"P-256","kid":"rfc",
        "x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}"#;
    const RFC_TEXT: &str = "eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q";

    fn es256() -> (Signer, Vec<Trusted>) {
        let pem = super::super::key::tests::p256();
        let signer = Signer::from_pem("k", pem.as_bytes()).unwrap();
        let keys = vec![signer.trusted()];
        (signer, keys)
    }

    #[test]
    fn the_example_of_the_rfc_verifies_once_its_key_is_named() {
        let keys = super::super::key::Trusted::from_file(RFC_KEY.as_bytes(), None).unwrap();
        assert_eq!(verify(RFC_TEXT, &keys), Err(JwsError::NoKey), "its header names no key");
        let (signed, signature) = RFC_TEXT.rsplit_once('.').unwrap();
        let signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
        assert!(keys[0].public.verify(signed.as_bytes(), &signature));
    }

    #[test]
    fn what_was_signed_is_read_and_an_altered_byte_is_seen() {
        let (signer, keys) = es256();
        let text = sign(br#"{"targets":[]}"#, &signer).unwrap();
        assert_eq!(verify(&text, &keys).unwrap(), br#"{"targets":[]}"#);
        for at in 0..text.len() {
            let mut altered = text.clone().into_bytes();
            altered[at] = if altered[at] == b'A' { b'B' } else { b'A' };
            let altered = String::from_utf8(altered).unwrap();
            // The last character of a part carries bits that nobody reads; a strict decoder refuses them.
            assert!(verify(&altered, &keys).is_err(), "byte {at} of {text}");
        }
    }

    #[test]
    fn a_message_does_not_choose_its_algorithm() {
        let (signer, keys) = es256();
        let payload = URL_SAFE_NO_PAD.encode("{}");
        let with =
            |header: &str| format!("{}.{payload}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode("x"));
        let refused = |header: &str| verify(&with(header), &keys).unwrap_err();
        assert_eq!(refused(r#"{"alg":"none","kid":"k"}"#), JwsError::Algorithm("none".into()));
        // The classic: the public key taken as a shared secret.
        assert_eq!(refused(r#"{"alg":"HS256","kid":"k"}"#), JwsError::Algorithm("HS256".into()));
        let confused = JwsError::Confused { kid: "k".into(), says: "RS256", is: "ES256" };
        assert_eq!(refused(r#"{"alg":"RS256","kid":"k"}"#), confused);
        assert_eq!(refused(r#"{"alg":"ES256","kid":"other"}"#), JwsError::UnknownKey("other".into()));
        assert_eq!(refused(r#"{"alg":"ES256","kid":"k"}"#), JwsError::Signature("k".into()));
        let demanding = r#"{"alg":"ES256","kid":"k","crit":["exp"],"exp":1}"#;
        assert!(matches!(refused(demanding), JwsError::Critical(_)));
        assert!(matches!(refused(r#"{"alg":"ES256","kid":"k","b64":false}"#), JwsError::Critical(_)));
        let text = sign(b"{}", &signer).unwrap();
        let stranger = Signer::from_pem("k", super::super::key::tests::p256().as_bytes()).unwrap();
        assert_eq!(verify(&text, &[stranger.trusted()]), Err(JwsError::Signature("k".into())));
    }

    #[test]
    fn nonsense_is_refused_without_a_panic() {
        let (_, keys) = es256();
        for text in ["", ".", "..", "...", "a.b.c", "e30.e30.", "\u{e4}.\u{e4}.\u{e4}", &"A".repeat(300_000)] {
            assert!(matches!(verify(text, &keys), Err(JwsError::Form(_))), "{text:.20}");
        }
    }
}
