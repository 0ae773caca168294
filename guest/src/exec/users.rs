//! Users and groups as the guest's own `/etc/passwd` and `/etc/group` have them, read by us: libc's lookup does not
//! work in a static program. The rules are docker's.

use bottle_protocol::{ExecFailure, FailureKind};

/// Who a process runs as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// Supplementary groups, without the first.
    pub(crate) groups: Vec<u32>,
    /// Empty if the user has no entry.
    pub(crate) name: Vec<u8>,
    pub(crate) home: Vec<u8>,
    pub(crate) shell: Vec<u8>,
}

struct PasswdEntry<'a> {
    name: &'a [u8],
    uid: u32,
    gid: u32,
    home: &'a [u8],
    shell: &'a [u8],
}

/// Resolves `name|uid[:group|gid]`; an empty one is root.
///
/// A number that is no user's name is taken as it is. Without an entry the first group is 0 and the home `/`. The
/// supplementary groups are those that list the user, unless a group was asked for by name or number.
pub(crate) fn resolve(spec: &[u8], passwd: &[u8], group: &[u8]) -> Result<Identity, ExecFailure> {
    let mut parts = spec.splitn(2, |byte| *byte == b':');
    let user = parts.next().filter(|user| !user.is_empty()).unwrap_or(b"0");
    let wanted_group = parts.next().filter(|group| !group.is_empty());

    let entry = passwd_entries(passwd)
        .find(|entry| entry.name == user)
        .or_else(|| number(user).and_then(|uid| passwd_entries(passwd).find(|entry| entry.uid == uid)));
    let mut identity = match (entry, number(user)) {
        (Some(entry), _) => Identity {
            uid: entry.uid,
            gid: entry.gid,
            groups: Vec::new(),
            name: entry.name.to_vec(),
            home: if entry.home.is_empty() { b"/".to_vec() } else { entry.home.to_vec() },
            shell: if entry.shell.is_empty() { b"/bin/sh".to_vec() } else { entry.shell.to_vec() },
        },
        (None, Some(uid)) => Identity {
            uid,
            gid: 0,
            groups: Vec::new(),
            name: Vec::new(),
            home: b"/".to_vec(),
            shell: b"/bin/sh".to_vec(),
        },
        (None, None) => return Err(no_such("user", user, "/etc/passwd")),
    };
    if let Some(wanted) = wanted_group {
        identity.gid = group_entries(group)
            .find(|(name, ..)| *name == wanted)
            .map(|(_, gid, _)| gid)
            .or_else(|| number(wanted))
            .ok_or_else(|| no_such("group", wanted, "/etc/group"))?;
    } else if !identity.name.is_empty() {
        for (_, gid, members) in group_entries(group) {
            let listed = members.split(|byte| *byte == b',').any(|member| member == identity.name);
            if listed && gid != identity.gid && !identity.groups.contains(&gid) {
                identity.groups.push(gid);
            }
        }
    }
    Ok(identity)
}

fn no_such(what: &str, name: &[u8], file: &str) -> ExecFailure {
    let name = String::from_utf8_lossy(name);
    ExecFailure {
        kind: FailureKind::NoSuchUser,
        message: format!("no {what} `{name}` in the guest's {file}"),
    }
}

/// A decimal id; not the two that mean "none" to the kernel's calls.
fn number(text: &[u8]) -> Option<u32> {
    let digits = !text.is_empty() && text.iter().all(u8::is_ascii_digit);
    digits.then(|| std::str::from_utf8(text).ok()?.parse().ok()).flatten().filter(|id| *id < u32::MAX)
}

fn passwd_entries(passwd: &[u8]) -> impl Iterator<Item = PasswdEntry<'_>> {
    passwd.split(|byte| *byte == b'\n').filter_map(|line| {
        let fields: Vec<&[u8]> = line.split(|byte| *byte == b':').collect();
        match fields[..] {
            [name, _, uid, gid, ref rest @ ..] if !name.is_empty() => Some(PasswdEntry {
                name,
                uid: number(uid)?,
                gid: number(gid)?,
                home: rest.get(1).copied().unwrap_or_default(),
                shell: rest.get(2).copied().unwrap_or_default(),
            }),
            _ => None,
        }
    })
}

fn group_entries(group: &[u8]) -> impl Iterator<Item = (&[u8], u32, &[u8])> {
    group.split(|byte| *byte == b'\n').filter_map(|line| {
        let mut fields = line.split(|byte| *byte == b':');
        let (name, _, gid) = (fields.next()?, fields.next()?, number(fields.next()?)?);
        Some((name, gid, fields.next().unwrap_or_default()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &[u8] = b"root:x:0:0:root:/root:/bin/bash\n# no entry\nbroken:x:abc:1\n\
        node:x:1000:1000::/home/node:/bin/zsh\n1234:x:77:78::/digits:\nbare:x:5:6\n\xff\xfe:x:9:9::/\xff:/sh\n";
    const GROUP: &[u8] =
        b"root:x:0:\nwheel:x:10:root,node\nnode:x:1000:node\ndocker:x:999:node,other\nbad:x\n";

    fn identity(spec: &[u8]) -> Identity {
        resolve(spec, PASSWD, GROUP).unwrap()
    }

    #[test]
    fn names_bring_their_entry_and_groups() {
        let node = identity(b"node");
        assert_eq!((node.uid, node.gid), (1000, 1000));
        assert_eq!(node.groups, [10, 999]);
        assert_eq!((&node.home[..], &node.shell[..]), (&b"/home/node"[..], &b"/bin/zsh"[..]));
    }

    #[test]
    fn an_empty_spec_is_root() {
        assert_eq!(identity(b"").name, b"root");
        assert_eq!(identity(b"").groups, [10]);
        assert_eq!(identity(b":node").gid, 1000);
    }

    #[test]
    fn numbers_are_looked_up_and_else_taken_as_they_are() {
        assert_eq!(identity(b"1000").name, b"node");
        let stranger = identity(b"4242");
        assert_eq!((stranger.uid, stranger.gid, &stranger.home[..]), (4242, 0, &b"/"[..]));
        // A name made of digits wins over the number.
        assert_eq!(identity(b"1234").uid, 77);
    }

    #[test]
    fn a_group_asked_for_replaces_the_supplementary_ones() {
        let node = identity(b"node:docker");
        assert_eq!((node.gid, node.groups.len()), (999, 0));
        assert_eq!(identity(b"0:55").gid, 55);
    }

    #[test]
    fn what_is_not_there_is_named() {
        for (spec, text) in [(&b"ghost"[..], "no user `ghost`"), (b"root:ghosts", "no group `ghosts`")] {
            let failure = resolve(spec, PASSWD, GROUP).unwrap_err();
            assert_eq!(failure.kind, FailureKind::NoSuchUser);
            assert!(failure.message.contains(text), "{}", failure.message);
        }
        // -1 means "leave as it is" to the kernel.
        assert!(resolve(b"4294967295", PASSWD, GROUP).is_err());
        assert!(resolve(b"broken", PASSWD, GROUP).is_err());
    }

    #[test]
    fn names_are_bytes_and_short_entries_have_defaults() {
        assert_eq!(identity(b"\xff\xfe").home, b"/\xff");
        assert_eq!((&identity(b"bare").home[..], &identity(b"bare").shell[..]), (&b"/"[..], &b"/bin/sh"[..]));
        assert_eq!(resolve(b"7", b"", b"").unwrap().uid, 7);
    }
}
