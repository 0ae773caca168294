//! The cache of imported images, and the import.

use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::archive::{self, Archived, Table};
use super::build::{self, Built, Terms};
use super::check::{self, Damage, Seal};
use super::config::{ImageConfig, ImageId};
use super::daemon::{Daemon, Inspected};
use super::error::ImageError;
use super::export;
use super::ext4::Disk;
use super::key::ImageKey;
use super::record::{self, Record};
use super::registry::{Reference, RegistryError};
use super::report::{OnProgress, Progress, Report, Reporter, wait};
use super::source::Source;
use super::work::{self, WorkDir};
use super::{manifest, registry};

/// An imported image.
#[derive(Clone, Debug)]
pub struct Image {
    /// The digest of its config.
    pub id: ImageId,
    /// Whether the ownership fixes were made.
    pub fixups: bool,
    /// What its config says.
    pub config: ImageConfig,
    /// The ext4 image, complete and never written again.
    pub base: PathBuf,
    /// Of what `base` holds, as [`bottle_ext4::checksum`] has it.
    pub checksum: Option<u64>,
    /// Whether it was there already.
    pub cached: bool,
    /// Where bottles that keep it are noted.
    pub(super) pins: PathBuf,
    /// A shared lock on `base`: while there is this value or a clone of it, the image can't be removed from the store.
    _in_use: Arc<File>,
}

/// How an image is imported.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ImportOptions {
    /// Whether owners and modes are changed so that an agent can work in the image: see the module's documentation. On by
    /// default.
    pub fixups: bool,
    /// What the compressed layers may unpack to, in bytes, all together: more is taken for a decompression bomb. 128 GiB
    /// by default.
    pub max_unpacked: u64,
}

impl Image {
    /// What it is called in the store.
    pub fn key(&self) -> ImageKey {
        ImageKey { id: self.id, fixups: self.fixups }
    }
}

impl Default for ImportOptions {
    fn default() -> Self {
        Self { fixups: true, max_unpacked: 128 << 30 }
    }
}

impl ImportOptions {
    fn terms(&self) -> Terms {
        Terms { fixups: self.fixups, max_unpacked: self.max_unpacked }
    }
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
    pub fn import(
        &self,
        source: &Source,
        options: &ImportOptions,
        progress: OnProgress<'_>,
    ) -> Result<Image, ImageError> {
        if let Source::Name(name) = source {
            return self.import_named(name, options, progress);
        }
        let import =
            Import { store: self, origin: source.to_string(), options, reporter: Reporter::new(progress) };
        let image = match source {
            Source::Registry(reference) => import.found_in_registry(reference),
            Source::DockerArchive(file) => import.archived(&archive::open(file, Table::Docker)?),
            Source::OciArchive(file) | Source::OciLayout(file) => {
                import.archived(&archive::open(file, Table::Oci)?)
            }
            Source::DockerDaemon(name) | Source::Name(name) => import.exported_by_daemon(name),
        }?;
        self.note_use(&image, &import.origin);
        // An import that was made has done so.
        if image.cached
            && let Err(error) = work::tidy(&self.images.join("work"))
        {
            log::warn!("can't remove what dead imports left: {error}");
        }
        Ok(image)
    }

    /// As docker does: what is here already needs no network.
    fn import_named(
        &self,
        name: &str,
        options: &ImportOptions,
        progress: OnProgress<'_>,
    ) -> Result<Image, ImageError> {
        let daemon = match self.import(&Source::DockerDaemon(name.to_owned()), options, &mut *progress) {
            Err(error @ (ImageError::NotInDaemon(_) | ImageError::DaemonUnreachable(_))) => error,
            done => return done,
        };
        let Ok(reference) = name.parse() else { return Err(daemon) };
        self.import(&Source::Registry(reference), options, progress).map_err(|error| match error {
            error @ ImageError::Registry(_) => {
                ImageError::Nowhere { daemon: Box::new(daemon), registry: Box::new(error) }
            }
            other => other,
        })
    }

