//! The credentials the application stores encrypted: `salt:iv:tag:ciphertext` in hexadecimal, AES-256-GCM, under a
//! key derived from the master key file.

use std::path::Path;

use aes_gcm::aead::Aead;
use aes_gcm::{Aes256Gcm, KeyInit, Nonce};
use sha2::Sha256;

use crate::values::{Secret, read_file, within_patience};

const ROUNDS: u32 = 100_000;

/// Opens an encrypted text with the master key in the file at `key_file`.
pub(super) fn open(text: &str, key_file: &Path) -> Result<Secret, String> {
    let file = key_file.display();
    let path = key_file.to_owned();
    let master = within_patience(move || read_file(&path)).and_then(|read| read);
    let master = master.map_err(|error| format!("the master key {file} cannot be read: {error}"))?;
    let parts: Vec<Vec<u8>> = text
        .split(':')
        .map(decode_hex)
        .collect::<Option<_>>()
        .unwrap_or_default();
    let [salt, iv, tag, ciphertext] = parts.as_slice() else {
        return Err("a stored credential is not in the form salt:iv:tag:ciphertext".to_owned());
    };
    let mut key = [0; 32];
    pbkdf2::pbkdf2_hmac::<Sha256>(&master, salt, ROUNDS, &mut key);
    let nonce =
        Nonce::try_from(iv.as_slice()).map_err(|_| "a stored credential has an iv of the wrong length".to_owned())?;
    let sealed = [ciphertext.as_slice(), tag].concat();
    let opened = Aes256Gcm::new(&key.into()).decrypt(&nonce, sealed.as_slice()).ok();
    let text = opened.and_then(|bytes| String::from_utf8(bytes).ok());
    text.map(Secret::new)
        .ok_or_else(|| format!("the master key {file} does not fit the stored credentials"))
}

fn decode_hex(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes();
    let pairs = digits.len().is_multiple_of(2).then(|| digits.chunks_exact(2))?;
    pairs
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok())
        .collect()
}
