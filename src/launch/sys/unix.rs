//! What Linux and macOS do alike and the standard library does not offer.

#![allow(unsafe_code)]

use std::mem::MaybeUninit;
use std::ptr;

/// Runs `act`, which sets a terminal, so that it can do that from the background too: SIGTTOU would stop this process.
pub(crate) fn from_background<T>(act: impl FnOnce() -> T) -> T {
    let mut stop = MaybeUninit::<libc::sigset_t>::uninit();
    let mut before = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: sigemptyset makes the set that the other calls read; the mask is this thread's alone.
    let blocked = unsafe {
        libc::sigemptyset(stop.as_mut_ptr());
        libc::sigaddset(stop.as_mut_ptr(), libc::SIGTTOU);
        libc::pthread_sigmask(libc::SIG_BLOCK, stop.as_ptr(), before.as_mut_ptr()) == 0
    };
    let result = act();
    if blocked {
        // SAFETY: the first call succeeded, and so it has filled `before` in.
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, before.as_ptr(), ptr::null_mut()) };
    }
    result
}
