//! Signatures of messages over HTTP: who knows the secret has sent them.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use super::Secret;

/// The HMAC of a body by SHA-256, in hexadecimal digits.
pub(crate) fn signature(secret: &Secret, body: &[u8]) -> String {
    // An HMAC takes a key of any length.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(secret.reveal().as_bytes()) else {
        return String::new();
    };
    mac.update(body);
    let digits = mac.finalize().into_bytes();
    digits
        .iter()
        .fold(String::new(), |digits, byte| format!("{digits}{byte:02x}"))
}
