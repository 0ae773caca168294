//! The tree in the guest against the same layers unpacked by umoci, an independent tool.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use crate::harness::{Bottle, archive};
use crate::listing::{self, File, LIST};
use crate::oci_layout;

/// What may differ, and why.
const ALLOWED: [(&str, &str); 10] = [
    ("./lost+found", "mke2fs and e2fsck want it"),
    ("./tmp", "made root:root 1777 when it is imported"),
    ("./var/tmp", "made root:root 1777 when it is imported"),
    ("./dev", "made to be mounted on, if the image has none"),
    ("./proc", "made to be mounted on, if the image has none"),
    ("./sys", "made to be mounted on, if the image has none"),
    ("./run", "made to be mounted on, if the image has none"),
    ("./etc/hosts", "written by init where it is missing or empty"),
    ("./etc/hostname", "written by init where it is missing or empty"),
    ("./etc/resolv.conf", "written by init"),
];

#[test]
#[ignore = "needs KVM: run cargo xtask test"]
fn the_tree_is_that_of_umoci() {
    let image = archive("fidelity");
    assert_is_worth_it(&image);

    // A second mount of the root shows what lies below /dev, /proc and the like.
    let script = format!("mkdir /run/root && mount --bind / /run/root && cd /run/root && {LIST}");
    let ended = Bottle::vm_run("fidelity", &["--cpus", "2"], &["sh", "-c", &script]).run().expect(0);
    let guest = listing::parse(&ended.stdout);

    let dir = TempDir::new().unwrap();
    oci_layout::write(&image, &dir.path().join("oci"));
    let source = format!("{}:{}", dir.path().join("oci").display(), oci_layout::TAG);
    run(Command::new("umoci").args(["unpack", "--image", &source]).arg(dir.path().join("bundle")));
    let list =
        Command::new("sh").args(["-c", LIST]).current_dir(dir.path().join("bundle/rootfs")).output().unwrap();
    assert!(list.status.success(), "{}", String::from_utf8_lossy(&list.stderr));
    let umoci = listing::parse(&list.stdout);

    assert_same(&guest, &umoci);
    assert_repaired(&guest);
}

fn assert_same(guest: &BTreeMap<Vec<u8>, File>, umoci: &BTreeMap<Vec<u8>, File>) {
    assert!(umoci.len() > 5000, "umoci has unpacked {} files only", umoci.len());
    let mut differences = Vec::new();
    for path in guest.keys().chain(umoci.keys()).collect::<BTreeSet<_>>() {
        let name = String::from_utf8_lossy(path);
        let allowed = ALLOWED.iter().any(|(path, _)| *path == name);
        if guest.get(path) != umoci.get(path) && !allowed {
            differences.push(format!("{name}\n  guest {:?}\n  umoci {:?}", guest.get(path), umoci.get(path)));
        }
    }
    let shown = differences[..differences.len().min(20)].join("\n");
    assert!(differences.is_empty(), "{} files differ:\n{shown}", differences.len());
}

/// What may differ does so in one way only.
fn assert_repaired(guest: &BTreeMap<Vec<u8>, File>) {
    for tmp in ["./tmp", "./var/tmp"] {
        let file = &guest[tmp.as_bytes()];
        assert_eq!((&*file.mode, &*file.uid, &*file.gid), ("1777", "0", "0"), "{tmp}");
    }
    for path in ["./dev", "./proc", "./sys", "./run"] {
        let file = &guest[path.as_bytes()];
        assert_eq!((&*file.kind, &*file.uid, &*file.gid), ("d", "0", "0"), "{path}");
    }
    assert_eq!(guest[&b"./lost+found"[..]].kind, "d");
}

/// The image has what is easy to get wrong, by its layers' own words.
fn assert_is_worth_it(image: &Path) {
    let mut layers = 0;
    let mut seen: BTreeMap<&str, u32> = BTreeMap::new();
    let mut archive = tar::Archive::new(std::fs::File::open(image).unwrap());
    for entry in archive.entries().unwrap() {
        let entry = entry.unwrap();
        if !entry.path().unwrap().ends_with("layer.tar") {
            continue;
        }
        layers += 1;
        for inner in tar::Archive::new(entry).entries().unwrap() {
            let inner = inner.unwrap();
            let path = inner.path().unwrap().to_string_lossy().into_owned();
            let name = path.rsplit('/').next().unwrap();
            let mode = inner.header().mode().unwrap();
            let kinds = [
                ("opaque directory", name == ".wh..wh..opq"),
                ("whiteout", name.starts_with(".wh.") && !name.starts_with(".wh..wh.")),
                ("hard link", inner.header().entry_type().is_hard_link() && !name.starts_with(".wh.")),
                ("setuid file", mode & 0o4000 != 0 && inner.header().entry_type().is_file()),
                ("symlink", inner.header().entry_type().is_symlink()),
                ("long path", path.len() > 255),
            ];
            for (kind, _) in kinds.into_iter().filter(|(_, is)| *is) {
                *seen.entry(kind).or_default() += 1;
            }
        }
    }
    assert!(layers >= 3, "{layers} layers");
    for kind in ["opaque directory", "whiteout", "hard link", "setuid file", "symlink", "long path"] {
        assert!(seen.contains_key(kind), "no {kind} in {}: {seen:?}", image.display());
    }
}

fn run(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}
