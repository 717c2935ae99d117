//! TLS of agents and controller: Modbus/TCP Security and MQTT. Certificates are read when the config is,
//! so that `check` finds what is wrong with them. TLS 1.2 and 1.3 only, as the MODBUS/TCP Security
//! Protocol Specification v21 (5.2, R-08) demands. What a config calls its keys is the programs' own.

mod mqtt;

pub use mqtt::{BrokerTls, LARGEST_PACKET, session};

use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use std::cmp::Ordering;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What makes a certificate or key unusable.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The file cannot be read.
    #[error("{} cannot be read: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// The file holds nothing of what it should hold.
    #[error("{} holds no {what} in PEM form: {source}", path.display())]
    NotPem {
        /// The file.
        path: PathBuf,
        /// Certificate or key.
        what: &'static str,
        /// What was found.
        source: pem::Error,
    },
    /// The certificates and the key do not make a client.
    #[error("{} cannot be used: {source}", path.display())]
    Unfit {
        /// The file.
        path: PathBuf,
        /// What rustls says.
        source: rustls::Error,
    },
}

impl TlsError {
    /// The file that is of no use.
    pub fn path(&self) -> &Path {
        match self {
            Self::Unreadable { path, .. } | Self::NotPem { path, .. } | Self::Unfit { path, .. } => path,
        }
    }
}

/// Whether a certificate can carry this name: a host name or an IP address.
pub fn is_server_name(text: &str) -> bool {
    ServerName::try_from(text).is_ok()
}

/// Whom to trust and who we are. Two are equal when their files held the same.
#[derive(Clone)]
pub struct Tls {
    files: Vec<Vec<u8>>,
    client: Arc<ClientConfig>,
}

impl Tls {
    /// Trusts the certificates in `authority` alone; `identity` is our certificate chain and its key.
    ///
    /// # Errors
    /// The first file that is of no use.
    pub fn load(authority: &Path, identity: Option<(&Path, &Path)>) -> Result<Self, TlsError> {
        let mut files = vec![read(authority)?];
        let mut roots = RootCertStore::empty();
        for certificate in certificates(authority, &files[0])? {
            let unfit = |source| TlsError::Unfit { path: authority.to_owned(), source };
            roots.add(certificate).map_err(unfit)?;
        }
        let builder = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|source| TlsError::Unfit { path: authority.to_owned(), source })?
            .with_root_certificates(roots);
        let client = match identity {
            None => builder.with_no_client_auth(),
            Some((chain_path, key_path)) => {
                let (chain, key) = (read(chain_path)?, read(key_path)?);
                let certificates = certificates(chain_path, &chain)?;
                let secret = PrivateKeyDer::from_pem_slice(&key).map_err(|source| TlsError::NotPem {
                    path: key_path.to_owned(),
                    what: "private key",
                    source,
                })?;
                files.extend([chain, key]);
                let unfit = |source| TlsError::Unfit { path: key_path.to_owned(), source };
                builder.with_client_auth_cert(certificates, secret).map_err(unfit)?
            }
        };
        Ok(Self { files, client: Arc::new(client) })
    }

    /// For a connection.
    pub fn client(&self) -> Arc<ClientConfig> {
        self.client.clone()
    }
}

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    std::fs::read(path).map_err(|source| TlsError::Unreadable { path: path.to_owned(), source })
}

fn certificates(path: &Path, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let not_pem = |source| TlsError::NotPem { path: path.to_owned(), what: "certificate", source };
    let found: Vec<_> = CertificateDer::pem_slice_iter(pem).collect::<Result<_, _>>().map_err(not_pem)?;
    if found.is_empty() { Err(not_pem(pem::Error::NoItemsFound)) } else { Ok(found) }
}

// What rustls made of the files cannot be compared; the files can.
impl Ord for Tls {
    fn cmp(&self, other: &Self) -> Ordering {
        self.files.cmp(&other.files)
    }
}

impl PartialOrd for Tls {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Eq for Tls {}

impl PartialEq for Tls {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // One of the files is a secret.
        f.write_str("Tls")
    }
}
