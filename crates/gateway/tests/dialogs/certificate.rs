//! The certificate of all gateways here.

use std::path::Path;
use std::sync::LazyLock;

use tarpit_gateway::config::Certificate;

/// What it is for.
pub(crate) const NAME: &str = "mx.example.org";

/// It and its key.
pub(crate) fn pem() -> &'static (String, String) {
    static PEM: LazyLock<(String, String)> = LazyLock::new(|| {
        let made = rcgen::generate_simple_self_signed([NAME.to_owned()]).unwrap();
        (made.cert.pem(), made.signing_key.serialize_pem())
    });
    &PEM
}

/// Puts it into a folder.
pub(crate) fn write(folder: &Path) -> std::io::Result<Certificate> {
    let file = folder.join("mx.pem");
    let (certificate, key) = pem();
    std::fs::write(&file, format!("{certificate}{key}"))?;
    Ok(Certificate {
        chain: file.clone(),
        key: file,
    })
}
