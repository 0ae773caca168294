//! The flags of every verb that imports an image.

use bottle::image::ImportOptions;
use clap::Args;

#[derive(Debug, Args)]
pub(super) struct ImportFlags {
    /// Take the image's owners and modes as they are. Otherwise /tmp and /var/tmp get mode 1777, and the home of the image's
    /// user becomes theirs; bottle image inspect tells what was changed.
    #[arg(long)]
    no_fixups: bool,
    /// What the image's compressed layers may unpack to, together: more is taken for a decompression bomb.
    #[arg(long, value_name = "GIB", default_value_t = 128, value_parser = clap::value_parser!(u32).range(1..))]
    max_unpacked: u32,
}

impl ImportFlags {
    pub(super) fn options(&self) -> ImportOptions {
        let mut options = ImportOptions::default();
        options.fixups = !self.no_fixups;
        options.max_unpacked = u64::from(self.max_unpacked) << 30;
        options
    }
}
