//! The emulated host's initramfs: busybox, the modules that its root needs, and `init.sh`; an uncompressed cpio archive,
//! because unpacking is what an emulated processor is slow at. Made once for each content, kept in the cache.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
};

use sha2::{Digest, Sha256};

use super::modules;
use crate::{
    command,
    error::{Context, Error, Result},
    paths,
    setup::kernel::Kernel,
};

const BUSYBOX: &str = "/bin/busybox";
const INIT: &str = include_str!("init.sh");

/// What the root needs, and KVM with it, and loop devices for those who look into images. crc32c is named because `modules.dep` doesn't name it for ext4 and overlay: it
/// is looked up by the crypto layer at run time.
const MODULES: [&str; 8] =
    ["crc32c_generic", "virtio_blk", "9pnet_virtio", "9p", "overlay", "ext4", "loop", "kvm_amd"];

/// The path of the initramfs for this kernel. The modules are loaded only by the emulated host, so the probe of this
/// machine's own KVM asks for one without.
pub(crate) fn for_kernel(kernel: &Kernel, with_modules: bool) -> Result<PathBuf> {
    let names: &[&str] = if with_modules { &MODULES } else { &[] };
    let busybox = fs::read(BUSYBOX).file("read", BUSYBOX)?;
    let mut hash = Sha256::new();
    for part in [kernel.version.as_bytes(), INIT.as_bytes(), names.join(" ").as_bytes(), &busybox] {
        hash.update(Sha256::digest(part));
    }
    let dir = paths::cache_dir()?.join("initramfs");
    let path = dir.join(hex(&hash.finalize()[..12]));
    if !path.exists() {
        let archive = archive(kernel, names, &busybox)?;
        paths::make_dir(&dir)?;
        write_atomically(&path, &archive)?;
    }
    Ok(path)
}

/// Writes a file that is either there as a whole or not at all.
pub(crate) fn write_atomically(path: &Path, content: &[u8]) -> Result<()> {
    let dir = path.parent().unwrap_or(Path::new("."));
    let file = tempfile::Builder::new()
        .permissions(fs::Permissions::from_mode(0o644))
        .tempfile_in(dir)
        .file("write in", dir)?;
    fs::write(file.path(), content).file("write", file.path())?;
    file.persist(path).map_err(|failed| failed.error).file("write", path)?;
    Ok(())
}

/// Lower-case hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn archive(kernel: &Kernel, names: &[&str], busybox: &[u8]) -> Result<Vec<u8>> {
    let mut cpio = Cpio::default();
    for dir in ["bin", "dev", "host", "modules", "proc", "root", "scratch", "sys"] {
        cpio.add(dir, 0o040_755, &[]);
    }
    cpio.add("bin/busybox", 0o100_755, busybox);
    cpio.add("init", 0o100_755, INIT.as_bytes());
    let dep = kernel.module_dir().join("modules.dep");
    let dep = fs::read_to_string(&dep).file("read", &dep)?;
    let order = modules::load_order(&dep, names)
        .map_err(|name| Error::other(format!("kernel {} has no module {name}", kernel.version)))?;
    let mut listed = String::new();
    for path in &order {
        let name = modules::name_of(path) + ".ko";
        cpio.add(&format!("modules/{name}"), 0o100_644, &module(&kernel.module_dir().join(path))?);
        listed.push_str(&name);
        listed.push('\n');
    }
    cpio.add("modules/order", 0o100_644, listed.as_bytes());
    Ok(cpio.end())
}

fn module(path: &Path) -> Result<Vec<u8>> {
    match path.extension().and_then(|extension| extension.to_str()) {
        Some("xz") => command::output(Command::new("xz").arg("-dc").arg(path)),
        Some("zst") => command::output(Command::new("zstd").arg("-dcq").arg(path)),
        _ => fs::read(path).file("read", path),
    }
}

/// A cpio archive in the "newc" form: per file a header of 110 hexadecimal characters, the name with a NUL, the content;
/// the last two each padded to four bytes. (Linux's Documentation/driver-api/early-userspace/buffer-format.rst.)
#[derive(Default)]
struct Cpio {
    bytes: Vec<u8>,
    count: usize,
}

impl Cpio {
    fn add(&mut self, name: &str, mode: usize, content: &[u8]) {
        self.count += 1;
        let links = 1;
        let fields = [self.count, mode, 0, 0, links, 0, content.len(), 0, 0, 0, 0, name.len() + 1, 0];
        self.bytes.extend_from_slice(b"070701");
        for field in fields {
            self.bytes.extend_from_slice(format!("{field:08X}").as_bytes());
        }
        self.bytes.extend_from_slice(name.as_bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend_from_slice(content);
        self.pad();
    }

    fn end(mut self) -> Vec<u8> {
        self.add("TRAILER!!!", 0, &[]);
        self.bytes
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_and_contents_are_aligned() {
        let mut cpio = Cpio::default();
        cpio.add("a", 0o100_644, b"hello");
        assert_eq!(cpio.bytes.len(), 110 + 2 + 8);
        assert_eq!(&cpio.bytes[..14], b"07070100000001");
        assert_eq!(&cpio.bytes[112..117], b"hello");
        assert_eq!(cpio.end().len() % 4, 0);
    }
}