    /// Notes when the image was used, and where it came from. What can't be noted is no reason not to use it.
    fn note_use(&self, image: &Image, origin: &str) {
        let key = image.key();
        let dir = self.place(key);
        let noted = record::touch(&dir).and_then(|()| {
            let lock = work::lock_file(&self.lock_path(key))?;
            work::lock(&lock)?;
            let mut record = Record::read(&dir);
            // It was looked at just now.
            let proven = record.is_to_be_proven();
            if proven {
                record.unproven_since = None;
            }
            if record.add_source(origin) || proven { record.write(&dir) } else { Ok(()) }
        });
        if let Err(error) = noted {
            log::warn!("can't note the use of {}: {error}", dir.display());
        }
    }

    /// The image with this ID, if it is in the cache, whole.
    pub fn get(&self, key: impl Into<ImageKey>) -> Option<Image> {
        match self.open_image(key) {
            Ok(image) => Some(image),
            Err(ImageError::NotStored { .. }) => None,
            Err(error) => {
                log::warn!("{error}: the image is imported again");
                None
            }
        }
    }

    /// The image with this ID.
    ///
    /// # Errors
    ///
    /// [`ImageError::NotStored`], or [`ImageError::Spoiled`].
    pub fn open_image(&self, key: impl Into<ImageKey>) -> Result<Image, ImageError> {
        let key = key.into();
        let dir = self.place(key);
        if !dir.exists() {
            return Err(ImageError::NotStored { name: key.to_string() });
        }
        let damaged = |damage| ImageError::Spoiled { dir: dir.clone(), damage };
        let seen = check::glance(&dir, key.id).map_err(damaged)?;
        // Its digest is right, so what was understood at the import is now.
        let config = ImageConfig::parse(&seen.config_json).map_err(|_| damaged(Damage::Config))?;
        Ok(Image {
            id: key.id,
            fixups: key.fixups,
            config,
            base: dir.join("base.ext4"),
            checksum: seen.checksum(),
            cached: true,
            pins: self.pins(key),
            _in_use: Arc::new(seen.base),
        })
    }

    /// Where an image is, or would be.
    pub(super) fn place(&self, key: ImageKey) -> PathBuf {
        self.images.join(key.to_string())
    }

    /// Where the images are.
    pub(super) fn images(&self) -> &Path {
        &self.images
    }

    /// Held while an image is imported or removed.
    pub(super) fn lock_path(&self, key: ImageKey) -> PathBuf {
        self.images.join("locks").join(key.to_string())
    }

    pub(super) fn work_dir(&self) -> Result<WorkDir, ImageError> {
        let path = self.images.join("work");
        WorkDir::new(&path).map_err(|error| self.io("create", &path, error))
    }

    pub(super) fn io(&self, action: &'static str, path: &Path, error: io::Error) -> ImageError {
        ImageError::io(action, path, &self.cache_dir, error)
    }
}

/// One import.
struct Import<'a> {
    store: &'a Store,
    origin: String,
    options: &'a ImportOptions,
    reporter: Reporter<'a>,
}

