//! `-t`: the command has a terminal, which is ours.

use crate::harness::{Bottle, archive, bottle};

#[test]
#[ignore = "needs KVM: run cargo xtask test"]
fn a_command_gets_our_terminal() {
    let image = archive("debian");
    // script(1) makes the terminal, with no size of its own when its stdin is none.
    let inner = format!(
        "stty rows 41 cols 113; exec {} vm run -t --cpus 1 --memory 512 docker-archive:{} -- \
         sh -c 'tty; stty size; echo term=$TERM; read line; echo \"got $line\"; exit 9'",
        bottle().display(),
        image.display()
    );
    let mut running = Bottle::wrapped(&[], "script".as_ref(), &["-qec", &inner, "/dev/null"]).start();
    running.until_stdout("term=");
    let mut stdin = running.stdin();
    std::io::Write::write_all(&mut stdin, b"typed\r").unwrap();
    running.until_stdout("got typed");
    let ended = running.end().expect(9);
    drop(stdin);
    let text = ended.text();
    assert!(text.contains("/dev/pts/"), "{}", ended.quoted());
    assert!(text.contains("41 113\r\n"), "{}", ended.quoted());
    // The terminal of the guest turns line ends into CR LF, and ours leaves them alone.
    assert!(!text.contains("\r\r\n"), "{}", ended.quoted());
}

#[test]
#[ignore = "needs KVM: run cargo xtask test"]
fn a_terminal_that_is_not_there_is_refused() {
    Bottle::vm_run("debian", &["-t"], &["true"]).run().refused(125, &["terminal"]);
}
