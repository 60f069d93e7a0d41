//! The server's TLS certificate, loaded from files and reloaded.
//!
//! To renew it, replace the files and send SIGHUP. Invariant: there is always a
//! valid certificate; an unusable one is refused, and the previous one stays in
//! use. Open connections keep their certificate.
//! Deliberately absent: client certificates, and HTTP/2.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::pki_types::pem::{self, PemObject};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{self, ServerConfig, crypto, version};

#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    #[error("cannot read {what} in {}", path.display())]
    Read {
        what: &'static str,
        path: PathBuf,
        #[source]
        source: pem::Error,
    },
    #[error("there is no certificate in {}", path.display())]
    None { path: PathBuf },
    #[error("the certificate in {} and the key in {} cannot be used", cert.display(), key.display())]
    Unusable {
        cert: PathBuf,
        key: PathBuf,
        #[source]
        source: rustls::Error,
    },
}

/// A certificate with its chain and its key, as they are in their files.
pub struct Certificate {
    cert: PathBuf,
    key: PathBuf,
    current: ArcSwap<ServerConfig>,
}

impl Certificate {
    pub fn load(cert: &Path, key: &Path) -> Result<Certificate, CertificateError> {
        let current = ArcSwap::from_pointee(read(cert, key)?);
        Ok(Certificate { cert: cert.to_owned(), key: key.to_owned(), current })
    }

    /// Reads the files again, for connections from now on.
    pub fn reload(&self) -> Result<(), CertificateError> {
        self.current.store(Arc::new(read(&self.cert, &self.key)?));
        Ok(())
    }

    pub(super) fn acceptor(&self) -> TlsAcceptor {
        self.current.load_full().into()
    }
}

fn read(cert: &Path, key: &Path) -> Result<ServerConfig, CertificateError> {
    let unread = |what, path: &Path| {
        let path = path.to_owned();
        move |source| CertificateError::Read { what, path, source }
    };
    let chain: Result<Vec<_>, _> =
        CertificateDer::pem_file_iter(cert).map_err(unread("the certificate", cert))?.collect();
    let chain = chain.map_err(unread("the certificate", cert))?;
    if chain.is_empty() {
        return Err(CertificateError::None { path: cert.to_owned() });
    }
    let secret = PrivateKeyDer::from_pem_file(key).map_err(unread("the key", key))?;
    // The same implementation that commands use as clients; named, since
    // nothing here is chosen by what else is linked.
    let mut config = ServerConfig::builder_with_provider(Arc::new(crypto::ring::default_provider()))
        .with_protocol_versions(&[&version::TLS13, &version::TLS12])
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, secret))
        .map_err(|source| CertificateError::Unusable { cert: cert.to_owned(), key: key.to_owned(), source })?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}
