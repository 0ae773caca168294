//! Connections that break in the middle of a blob.

use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use bottle::image::{ImageError, ImportOptions, Progress, Source, Store};

use crate::bottle::Bottle;
use crate::docker_registry::Registry;
use crate::http::{Request, Server};
use crate::image::{self, Image};
use crate::proxy::{Fault, Proxy};

/// Where a download breaks: behind the answer's head and a part of the blob.
const MIDDLE: usize = 500_000;

struct Setup {
    bottle: Bottle,
    registry: Registry,
    image: Image,
}

impl Setup {
    fn new(seed: u64) -> Self {
        let (registry, image) = (Registry::start(), Image::new(seed, 2_000_000));
        registry.push("a:1", &[&image]);
        Self { bottle: Bottle::new(), registry, image }
    }

    fn proxy(&self, fault: impl Fn(usize) -> Fault + Send + Sync + 'static) -> Proxy {
        Proxy::start(&self.registry.address, &self.image.large().to_string(), fault)
    }

    /// Imports through a proxy; what comes of it is the same as from the image's own files.
    fn arrives(&self, proxy: &Proxy) {
        let id = self.bottle.import(&proxy.server.reference("a:1"));
        assert_eq!(id, self.image.id.to_string());
        let direct = Bottle::new();
        let layout = image::write_layout(&direct.path("layout"), &[&self.image]);
        direct.import(layout.to_str().unwrap());
        assert!(direct.base(&id) == self.bottle.base(&id), "not the same");
    }
}

fn cut_at(cut: usize) -> Fault {
    Fault { cut: Some(cut), ..Fault::default() }
}

/// The first byte that was asked for.
fn start_of(range: Option<&String>) -> usize {
    let range = range.map_or("bytes=0-", String::as_str);
    range.strip_prefix("bytes=").unwrap().strip_suffix('-').unwrap().parse().unwrap()
}

#[test]
fn a_download_goes_on_where_it_broke() {
    let setup = Setup::new(11);
    let proxy = setup.proxy(|n| if n == 0 { cut_at(MIDDLE) } else { Fault::default() });
    setup.arrives(&proxy);
    let ranges = proxy.ranges.lock().unwrap();
    assert_eq!(ranges.len(), 2, "{ranges:?}");
    assert!((MIDDLE - 2000..MIDDLE).contains(&start_of(ranges[1].as_ref())), "{ranges:?}");
}

#[test]
fn each_progress_gives_new_attempts() {
    let setup = Setup::new(12);
    let proxy = setup.proxy(|_| cut_at(250_000));
    setup.arrives(&proxy);
    assert!(proxy.ranges.lock().unwrap().len() >= 8);
}

#[test]
fn a_registry_without_ranges_is_read_from_the_start() {
    let setup = Setup::new(13);
    let proxy = setup.proxy(|n| Fault {
        no_ranges: true,
        cut: (n < 2).then_some(MIDDLE * (n + 1)),
        ..Fault::default()
    });
    setup.arrives(&proxy);
    assert_eq!(proxy.ranges.lock().unwrap().len(), 3);
}

#[test]
fn a_download_that_always_breaks_is_given_up() {
    let setup = Setup::new(14);
    let proxy = setup.proxy(|n| cut_at(if n == 0 { MIDDLE } else { 100 }));
    let error = setup.bottle.refused(&proxy.server.reference("a:1"));
    let size = setup.image.blobs[&setup.image.large()].len();
    for part in [
        &format!("the download of sha256:{}", setup.image.large()),
        &format!("from {} ended after 4", proxy.server.address),
        &format!("of {size} bytes"),
        "try again",
    ] {
        assert!(error.contains(part), "no {part:?} in {error}");
    }
    assert_eq!(proxy.ranges.lock().unwrap().len(), 5);
}

#[test]
fn changed_bytes_are_noticed() {
    let setup = Setup::new(15);
    let proxy = setup.proxy(|_| Fault { flip: Some(MIDDLE), ..Fault::default() });
    let error = setup.bottle.refused(&proxy.server.reference("a:1"));
    assert!(error.contains("has the wrong digest"), "{error}");
    // Also in what comes by two connections.
    let proxy = setup
        .proxy(|n| if n == 0 { cut_at(MIDDLE) } else { Fault { flip: Some(MIDDLE), ..Fault::default() } });
    let error = setup.bottle.refused(&proxy.server.reference("a:1"));
    assert!(error.contains("has the wrong digest"), "{error}");
}

/// An import is stopped once nothing has come for a while, long before it would be given up.
fn stopped(bottle: &Bottle, source: &str) -> Progress {
    let store = Store::open(&bottle.path("cache")).unwrap();
    let (mut last, mut same) = (Progress::Waiting, 0);
    let start = Instant::now();
    let source: Source = source.parse().unwrap();
    let stopped = store.import(&source, &ImportOptions::default(), &mut |progress| {
        same = if progress == last { same + 1 } else { 0 };
        last = progress;
        if same < 5 { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    });
    assert!(matches!(stopped, Err(ImageError::Stopped)), "{stopped:?}");
    assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());
    last
}

#[test]
fn who_waits_for_a_registry_may_stop() {
    let setup = Setup::new(16);
    let proxy = setup.proxy(|_| Fault { stays_open: true, ..cut_at(MIDDLE) });
    let last = stopped(&setup.bottle, &proxy.server.reference("a:1"));
    assert!(matches!(last, Progress::Layer { .. }), "{last:?}");
    let silent = Server::serve(|stream, _| {
        if Request::read(stream).is_some() {
            // Until the other side has gone: no answer.
            std::io::copy(&mut &*stream, &mut std::io::sink()).unwrap_or_default();
        }
    });
    assert_eq!(stopped(&setup.bottle, &silent.reference("a:1")), Progress::Asking);
}
