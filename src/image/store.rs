//! The cache of imported images, and the import.

use std::fs::{self, File, Permissions};
use std::io;
use std::ops::ControlFlow;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::archive::{self, Archived, Table};
use super::config::{ImageConfig, ImageId};
use super::daemon::Daemon;
use super::error::ImageError;
use super::record::{self, Record};
use super::source::Source;
use super::tree::Tree;
use super::work::{self, WorkDir};
use super::{ext4, fixup};

/// An imported image.
#[derive(Clone, Debug)]
pub struct Image {
    /// The digest of its config.
    pub id: ImageId,
    /// What its config says.
    pub config: ImageConfig,
    /// The ext4 image, complete and never written again.
    pub base: PathBuf,
    /// Whether it was there already.
    pub cached: bool,
    /// A shared lock on `base`: while there is this value or a clone of it, the image can't be removed from the store.
    _in_use: Arc<File>,
}

/// How far an import is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Progress {
    /// Another process imports the same image; its work will do.
    Waiting,
    /// The docker daemon sends the image: so many bytes so far.
    Exporting {
        /// Bytes received.
        bytes: u64,
    },
    /// A compressed layer is unpacked.
    Unpacking {
        /// Counted from 1.
        layer: usize,
        /// How many there are.
        layers: usize,
        /// Bytes of this layer so far.
        bytes: u64,
    },
    /// Files are written into the ext4 image.
    Writing {
        /// Bytes of content so far.
        bytes: u64,
        /// Bytes of content in all.
        total: u64,
    },
    /// All is written; the layers' digests are still being computed.
    Verifying,
}

/// Is told how far an import is, and stops it by [`ControlFlow::Break`].
pub type OnProgress<'a> = &'a mut dyn FnMut(Progress) -> ControlFlow<()>;

/// What a stopped import ends with.
pub(crate) fn stop_if(answer: ControlFlow<()>) -> Result<(), ImageError> {
    if answer.is_break() { Err(ImageError::Stopped) } else { Ok(()) }
}

/// The cache of images below one directory. Several processes may use it at once.
#[derive(Clone, Debug)]
pub struct Store {
    cache_dir: PathBuf,
    images: PathBuf,
}

impl Store {
    /// Opens the cache below `cache_dir`, which is made if need be.
    ///
    /// # Errors
    ///
    /// When the directory can't be made.
    pub fn open(cache_dir: &Path) -> Result<Self, ImageError> {
        let store = Self { cache_dir: cache_dir.to_owned(), images: cache_dir.join("images") };
        for dir in ["", "locks", "daemon"] {
            let dir = store.images.join(dir);
            work::make_dir(&dir).map_err(|error| store.io("create", &dir, error))?;
        }
        Ok(store)
    }

    /// Imports an image, or finds it in the cache. It blocks; where tokio runs, call it on a blocking thread.
    ///
    /// # Errors
    ///
    /// Whatever [`ImageError`] names. Nothing of the image is kept then.
    pub fn import(&self, source: &Source, progress: OnProgress<'_>) -> Result<Image, ImageError> {
        let origin = source.to_string();
        let image = match source {
            Source::DockerArchive(file) => {
                self.import_archived(&archive::open(file, Table::Docker)?, &origin, progress)
            }
            Source::OciArchive(file) | Source::OciLayout(file) => {
                self.import_archived(&archive::open(file, Table::Oci)?, &origin, progress)
            }
            Source::DockerDaemon(name) => self.import_from_daemon(name, &origin, progress),
        }?;
        self.note_use(&image, &origin);
        Ok(image)
    }

    /// Notes when the image was used, and where it came from. What can't be noted is no reason not to use it.
    fn note_use(&self, image: &Image, origin: &str) {
        let dir = self.images.join(image.id.to_string());
        let noted = record::touch(&dir).and_then(|()| {
            let lock = work::lock_file(&self.lock_path(image.id))?;
            work::lock(&lock)?;
            let mut record = Record::read(&dir);
            if record.add_source(origin) { record.write(&dir) } else { Ok(()) }
        });
        if let Err(error) = noted {
            log::warn!("can't note the use of {}: {error}", dir.display());
        }
    }

