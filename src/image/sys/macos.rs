//! macOS.

use std::process::Command;

/// Another text after each start of the machine; none where it can't be had.
pub(crate) fn boot_id() -> Option<String> {
    // The tool rather than sysctlbyname(3), which is not safe code's.
    let said = Command::new("/usr/sbin/sysctl").args(["-n", "kern.bootsessionuuid"]).output().ok()?;
    let id = String::from_utf8(said.stdout).ok()?.trim().to_owned();
    (said.status.success() && !id.is_empty()).then_some(id)
}
