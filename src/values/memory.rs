//! Gives memory back to the system: what loading thousands of jobs took and freed, the allocator would keep for ever.

/// Has the allocator return what is free, where it can be asked to. It may take a few milliseconds.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[expect(unsafe_code, reason = "libc declares every function so; this one has no conditions")]
pub(crate) fn give_back() {
    // SAFETY: it takes a number and touches nothing but free memory, under the allocator's own locks.
    unsafe { libc::malloc_trim(0) };
}

/// Nothing: only glibc keeps what is free.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub(crate) fn give_back() {}
