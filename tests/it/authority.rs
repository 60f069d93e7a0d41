//! A certificate authority of the test's own, and certificates for 127.0.0.1
//! in files, as a server reads them.

use std::path::{Path, PathBuf};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};

pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    folder: tempfile::TempDir,
}

impl Authority {
    pub fn new() -> Authority {
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let issuer = CertifiedIssuer::self_signed(params, key).expect("an authority");
        Authority { issuer, folder: tempfile::tempdir().expect("a folder") }
    }

    /// What clients are to trust.
    pub fn pem(&self) -> String {
        self.issuer.pem()
    }

    pub fn cert(&self) -> PathBuf {
        self.folder.path().join("cert.pem")
    }

    pub fn key(&self) -> PathBuf {
        self.folder.path().join("key.pem")
    }

    /// Writes a new certificate for this machine, and the authority's after
    /// it, with a name that can be found in it.
    pub fn issue(&self, name: &str) {
        self.issue_for(name, &["127.0.0.1", "localhost"]);
    }

    /// The same for others.
    pub fn issue_for(&self, name: &str, hosts: &[&str]) {
        let hosts: Vec<String> = hosts.iter().map(|&host| host.to_owned()).collect();
        let mut params = CertificateParams::new(hosts).expect("names");
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        write(&self.cert(), &format!("{}{}", certificate.pem(), self.issuer.pem()));
        write(&self.key(), &key.serialize_pem());
    }
}

pub fn write(path: &Path, text: &str) {
    std::fs::write(path, text).expect("written");
}
