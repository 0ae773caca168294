//! Which module files of a kernel to load, and in which order, from its `modules.dep`.
//!
//! ```text
//! kernel/fs/ext4/ext4.ko.xz: kernel/lib/crc16.ko.xz kernel/fs/mbcache.ko.xz kernel/fs/jbd2/jbd2.ko.xz
//! ```
//!
//! A line names all that a module needs, the innermost last.

use std::collections::HashMap;

/// Resolves module names to paths below the kernel's module directory, each after all that it needs. A name of which
/// there is no file is returned as the error: it may be built in, but the caller asks for none that are.
pub(crate) fn load_order(modules_dep: &str, names: &[&str]) -> Result<Vec<String>, String> {
    let mut needs: HashMap<&str, Vec<&str>> = HashMap::new();
    let mut path_of: HashMap<String, &str> = HashMap::new();
    for line in modules_dep.lines() {
        if let Some((path, rest)) = line.split_once(':') {
            needs.insert(path, rest.split_whitespace().collect());
            path_of.insert(name_of(path), path);
        }
    }
    let mut order: Vec<String> = Vec::new();
    for &name in names {
        let path = *path_of.get(&name.replace('-', "_")).ok_or(name)?;
        let needed = needs.get(path).into_iter().flatten().rev().copied();
        for next in needed.chain([path]) {
            if !order.iter().any(|listed| listed == next) {
                order.push(next.to_owned());
            }
        }
    }
    Ok(order)
}

/// A module's name as the kernel has it: without directory and suffixes, and with underscores.
pub(crate) fn name_of(path: &str) -> String {
    let file = path.rsplit('/').next().unwrap_or(path);
    file.split(".ko").next().unwrap_or(file).replace('-', "_")
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEP: &str = "kernel/fs/ext4/ext4.ko.xz: kernel/lib/crc16.ko.xz kernel/fs/jbd2/jbd2.ko.xz kernel/c/crc32c.ko.xz\n\
                       kernel/fs/jbd2/jbd2.ko.xz: kernel/c/crc32c.ko.xz\n\
                       kernel/lib/crc16.ko.xz:\n\
                       kernel/c/crc32c.ko.xz:\n\
                       kernel/n/br-netfilter.ko: kernel/n/bridge.ko\n\
                       kernel/n/bridge.ko:\n";

    #[test]
    fn what_is_needed_comes_first_and_once() {
        let order = load_order(DEP, &["crc16", "ext4", "br_netfilter"]).unwrap();
        let names: Vec<_> = order.iter().map(|path| name_of(path)).collect();
        assert_eq!(names, ["crc16", "crc32c", "jbd2", "ext4", "bridge", "br_netfilter"]);
    }

    #[test]
    fn an_unknown_module_is_named() {
        assert_eq!(load_order(DEP, &["ext4", "kvm_amd"]), Err("kvm_amd".to_owned()));
    }
}
