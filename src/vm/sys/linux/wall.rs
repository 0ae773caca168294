//! The second wall on Linux: Landlock for files, TCP and what scopes there are, seccomp for all else, and no rights to
//! win by any program.

#![allow(unsafe_code)]

use std::io;

use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};
use rustix::thread::{CapabilitySet, CapabilitySets, capabilities, set_capabilities};

use super::{landlock, seccomp};
use crate::vm::confine::{Limits, Sharing, WallPart};

/// See [`crate::vm::confine::wall_parts`].
pub(crate) fn wall_parts() -> Vec<WallPart> {
    let mut parts = landlock::parts();
    parts.push(seccomp::part());
    parts
}

/// See [`crate::vm::confine::erect`]. The process has one thread.
pub(crate) fn erect_wall(limits: &Limits<'_>) -> io::Result<Vec<WallPart>> {
    // Later, it may not ask the kernel any more.
    let parts = wall_parts();
    // A core file would hold the guest's memory, and what can be dumped can be attached to by the user's other processes.
    setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })?;
    set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    // Before what is below, which is what it takes without privileges.
    rustix::thread::set_no_new_privs(true)?;
    drop_capabilities(limits.sharing())?;
    landlock::restrict(limits)?;
    seccomp::install(!limits.ports.is_empty(), limits.sharing())?;
    Ok(parts)
}

/// See [`crate::vm::confine::seal`].
pub(crate) fn seal_wall(keeps_opening_files: bool) -> io::Result<()> {
    seccomp::seal(keeps_opening_files)
}

/// Of root's capabilities, only that stays which lets it pass a directory of another user's on the way to its files; what
/// it may do with which file is Landlock's to say. A guest that writes to volumes makes files of any owner in them.
fn drop_capabilities(sharing: Sharing) -> io::Result<()> {
    let mut keep = CapabilitySet::DAC_OVERRIDE;
    if sharing == Sharing::ToWrite {
        keep |= CapabilitySet::CHOWN
            | CapabilitySet::FOWNER
            | CapabilitySet::FSETID
            | CapabilitySet::SETGID
            | CapabilitySet::SETUID;
    }
    let kept = capabilities(None)?.permitted & keep;
    let sets = CapabilitySets { effective: kept, permitted: kept, inheritable: CapabilitySet::empty() };
    set_capabilities(None, sets)?;
    Ok(())
}