    /// The image with this ID, if it is in the cache, whole.
    ///
    /// # Errors
    ///
    /// Never for an image that is absent or damaged; that is `None`.
    pub fn get(&self, id: ImageId) -> Option<Image> {
        let dir = self.images.join(id.to_string());
        let base = dir.join("base.ext4");
        let json = fs::read(dir.join("config.json")).ok()?;
        if ImageId::of(&json) != id {
            log::warn!("the config in {} was changed: the image is imported again", dir.display());
            return None;
        }
        let in_use = match open_for_use(&base) {
            Ok(file) => file,
            Err(error) => {
                log::warn!("{}: {error}: the image is imported again", base.display());
                return None;
            }
        };
        let config = ImageConfig::parse(&json).ok()?;
        Some(Image { id, config, base, cached: true, _in_use: Arc::new(in_use) })
    }

    /// Where the images are.
    pub(super) fn images(&self) -> &Path {
        &self.images
    }

    /// Held while an image is imported or removed.
    pub(super) fn lock_path(&self, id: ImageId) -> PathBuf {
        self.images.join("locks").join(id.to_string())
    }

    fn import_from_daemon(
        &self,
        name: &str,
        origin: &str,
        progress: OnProgress<'_>,
    ) -> Result<Image, ImageError> {
        let daemon = Daemon::connect()?;
        let inspected = daemon.inspect(name)?;
        archive::check_platform(&inspected.os, &inspected.architecture)?;
        // With the containerd image store the daemon's ID is a manifest's digest, and a note of ours says to which config
        // it led.
        let note = self.images.join("daemon").join(inspected.id.to_string());
        let noted = fs::read_to_string(&note).ok().and_then(|id| id.trim().parse().ok());
        if let Some(image) = self.get(inspected.id).or_else(|| self.get(noted?)) {
            return Ok(image);
        }
        let work = self.work_dir()?;
        // It goes with the work directory. It has a name, since an archive is read from a path.
        let path = work.path().join("export.tar");
        let mut file = File::create_new(&path).map_err(|error| self.io("create", &path, error))?;
        daemon.export(name, inspected.id, &mut file, &self.cache_dir, &mut |bytes| {
            progress(Progress::Exporting { bytes })
        })?;
        drop(file);
        let archived = archive::open(&path.into(), Table::Docker)?;
        let image = self.import_archived(&archived, origin, progress)?;
        if image.id != inspected.id {
            let written = tempfile::NamedTempFile::new_in(work.path()).and_then(|file| {
                fs::write(file.path(), image.id.to_string())?;
                file.persist(&note).map_err(|error| error.error)
            });
            drop(written.map_err(|error| self.io("write", &note, error))?);
        }
        Ok(image)
    }

    fn import_archived(
        &self,
        archived: &Archived,
        origin: &str,
        progress: OnProgress<'_>,
    ) -> Result<Image, ImageError> {
        let id = archived.id;
        if let Some(image) = self.get(id) {
            return Ok(image);
        }
        let lock_path = self.lock_path(id);
        let mut stopped = ControlFlow::Continue(());
        let locked = work::lock_file(&lock_path).and_then(|file| {
            if !work::try_lock(&file)? {
                stopped = progress(Progress::Waiting);
                if stopped.is_continue() {
                    work::lock(&file)?;
                }
            }
            Ok(file)
        });
        let lock = locked.map_err(|error| self.io("lock", &lock_path, error))?;
        stop_if(stopped)?;
        // Whoever had the lock may have imported it.
        if let Some(image) = self.get(id) {
            return Ok(image);
        }
        let work = self.work_dir()?;
        let new = work.path().join("image");
        work::make_dir(&new).map_err(|error| self.io("create", &new, error))?;
        let fixups = self.build(archived, &work, &new, progress)?;
        Record::new(origin, fixups).write(&new).map_err(|error| self.io("write", &new, error))?;

        let place = self.images.join(id.to_string());
        // Something damaged may be there; it goes with the work directory.
        if place.exists() {
            fs::rename(&place, work.path().join("damaged"))
                .map_err(|error| self.io("replace", &place, error))?;
        }
        fs::rename(&new, &place).map_err(|error| self.io("create", &place, error))?;
        let base = place.join("base.ext4");
        let in_use = open_for_use(&base).map_err(|error| self.io("read", &base, error))?;
        drop(lock);
        Ok(Image { id, config: archived.config.clone(), base, cached: false, _in_use: Arc::new(in_use) })
    }

