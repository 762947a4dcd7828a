//! Tells the program which commit it is built from, where that is known.
#![expect(clippy::disallowed_methods, reason = "a build script is told by variables")]

use std::path::Path;
use std::process::Command;

fn main() {
    println!("cargo:rerun-if-env-changed=DUPLISTATUS_CRON_COMMIT");
    // A commit moves one of them.
    for file in [".git/HEAD", ".git/logs/HEAD"] {
        if Path::new(file).exists() {
            println!("cargo:rerun-if-changed={file}");
        }
    }
    println!("cargo:rerun-if-changed=build.rs");
    // Where the sources come without their history, whoever builds may name it.
    let named = std::env::var("DUPLISTATUS_CRON_COMMIT").ok();
    let commit = named.or_else(of_the_repository).unwrap_or_default();
    let version = env!("CARGO_PKG_VERSION");
    let both = if commit.is_empty() {
        version.to_owned()
    } else {
        format!("{version} ({commit})")
    };
    println!("cargo:rustc-env=DUPLISTATUS_CRON_COMMIT={commit}");
    println!("cargo:rustc-env=DUPLISTATUS_CRON_VERSION={both}");
}

fn of_the_repository() -> Option<String> {
    // Another repository may hold these sources.
    Path::new(".git").exists().then_some(())?;
    let found = Command::new("git")
        .args(["rev-parse", "--short=12", "HEAD"])
        .output()
        .ok()?;
    let commit = String::from_utf8(found.stdout).ok()?.trim().to_owned();
    (found.status.success() && !commit.is_empty()).then_some(commit)
}
