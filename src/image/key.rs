//! What an image is called in the store.

use std::fmt;
use std::str::FromStr;

use super::config::{BadDigest, ImageId};

/// Behind the ID of an image that was imported as it is.
const UNFIXED: &str = "-unfixed";

/// An image, and whether it was changed on its way in: both forms may be in the store, side by side. Written as the ID,
/// with `-unfixed` behind it for one that was not changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ImageKey {
    /// The digest of the image's config.
    pub id: ImageId,
    /// Whether the ownership fixes were made.
    pub fixups: bool,
}

impl From<ImageId> for ImageKey {
    /// The usual form, with the fixes.
    fn from(id: ImageId) -> Self {
        Self { id, fixups: true }
    }
}

impl fmt::Display for ImageKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.id, if self.fixups { "" } else { UNFIXED })
    }
}

impl FromStr for ImageKey {
    type Err = BadDigest;

    fn from_str(text: &str) -> Result<Self, BadDigest> {
        match text.strip_suffix(UNFIXED) {
            Some(id) => Ok(Self { id: id.parse()?, fixups: false }),
            None => Ok(Self { id: text.parse()?, fixups: true }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_have_a_name() {
        let id = ImageId::of(b"x");
        for key in [ImageKey { id, fixups: true }, ImageKey { id, fixups: false }] {
            assert_eq!(key.to_string().parse::<ImageKey>().unwrap(), key);
        }
        assert!("-unfixed".parse::<ImageKey>().is_err());
    }
}
