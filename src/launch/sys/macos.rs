//! macOS: a process is waited for by a kernel queue.

#![allow(unsafe_code)]

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::ptr;

use rustix::event::kqueue::{Event, EventFilter, EventFlags, ProcessEvents, kevent, kqueue};
use rustix::process::Pid;

/// Becomes readable when the process, which need not be a child, has ended.
pub(crate) fn end_of(process: Pid) -> io::Result<OwnedFd> {
    let queue = kqueue()?;
    let end = EventFilter::Proc { pid: process, flags: ProcessEvents::EXIT };
    let wanted = [Event::new(end, EventFlags::ADD, ptr::null_mut())];
    let no_events: &mut [MaybeUninit<Event>] = &mut [];
    // SAFETY: no descriptor is named in the event.
    unsafe { kevent(&queue, &wanted, no_events, None)? };
    Ok(queue)
}
