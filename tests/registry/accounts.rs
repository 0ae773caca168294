//! Accounts that docker knows, by `config.json` and by credential helpers.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::bottle::Bottle;
use crate::docker_registry::{PASSWORD, Registry, USER};
use crate::image::Image;

/// It must stand in no message.
const WRONG: &str = "wrong-battery-staple";

fn setup() -> (Bottle, Registry, String, Image) {
    let (bottle, registry) = (Bottle::new(), Registry::with_accounts());
    let image = Image::new(21, 1000);
    registry.push("private/a:1", &[&image]);
    let source = registry.reference("private/a:1");
    (bottle, registry, source, image)
}

fn auths(registry: &Registry, password: &str) -> String {
    let auth = STANDARD.encode(format!("{USER}:{password}"));
    format!(r#"{{"auths":{{"{}":{{"auth":"{auth}"}}}}}}"#, registry.address)
}

#[test]
fn who_is_logged_in_gets_the_image() {
    let (bottle, registry, source, image) = setup();
    let error = bottle.refused(&source);
    assert!(error.contains("to nobody who is not logged in") && error.contains("docker login"), "{error}");
    bottle.docker_config(&auths(&registry, WRONG));
    let error = bottle.refused(&source);
    assert!(error.contains("refuses") && error.contains("docker login"), "{error}");
    assert!(!error.contains(WRONG) && !error.contains(&STANDARD.encode(WRONG)), "{error}");
    bottle.docker_config(&auths(&registry, PASSWORD));
    assert_eq!(bottle.import(&source), image.id.to_string());
}

#[test]
fn a_helper_is_asked_for_the_host() {
    let (bottle, registry, source, image) = setup();
    let address = &registry.address;
    bottle.docker_config(&format!(r#"{{"credHelpers":{{"{address}":"test"}},"credsStore":"none"}}"#));
    bottle.program(
        "docker-credential-test",
        &format!(
            r#"read -r host; [ "$1 $host" = "get {address}" ] || exit 3
            echo '{{"ServerURL":"{address}","Username":"{USER}","Secret":"{PASSWORD}"}}'"#
        ),
    );
    assert_eq!(bottle.import(&source), image.id.to_string());

    let bottle = Bottle::new();
    bottle.docker_config(r#"{"credsStore":"all"}"#);
    bottle.program("docker-credential-all", r#"echo 'credentials not found in native keychain'; exit 1"#);
    let error = bottle.refused(&source);
    assert!(error.contains("to nobody who is not logged in"), "{error}");
}

#[test]
fn a_helper_that_fails_is_named() {
    let (bottle, _registry, source, _) = setup();
    bottle.docker_config(r#"{"credsStore":"test"}"#);
    let error = bottle.refused(&source);
    assert!(error.contains("docker-credential-test is not in the PATH"), "{error}");
    bottle.program("docker-credential-test", &format!("echo {WRONG}; echo {WRONG} >&2; exit 7"));
    let error = bottle.refused(&source);
    assert!(error.contains("docker-credential-test failed (exit status: 7)"), "{error}");
    bottle.program("docker-credential-test", &format!("echo '{{\"Username\":1,\"Secret\":\"{WRONG}\"}}'"));
    let error = bottle.refused(&source);
    assert!(error.contains("something else than an account") && !error.contains(WRONG), "{error}");
    bottle.docker_config(r#"{"auths":["#);
    let error = bottle.refused(&source);
    assert!(error.contains("config.json can't be read: line 1"), "{error}");
}