    /// Writes `base.ext4` and `config.json` into `new`. Returns what was changed of the image.
    fn build(
        &self,
        archived: &Archived,
        work: &WorkDir,
        new: &Path,
        progress: OnProgress<'_>,
    ) -> Result<Vec<String>, ImageError> {
        let base = new.join("base.ext4");
        let stop = AtomicBool::new(false);
        let fixups = std::thread::scope(|scope| {
            let mut hashes = Vec::new();
            let written = (|| -> Result<Vec<String>, ImageError> {
                let mut plain = Vec::new();
                let layers = archived.layers.len();
                for (i, layer) in archived.layers.iter().enumerate() {
                    let region = layer.plain(work.path(), &self.cache_dir, &mut |bytes| {
                        progress(Progress::Unpacking { layer: i + 1, layers, bytes })
                    })?;
                    hashes.push((layer, layer.start_hash(&region, &stop, scope)));
                    plain.push(region);
                }
                let mut tree = Tree::default();
                for (i, (layer, region)) in archived.layers.iter().zip(&plain).enumerate() {
                    layer.apply(region, i, &mut tree)?;
                }
                let fixups = fixup::apply(&mut tree, &plain, archived.config.user.as_deref())?;
                ext4::write(&tree, archived.id, &plain, &base, &self.cache_dir, &mut |bytes, total| {
                    progress(Progress::Writing { bytes, total })
                })?;
                Ok(fixups)
            })();
            let fixups = match written {
                Ok(fixups) => fixups,
                Err(error) => {
                    // A damaged layer is the cause of whatever follows from it, so it is what should be told. But a large
                    // layer is not hashed to its end only for that.
                    stop.store(true, Ordering::Relaxed);
                    for (layer, hash) in hashes {
                        match layer.check_hash(hash) {
                            Err(wrong @ ImageError::WrongDigest { .. }) => return Err(wrong),
                            _ => continue,
                        }
                    }
                    return Err(error);
                }
            };
            if progress(Progress::Verifying).is_break() {
                stop.store(true, Ordering::Relaxed);
                return Err(ImageError::Stopped);
            }
            hashes.into_iter().try_for_each(|(layer, hash)| layer.check_hash(hash))?;
            Ok(fixups)
        })?;
        fs::set_permissions(&base, Permissions::from_mode(0o400))
            .map_err(|error| self.io("write-protect", &base, error))?;
        let config = new.join("config.json");
        fs::write(&config, &archived.config_json).map_err(|error| self.io("write", &config, error))?;
        Ok(fixups)
    }

    pub(super) fn work_dir(&self) -> Result<WorkDir, ImageError> {
        let path = self.images.join("work");
        WorkDir::new(&path).map_err(|error| self.io("create", &path, error))
    }

    pub(super) fn io(&self, action: &'static str, path: &Path, error: io::Error) -> ImageError {
        ImageError::io(action, path, &self.cache_dir, error)
    }
}

/// Opens an image with the lock of those who use it, if it is an ext4 image and still in its place then.
fn open_for_use(base: &Path) -> io::Result<File> {
    let file = File::open(base)?;
    // Who has it for himself alone is about to remove the image, or only looks: neither takes long.
    work::share(&file)?;
    let mut magic = [0; 2];
    file.read_exact_at(&mut magic, 1024 + 0x38)?;
    let (ours, there) = (file.metadata()?, fs::metadata(base)?);
    if (ours.dev(), ours.ino()) != (there.dev(), there.ino()) {
        return Err(io::ErrorKind::NotFound.into());
    }
    if magic != [0x53, 0xef] {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "it is no ext4 image"));
    }
    Ok(file)
}
