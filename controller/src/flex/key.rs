//! Keys as they lie in files: public ones of partners as PEM or JWK (RFC 7517), our own private one as
//! PKCS#8 PEM. Which algorithm a key is for is decided here, once.

use super::der::{self, PublicKey};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair, RSA_PKCS1_2048_8192_SHA256,
    RSA_PKCS1_SHA256, RsaKeyPair, RsaPublicKeyComponents, UnparsedPublicKey,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{PrivatePkcs8KeyDer, SubjectPublicKeyInfoDer};
use serde_json::Value;

/// RFC 7518, 3.3: "a key of size 2048 bits or larger MUST be used".
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;

/// What is wrong with a key file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct KeyError(String);

fn wrong(text: impl Into<String>) -> KeyError {
    KeyError(text.into())
}

/// A public key, for one algorithm.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Public {
    /// ES256: a point of P-256, uncompressed.
    P256(Vec<u8>),
    /// RS256.
    Rsa {
        /// Modulus, big-endian.
        n: Vec<u8>,
        /// Exponent.
        e: Vec<u8>,
    },
}

impl Public {
    /// The name of its algorithm.
    pub fn algorithm(&self) -> &'static str {
        match self {
            Self::P256(_) => "ES256",
            Self::Rsa { .. } => "RS256",
        }
    }

    /// Whether the key's owner signed this.
    pub fn verify(&self, message: &[u8], signature: &[u8]) -> bool {
        match self {
            Self::P256(point) => {
                UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).verify(message, signature).is_ok()
            }
            Self::Rsa { n, e } => {
                RsaPublicKeyComponents { n, e }.verify(&RSA_PKCS1_2048_8192_SHA256, message, signature).is_ok()
            }
        }
    }

    fn point(point: Vec<u8>) -> Result<Self, KeyError> {
        match point.first() {
            Some(4) if point.len() == 65 => Ok(Self::P256(point)),
            _ => Err(wrong("its point is not an uncompressed one of P-256")),
        }
    }

    fn rsa(n: &[u8], e: &[u8]) -> Result<Self, KeyError> {
        let n: Vec<u8> = n.iter().copied().skip_while(|b| *b == 0).collect();
        let bits = n.len() * 8 - n.first().map_or(0, |b| b.leading_zeros() as usize);
        if !RSA_BITS.contains(&bits) {
            return Err(wrong(format!("an RSA key of {bits} bits; 2048 to 8192 are taken")));
        }
        Ok(Self::Rsa { n, e: e.to_vec() })
    }
}

/// A public key with its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trusted {
    /// What a header calls it.
    pub kid: String,
    /// The key.
    pub public: Public,
}

impl Trusted {
    /// The keys in a file: one PEM public key, which `kid` names, or a JWK or JWK set, whose keys name
    /// themselves unless `kid` does.
    ///
    /// # Errors
    /// What is wrong with it and what would be right.
    pub fn from_file(text: &[u8], kid: Option<&str>) -> Result<Vec<Self>, KeyError> {
        if text.trim_ascii_start().starts_with(b"{") {
            return from_json(text, kid);
        }
        if text.windows(17).any(|w| w == b"BEGIN CERTIFICATE") {
            return Err(wrong("it is a certificate; take its key out: openssl x509 -in FILE -noout -pubkey"));
        }
        let der = SubjectPublicKeyInfoDer::from_pem_slice(text)
            .map_err(|_| wrong("it holds neither a PEM \"PUBLIC KEY\" nor a JWK"))?;
        let public = match der::public_key(&der) {
            Some(PublicKey::P256(point)) => Public::point(point.to_vec())?,
            Some(PublicKey::Rsa(key)) => {
                let (n, e) = der::rsa_parts(key).ok_or_else(|| wrong("its RSA key cannot be read"))?;
                Public::rsa(n, e)?
            }
            None => return Err(wrong("its key is neither EC P-256 (ES256) nor RSA (RS256)")),
        };
        let kid = kid.ok_or_else(|| wrong("a PEM key has no name: add kid = \"...\""))?;
        Ok(vec![Self { kid: kid.to_owned(), public }])
    }
}

