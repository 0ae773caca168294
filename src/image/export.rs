//! An image as a docker daemon sends it: an archive that is read once, from front to back, while it comes.
//!
//! ```text
//! daemon ──► members of the archive ──┬─► layers: unpacked, contents written at once
//!            (thread)                 └─► manifest, config: kept until the end
//! ```
//!
//! Daemons before 25 send the layers in the order of their directories' names, later ones in that of their digests, and both
//! say only at the end which is which. So no content can be left out; what turns out hidden is given back.

use std::collections::HashMap;
use std::io::{self, BufRead, Read};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use bytes::Bytes;

use super::archive::DockerManifest;
use super::build::{Builder, Built, Terms, large_enough, merge};
use super::config::{ImageConfig, ImageId};
use super::daemon::{Daemon, Inspected};
use super::error::ImageError;
use super::ext4::Disk;
use super::input::{ChunkReader, Chunks, DEPTH, Input, Sent};
use super::layer::{Entries, Unpacked, fail};
use super::manifest::{MAX_JSON, check_platform};
use super::members::{beside, normal};
use super::report::{Report, wait};
use super::tarball::{Headers, Kind, TarError};

/// What is kept of an archive until its end, at most.
const MAX_KEPT: usize = 32 << 20;

/// An image that came from a daemon.
#[derive(Debug)]
pub(crate) struct Exported {
    pub(crate) id: ImageId,
    pub(crate) config: ImageConfig,
    pub(crate) config_json: Vec<u8>,
    pub(crate) built: Built,
}

/// A member of the archive.
enum Member {
    /// Manifests, configs, and what else is small.
    Small {
        name: String,
        bytes: Vec<u8>,
    },
    Link {
        name: String,
        target: String,
    },
    Layer {
        name: String,
        size: u64,
        chunks: Receiver<io::Result<Bytes>>,
    },
}

/// Builds the image that the daemon calls `name`.
pub(crate) fn build(
    name: &str,
    inspected: &Inspected,
    terms: Terms,
    disk: Disk<'_>,
    reporter: &dyn Report,
) -> Result<Exported, ImageError> {
    large_enough(inspected.size, |need| {
        let members = members(name, inspected.id)?;
        let mut builder = Builder::new(inspected.id, need, terms, disk, reporter)?;
        let mut archive = Archive::new(name);
        while let Some(member) = wait(&members, reporter)? {
            archive.add(member?, &mut builder)?;
        }
        archive.finish(builder)
    })
}

/// Starts to receive an archive's members.
fn members(name: &str, id: ImageId) -> Result<Receiver<Result<Member, ImageError>>, ImageError> {
    let (send, members) = sync_channel(1);
    let owned = name.to_owned();
    let receive = move || {
        let received = Daemon::connect().and_then(|daemon| {
            let export = daemon.export(&owned, id);
            send_members(&owned, ChunkReader::new(export), &send)
        });
        if let Err(error) = received {
            // Nobody is there to be told if that fails.
            drop(send.send(Err(error)));
        }
    };
    let spawned = std::thread::Builder::new().spawn(receive);
    spawned.map_err(|error| daemon_error(name, format!("it can't be received: {error}")))?;
    Ok(members)
}

fn daemon_error(name: &str, message: String) -> ImageError {
    ImageError::Daemon { action: "export", name: name.to_owned(), message }
}

