//! The CA of the first hop in a guest's trust store, where it is put there without the image's own program for that.

use super::run::sidecars_image;
use crate::harness::{Bottle, archive};

/// All CAs in their order but for our marks, and the links by which OpenSSL finds them.
const LOOK: &str = "grep -v '^# ' $SSL_CERT_FILE | sha256sum; find /etc/ssl/certs -type l -printf '%f %l\\n' | sort | sha256sum";

#[test]
#[ignore = "needs KVM: run cargo xtask test"]
fn is_as_update_ca_certificates_makes_it() {
    let verify =
        "openssl verify -no-CAfile -CApath /etc/ssl/certs /usr/local/share/ca-certificates/bottle.crt";
    let script = format!("{verify}; {LOOK}; update-ca-certificates | grep added; {LOOK}");
    let config = tempfile::tempdir().unwrap();
    let manifest = format!(
        "[bottle.dev]\ncpus = 1\nmemory = 384\n[[bottle.dev.routes]]\nhost = \"api.test.example\"\n\
         token = {{ command = [\"echo\", \"a-token\"] }}\n\
         [agent.looker]\nbottle = \"dev\"\nimage = \"docker-archive:{}\"\ncommand = [\"sh\", \"-c\", {script:?}]\n",
        archive("client").display()
    );
    std::fs::write(config.path().join("bottle.toml"), manifest).unwrap();
    let image = sidecars_image();
    let bottle = Bottle::new(&["run", "--yes", "--bundle-image", &image, "-u", "0", "looker"]);
    let ended = bottle.env("BOTTLE_CONFIG_DIR", config.path()).run().expect(0);
    let lines: Vec<&str> = ended.text().lines().collect();
    let [verified, bundle, links, added, new_bundle, new_links] = lines[..] else {
        panic!("{}", ended.quoted())
    };
    assert!(verified.ends_with(": OK"), "{verified}");
    // It finds all in its place.
    assert!(added.starts_with("0 added, 0 removed"), "{added}");
    assert_eq!((new_bundle, new_links), (bundle, links));
}
