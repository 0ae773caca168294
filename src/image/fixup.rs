//! The changes that make an image one that an agent can work in: what they are, users read in [`super`].
//!
//! A home is shared, and stays as it is, if it is `/`, a directory of the file system hierarchy such as `/home` itself, or
//! anything under `/usr`, `/etc` and the like, which many a daemon's account has. Symlinks in a home are not followed.

use super::error::ImageError;
use super::tree::{Body, NodeId, Tree};

/// A passwd or group file larger than this is not read.
pub(crate) const MAX_PASSWD: u64 = 4 << 20;

/// Directories that nobody owns alone.
const SHARED: [&str; 16] = [
    "/",
    "/home",
    "/mnt",
    "/media",
    "/opt",
    "/srv",
    "/var",
    "/var/lib",
    "/var/cache",
    "/var/spool",
    "/var/mail",
    "/var/log",
    "/var/backups",
    "/var/run",
    "/var/tmp",
    "/nonexistent",
];
/// Directories that are the system's, with all that is in them.
const SYSTEM: [&str; 13] = [
    "/bin", "/boot", "/dev", "/etc", "/lib", "/lib32", "/lib64", "/proc", "/run", "/sbin", "/sys", "/tmp",
    "/usr",
];

/// Changes `tree` as above. `read` gives a small file's content; `user` is the image's `USER`. Returns a line for each
/// change.
pub(crate) fn apply(
    tree: &mut Tree,
    read: &mut dyn FnMut(usize) -> Option<Vec<u8>>,
    user: Option<&str>,
) -> Result<Vec<String>, ImageError> {
    let mut changes = Vec::new();
    for path in ["/dev", "/proc", "/sys", "/run"] {
        let before = tree.node_count();
        directory(tree, path)?;
        if tree.node_count() > before {
            changes.push(format!("{path}: made"));
        }
    }
    // `/var/tmp` first: `/tmp` may be a symlink to it.
    for path in ["/var/tmp", "/tmp"] {
        let before = tree.node_count();
        let id = directory(tree, path)?;
        let made = tree.node_count() > before;
        let meta = &mut tree.node_mut(id).meta;
        let (uid, gid, mode) = (meta.uid, meta.gid, meta.mode);
        (meta.uid, meta.gid, meta.mode) = (0, 0, 0o1777);
        if made {
            changes.push(format!("{path}: made, 0:0 1777"));
        } else if (uid, gid, mode) != (0, 0, 0o1777) {
            changes.push(format!("{path}: {uid}:{gid} {mode:04o} became 0:0 1777"));
        }
    }
    if let Some(user) = user
        && let Some(account) = account(tree, read, user)
        && account.uid != 0
        && is_own_home(&account.home)
        && let Some(home) = tree.resolve(account.home.as_bytes())
    {
        let changed = own(tree, home, &account);
        if changed > 0 {
            let Account { uid, gid, home } = account;
            changes.push(format!("{home}: {changed} files and directories became {uid}:{gid}"));
        }
    }
    Ok(changes)
}

fn directory(tree: &mut Tree, path: &str) -> Result<NodeId, ImageError> {
    tree.ensure_directory(path.as_bytes()).ok_or_else(|| ImageError::Tree {
        path: path.to_owned(),
        reason: "not a directory, as the guest needs it to be".to_owned(),
    })
}

/// One line of `/etc/passwd`.
#[derive(Debug, PartialEq, Eq)]
struct Account {
    uid: u32,
    gid: u32,
    home: String,
}

/// The account that the user part of `USER` names, by name or by uid. A name of digits is tried as a name first, as docker
/// does.
fn account(tree: &mut Tree, read: &mut dyn FnMut(usize) -> Option<Vec<u8>>, user: &str) -> Option<Account> {
    let user = user.split(':').next().unwrap_or_default();
    let id = tree.resolve(b"/etc/passwd")?;
    let Body::File(content) = tree.node(id).body else { return None };
    let passwd = read(content)?;
    find_account(&String::from_utf8_lossy(&passwd), user)
}

fn find_account(passwd: &str, user: &str) -> Option<Account> {
    let fields = |line: &'_ str| -> Option<(String, Account)> {
        let mut fields = line.split(':');
        let name = fields.next()?.to_owned();
        let uid = fields.nth(1)?.parse().ok()?;
        let gid = fields.next()?.parse().ok()?;
        let home = fields.nth(1)?.to_owned();
        Some((name, Account { uid, gid, home }))
    };
    let all = || passwd.lines().filter_map(fields);
    let uid = user.parse().ok();
    all()
        .find(|(name, _)| name == user)
        .or_else(|| all().find(|(_, account)| Some(account.uid) == uid))
        .map(|(_, account)| account)
}

fn is_own_home(home: &str) -> bool {
    let home = match home.trim_end_matches('/') {
        "" => "/",
        trimmed => trimmed,
    };
    let under =
        |dir: &str| home.strip_prefix(dir).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    home.starts_with('/')
        && !home.split('/').any(|part| part == "..")
        && !SHARED.contains(&home)
        && !SYSTEM.into_iter().any(under)
}

/// Gives `home` to its account. Returns how much changed hands.
fn own(tree: &mut Tree, home: NodeId, account: &Account) -> usize {
    // `/home/x -> /` and the like would give everything away.
    if home == super::tree::ROOT || !tree.is_dir(home) {
        return 0;
    }
    let mut todo = vec![home];
    let mut changed = 0;
    while let Some(id) = todo.pop() {
        let node = tree.node_mut(id);
        changed += usize::from((node.meta.uid, node.meta.gid) != (account.uid, account.gid));
        (node.meta.uid, node.meta.gid) = (account.uid, account.gid);
        if let Body::Dir(children) = &node.body {
            todo.extend(children.values());
        }
    }
    changed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accounts_are_found_by_name_and_by_uid() {
        let passwd =
            "root:x:0:0:root:/root:/bin/sh\nbroken\nnode:x:1000:1001::/home/node:/bin/bash\n7:x:8:9::/h:/s\n";
        let node = Account { uid: 1000, gid: 1001, home: "/home/node".into() };
        assert_eq!(find_account(passwd, "node"), Some(node));
        assert_eq!(find_account(passwd, "1000").unwrap().home, "/home/node");
        assert_eq!(find_account(passwd, "7").unwrap().uid, 8);
        assert_eq!(find_account(passwd, "nobody"), None);
        assert_eq!(find_account(passwd, "1001"), None);
        assert_eq!(find_account(passwd, ""), None);
    }

    #[test]
    fn shared_homes_are_left_alone() {
        for home in
            ["/home/node", "/home/node/", "/root", "/app", "/var/www", "/var/lib/postgresql", "/opt/x"]
        {
            assert!(is_own_home(home), "{home}");
        }
        for home in [
            "",
            "/",
            "//",
            "/home",
            "/usr/sbin",
            "/bin",
            "/dev",
            "/etc/x",
            "/tmp/x",
            "x",
            "/home/../etc",
            "/var",
            "/run/x",
        ] {
            assert!(!is_own_home(home), "{home}");
        }
    }
}
