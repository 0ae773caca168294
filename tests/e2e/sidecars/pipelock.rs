//! pipelock itself, from inside a guest. No stand-in passes this.

use super::outside::{API, Outside};
use super::run::Guest;

#[test]
#[ignore = "needs KVM: run cargo xtask test"]
fn secrets_do_not_leave_the_guest() {
    let outside = Outside::start();
    let mut guest = Guest::start(&outside);
    let url = format!("https://{API}/v1/messages");
    assert_eq!(guest.curl(&["-d", "a harmless body", &url]), "200 noted");
    let before = outside.requests();
    for secret in ["AKIAIOSFODNN7EXAMPLE", "sk-ant-api03-abcdefghijklmnopqrstuvwxyz"] {
        let said = guest.curl(&["-d", &format!("{{\"note\":\"{secret}\"}}"), &url]);
        assert!(said.starts_with("403 ") && said.contains("blocked"), "{said}");
    }
    assert_eq!(outside.requests(), before);
    guest.exit();
}