fn from_json(text: &[u8], kid: Option<&str>) -> Result<Vec<Trusted>, KeyError> {
    let json: Value = serde_json::from_slice(text).map_err(|why| wrong(format!("it is no JSON: {why}")))?;
    let one = [json.clone()];
    let keys = json["keys"].as_array().map_or(&one[..], Vec::as_slice);
    if keys.is_empty() {
        return Err(wrong("its key set is empty"));
    }
    if keys.len() > 1 && kid.is_some() {
        return Err(wrong("one name for several keys: leave kid out, they name themselves"));
    }
    keys.iter().map(|key| jwk(key, kid)).collect()
}

fn jwk(key: &Value, kid: Option<&str>) -> Result<Trusted, KeyError> {
    let text = |name: &str| key[name].as_str();
    let bytes = |name: &str| {
        let decoded = text(name).and_then(|t| URL_SAFE_NO_PAD.decode(t).ok());
        decoded.ok_or_else(|| wrong(format!("{name:?} of its JWK is missing or no base64url")))
    };
    let public = match (text("kty"), text("crv")) {
        (Some("EC"), Some("P-256")) => Public::point([vec![4], bytes("x")?, bytes("y")?].concat())?,
        (Some("RSA"), _) => Public::rsa(&bytes("n")?, &bytes("e")?)?,
        (kty, crv) => {
            let found = [kty, crv].into_iter().flatten().collect::<Vec<_>>().join(" ");
            return Err(wrong(format!("its JWK is of type {found:?}; EC P-256 and RSA are taken")));
        }
    };
    if key["d"].is_string() {
        return Err(wrong("it holds a private key: ask the partner for the public one, and for a new pair"));
    }
    if let Some(alg) = text("alg").filter(|alg| *alg != public.algorithm()) {
        return Err(wrong(format!("its JWK is for {alg}; ES256 and RS256 are taken")));
    }
    if text("use").is_some_and(|u| u != "sig") {
        return Err(wrong("its JWK is not for signatures: \"use\" is not \"sig\""));
    }
    let kid = kid.or(text("kid")).ok_or_else(|| wrong("its JWK has no \"kid\": add kid = \"...\""))?;
    Ok(Trusted { kid: kid.to_owned(), public })
}

enum Pair {
    P256(EcdsaKeyPair),
    Rsa(RsaKeyPair),
}

/// Our own key. Never printed.
pub struct Signer {
    kid: String,
    pair: Pair,
    random: SystemRandom,
}

impl Signer {
    /// From a PKCS#8 PEM file.
    ///
    /// # Errors
    /// What is wrong with it and what would be right.
    pub fn from_pem(kid: &str, pem: &[u8]) -> Result<Self, KeyError> {
        let random = SystemRandom::new();
        let Ok(der) = PrivatePkcs8KeyDer::from_pem_slice(pem) else {
            let remedy = "make one of another form so: openssl pkcs8 -topk8 -nocrypt -in OLD -out NEW";
            return Err(wrong(format!("it holds no PKCS#8 \"PRIVATE KEY\"; {remedy}")));
        };
        let der = der.secret_pkcs8_der();
        let pair = match EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, der, &random) {
            Ok(pair) => Pair::P256(pair),
            Err(ec) => match RsaKeyPair::from_pkcs8(der) {
                Ok(pair) => Pair::Rsa(pair),
                Err(rsa) => {
                    return Err(wrong(format!(
                        "it is no key for ES256 (EC P-256: {ec}) and none for RS256 (RSA: {rsa})"
                    )));
                }
            },
        };
        Ok(Self { kid: kid.to_owned(), pair, random })
    }

    /// What our headers call it.
    pub fn kid(&self) -> &str {
        &self.kid
    }

    /// The name of its algorithm.
    pub fn algorithm(&self) -> &'static str {
        match self.pair {
            Pair::P256(_) => "ES256",
            Pair::Rsa(_) => "RS256",
        }
    }

    /// A signature over `message`.
    ///
    /// # Errors
    /// When the system gives no random numbers.
    pub fn sign(&self, message: &[u8]) -> Result<Vec<u8>, ring::error::Unspecified> {
        match &self.pair {
            Pair::P256(pair) => Ok(pair.sign(&self.random, message)?.as_ref().to_vec()),
            Pair::Rsa(pair) => {
                let mut signature = vec![0; pair.public().modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &self.random, message, &mut signature)?;
                Ok(signature)
            }
        }
    }

    /// What others need to verify us.
    pub fn trusted(&self) -> Trusted {
        let public = match &self.pair {
            Pair::P256(pair) => Public::P256(pair.public_key().as_ref().to_vec()),
            Pair::Rsa(pair) => {
                let parts = RsaPublicKeyComponents::<Vec<u8>>::from(pair.public_key());
                Public::Rsa { n: parts.n, e: parts.e }
            }
        };
        Trusted { kid: self.kid.clone(), public }
    }
}

