//! Tar streams, as tar(1) writes and reads them.

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::process::Command;

use crate::support::{Server, listing, names, noise, options};

#[test]
fn tar_streams_keep_owners_devices_and_long_names() {
    let server = Server::start();
    let agent = server.agent();
    let from = server.at("guest/from");
    let long = format!("{}/{}", "d".repeat(120), "f".repeat(200));
    fs::create_dir_all(from.join("d".repeat(120))).unwrap();
    fs::write(from.join(&long), noise(100_000)).unwrap();
    fs::hard_link(from.join(&long), from.join("hard")).unwrap();
    symlink("x".repeat(150), from.join("link")).unwrap();
    let script = "mknod null c 1 3; mkfifo pipe; touch -d @1000000000.123456789 old; touch -d @-5.25 older; \
                  chown 1234:2345678 old; chmod 4755 old";
    assert!(Command::new("sh").args(["-c", script]).current_dir(&from).status().unwrap().success());
    let mut stream = Vec::new();
    agent.get_tar("from", &mut stream, options()).unwrap();
    // As tar(1) reads it.
    let host = server.at("host");
    fs::write(host.join("x.tar"), &stream).unwrap();
    let tar = Command::new("tar")
        .args(["-xpf", "x.tar", "--same-owner", "--warning=no-timestamp"])
        .current_dir(&host)
        .output()
        .unwrap();
    assert!(tar.status.success() && tar.stderr.is_empty(), "{tar:?}");
    assert_eq!(listing(&from), listing(&host.join("from")));
    // And back into the guest, both by our stream and by tar's own.
    let tar = Command::new("tar").args(["-c", "--format=pax", "./from"]).current_dir(&host).output().unwrap();
    for (number, stream) in [stream, tar.stdout].into_iter().enumerate() {
        let place = server.at(&format!("guest/place{number}"));
        assert!(agent.put_tar(&stream[..], &place, options()).is_err(), "there is no such directory");
        fs::create_dir(&place).unwrap();
        agent.put_tar(&stream[..], &place, options()).unwrap();
        assert_eq!(listing(&from), listing(&place.join("from")));
        let old = fs::metadata(place.join("from/old")).unwrap();
        assert_eq!((old.uid(), old.gid(), old.mode() & 0o7777), (1234, 2_345_678, 0o4755));
    }
    // The content of a directory has names that begin with a dot, and one file its own.
    let mut stream = Vec::new();
    agent.get_tar("from/.", &mut stream, options()).unwrap();
    let has = |stream: &[u8], name: &[u8]| stream.chunks(512).any(|block| block.starts_with(name));
    assert!(has(&stream, b"./\0") && has(&stream, b"./old\0"));
    stream.clear();
    agent.get_tar("from/hard", &mut stream, options()).unwrap();
    assert!(has(&stream, b"hard\0"));
}

#[test]
fn tar_streams_that_lead_out_are_refused() {
    let server = Server::start();
    let agent = server.agent();
    fs::create_dir(server.at("guest/in")).unwrap();
    fs::write(server.at("guest/secret"), "secret").unwrap();
    let entry = |kind, path: &[u8], link: &[u8]| {
        let mut header = tar::Header::new_ustar();
        header.set_entry_type(kind);
        header.as_mut_bytes()[..path.len()].copy_from_slice(path);
        header.as_mut_bytes()[157..157 + link.len()].copy_from_slice(link);
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_size(0);
        header.set_cksum();
        header.as_bytes().to_vec()
    };
    use tar::EntryType::{Link, Regular, Symlink};
    for (stream, text) in [
        (entry(Regular, b"../stolen", b""), "leaves the destination"),
        (entry(Regular, b"a/../../stolen", b""), "leaves the destination"),
        (entry(Link, b"a", b"../secret"), "leaves the destination"),
        ([entry(Symlink, b"up", b".."), entry(Regular, b"up/stolen", b"")].concat(), "is there"),
        ([entry(Symlink, b"up2", b".."), entry(Link, b"a", b"up2/secret")].concat(), "is there"),
        (b"not a tar file, and longer than nothing".repeat(20), "not a tar header"),
        (entry(Regular, b"cut", b"")[..100].to_vec(), "cut off"),
    ] {
        let error = agent.put_tar(&stream[..], "in", options()).unwrap_err();
        assert!(error.to_string().contains(text), "{error}, and not {text}");
        assert_eq!(names(&server.at("guest")), ["in", "secret"]);
    }
    // Absolute paths are taken below the destination, as tar does.
    agent.put_tar(&entry(Regular, b"/etc/taken", b"")[..], "in", options()).unwrap();
    assert!(server.at("guest/in/etc/taken").exists());
    assert_eq!(fs::metadata(server.at("guest/secret")).unwrap().nlink(), 1);
}