impl Import<'_> {
    fn key(&self, id: ImageId) -> ImageKey {
        ImageKey { id, fixups: self.options.fixups }
    }

    fn archived(&self, archived: &Archived) -> Result<Image, ImageError> {
        let key = self.key(archived.id);
        self.once(key, || {
            let making = Making::begin(self.store)?;
            let built = build::build(archived, self.options.terms(), making.disk(), &self.reporter)?;
            making.complete(key, &archived.config, &archived.config_json, built, &self.origin)
        })
    }

    fn found_in_registry(&self, image: &Reference) -> Result<Image, ImageError> {
        self.reporter.tell(Progress::Asking)?;
        let found = wait(&registry::open(image)?, &self.reporter)?;
        self.archived(&found.unwrap_or_else(|| Err(RegistryError::unanswered(image).into()))?)
    }

    fn exported_by_daemon(&self, name: &str) -> Result<Image, ImageError> {
        let inspected = Daemon::connect()?.inspect(name)?;
        manifest::check_platform(&inspected.os, &inspected.architecture)?;
        // With the containerd image store the daemon's ID is a manifest's digest, and a note of ours says to which config
        // it led.
        let note = self.store.images.join("daemon").join(inspected.id.to_string());
        let noted = fs::read_to_string(&note).ok().and_then(|id| id.trim().parse().ok());
        if let Some(image) = noted.and_then(|id| self.store.get(self.key(id))) {
            return Ok(image);
        }
        self.once(self.key(inspected.id), || self.exported(name, &inspected, &note))
    }

    fn exported(&self, name: &str, inspected: &Inspected, note: &Path) -> Result<Image, ImageError> {
        let making = Making::begin(self.store)?;
        let exported = export::build(name, inspected, self.options.terms(), making.disk(), &self.reporter)?;
        let complete = |making: Making<'_>| {
            let key = self.key(exported.id);
            making.complete(key, &exported.config, &exported.config_json, exported.built, &self.origin)
        };
        if exported.id == inspected.id {
            return complete(making);
        }
        let written = tempfile::NamedTempFile::new_in(making.work.path()).and_then(|file| {
            fs::write(file.path(), exported.id.to_string())?;
            file.persist(note).map_err(|error| error.error)
        });
        drop(written.map_err(|error| self.store.io("write", note, error))?);
        self.once(self.key(exported.id), || complete(making))
    }

    /// Finds the image, or makes it while no other process does.
    fn once(
        &self,
        key: ImageKey,
        make: impl FnOnce() -> Result<Image, ImageError>,
    ) -> Result<Image, ImageError> {
        if let Some(image) = self.store.get(key) {
            return Ok(image);
        }
        let lock_path = self.store.lock_path(key);
        let mut stopped = Ok(());
        let locked = work::lock_file(&lock_path).and_then(|file| {
            if !work::try_lock(&file)? {
                stopped = self.reporter.tell(Progress::Waiting);
                if stopped.is_ok() {
                    work::lock(&file)?;
                }
            }
            Ok(file)
        });
        let _lock = locked.map_err(|error| self.store.io("lock", &lock_path, error))?;
        stopped?;
        // Whoever had the lock may have imported it.
        self.store.get(key).map_or_else(make, Ok)
    }
}

/// An image in a directory that is not its place yet. It goes away unless it is completed.
struct Making<'a> {
    store: &'a Store,
    work: WorkDir,
    dir: PathBuf,
    base: PathBuf,
}

impl<'a> Making<'a> {
    fn begin(store: &'a Store) -> Result<Self, ImageError> {
        let work = store.work_dir()?;
        let dir = work.path().join("image");
        work::make_dir(&dir).map_err(|error| store.io("create", &dir, error))?;
        Ok(Self { store, work, base: dir.join("base.ext4"), dir })
    }

    fn disk(&self) -> Disk<'_> {
        Disk { path: &self.base, cache_dir: &self.store.cache_dir }
    }

    /// Puts the image into its place, in one step.
    fn complete(
        self,
        key: ImageKey,
        config: &ImageConfig,
        config_json: &[u8],
        built: Built,
        origin: &str,
    ) -> Result<Image, ImageError> {
        let Self { store, work, dir, base } = self;
        fs::set_permissions(&base, Permissions::from_mode(0o400))
            .map_err(|error| store.io("write-protect", &base, error))?;
        let json = dir.join("config.json");
        fs::write(&json, config_json).map_err(|error| store.io("write", &json, error))?;
        let seal = fs::metadata(&base).map_err(|error| store.io("examine", &base, error))?;
        let checksum = Some(built.checksum);
        Record::new(origin, built, Some(Seal::of(&seal)))
            .write(&dir)
            .map_err(|error| store.io("write", &dir, error))?;
        let place = store.place(key);
        // Something damaged may be there; it goes with the work directory.
        if place.exists() {
            fs::rename(&place, work.path().join("damaged"))
                .map_err(|error| store.io("replace", &place, error))?;
        }
        fs::rename(&dir, &place).map_err(|error| store.io("create", &place, error))?;
        let base = place.join("base.ext4");
        let in_use = open_for_use(&base).map_err(|error| store.io("read", &base, error))?;
        Ok(Image {
            id: key.id,
            fixups: key.fixups,
            config: config.clone(),
            base,
            checksum,
            cached: false,
            pins: store.pins(key),
            _in_use: Arc::new(in_use),
        })
    }
}

/// Opens an image with the lock of those who use it, if it is an ext4 image and still in its place then.
pub(super) fn open_for_use(base: &Path) -> io::Result<File> {
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
