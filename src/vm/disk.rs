//! A bottle's disk: an empty qcow2 overlay over an image's `base.ext4`.
//!
//! The overlay states the format of its backing file, raw. One that does not is probed by whoever opens it, and then a
//! guest that writes a qcow2 header to the start of its disk would choose what file of the host is opened next.
//!
//! An overlay can be larger than its base: what is behind the base's end reads as zeros. The guest's init then grows the
//! file system ([`super::VmConfig::disk_size`]).

use std::ffi::OsString;
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::{fs, io};

use imago::file::File as ImageFile;
use imago::qcow2::Qcow2CreateBuilder;
use imago::{FormatCreateBuilder, StorageOpenOptions};

use super::disk_size::{DiskSize, human};

/// Of a base's path in a qcow2 header.
const BASE_PATH_LIMIT_BYTES: u32 = 1023;

/// Why an overlay could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DiskError {
    /// The base, or the overlay.
    #[error("{action} {}: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// A qcow2 header can only hold a path of this form.
    #[error("the path of the base image, {}, is not UTF-8, or has more than 1023 bytes", path.display())]
    BadBasePath {
        /// The path.
        path: PathBuf,
    },
    /// A disk only grows.
    #[error("a disk of {size} can't be had: the image is made for {}", human(*image_bytes))]
    TooSmall {
        /// What was asked for.
        size: DiskSize,
        /// What the image has.
        image_bytes: u64,
    },
    /// Beyond that, there is no room for the tables of more groups of blocks.
    #[error("a disk of {size} can't be had: that of this image grows to {} at most", human(*most_bytes))]
    TooLarge {
        /// What was asked for.
        size: DiskSize,
        /// What can be had.
        most_bytes: u64,
    },
}

impl DiskError {
    /// What the user can do about it.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::TooSmall { .. } => {
                Some("leave --disk out, or ask for more: a disk costs nothing until it is used")
            }
            Self::TooLarge { .. } => Some("choose a smaller size with --disk"),
            Self::Io { .. } => {
                Some("if the disk is full, free some space or set BOTTLE_STATE_DIR to a directory on another")
            }
            Self::BadBasePath { .. } => Some("set BOTTLE_CACHE_DIR to another directory"),
        }
    }
}

/// Makes `overlay`, a disk that reads as `base` (a raw image) until it is written to. It has `size`, or the base's size.
///
/// # Errors
/// When the base cannot be read or cannot grow to `size`, or the overlay exists or cannot be written. Nothing is left behind
/// then.
pub fn create_overlay(base: &Path, overlay: &Path, size: Option<DiskSize>) -> Result<(), DiskError> {
    let io = |action, path: &Path| {
        let path = path.to_owned();
        move |source| DiskError::Io { action, path, source }
    };
    let bad_base = || DiskError::BadBasePath { path: base.to_owned() };
    let backing =
        base.to_str().filter(|path| path.len() <= BASE_PATH_LIMIT_BYTES as usize).ok_or_else(bad_base)?;
    let image_bytes = fs::metadata(base).map_err(io("read the size of", base))?.len();
    let size_bytes = match size {
        Some(size) if size.bytes() < image_bytes => return Err(DiskError::TooSmall { size, image_bytes }),
        Some(size) if size.bytes().div_ceil(bottle_ext4::GROWTH) > image_bytes => {
            return Err(DiskError::TooLarge {
                size,
                most_bytes: image_bytes.saturating_mul(bottle_ext4::GROWTH),
            });
        }
        Some(size) => size.bytes(),
        None => image_bytes,
    };
    let file = fs::OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(overlay)
        .map_err(io("create", overlay))?;
    write_overlay(backing, size_bytes, file).map_err(|error| {
        // The half-written overlay is of no use to anyone, and the error above is the one to report.
        fs::remove_file(overlay).unwrap_or_default();
        io("write", overlay)(error)
    })
}

/// The file that an overlay of ours says it lies over.
pub(super) fn base_of(overlay: &Path) -> Option<PathBuf> {
    // The qcow2 header: magic, version, then the place and the length of the name, big-endian.
    let mut file = fs::File::open(overlay).ok()?;
    let mut header = [0; 20];
    file.read_exact(&mut header).ok()?;
    let (magic, rest) = header.split_at(4);
    let place = u64::from_be_bytes(rest[4..12].try_into().ok()?);
    let len = u32::from_be_bytes(rest[12..16].try_into().ok()?);
    if magic != b"QFI\xfb" || place == 0 || len > BASE_PATH_LIMIT_BYTES {
        return None;
    }
    let mut name = vec![0; len as usize];
    file.seek(SeekFrom::Start(place)).ok()?;
    file.read_exact(&mut name).ok()?;
    Some(PathBuf::from(OsString::from_vec(name)))
}

fn write_overlay(backing: &str, size_bytes: u64, overlay: fs::File) -> io::Result<()> {
    let file = ImageFile::from_open_file(overlay, StorageOpenOptions::new().write(true))?;
    Qcow2CreateBuilder::<ImageFile>::new(file)
        .size(size_bytes)
        .backing(backing.to_owned(), "raw".to_owned())
        .create()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_overlay_is_small_and_names_its_backing_format() {
        let dir = tempfile::tempdir().unwrap();
        let (base, overlay) = (dir.path().join("base"), dir.path().join("overlay"));
        fs::File::create(&base).unwrap().set_len(1 << 34).unwrap();
        create_overlay(&base, &overlay, None).unwrap();
        let bytes = fs::read(&overlay).unwrap();
        assert!(bytes.starts_with(b"QFI\xfb"), "no qcow2 header");
        assert_eq!(u64::from_be_bytes(bytes[24..32].try_into().unwrap()), 1 << 34, "virtual size");
        // Header extension 0xe2792aca is the backing format's name.
        let stated = b"\xe2\x79\x2a\xca\x00\x00\x00\x03raw";
        assert!(bytes.windows(stated.len()).any(|window| window == stated), "no backing format");
        assert!(bytes.len() < 1 << 20, "{} bytes", bytes.len());
        assert_eq!((base_of(&overlay), base_of(&base)), (Some(base.clone()), None));
        assert!(matches!(create_overlay(&base, &overlay, None), Err(DiskError::Io { action: "create", .. })));
    }

    #[test]
    fn a_missing_base_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let overlay = dir.path().join("overlay");
        assert!(create_overlay(&dir.path().join("base"), &overlay, None).is_err());
        assert!(!overlay.exists());
    }

    #[test]
    fn an_overlay_can_be_larger_and_not_smaller() {
        let dir = tempfile::tempdir().unwrap();
        let (base, overlay) = (dir.path().join("base"), dir.path().join("overlay"));
        fs::File::create(&base).unwrap().set_len(1 << 34).unwrap();
        let error = create_overlay(&base, &overlay, Some("16383M".parse().unwrap())).unwrap_err();
        assert_eq!(error.to_string(), "a disk of 16383 MiB can't be had: the image is made for 16 GiB");
        assert!(error.hint().is_some() && !overlay.exists());
        let error = create_overlay(&base, &overlay, Some("1025G".parse().unwrap())).unwrap_err();
        assert_eq!(
            error.to_string(),
            "a disk of 1025 GiB can't be had: that of this image grows to 1 TiB at most"
        );
        create_overlay(&base, &overlay, Some("1T".parse().unwrap())).unwrap();
        let bytes = fs::read(&overlay).unwrap();
        assert_eq!(u64::from_be_bytes(bytes[24..32].try_into().unwrap()), 1 << 40, "virtual size");
        assert!(bytes.len() < 1 << 20, "{} bytes", bytes.len());
    }
}
