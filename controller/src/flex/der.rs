//! As much of DER (ITU-T X.690) as a public key file needs: SubjectPublicKeyInfo (RFC 5280, 4.1) and
//! RSAPublicKey (RFC 8017, A.1.1). Anything else is refused.

/// 1.2.840.10045.2.1, an elliptic curve key.
const EC: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];
/// 1.2.840.10045.3.1.7, the curve P-256.
const P256: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
/// 1.2.840.113549.1.1.1, an RSA key.
const RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];
const SEQUENCE: u8 = 0x30;
const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
const OID: u8 = 0x06;

/// What a SubjectPublicKeyInfo holds.
#[derive(Debug, PartialEq, Eq)]
pub enum PublicKey<'a> {
    /// A point of P-256, uncompressed.
    P256(&'a [u8]),
    /// An RSAPublicKey.
    Rsa(&'a [u8]),
}

/// Reads a SubjectPublicKeyInfo; `None` if it is none, or of another algorithm.
pub fn public_key(der: &[u8]) -> Option<PublicKey<'_>> {
    let (info, rest) = value(der, SEQUENCE)?;
    let (algorithm, info) = value(info, SEQUENCE)?;
    let (bits, end) = value(info, BIT_STRING)?;
    let (oid, parameters) = value(algorithm, OID)?;
    // A bit string begins with the number of unused bits.
    let key = bits.strip_prefix(&[0])?;
    if !(rest.is_empty() && end.is_empty()) {
        return None;
    }
    match oid {
        EC if value(parameters, OID)?.0 == P256 => Some(PublicKey::P256(key)),
        RSA => Some(PublicKey::Rsa(key)),
        _ => None,
    }
}

/// Modulus and exponent of an RSAPublicKey.
pub fn rsa_parts(der: &[u8]) -> Option<(&[u8], &[u8])> {
    let (parts, rest) = value(der, SEQUENCE)?;
    let (modulus, parts) = value(parts, INTEGER)?;
    let (exponent, end) = value(parts, INTEGER)?;
    let positive = |bytes: &'_ [u8]| bytes.first() == Some(&0);
    let trim = |bytes| if positive(bytes) { &bytes[1..] } else { bytes };
    (rest.is_empty() && end.is_empty()).then(|| (trim(modulus), trim(exponent)))
}

/// The value of the first element, which has this tag, and what follows it.
fn value(bytes: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (found, rest) = bytes.split_first()?;
    let (first, rest) = rest.split_first()?;
    let (length, rest) = match first {
        0..=0x7f => (usize::from(*first), rest),
        0x81 | 0x82 => {
            let (length, rest) = rest.split_at_checked(usize::from(first & 0x0f))?;
            (length.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte)), rest)
        }
        _ => return None,
    };
    (*found == tag).then(|| rest.split_at_checked(length)).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_key_is_none_and_nothing_panics() {
        for length in 0..40 {
            for byte in [0x30, 0x02, 0x81, 0xff] {
                assert_eq!(public_key(&vec![byte; length]), None);
                assert_eq!(rsa_parts(&vec![byte; length]), None);
            }
        }
        assert_eq!(rsa_parts(&[0x30, 7, 2, 2, 0, 0x81, 2, 1, 3]), Some((&[0x81][..], &[3][..])));
    }
}
