//! The configuration of a repository that goes into a guest: what describes the repository, and nothing that could be a secret, name a
//! program or a place of this machine. What is not listed here stays here.

/// Keys, in lower case; `*` is a subsection of any name.
const KEPT: [&str; 20] = [
    "core.repositoryformatversion",
    "core.bare",
    "core.filemode",
    "core.ignorecase",
    "core.precomposeunicode",
    "core.symlinks",
    "core.logallrefupdates",
    "core.autocrlf",
    "core.eol",
    "core.sparsecheckout",
    "core.sparsecheckoutcone",
    "extensions.objectformat",
    "extensions.refstorage",
    "remote.*.url",
    "remote.*.pushurl",
    "remote.*.fetch",
    "branch.*.remote",
    "branch.*.merge",
    "branch.*.rebase",
    "pull.rebase",
];

/// The file for the guest.
pub(super) fn for_guest(settings: &[(String, String)]) -> String {
    settings.iter().filter_map(|(key, value)| setting(key, value)).collect()
}

fn setting(key: &str, value: &str) -> Option<String> {
    let (section, rest) = key.split_once('.')?;
    let (subsection, name) = match rest.rsplit_once('.') {
        Some((subsection, name)) => (Some(subsection), name),
        None => (None, rest),
    };
    let pattern = match subsection {
        Some(_) => format!("{section}.*.{name}"),
        None => format!("{section}.{name}"),
    };
    if !KEPT.contains(&&*pattern.to_ascii_lowercase()) {
        return None;
    }
    let value = if name.ends_with("url") { without_credentials(value) } else { value.to_owned() };
    let header = match subsection {
        Some(subsection) => format!("[{section} {}]", quoted(subsection)),
        None => format!("[{section}]"),
    };
    Some(format!("{header}\n\t{name} = {}\n", quoted(&value)))
}

/// A URL without a password, and over HTTP without a user either: that may be a token.
fn without_credentials(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let Some((user, host)) = authority.rsplit_once('@') else { return url.to_owned() };
    if scheme.eq_ignore_ascii_case("ssh") {
        let user = user.split(':').next().unwrap_or_default();
        return format!("{scheme}://{user}@{host}{path}");
    }
    format!("{scheme}://{host}{path}")
}

/// Text as git reads it in a configuration, be it a value or the name of a subsection.
pub(crate) fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for char in text.chars() {
        match char {
            '"' | '\\' => quoted.extend(['\\', char]),
            '\n' => quoted.push_str("\\n"),
            char => quoted.push(char),
        }
    }
    quoted + "\""
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_may_be_a_secret_goes_along() {
        for (key, value) in [
            ("credential.helper", "store"),
            ("http.https://git.example.com/.extraheader", "AUTHORIZATION: basic c2VjcmV0"),
            ("url.https://token@git.example.com/.insteadof", "https://git.example.com/"),
            ("include.path", "/home/me/.gitconfig"),
            ("core.sshcommand", "ssh -i key"),
            ("core.hookspath", "/opt/hooks"),
            ("filter.lfs.process", "git-lfs filter-process"),
            ("remote.origin.proxy", "http://me:secret@proxy"),
            ("core", "x"),
        ] {
            assert_eq!(setting(key, value), None, "{key}");
        }
    }

    #[test]
    fn urls_lose_what_opens_them() {
        for (url, left) in [
            ("https://me:secret@git.example.com/a.git", "https://git.example.com/a.git"),
            ("https://token@git.example.com", "https://git.example.com"),
            ("https://git.example.com/a@b.git", "https://git.example.com/a@b.git"),
            ("ssh://git:secret@git.example.com:2222/a.git", "ssh://git@git.example.com:2222/a.git"),
            ("git@git.example.com:a.git", "git@git.example.com:a.git"),
            ("../a.git", "../a.git"),
        ] {
            assert_eq!(without_credentials(url), left);
        }
    }

    #[test]
    fn git_reads_what_was_kept() {
        let odd = "a \"b\"\\c";
        let settings = [
            ("core.filemode".to_owned(), "false".to_owned()),
            (format!("remote.{odd}.url"), "https://token@h.example/x".to_owned()),
            (format!("branch.{odd}.merge"), "refs/heads/; #".to_owned()),
        ];
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), for_guest(&settings)).unwrap();
        let listed = std::process::Command::new("git")
            .args(["config", "--list", "-z", "--file"])
            .arg(file.path())
            .output()
            .unwrap();
        let listed = String::from_utf8(listed.stdout).unwrap();
        let expected = format!(
            "core.filemode\nfalse\0remote.{odd}.url\nhttps://h.example/x\0branch.{odd}.merge\nrefs/heads/; #\0"
        );
        assert_eq!(listed, expected);
    }
}
