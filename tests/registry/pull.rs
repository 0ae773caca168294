//! Pulling what is there, and asking for what is not.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixListener;
use std::thread;

use crate::bottle::Bottle;
use crate::docker_registry::Registry;
use crate::http::{Answer, Server};
use crate::image::{self, Image, architecture, layer};

#[test]
fn an_image_is_the_same_from_a_registry_and_from_an_archive() {
    let (bottle, registry) = (Bottle::new(), Registry::start());
    let image = Image::new(1, 300_000);
    registry.push("team/app:1", &[&image]);
    let source = registry.reference("team/app:1");
    let id = bottle.import(&source);
    assert_eq!(id, image.id.to_string());

    let other = Bottle::new();
    let layout = image::write_layout(&other.path("layout"), &[&image]);
    assert_eq!(other.import(layout.to_str().unwrap()), id);
    assert!(other.base(&id) == bottle.base(&id), "the same config gives the same bytes");

    let digest = format!("{}/team/app@sha256:{}", registry.address, image.manifest);
    assert_eq!(bottle.import(&format!("docker://{digest}")), id);
    assert_eq!(bottle.import(&format!("{}/team/app:1", registry.address)), id, "without its transport");
    let listed = bottle.run(&["image", "inspect", &source], &[]);
    let listed = String::from_utf8(listed.stdout).unwrap();
    assert!(listed.contains(&source) && listed.contains(&format!("docker://{digest}")), "{listed}");
}

#[test]
fn a_cached_image_needs_no_layers() {
    let (bottle, registry) = (Bottle::new(), Registry::start());
    let image = Image::new(2, 1000);
    registry.push("a:latest", &[&image]);
    let proxy = crate::proxy::Proxy::start(&registry.address, "", |_| crate::proxy::Fault::default());
    let source = proxy.server.reference("a");
    bottle.import(&source);
    assert_eq!(proxy.ranges.lock().unwrap().len(), 3, "the config and two layers");
    bottle.import(&source);
    assert_eq!(proxy.ranges.lock().unwrap().len(), 4, "the config");
}

#[test]
fn an_index_gives_the_image_for_this_machine() {
    let (bottle, registry) = (Bottle::new(), Registry::start());
    let ours = Image::new(3, 1000);
    let foreign = Image::of("s390x", &[layer("other", b"x")]);
    registry.push("both:1", &[&foreign, &ours]);
    assert_eq!(bottle.import(&registry.reference("both:1")), ours.id.to_string());

    let bottle = Bottle::new();
    let other = Image::of("riscv64", &[layer("other", b"y")]);
    registry.push("foreign:1", &[&foreign, &other]);
    let error = bottle.refused(&registry.reference("foreign:1"));
    assert!(
        error.contains(&format!("linux/s390x, linux/riscv64, and the guest is linux/{}", architecture()))
    );
    registry.push("alone:1", &[&foreign]);
    let error = bottle.refused(&registry.reference("alone:1"));
    assert!(error.contains("linux/s390x"), "{error}");
}

#[test]
fn what_is_not_there_is_named() {
    let (bottle, registry) = (Bottle::new(), Registry::start());
    registry.push("there:1", &[&Image::new(4, 10)]);
    let error = bottle.refused(&registry.reference("there:2"));
    assert!(error.contains("there:2: no such tag"), "{error}");
    let error = bottle.refused(&registry.reference("missing:1"));
    assert!(error.contains("missing:1: no such name"), "{error}");
    let digest = format!("there@sha256:{}", "0".repeat(64));
    let error = bottle.refused(&registry.reference(&digest));
    assert!(error.contains(&format!("{digest}: no such digest")), "{error}");
    let error = bottle.refused(&format!("{}/missing", registry.address));
    for part in ["the docker daemon can't be reached", "missing:latest: no such name"] {
        assert!(error.contains(part), "{error}");
    }
}

#[test]
fn a_name_that_the_daemon_does_not_have_is_pulled() {
    let (bottle, registry) = (Bottle::new(), Registry::start());
    let image = Image::new(6, 10);
    registry.push("a:1", &[&image]);
    let socket = bottle.path("docker.sock");
    let daemon = UnixListener::bind(&socket).unwrap();
    thread::spawn(move || {
        for mut stream in daemon.incoming().map(Result::unwrap) {
            let head = BufReader::new(stream.try_clone().unwrap()).lines();
            head.map_while(Result::ok).take_while(|line| !line.is_empty()).for_each(drop);
            let body = r#"{"message":"No such image"}"#;
            let length = body.len();
            write!(stream, "HTTP/1.1 404 Not Found\r\nContent-Type: application/json\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}")
                .unwrap();
        }
    });
    let host = format!("unix://{}", socket.display());
    let import = |name: &str| {
        let output = bottle.run(&["image", "import", name], &[("DOCKER_HOST", host.as_ref())]);
        (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap())
    };
    let (id, error) = import(&format!("{}/a:1", registry.address));
    assert_eq!(id.trim(), image.id.to_string(), "{error}");
    let name = format!("{}/a:2", registry.address);
    let (_, error) = import(&name);
    assert!(error.contains(&format!("the docker daemon has no image {name}; and")), "{error}");
    assert!(error.contains("a:2: no such tag"), "{error}");
    let (_, error) = import(&format!("docker-daemon:{name}"));
    assert!(error.contains("has no image") && !error.contains("; and"), "{error}");
}

#[test]
fn who_is_no_registry_is_told_so() {
    let bottle = Bottle::new();
    let error = bottle.refused("docker://127.0.0.1:1/a");
    assert!(error.contains("127.0.0.1:1 can't be reached: Connection refused"), "{error}");
    let error = bottle.refused("docker://registry.invalid/a");
    assert!(error.contains("registry.invalid can't be reached"), "{error}");
    let page = Server::start(|_, _| Answer::new(404));
    let error = bottle.refused(&page.reference("a"));
    assert!(error.contains("is no registry: it answers 404"), "{error}");
    let page = Server::start(|_, _| Answer::ok("text/html", "<html>"));
    let error = bottle.refused(&page.reference("a"));
    assert!(error.contains("what the registry sends for its manifest is none"), "{error}");
    let broken = Server::start(|_, _| Answer::new(503));
    let error = bottle.refused(&broken.reference("a"));
    assert!(error.contains("answers 503"), "{error}");
    let busy = Server::start(|_, _| Answer::new(429));
    let error = bottle.refused(&busy.reference("a"));
    assert!(error.contains("too many requests") && error.contains("docker login"), "{error}");
}

#[test]
fn https_wants_a_certificate_that_is_trusted() {
    let (bottle, registry) = (Bottle::new(), Registry::with_tls());
    let error = bottle.refused(&registry.reference("a"));
    assert!(error.contains("can't be trusted") && error.contains("SSL_CERT_FILE"), "{error}");
    let ca = registry.ca();
    let output =
        bottle.run(&["image", "import", &registry.reference("a")], &[("SSL_CERT_FILE", ca.as_ref())]);
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(error.contains("a:latest: no such name"), "{error}");
}

#[test]
fn a_proxy_is_not_used_on_loopback() {
    let (bottle, registry) = (Bottle::new(), Registry::start());
    registry.push("a:1", &[&Image::new(5, 10)]);
    let proxies = ["HTTP_PROXY", "HTTPS_PROXY"].map(|name| (name, OsStr::new("http://127.0.0.1:1")));
    let output = bottle.run(&["image", "import", &registry.reference("a:1")], &proxies);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let output = bottle.run(&["image", "import", "docker://registry.invalid/a"], &proxies);
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(error.contains("Connection refused"), "the proxy is used elsewhere: {error}");
}