/// Sends on the members of an archive. Ends early when they are not wanted any more.
fn send_members<C: Chunks>(
    name: &str,
    input: ChunkReader<C>,
    to: &SyncSender<Result<Member, ImageError>>,
) -> Result<(), ImageError> {
    let failed = |error: TarError| match error {
        TarError::Io(error) => {
            error.downcast::<ImageError>().unwrap_or_else(|error| daemon_error(name, error.to_string()))
        }
        other => daemon_error(name, format!("the archive is damaged: {other}")),
    };
    let mut headers = Headers::new(input);
    while let Some(entry) = headers.next().map_err(failed)? {
        let Ok(path) = std::str::from_utf8(&entry.path).map(normal) else { continue };
        let member = match entry.kind {
            Kind::File if is_kept(&path, entry.shape.stored, &mut headers).map_err(failed)? => {
                let mut bytes = Vec::new();
                let read = headers.content().read_to_end(&mut bytes);
                read.map_err(|error| failed(TarError::Io(error)))?;
                Member::Small { name: path, bytes }
            }
            Kind::File => {
                let size = entry.shape.stored;
                let (send, chunks) = sync_channel(DEPTH);
                if to.send(Ok(Member::Layer { name: path, size, chunks })).is_err() {
                    return Ok(());
                }
                loop {
                    let piece = match headers.piece() {
                        Ok(piece) if piece.is_empty() => break,
                        Ok(piece) => Ok(piece),
                        Err(error) => Err(io::Error::other(failed(TarError::Io(error)))),
                    };
                    let failed = piece.is_err();
                    // Who stopped listening has an error of their own.
                    if send.send(piece).is_err() || failed {
                        return Ok(());
                    }
                }
                continue;
            }
            Kind::Symlink => match std::str::from_utf8(&entry.link) {
                Ok(link) => Member::Link { target: beside(&path, link), name: path },
                Err(_) => continue,
            },
            _ => continue,
        };
        if to.send(Ok(member)).is_err() {
            return Ok(());
        }
    }
    // The daemon may have an error to tell behind the archive's end.
    let mut rest = headers.into_input();
    rest.skip(u64::MAX).map_err(|error| failed(TarError::Io(error)))?;
    Ok(())
}

/// Whether a member is kept whole: what is no layer by its name, or is too small to matter. A blob is named by its digest,
/// which does not say what it is; it may be a manifest if it begins like one.
fn is_kept<I: Input>(name: &str, size: u64, headers: &mut Headers<I>) -> Result<bool, TarError> {
    const TOO_SMALL_TO_MATTER: u64 = 64 << 10;
    let by_name = !name.ends_with("/layer.tar") && !name.starts_with("blobs/");
    let most = match by_name || headers.content().fill_buf()?.starts_with(b"{") {
        true => MAX_JSON,
        false => TOO_SMALL_TO_MATTER,
    };
    Ok(size <= most)
}

/// What has come so far.
struct Archive<'a> {
    name: &'a str,
    small: HashMap<String, Vec<u8>>,
    kept: usize,
    links: HashMap<String, String>,
    layers: HashMap<String, (Entries, ImageId)>,
}

impl<'a> Archive<'a> {
    fn new(name: &'a str) -> Self {
        Self { name, small: HashMap::new(), kept: 0, links: HashMap::new(), layers: HashMap::new() }
    }

    fn error(&self, message: impl Into<String>) -> ImageError {
        daemon_error(self.name, message.into())
    }

    fn add(&mut self, member: Member, builder: &mut Builder<'_>) -> Result<(), ImageError> {
        match member {
            Member::Small { name, bytes } => {
                self.keep(name.len() + bytes.len())?;
                drop(self.small.insert(name, bytes));
            }
            Member::Link { name, target } => {
                self.keep(name.len() + target.len())?;
                drop(self.links.insert(name, target));
            }
            Member::Layer { name, size, chunks } => {
                let read = self.read_layer(&name, size, Box::new(Sent(chunks.into_iter())), builder)?;
                drop(self.layers.insert(name, read));
            }
        }
        Ok(())
    }

    fn keep(&mut self, bytes: usize) -> Result<(), ImageError> {
        self.kept += bytes;
        if self.kept > MAX_KEPT {
            return Err(self.error(format!("more than {} MiB of manifests", MAX_KEPT >> 20)));
        }
        Ok(())
    }

