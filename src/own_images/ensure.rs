//! That docker has an image, made of what it is to be made of.

use std::env;
use std::fs::File;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use bollard::models::ImageInspect;
use bollard::query_parameters::RemoveImageOptions;
use tokio::sync::oneshot;

use super::build::{self, BuildProgress, OnProgress};
use super::error::OwnImageError;
use super::recipe::{HASH_LABEL, Recipe};
use crate::bundle::{Docker, docker_status, docker_words};
use crate::image::work;
use crate::state;

/// Where a program finds the CAs that it is to trust (OpenSSL, and what goes by it).
const CA_VARIABLE: &str = "SSL_CERT_FILE";

/// How an image is built, if it is.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct BuildTerms {
    /// The directory of the locks that keep two processes from building one image.
    pub locks: PathBuf,
    /// CA certificates that the build is to trust, in PEM.
    pub ca: Option<PathBuf>,
    /// The network that the build has, in docker's words; docker's default one, if none is given.
    pub network: Option<String>,
    /// It is built, whether it is there or not, and nothing of older builds is used.
    pub force: bool,
}

impl BuildTerms {
    /// With the locks in this directory.
    pub fn new(locks: impl Into<PathBuf>) -> Self {
        Self { locks: locks.into(), ca: None, network: None, force: false }
    }

    /// The locks in our cache directory, and the CAs that `SSL_CERT_FILE` names.
    ///
    /// # Errors
    /// When there is no cache directory to be found.
    pub fn of_this_machine() -> Result<Self, OwnImageError> {
        let ca = env::var_os(CA_VARIABLE).filter(|path| !path.is_empty()).map(PathBuf::from);
        Ok(Self { ca, ..Self::new(state::cache_root()?.join("builds")) })
    }
}

/// What was to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ensured {
    /// Nothing.
    There,
    /// The image is new, and took so long, with the wait for another process.
    Built(Duration),
}

/// Sees to it that docker has the image. It stops when `stop` is ready; then, and when it fails, no image that is not whole has its name.
///
/// # Errors
/// When docker, or what it needs, can't be reached, a step of the Dockerfile fails, or it was stopped.
pub async fn ensure(
    docker: &Docker,
    recipe: &Recipe,
    terms: &BuildTerms,
    stop: impl Future<Output = ()>,
    on_progress: OnProgress<'_>,
) -> Result<Ensured, OwnImageError> {
    tokio::select! {
        // Who stops before it begins has it never begin.
        biased;
        () = stop => Err(OwnImageError::Stopped { image: recipe.name.clone() }),
        ensured = unstopped(docker, recipe, terms, on_progress) => ensured,
    }
}

async fn unstopped(
    docker: &Docker,
    recipe: &Recipe,
    terms: &BuildTerms,
    on_progress: OnProgress<'_>,
) -> Result<Ensured, OwnImageError> {
    let hash = recipe.hash();
    let fits = |found: &Option<ImageInspect>| found.as_ref().and_then(hash_of) == Some(hash.as_str());
    if !terms.force && fits(&inspect(docker, &recipe.name).await?) {
        return Ok(Ensured::There);
    }
    let start = Instant::now();
    let _lock = lock(recipe, &terms.locks, on_progress).await?;
    // Whoever had the lock may have built it.
    let older = inspect(docker, &recipe.name).await?;
    if !terms.force && fits(&older) {
        return Ok(Ensured::There);
    }
    build::build(docker, recipe, &hash, terms, on_progress).await?;
    if let Some(id) = older.filter(|older| hash_of(older).is_some()).and_then(|older| older.id) {
        remove_nameless(docker, &id).await;
    }
    Ok(Ensured::Built(start.elapsed()))
}

/// What docker says of the image, if it has it.
async fn inspect(docker: &Docker, image: &str) -> Result<Option<ImageInspect>, OwnImageError> {
    match docker.api().inspect_image(image).await {
        Ok(found) => Ok(Some(found)),
        Err(error) if docker_status(&error) == Some(404) => Ok(None),
        Err(error) => Err(OwnImageError::Inspect { image: image.to_owned(), words: docker_words(&error) }),
    }
}

/// The hash of what the image was made of, if we had it built.
fn hash_of(image: &ImageInspect) -> Option<&str> {
    image.config.as_ref()?.labels.as_ref()?.get(HASH_LABEL).map(String::as_str)
}

/// Removes an image of ours in whose place another one came: a gigabyte that has no name. One that has another name stays, and so does
/// one that a container has.
async fn remove_nameless(docker: &Docker, id: &str) {
    let Ok(Some(image)) = inspect(docker, id).await else { return };
    if image.repo_tags.is_none_or(|names| names.is_empty())
        && let Err(error) = docker.api().remove_image(id, None::<RemoveImageOptions>, None).await
    {
        log::debug!("docker keeps the older image {id}: {}", docker_words(&error));
    }
}

/// Waits until no other process builds the image; released with the file.
async fn lock(recipe: &Recipe, locks: &Path, on_progress: OnProgress<'_>) -> Result<File, OwnImageError> {
    let path = locks.join(recipe.name.replace('/', "%"));
    let failed = |source| OwnImageError::Lock { path: path.clone(), source };
    work::make_dir(locks).map_err(failed)?;
    let file = work::lock_file(&path).map_err(failed)?;
    if work::try_lock(&file).map_err(failed)? {
        return Ok(file);
    }
    on_progress(&BuildProgress {
        image: recipe.name.clone(),
        step: None,
        line: "waiting for another build of it".to_owned(),
    });
    // The system waits for a lock and for nothing else. A thread that nobody waits for any more lets go of it once it has it.
    let (locked, is_locked) = oneshot::channel();
    let waiting = thread::Builder::new().name("lock".to_owned()).spawn(move || {
        let result = work::lock(&file).map(|()| file);
        drop(locked.send(result));
    });
    drop(waiting.map_err(failed)?);
    match is_locked.await {
        Ok(result) => result.map_err(failed),
        Err(_) => Err(failed(std::io::ErrorKind::Interrupted.into())),
    }
}
