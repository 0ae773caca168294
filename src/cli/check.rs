//! `bottle image check`.

use std::io::Write;
use std::process::ExitCode;

use bottle::image::{Damage, ImageError, Store, Stored};
use clap::Args;
use serde::Serialize;

use super::image::{size, unwritten};
use super::report::CliError;

/// Read imported images, and say whether each is what the import made.
///
/// Ends with 1 if one is damaged and stays.
#[derive(Debug, Args)]
pub(super) struct CheckArgs {
    /// An ID, the beginning of one, or what the image was imported from; all images if none is given.
    images: Vec<String>,
    /// Remove the damaged ones: the next import makes them anew.
    #[arg(long)]
    repair: bool,
    /// As JSON, with whole IDs.
    #[arg(long)]
    json: bool,
}

/// What was found. The names are part of the command line's contract.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Checked {
    id: String,
    fixed: bool,
    disk_bytes: u64,
    /// In hexadecimal: JSON's readers have no 64 bits.
    checksum: Option<String>,
    damage: Option<String>,
    removed: bool,
}

impl CheckArgs {
    pub(super) fn run(self, store: &Store, out: &mut impl Write) -> Result<ExitCode, CliError> {
        let images = match &self.images[..] {
            [] => store.list()?,
            names => names.iter().map(|name| store.find(name)).collect::<Result<_, _>>()?,
        };
        let mut all = Vec::new();
        for image in &images {
            let damage = match store.check(image.key) {
                // Somebody else has removed it since it was listed.
                Err(ImageError::NotStored { .. }) if self.images.is_empty() => continue,
                checked => checked?,
            };
            let checked = self.settle(store, image, damage)?;
            if !self.json {
                checked.print(out).map_err(unwritten)?;
            }
            all.push(checked);
        }
        if self.json {
            let written = serde_json::to_writer_pretty(&mut *out, &all).map_err(std::io::Error::from);
            written.and_then(|()| writeln!(out)).map_err(unwritten)?;
        }
        let left = all.iter().any(|image| image.damage.is_some() && !image.removed);
        Ok(ExitCode::from(u8::from(left)))
    }

    /// Removes the image if it is damaged, and that is wanted.
    fn settle(&self, store: &Store, image: &Stored, damage: Option<Damage>) -> Result<Checked, CliError> {
        let unwanted = self.repair && damage.is_some();
        if unwanted {
            match store.remove(image.key) {
                Ok(_) | Err(ImageError::NotStored { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(Checked {
            id: format!("sha256:{}", image.key.id),
            fixed: image.key.fixups,
            disk_bytes: image.disk_bytes,
            checksum: image.checksum.map(|sum| format!("{sum:016x}")),
            damage: damage.map(|damage| damage.to_string()),
            removed: unwanted,
        })
    }
}

impl Checked {
    fn print(&self, out: &mut impl Write) -> std::io::Result<()> {
        let id = self.id.trim_start_matches("sha256:").get(..12).unwrap_or_default();
        let checksum = self.checksum.as_deref().unwrap_or("-");
        let state = match (&self.damage, self.removed) {
            (None, _) => "right".to_owned(),
            (Some(damage), false) => format!("damaged: {damage}"),
            (Some(damage), true) => format!("removed: {damage}"),
        };
        writeln!(out, "{id}  {:>8}  {checksum:16}  {state}", size(self.disk_bytes))
    }
}