impl std::fmt::Debug for Signer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Signer({}, {}, ..)", self.kid, self.algorithm())
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use base64::engine::general_purpose::STANDARD;

    /// A fresh P-256 key as PKCS#8 PEM.
    pub fn p256() -> String {
        let der = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new()).unwrap();
        format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", STANDARD.encode(der))
    }

    fn refused(text: &str, kid: Option<&str>) -> String {
        Trusted::from_file(text.as_bytes(), kid).unwrap_err().to_string()
    }

    #[test]
    fn a_jwk_says_itself_what_it_is_for() {
        let signer = Signer::from_pem("k", p256().as_bytes()).unwrap();
        let Public::P256(point) = signer.trusted().public else { panic!("not P-256") };
        let (x, y) = (URL_SAFE_NO_PAD.encode(&point[1..33]), URL_SAFE_NO_PAD.encode(&point[33..]));
        let jwk = |more: &str| format!(r#"{{"kty":"EC","crv":"P-256","x":"{x}","y":"{y}"{more}}}"#);
        let named = Trusted::from_file(jwk(r#","kid":"a""#).as_bytes(), None).unwrap();
        assert_eq!(named, [Trusted { kid: "a".into(), ..signer.trusted() }]);
        let set = format!(r#"{{"keys":[{},{}]}}"#, jwk(r#","kid":"a""#), jwk(r#","kid":"b","use":"sig""#));
        assert_eq!(Trusted::from_file(set.as_bytes(), None).unwrap().len(), 2);
        assert!(refused(&set, Some("k")).contains("one name for several"));
        assert!(refused(&jwk(""), None).contains("add kid"));
        assert!(refused(&jwk(r#","kid":"a","alg":"ES384""#), None).contains("ES384"));
        assert!(refused(&jwk(r#","kid":"a","use":"enc""#), None).contains("not for signatures"));
        assert!(refused(&jwk(r#","kid":"a","d":"AA""#), None).contains("private"));
    }

    #[test]
    fn each_unusable_file_is_told_what_would_be_right() {
        assert!(refused("hello", Some("k")).contains("neither a PEM"));
        assert!(refused("{", Some("k")).contains("no JSON"));
        assert!(refused(r#"{"keys":[]}"#, None).contains("empty"));
        assert!(refused(r#"{"kty":"oct","k":"AA","kid":"k"}"#, None).contains("\"oct\""));
        assert!(refused("-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n", None).contains("-pubkey"));
        let short = format!(r#"{{"kty":"RSA","kid":"k","n":"{}","e":"AQAB"}}"#, URL_SAFE_NO_PAD.encode([0xff; 128]));
        assert!(refused(&short, None).contains("1024 bits"));
        let sec1 = "-----BEGIN EC PRIVATE KEY-----\nAA==\n-----END EC PRIVATE KEY-----\n";
        assert!(Signer::from_pem("k", sec1.as_bytes()).unwrap_err().to_string().contains("openssl pkcs8"));
    }
}
