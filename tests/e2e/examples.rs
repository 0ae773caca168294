//! The library's examples, as whoever embeds it would run them.

use std::path::Path;

use crate::harness::{Bottle, archive, example};

/// A server in Perl, which every Debian image has: says that it listens, and answers each request.
pub(crate) const SERVER: &str = r#"use IO::Socket; $| = 1;
my $s = IO::Socket::INET->new(Listen => 5, LocalAddr => "127.0.0.1", LocalPort => 8000) or die "listen: $!";
print "listening\n";
while (my $c = $s->accept) { my $l = <$c>; print $c "HTTP/1.0 200 OK\r\n\r\nasked: $l"; close $c }"#;

/// Runs an example on the Debian image. It puts its VMs below a directory of ours, which is empty again afterwards.
fn run(name: &str, arguments: &[&str]) -> String {
    let image = format!("docker-archive:{}", archive("debian").display());
    let arguments = [&[&*image], arguments].concat();
    let temporary = tempfile::tempdir().unwrap();
    let ended = Bottle::wrapped(&[], &example(name), &arguments).env("TMPDIR", temporary.path()).run();
    let ended = ended.expect(0);
    assert_eq!(left_in(temporary.path()), Vec::<String>::new(), "{}", ended.quoted());
    eprint!("{}", ended.text());
    ended.text().to_owned()
}

fn left_in(directory: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(directory).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[test]
#[ignore = "needs KVM: run cargo xtask test"]
fn a_command_is_run() {
    let text = run("run_command", &["sh", "-c", "echo \"$GREETING\"; id -un"]);
    assert_eq!(text, "hello from the image\nroot\n");
}

#[test]
#[ignore = "needs KVM: run cargo xtask test"]
fn a_server_is_reached_without_a_network() {
    let text = run("server", &["8000", "perl", "-e", SERVER]);
    assert_eq!(text, "HTTP/1.0 200 OK\r\n\r\nasked: GET / HTTP/1.0\r\n");
}

#[test]
#[ignore = "needs KVM: run cargo xtask test"]
fn files_are_copied_in_and_what_comes_of_them_out() {
    let files = tempfile::tempdir().unwrap();
    let (source, destination) = (files.path().join("source"), files.path().join("counted"));
    std::fs::create_dir_all(source.join("below")).unwrap();
    std::fs::write(source.join("below/words"), "three words here\n".repeat(10_000)).unwrap();
    let [from, to] = [&source, &destination].map(|path| path.to_str().unwrap());
    let script = "mkdir /out && wc -w < /in/below/words > /out/count && echo counted";
    assert_eq!(run("copy_files", &[from, to, "sh", "-c", script]), "counted\n");
    assert_eq!(std::fs::read_to_string(destination.join("count")).unwrap(), "30000\n");
}

#[test]
#[ignore = "needs KVM: run cargo xtask test"]
fn several_vms_run_at_once() {
    let text = run("many_vms", &["3", "192"]);
    for index in 0..3 {
        assert!(text.contains(&format!("  vm-{index} answers\n")), "{text}");
    }
    assert!(text.contains("memory of the 3 VMMs: RSS "), "{text}");
}
