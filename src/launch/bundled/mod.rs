//! A VM, and the bundle that is all it can reach.

use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use super::guest::{self, Surroundings};
use super::life::Life;
use super::output::Output;
use super::run::{Event, Observer};
use super::{Interrupt, LaunchError};
use crate::bundle::{Bundle, BundleError, BundleSpec, Docker};
use crate::image::{Image, ImageError};
use crate::plan::BundleRequest;
use crate::state::StateDir;
use crate::vm::AllowRule;
use crate::vm::agent::ExitStatus;

/// A proxy is up within a second or two; an emulated machine that is busy may take ten times as long, and more.
const BUNDLE_READY_LIMIT: Duration = Duration::from_secs(60);

/// Starts the bundle while the image is made ready, runs the process behind it, and takes the bundle away again.
pub(super) fn run(
    life: &mut Life,
    output: Output,
    observer: &mut Observer<'_>,
    image: impl FnOnce(&mut dyn FnMut(Event<'_>), &Interrupt) -> Result<Image, LaunchError> + Send,
) -> Result<ExitStatus, LaunchError> {
    let host = |what| move |source| LaunchError::Host { what, source };
    let Some(request) = life.plan().bundle.clone() else { return Err(LaunchError::NoBundle) };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(host("cannot start the runtime"))?;
    let docker = runtime.block_on(Docker::connect())?;
    let teardown = BundleTeardown {
        runtime: &runtime,
        docker: &docker,
        state_root: life.dir().root().to_owned(),
        slug: life.slug().to_owned(),
    };

    let interrupt = observer.interrupt;
    let on_event = &mut *observer.on_event;
    let (image, bundle) = thread::scope(|scope| {
        let importing = thread::Builder::new().name("image".to_owned()).spawn_scoped(scope, || {
            let start = Instant::now();
            let imported = image(on_event, interrupt);
            if imported.is_err() {
                interrupt.abandon();
            }
            (imported, start.elapsed())
        });
        let importing = importing.map_err(host("cannot start a thread"))?;
        let start = Instant::now();
        let bundle = runtime.block_on(start_bundle(&docker, life.dir(), &request, interrupt));
        let bundle_took = start.elapsed();
        if bundle.is_err() {
            interrupt.abandon();
        }
        let (image, image_took) = match importing.join() {
            Ok(imported) => imported,
            Err(panic) => std::panic::resume_unwind(panic),
        };
        observer.timings.note("image", image_took);
        observer.timings.note("bundle", bundle_took);
        Ok::<_, LaunchError>((image, bundle))
    })?;
    interrupt.check()?;
    let (image, endpoint) = match (image, bundle) {
        (Ok(image), Ok(endpoint)) => (image, endpoint),
        // Whichever failed first stopped the other one.
        (Err(LaunchError::Image(ImageError::Stopped)) | Ok(_), Err(error)) => return Err(error.into()),
        (Err(error), _) => return Err(error),
    };

    let mut allow = life.plan().allow.clone();
    allow.push(AllowRule::endpoint(endpoint));
    let result = guest::run(life, &image, Surroundings { allow, env: proxy_env(endpoint) }, output, observer);
    observer.timings.measure("end of the bundle", || drop(teardown));
    result
}

async fn start_bundle(
    docker: &Docker,
    state: &StateDir,
    request: &BundleRequest,
    interrupt: &Interrupt,
) -> Result<std::net::SocketAddrV4, BundleError> {
    let BundleRequest::Proxy { image, port } = request else { todo!("Daemons") };
    let mut spec = BundleSpec::new(state.slug(), state.root(), image);
    spec.ports = vec![*port];
    let bundle = Bundle::start_unless(docker, spec, &|| interrupt.is_over()).await?;
    tokio::select! {
        ready = bundle.wait_ready(docker, *port, BUNDLE_READY_LIMIT) => ready?,
        () = interrupt.over() => return Err(BundleError::Stopped { slug: state.slug().to_owned() }),
    }
    let missing =
        || BundleError::NotPublished { container: bundle.container().to_owned(), port: *port };
    bundle.endpoint(*port).ok_or_else(missing)
}

/// Where the guest's programs find the proxy. Both spellings are in use.
fn proxy_env(proxy: std::net::SocketAddrV4) -> Vec<(String, String)> {
    let url = format!("http://{proxy}");
    let no_proxy = format!("localhost,127.0.0.1,{}", proxy.ip());
    let variables = [("HTTP_PROXY", &url), ("HTTPS_PROXY", &url), ("NO_PROXY", &no_proxy)];
    variables
        .iter()
        .flat_map(|(name, value)| {
            [((*name).to_owned(), (*value).clone()), (name.to_lowercase(), (*value).clone())]
        })
        .collect()
}

/// Removes the bundle when it is dropped, whatever there is of it.
struct BundleTeardown<'a> {
    runtime: &'a tokio::runtime::Runtime,
    docker: &'a Docker,
    state_root: PathBuf,
    slug: String,
}

impl Drop for BundleTeardown<'_> {
    fn drop(&mut self) {
        let root: &Path = &self.state_root;
        if let Err(error) = self.runtime.block_on(Bundle::remove(self.docker, root, &self.slug)) {
            log::warn!("{error}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_proxy_is_set_in_both_spellings() {
        let env = proxy_env("127.0.0.16:4000".parse().unwrap());
        for name in ["HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy"] {
            assert!(env.contains(&(name.to_owned(), "http://127.0.0.16:4000".to_owned())), "{name}");
        }
        assert!(env.contains(&("no_proxy".to_owned(), "localhost,127.0.0.1,127.0.0.16".to_owned())));
    }
}
