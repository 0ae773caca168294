//! How large a guest's disk is.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
const TIB: u64 = 1 << 40;

/// The size of a guest's disk: whole MiB, at least one, below 16 TiB, where the block numbers of its file system end.
///
/// Written as a whole number of GiB, or with a unit: `512M`, `40G`, `2T`, also `MiB`, `GiB`, `TiB`, in either case. In JSON
/// it is a number of MiB.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "u64", into = "u64")]
pub struct DiskSize(u64);

/// Why there is no such size.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadDiskSize {
    /// It is no number with a known unit.
    #[error("{0:?} is no size: a whole number of GiB is, or one with a unit, such as 512M, 40G or 2T")]
    Malformed(String),
    /// A disk can't have it.
    #[error("{0} is no size that a disk can have: 1 MiB is the least, 16383 GiB are the most")]
    OutOfRange(String),
}

impl DiskSize {
    const MOST_MIB: u64 = 16_383 * (GIB / MIB);

    /// So many MiB.
    ///
    /// # Errors
    /// When a disk can't have that size.
    pub fn from_mib(mib: u64) -> Result<Self, BadDiskSize> {
        if !(1..=Self::MOST_MIB).contains(&mib) {
            return Err(BadDiskSize::OutOfRange(format!("{mib} MiB")));
        }
        Ok(Self(mib * MIB))
    }

    /// In bytes.
    pub fn bytes(self) -> u64 {
        self.0
    }
}

impl TryFrom<u64> for DiskSize {
    type Error = BadDiskSize;

    /// From MiB.
    fn try_from(mib: u64) -> Result<Self, BadDiskSize> {
        Self::from_mib(mib)
    }
}

impl From<DiskSize> for u64 {
    /// In MiB.
    fn from(size: DiskSize) -> Self {
        size.0 / MIB
    }
}

impl FromStr for DiskSize {
    type Err = BadDiskSize;

    fn from_str(text: &str) -> Result<Self, BadDiskSize> {
        let malformed = || BadDiskSize::Malformed(text.to_owned());
        let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let (number, unit) = text.split_at(digits);
        let unit_mib = match unit.to_ascii_lowercase().as_str() {
            "m" | "mib" => 1,
            "" | "g" | "gib" => GIB / MIB,
            "t" | "tib" => TIB / MIB,
            _ => return Err(malformed()),
        };
        if number.is_empty() {
            return Err(malformed());
        }
        let mib = number.parse().ok().and_then(|number: u64| number.checked_mul(unit_mib));
        Self::from_mib(mib.unwrap_or(u64::MAX)).map_err(|_| BadDiskSize::OutOfRange(text.to_owned()))
    }
}

impl fmt::Display for DiskSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&human(self.0))
    }
}

/// In the largest unit that leaves no fraction.
pub(super) fn human(bytes: u64) -> String {
    let units = [(TIB, "TiB"), (GIB, "GiB"), (MIB, "MiB")];
    let unit = units.into_iter().find(|(unit, _)| bytes > 0 && bytes.is_multiple_of(*unit));
    unit.map_or_else(|| format!("{bytes} bytes"), |(unit, name)| format!("{} {name}", bytes / unit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_and_written() {
        for (text, bytes, written) in [
            ("16", 16 * GIB, "16 GiB"),
            ("40G", 40 * GIB, "40 GiB"),
            ("40gib", 40 * GIB, "40 GiB"),
            ("2048GiB", 2 * TIB, "2 TiB"),
            ("2t", 2 * TIB, "2 TiB"),
            ("1M", MIB, "1 MiB"),
            ("17000MiB", 17_000 * MIB, "17000 MiB"),
            ("16383", 16_383 * GIB, "16383 GiB"),
        ] {
            let size: DiskSize = text.parse().unwrap();
            assert_eq!((size.bytes(), size.to_string().as_str()), (bytes, written), "{text}");
        }
        for text in ["", "G", "GiB", "-1", "+1", "1.5", "1 G", "40GB", "40K", "1e3", "٣", "0x10", "G40"] {
            assert!(matches!(text.parse::<DiskSize>(), Err(BadDiskSize::Malformed(_))), "{text}");
        }
        for text in ["0", "0M", "16384", "16T", "18446744073709551615T", "99999999999999999999999"] {
            assert!(matches!(text.parse::<DiskSize>(), Err(BadDiskSize::OutOfRange(_))), "{text}");
        }
    }
}
