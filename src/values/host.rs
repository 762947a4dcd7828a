//! Which machine a host is.

use std::net::IpAddr;

/// Whether `host`, a name or an address without brackets, is this machine: what goes there passes nobody else.
pub(crate) fn is_this_machine(host: &str) -> bool {
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}
