//! Trees and files go where docker puts them, and are what they were.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;

use bottle::vm::agent::{Copied, CopyError};

use crate::support::{Server, listing, names, noise, options};

/// A tree of a few thousand small files, some large ones, and links.
fn make_tree(root: &Path) {
    for directory in 0..40 {
        let directory = root.join(format!("d{directory}/deep/er"));
        fs::create_dir_all(&directory).unwrap();
        for file in 0..50 {
            fs::write(directory.join(format!("f{file}")), format!("{file}").repeat(file)).unwrap();
        }
    }
    fs::write(root.join("large"), noise(5_000_001)).unwrap();
    fs::hard_link(root.join("large"), root.join("d1/again")).unwrap();
    symlink("d1/again", root.join("link")).unwrap();
    symlink("/nowhere", root.join("broken")).unwrap();
    fs::set_permissions(root.join("d1/again"), fs::Permissions::from_mode(0o751)).unwrap();
}

#[test]
fn a_tree_goes_in_and_comes_out_as_it_was() {
    let server = Server::start();
    let agent = server.agent();
    let tree = server.at("host/tree");
    fs::create_dir(&tree).unwrap();
    make_tree(&tree);
    let copied = agent.put(&tree, "in", options()).unwrap();
    assert_eq!((copied.entries, copied.sockets), (40 * 53 + 5, 0));
    assert_eq!(listing(&tree), listing(&server.at("guest/in")));
    let back = agent.get("in", server.at("host/back"), options()).unwrap();
    assert_eq!((back.entries, back.bytes), (copied.entries, copied.bytes));
    assert_eq!(listing(&tree), listing(&server.at("host/back")));
    // In the guest they are the bottle's user's, or somebody else's; here they are ours.
    let owner =
        |name: &str| fs::symlink_metadata(server.at(name)).map(|file| (file.uid(), file.gid())).unwrap();
    assert!(rustix::process::geteuid().is_root(), "only root can give files away");
    for name in ["guest/in", "guest/in/link", "guest/in/large", "guest/in/d1/deep"] {
        assert_eq!(owner(name), (65534, 65534), "{name}");
    }
    let mut chown = options();
    chown.owner = Some("12:34".to_owned());
    agent.put(tree.join("large"), "given", chown).unwrap();
    assert_eq!((owner("guest/given"), owner("host/back/large")), ((12, 34), (0, 0)));
    let mut nobody = options();
    nobody.owner = Some("no-such-user".to_owned());
    let error = agent.put(tree.join("large"), "given", nobody).unwrap_err();
    assert!(error.to_string().contains("no user `no-such-user`"), "{error}");
}

#[test]
fn names_and_links_of_the_arguments_are_as_docker_has_them() {
    let server = Server::start();
    let agent = server.agent();
    let tree = server.at("host/tree");
    fs::create_dir_all(tree.join("sub")).unwrap();
    fs::write(tree.join("file"), "content").unwrap();
    symlink("file", tree.join("link")).unwrap();
    let here = |name: &str| server.at("host/tree").join(name);
    let there = |name: &str| server.at("guest").join(name);
    fs::create_dir(there("dir")).unwrap();
    // Into a directory under its name; its content; a new name; as a link, and what it leads to.
    agent.put(here(""), "dir", options()).unwrap();
    assert_eq!(fs::read(there("dir/tree/file")).unwrap(), b"content");
    agent.put(here("."), "dir", options()).unwrap();
    assert_eq!(fs::read(there("dir/file")).unwrap(), b"content");
    agent.put(here("file"), "new", options()).unwrap();
    agent.put(here("link"), there("dir").join("l"), options()).unwrap();
    assert!(fs::symlink_metadata(there("dir/l")).unwrap().is_symlink());
    let follow = || {
        let mut follow = options();
        follow.follow = true;
        follow
    };
    agent.put(here("link"), "followed", follow()).unwrap();
    assert!(fs::symlink_metadata(there("followed")).unwrap().is_file());
    // The same out of the guest.
    let out = server.at("host/out");
    fs::create_dir(&out).unwrap();
    agent.get("dir/tree", &out, options()).unwrap();
    assert_eq!(names(&out), ["tree"]);
    agent.get("dir/tree/.", &out, options()).unwrap();
    assert_eq!(names(&out), ["file", "link", "sub", "tree"]);
    agent.get("dir/l", out.join("as-link"), options()).unwrap();
    assert_eq!(fs::read_link(out.join("as-link")).unwrap(), Path::new("file"));
    agent.get("dir/l", out.join("as-file"), follow()).unwrap();
    assert_eq!(fs::read(out.join("as-file")).unwrap(), b"content");
    // Not there, or in the way.
    let text = |result: Result<Copied, CopyError>| result.unwrap_err().to_string();
    assert!(text(agent.get("missing", &out, options())).contains("in the guest: cannot read `"));
    assert!(text(agent.get("new/", &out, options())).contains("Not a directory"));
    assert!(text(agent.put(here("missing"), "x", options())).contains("missing"));
    assert!(text(agent.put(here(""), "new", options())).contains("is there"));
    assert!(text(agent.put(here("file"), "no/such/place", options())).contains("there is no directory"));
    assert!(text(agent.get("dir", out.join("file"), options())).contains("is there"));
    assert_eq!(fs::read(out.join("file")).unwrap(), b"content");
}