    fn read_layer(
        &self,
        name: &str,
        size: u64,
        chunks: Box<dyn Chunks + Send>,
        builder: &mut Builder<'_>,
    ) -> Result<(Entries, ImageId), ImageError> {
        let layer = format!("layer {name}");
        let unpacked = Unpacked::start(layer.clone(), chunks, &builder.room, builder.reporter)?;
        builder.reporter.watch(self.layers.len() + 1, None, size, unpacked.read());
        let (entries, digest) = unpacked.entries(&mut |entry, input| builder.take(&layer, entry, input));
        let digest = digest.ok_or_else(|| fail(&layer, "it did not come to its end"));
        entries.and_then(|entries| Ok((entries, digest?)))
    }

    /// Finds out what came, and completes the image.
    fn finish(mut self, mut builder: Builder<'_>) -> Result<Exported, ImageError> {
        let manifest =
            self.small.get("manifest.json").ok_or_else(|| self.error("it sent no manifest.json"))?;
        let images: Vec<DockerManifest> = serde_json::from_slice(manifest)
            .map_err(|error| self.error(format!("the manifest.json that it sent: {error}")))?;
        // Of an image for several platforms, it sends all that it has.
        let mut refused = None;
        let found = images.into_iter().find_map(|image| match self.config(&image.config) {
            Ok(config) => Some((image, config)),
            Err(error) => {
                refused.get_or_insert(error);
                None
            }
        });
        let Some((image, (id, config, config_json))) = found else {
            return Err(refused.unwrap_or_else(|| self.error("it sent no image")));
        };
        let names = image.layers.unwrap_or_default();
        if names.len() != config.diff_ids.len() {
            return Err(self.error(format!(
                "{} layers came, where the config has digests for {}",
                names.len(),
                config.diff_ids.len()
            )));
        }
        let mut layers = Vec::new();
        for (number, (name, diff_id)) in names.iter().zip(&config.diff_ids).enumerate() {
            let shown = format!("layer {} of {} (sha256:{diff_id})", number + 1, names.len());
            let again = names[number + 1..].iter().any(|other| self.resolve(other) == self.resolve(name));
            let (entries, digest) = self.layer(name, again, &mut builder)?;
            if digest != *diff_id {
                return Err(ImageError::WrongDigest {
                    what: shown,
                    expected: diff_id.to_string(),
                    actual: digest.to_string(),
                });
            }
            layers.push((shown, entries));
        }
        let mut tree =
            merge(layers.iter_mut().map(|(name, entries)| (name.as_str(), std::mem::take(entries))))?;
        builder.settle(&mut tree)?;
        let built = builder.finish(tree, config.user.as_deref())?;
        Ok(Exported { id, config, config_json, built })
    }

    /// The name of the member that a name stands for.
    fn resolve(&self, name: &str) -> String {
        let name = normal(name);
        self.links.get(&name).cloned().unwrap_or(name)
    }

    /// A layer that came; a copy if it is needed `again`.
    fn layer(
        &mut self,
        name: &str,
        again: bool,
        builder: &mut Builder<'_>,
    ) -> Result<(Entries, ImageId), ImageError> {
        let name = self.resolve(name);
        let found = match self.small.get(&name) {
            Some(bytes) => {
                let whole = Sent(std::iter::once(Ok(Bytes::copy_from_slice(bytes))));
                Some(self.read_layer(&name, bytes.len() as u64, Box::new(whole), builder)?)
            }
            None if again => self.layers.get(&name).cloned(),
            None => self.layers.remove(&name),
        };
        found.ok_or_else(|| self.error(format!("it did not send {name}")))
    }

    fn config(&self, name: &str) -> Result<(ImageId, ImageConfig, Vec<u8>), ImageError> {
        let json = self.small.get(&self.resolve(name));
        let json = json.ok_or_else(|| self.error(format!("it did not send the config {name}")))?;
        let config = ImageConfig::parse(json)
            .map_err(|reason| self.error(format!("the image's config that it sent: {reason}")))?;
        check_platform(&config.os, &config.architecture)?;
        Ok((ImageId::of(json), config, json.clone()))
    }
}
