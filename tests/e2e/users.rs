//! The image's USER, whoever calls.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};

use crate::harness::{Bottle, Ended, archive, bottle};

/// Not root, and not the image's user.
const CALLER: u32 = 4321;

const SCRIPT: &str = "id -un; id -u; id -g; echo $HOME $USER $AGENT; pwd; \
                      find $HOME -not \\( -user node -group node \\) | wc -l; find $HOME -type f | sort | tail -1; \
                      echo new > $HOME/.cache/new && mkdir $HOME/made && cat $HOME/.cache/new; \
                      touch /tmp/mine && stat -c %U /tmp/mine; touch /root/x 2>/dev/null || echo not root";

fn is_node(ended: &Ended) {
    let expected =
        "node\n1000\n1000\n/home/node node node\n/work\n0\n/home/node/.profile\nnew\nnode\nnot root\n";
    assert_eq!(ended.text(), expected, "{}", ended.quoted());
}

#[test]
#[ignore = "needs KVM: run cargo xtask test"]
fn the_images_user_runs_the_command_of_root() {
    is_node(&Bottle::vm_run("node-user", &[], &["sh", "-c", SCRIPT]).run().expect(0));
}

/// Everything that the caller needs, readable for them: the program with its kernel beside it, and the archive.
struct Place {
    dir: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let dir = tempfile::TempDir::new().unwrap();
        fs::set_permissions(dir.path(), Permissions::from_mode(0o755)).unwrap();
        let place = Self { dir };
        fs::copy(bottle(), place.at("bottle")).unwrap();
        fs::copy(kernel(), place.at("libkrunfw.so.5")).unwrap();
        fs::copy(archive("node-user"), place.at("image.tar")).unwrap();
        for own in ["home", "state", "cache"] {
            fs::create_dir(place.at(own)).unwrap();
            chown(place.at(own), Some(CALLER), Some(CALLER)).unwrap();
        }
        for readable in ["libkrunfw.so.5", "image.tar"] {
            fs::set_permissions(place.at(readable), Permissions::from_mode(0o644)).unwrap();
        }
        place
    }

    fn at(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn run_as_caller(&self, before: &str) -> Ended {
        let caller = CALLER.to_string();
        let script = format!(
            "set -e; {before}; exec setpriv --reuid {caller} --regid {caller} --clear-groups --no-new-privs -- \"$@\""
        );
        let image = format!("docker-archive:{}", self.at("image.tar").display());
        let bottle = Bottle::wrapped(
            &["unshare", "--mount", "sh", "-c", &script, "sh"],
            &self.at("bottle"),
            &["vm", "run", "--cpus", "1", "--memory", "512", &image, "--", "sh", "-c", SCRIPT],
        );
        // Not the harness's own directory, which is root's.
        let bottle = bottle.env("HOME", self.at("home")).env("BOTTLE_STATE_DIR", self.at("state"));
        bottle.env("BOTTLE_CACHE_DIR", self.at("cache")).run()
    }
}

/// The guest kernel that this machine's user has.
fn kernel() -> PathBuf {
    let data = std::env::var_os("BOTTLE_DATA_DIR").map(PathBuf::from);
    let home = || Path::new(&std::env::var_os("HOME").unwrap()).join(".local/share/bottle");
    data.unwrap_or_else(home).join("lib/libkrunfw.so.5")
}

#[test]
#[ignore = "needs KVM: run cargo xtask test"]
fn the_images_user_runs_the_command_of_any_user() {
    let place = Place::new();
    // Without the right to KVM first: it costs the import and no boot.
    let no_right = "mount -t tmpfs dev /dev && mknod -m 666 /dev/null c 1 3 && mknod -m 666 /dev/urandom c 1 9 && \
                    mknod -m 600 /dev/kvm c 10 232";
    place.run_as_caller(no_right).refused(125, &["/dev/kvm"]);
    is_node(&place.run_as_caller("true").expect(0));
    let left: Vec<_> =
        fs::read_dir(place.at("state")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, [".lock"]);
    assert_eq!(fs::read_dir(place.at("home")).unwrap().count(), 0);
}
