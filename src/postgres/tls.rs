//! TLS to a server, which must show a certificate for its name.

use std::path::Path;
use std::sync::{Arc, OnceLock};

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::address::Certificates;

/// What connects to a server that shows one of `certificates`. It may wait for the disk.
///
/// # Errors
/// Why they cannot be read.
pub(super) fn connector(certificates: &Certificates) -> Result<MakeRustlsConnect, String> {
    static SYSTEM: OnceLock<RootCertStore> = OnceLock::new();
    let roots = match certificates {
        Certificates::None => RootCertStore::empty(),
        Certificates::System => SYSTEM.get_or_init(of_system).clone(),
        Certificates::File(path) => of_file(path)?,
    };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(MakeRustlsConnect::new(config))
}

fn of_system() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    roots
}

fn of_file(path: &Path) -> Result<RootCertStore, String> {
    let unreadable = |why: String| format!("its sslrootcert {} cannot be read: {why}", path.display());
    let certificates = CertificateDer::pem_file_iter(path).map_err(|error| unreadable(error.to_string()))?;
    let mut roots = RootCertStore::empty();
    for certificate in certificates {
        let certificate = certificate.map_err(|error| unreadable(error.to_string()))?;
        roots.add(certificate).map_err(|error| unreadable(error.to_string()))?;
    }
    if roots.is_empty() {
        return Err(unreadable("it holds no certificate".to_owned()));
    }
    Ok(roots)
}
