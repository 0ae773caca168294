//! What differs by operating system: the same functions for each.

#[cfg(target_os = "linux")]
mod linux;
#[cfg(target_os = "macos")]
mod macos;
mod unix;

#[cfg(target_os = "linux")]
pub(super) use linux::{
    ClockWatch, KERNEL_HINT, SOCKET_PATH_LIMIT_BYTES, add_loader_path, check_virtualisation, erect_wall,
    seal_wall, total_memory_mib, wall_parts,
};
#[cfg(target_os = "linux")]
pub(crate) use linux::{close_inherited, own_program};
#[cfg(target_os = "macos")]
pub(super) use macos::{
    ClockWatch, KERNEL_HINT, SOCKET_PATH_LIMIT_BYTES, add_loader_path, check_virtualisation, erect_wall,
    seal_wall, total_memory_mib, wall_parts,
};
#[cfg(target_os = "macos")]
pub(crate) use macos::{close_inherited, own_program};
pub(crate) use unix::new_session;
pub(super) use unix::{allow_many_files, can_load, exit_at_once, give_own_session, hand_over, load_for_good};
