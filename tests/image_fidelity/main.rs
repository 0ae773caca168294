//! What an image's layers say is in the guest, to the last attribute: our image, mounted by the kernel, against the same layers
//! unpacked by umoci, and as a container of docker's sees them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../layers/mod.rs"]
mod layers;

mod changes;
mod kinds;
mod listing;
mod places;
mod sparse;

use layers::{Entry, Packing, tarball};
use listing::{Listing, differences};
use places::Image;

/// What we change, and what a reference has of its own.
fn ours_or_theirs(path: &str) -> bool {
    ["", "lost+found", "tmp", "var", "var/tmp", "dev", "proc", "sys", "run"].contains(&path)
}

#[track_caller]
fn assert_same(what: &str, ours: &Listing, theirs: &Listing, ignored: impl Fn(&str) -> bool) {
    let differences = differences(ours, theirs, |path| ours_or_theirs(path) || ignored(path));
    let shown = differences[..differences.len().min(20)].join("\n");
    assert!(differences.is_empty(), "{what}: {} differ:\n{shown}", differences.len());
}

/// A layer with a program that docker can run.
fn busybox() -> Vec<u8> {
    let program = std::fs::read("/bin/busybox").expect("Debian: busybox-static");
    tarball([Entry::dir("bin"), Entry::file("bin/busybox", program).mode(0o755)])
}

/// The layers that both references know what to do with, and these.
fn image(more: impl IntoIterator<Item = Vec<u8>>) -> Image {
    let both = [busybox(), kinds::layer()].into_iter().chain(changes::agreed());
    Image { layers: both.chain(more).collect() }
}

#[test]
#[ignore = "needs root, loop devices and docker: run cargo xtask test"]
fn plain_and_packed_layers_give_one_tree() {
    let image = image(changes::by_umoci().into_iter().chain([kinds::by_docker()]));
    let plain = image.ours(Packing::Plain);
    assert!(plain.len() > 150, "{}", plain.len());
    for packing in [Packing::Gzip, Packing::Zstd] {
        assert_same(&format!("{packing:?}"), &image.ours(packing), &plain, |_| false);
    }
}

#[test]
#[ignore = "needs root, loop devices and docker: run cargo xtask test"]
fn the_tree_is_that_of_umoci() {
    let image = image(changes::by_umoci());
    let ignored = [
        // Made with the time of the import.
        "implied",
        "implied/deep",
        // It has the time of its last change; with us, what its entry says.
        "opaque-last/sub",
        // Times in nanoseconds end in 2262.
        "times/15032385535",
        "times/by-large-header",
    ];
    assert_same("umoci", &image.ours(Packing::Plain), &image.umoci(), |path| ignored.contains(&path));
}

#[test]
#[ignore = "needs root, loop devices and docker: run cargo xtask test"]
fn the_tree_is_that_of_a_docker_container() {
    let image = image([kinds::by_docker()]);
    let ignored = |path: &str| {
        // Docker takes times outside 1970 to 2262 for 1970; we follow umoci, and the layer.
        let time = path.starts_with("times/before-1970")
            || path == "times/15032385535"
            || path == "times/by-large-header";
        // Made for each container, or mounted there.
        let own = [".dockerenv", "etc", "etc/mtab"].contains(&path);
        // Made with the time of the import.
        let implied = ["implied", "implied/deep"].contains(&path);
        // Overlayfs counts the names that upper layers have hidden.
        let count = ["links/of-removed", "links/of-replaced", "links/two"].contains(&path);
        // What is unpacked into a directory with a default list takes it over; we follow umoci, and the layer.
        let inherited = path.starts_with("xattrs/acl-dir/");
        time || own || implied || count || inherited
    };
    assert_same("docker", &image.ours(Packing::Plain), &image.docker(), ignored);
}

#[test]
#[ignore = "needs root, loop devices and docker: run cargo xtask test"]
fn docker_refuses_what_only_umoci_has_as_we_do() {
    // If a newer docker takes these, they belong to what is compared with it.
    for (layer, said) in changes::refused_by_docker() {
        let image = image([layer]);
        let answer = image.container().err().unwrap_or_default();
        assert!(answer.contains(said), "{said:?}: {answer:?}");
        image.ours(Packing::Plain);
    }
}

#[test]
#[ignore = "needs root, loop devices and docker: run cargo xtask test"]
fn sparse_files_are_what_they_were_in_each_format() {
    let image = Image { layers: [busybox()].into_iter().chain(sparse::layers()).collect() };
    let plain = image.ours(Packing::Plain);
    for packing in [Packing::Gzip, Packing::Zstd] {
        assert_same(&format!("{packing:?}"), &image.ours(packing), &plain, |_| false);
    }
    for format in sparse::FORMATS {
        for (name, original) in sparse::originals() {
            let path = format!("{}/{name}", sparse::directory(format));
            let node = &plain[path.as_bytes()];
            assert_eq!((node.size, &node.content), (original.size, &original.content), "{path}");
        }
    }
    // Both read them by Go's archive/tar, but refuse GNU tar's oldest format, which is compared with the originals only.
    let [busybox, _, newer @ ..] = &image.layers[..] else { panic!("{} layers", image.layers.len()) };
    let newer = Image { layers: [busybox].into_iter().chain(newer).cloned().collect() };
    let ours = newer.ours(Packing::Plain);
    assert_same("umoci", &ours, &newer.umoci(), |_| false);
    let own = |path: &str| [".dockerenv", "etc", "etc/mtab"].contains(&path);
    assert_same("docker", &ours, &newer.docker(), own);
}

#[test]
#[ignore = "needs root, loop devices and docker: run cargo xtask test"]
fn a_sparse_file_of_more_than_4_gib_is_whole() {
    let image = Image { layers: vec![sparse::large()] };
    let plain = image.ours(Packing::Plain);
    let path = format!("{}/large", sparse::directory(sparse::FORMATS[3]));
    assert_eq!(plain[path.as_bytes()].size, sparse::LARGE);
    assert_same("zstd", &image.ours(Packing::Zstd), &plain, |_| false);
}
