//! How the allocator keeps memory: glibc's gives each thread a part of its own, and keeps what is free for ever.

#[cfg(all(target_os = "linux", target_env = "gnu"))]
mod glibc {
    #![expect(unsafe_code, reason = "libc declares every function so; these have no conditions")]

    /// So many parts of memory, shared by all threads: runs wait for databases, not for each other's memory.
    const PARTS: libc::c_int = 2;

    /// Has all threads share few parts of memory. To be called before there are any.
    pub(crate) fn share() {
        // SAFETY: it takes two numbers and changes a setting.
        unsafe { libc::mallopt(libc::M_ARENA_MAX, PARTS) };
    }

    /// Gives what is free back to the system, such as what loading thousands of jobs took. It may take a few
    /// milliseconds.
    pub(crate) fn give_back() {
        // SAFETY: it takes a number and touches nothing but free memory, under the allocator's own locks.
        unsafe { libc::malloc_trim(0) };
    }
}

/// Other allocators do so themselves.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
mod other {
    pub(crate) fn share() {}
    pub(crate) fn give_back() {}
}

#[cfg(all(target_os = "linux", target_env = "gnu"))]
pub(crate) use glibc::{give_back, share};
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub(crate) use other::{give_back, share};
