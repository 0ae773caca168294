//! As many bundles as there are aliases, at once, and one more.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use bollard::query_parameters::{ListContainersOptions, ListNetworksOptions};
use bottle::bundle::names::SLUG_LABEL;
use bottle::bundle::{Bundle, BundleError, BundleManifest, Sidecars};
use futures_util::future::join_all;

use crate::bench::{Bench, PLAIN};

/// The containers and networks of all bottles.
async fn left(bench: &Bench) -> usize {
    let ours = || Some([("label".to_owned(), vec![SLUG_LABEL.to_owned()])].into());
    let containers = ListContainersOptions { all: true, filters: ours(), ..ListContainersOptions::default() };
    let containers = bench.docker.api().list_containers(Some(containers)).await.expect("containers");
    let networks = ListNetworksOptions { filters: ours() };
    containers.len() + bench.docker.api().list_networks(Some(networks)).await.expect("networks").len()
}

#[tokio::test]
#[ignore = "needs docker and the bundle's image: run cargo xtask test"]
async fn sixteen_bundles_have_sixteen_aliases_and_the_next_hears_whose() {
    Bench::run(async |bench| {
        let manifest = BundleManifest { supervise: true, ..bench.manifest() };
        let started = join_all((0..16).map(|_| async { bench.start(&manifest).await })).await;
        let by_alias: BTreeMap<Ipv4Addr, String> =
            started.iter().map(|one| (one.bundle().alias(), one.bundle().slug().to_owned())).collect();
        let all: Vec<Ipv4Addr> = (16..=31).map(|last| Ipv4Addr::new(127, 0, 0, last)).collect();
        assert_eq!(by_alias.keys().copied().collect::<Vec<_>>(), all);
        for one in &started {
            let reply = bench.curl(one, &[&format!("https://{PLAIN}/")]).await;
            assert_eq!(reply.status, 200, "{}: {reply:?}", one.bundle().slug());
        }

        let late =
            Sidecars::start(&bench.docker, bench.spec(&manifest), &|| false).await.expect_err("one more");
        let BundleError::AliasesTaken { by } = &late else { panic!("{late}") };
        assert_eq!(*by, by_alias.clone().into_iter().collect::<Vec<_>>());
        assert!(by_alias.values().all(|slug| late.to_string().contains(slug)), "{late}");

        for one in &started {
            let removed = Bundle::remove(&bench.docker, bench.state.path(), one.bundle().slug()).await;
            removed.unwrap_or_else(|error| panic!("{error}"));
        }
        assert_eq!(left(bench).await, 0);
    })
    .await;
}
