//! Registries that are not what they should be.

use bottle::image::ImageId;

use crate::bottle::Bottle;
use crate::http::{Answer, Request, Server};
use crate::image::{INDEX, Image, LAYER, MANIFEST};
use crate::tokens::serve;

/// A registry with one image, and `instead` of what it would answer.
fn registry(image: &Image, instead: impl Fn(&Request) -> Option<Answer> + Send + Sync + 'static) -> Server {
    let image = image.clone();
    Server::start(move |request, _| instead(request).unwrap_or_else(|| serve(&image, request)))
}

fn is_manifest(request: &Request) -> bool {
    request.path.contains("/manifests/")
}

#[test]
fn without_lies_it_would_work() {
    let (bottle, image) = (Bottle::new(), Image::new(41, 1000));
    let registry = registry(&image, |_| None);
    assert_eq!(bottle.import(&registry.reference("a:1")), image.id.to_string());
}

#[test]
fn a_manifest_is_what_its_digest_says() {
    let (bottle, image) = (Bottle::new(), Image::new(42, 1000));
    let other = Image::new(43, 1000);
    let other_manifest = other.blobs[&other.manifest].clone();
    let lying = registry(&image, move |request| {
        is_manifest(request).then(|| Answer::ok(MANIFEST, other_manifest.clone()))
    });
    let error = bottle.refused(&lying.reference(&format!("a@sha256:{}", image.manifest)));
    let both = format!("sha256:{} where sha256:{} is promised", other.manifest, image.manifest);
    assert!(error.contains("a manifest from the registry") && error.contains(&both), "{error}");
    // And by tag what the registry itself says.
    let manifest = image.blobs[&image.manifest].clone();
    let lying = registry(&image, move |request| {
        let digest = format!("sha256:{}", ImageId::of(b""));
        is_manifest(request)
            .then(|| Answer::ok(MANIFEST, manifest.clone()).header("Docker-Content-Digest", &digest))
    });
    let error = bottle.refused(&lying.reference("a:1"));
    assert!(error.contains("wrong digest"), "{error}");
}

#[test]
fn a_blob_has_the_size_that_is_promised() {
    let bottle = Bottle::new();
    let image = Image::new(44, 1000);
    for layer in &image.layers {
        let size = image.blobs[layer].len();
        let stated = |size: usize| format!(r#"sha256:{layer}","size":{size}"#);
        for lie in [0, size - 1, size + 1] {
            let lying = image.with_manifest(&stated(size), &stated(lie));
            let error = bottle.refused(&registry(&lying, |_| None).reference("a:1"));
            let said = error.contains(&format!("has {size} bytes of sha256:{layer}"))
                || (lie == 0 && error.contains("wrong digest"));
            assert!(said, "{lie}: {error}");
        }
        // Without a length, all that is known is that there is too much.
        let lying = image.with_manifest(&stated(size), &stated(size - 1));
        let bytes = image.blobs[layer].clone();
        let path = format!("/v2/a/blobs/sha256:{layer}");
        let endless = registry(&lying, move |request| {
            (request.path == path).then(|| Answer::ok("application/octet-stream", bytes.clone()).endless())
        });
        let error = bottle.refused(&endless.reference("a:1"));
        assert!(error.contains("bytes of") || error.contains("wrong digest"), "{error}");
        let huge = image.with_manifest(&stated(size), &stated(1 << 40));
        let error = bottle.refused(&registry(&huge, |_| None).reference("a:1"));
        assert!(error.contains("has 1099511627776 bytes"), "{error}");
    }
    let config_size = image.blobs[&image.id].len();
    let stated = |size: usize| format!(r#"sha256:{}","size":{size}"#, image.id);
    let huge = image.with_manifest(&stated(config_size), &stated(5 << 20));
    let error = bottle.refused(&registry(&huge, |_| None).reference("a:1"));
    assert!(error.contains("where 4194304 is the most"), "{error}");
}

#[test]
fn a_manifest_that_leads_to_no_image_is_refused() {
    let (bottle, image) = (Bottle::new(), Image::new(45, 10));
    let cases: [(&str, String, &str); 8] = [
        (MANIFEST, " ".repeat((4 << 20) + 1), "more than 4194304 bytes for a manifest"),
        (MANIFEST, "<html>".to_owned(), "what the registry sends for its manifest is none"),
        (MANIFEST, r#"{"schemaVersion":2}"#.to_owned(), "names no config"),
        (MANIFEST, r#"{"schemaVersion":1,"fsLayers":[]}"#.to_owned(), "schema 1"),
        (MANIFEST, r#"{"config":{"digest":"md5:00","size":1}}"#.to_owned(), "not a sha256 digest"),
        (MANIFEST, format!(r#"{{"config":{{"digest":"sha256:{}"}}}}"#, image.id), "says no size"),
        (INDEX, r#"{"manifests":[]}"#.to_owned(), "its index names no image"),
        (INDEX, r#"{"manifests":[{"digest":"../../x"}]}"#.to_owned(), "not a sha256 digest"),
    ];
    for (kind, body, said) in cases {
        let lying =
            registry(&image, move |request| is_manifest(request).then(|| Answer::ok(kind, body.clone())));
        let error = bottle.refused(&lying.reference("a:1"));
        assert!(error.contains(said), "{said}: {error}");
    }
    let endless = registry(&image, |request| {
        is_manifest(request).then(|| Answer::ok(MANIFEST, " ".repeat(4096)).endless())
    });
    let error = bottle.refused(&endless.reference("a:1"));
    assert!(error.contains("more than 4194304 bytes"), "{error}");
    // A chart, say, whose config is no image's.
    let chart = image.with_manifest(&image.id.to_string(), &image.layers[0].to_string());
    let error = bottle.refused(&registry(&chart, |_| None).reference("a:1"));
    assert!(error.contains("hint"), "{error}");
}

#[test]
fn layers_that_are_elsewhere_are_refused() {
    let bottle = Bottle::new();
    let foreign = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip";
    let image = Image::new(46, 10).with_manifest(LAYER, foreign);
    let error = bottle.refused(&registry(&image, |_| None).reference("a:1"));
    assert!(error.contains("not distributed with the image"), "{error}");
}

#[test]
fn redirects_are_followed_unless_they_leave_the_loopback_by_plain_http() {
    let (bottle, image) = (Bottle::new(), Image::new(47, 1000));
    let storage = registry(&image, |request| {
        // What opens the registry is for nobody else.
        request.header("authorization").is_some().then(|| Answer::new(400))
    });
    let to = |address: String| {
        move |request: &Request| {
            let blob = request.path.contains("/blobs/");
            blob.then(|| {
                Answer::new(307).header("Location", &format!("{address}{}?signature=s3cret", request.path))
            })
        }
    };
    let redirecting = registry(&image, to(format!("http://{}", storage.address)));
    assert_eq!(bottle.import(&redirecting.reference("a:1")), image.id.to_string());

    let bottle = Bottle::new();
    let redirecting = registry(&image, to("http://storage.invalid".to_owned()));
    let error = bottle.refused(&redirecting.reference("a:1"));
    assert!(error.contains("sends us to http://storage.invalid by plain HTTP"), "{error}");
    assert!(!error.contains("s3cret"), "{error}");
    let circle = registry(&image, |request| {
        request.path.contains("/blobs/").then(|| Answer::new(307).header("Location", &request.path))
    });
    let error = bottle.refused(&circle.reference("a:1"));
    assert!(error.contains("more than 10 redirects"), "{error}");
}

#[test]
fn what_a_registry_says_is_fit_for_a_terminal() {
    let (bottle, image) = (Bottle::new(), Image::new(48, 10));
    let rude = registry(&image, |request| {
        let said = format!(r#"{{"errors":[{{"code":"X","message":"\u001b[2J{}"}}]}}"#, "w".repeat(5000));
        is_manifest(request).then(|| Answer::ok("application/json", said).status(418))
    });
    let error = bottle.refused(&rude.reference("a:1"));
    assert!(error.contains("answers 418") && error.len() < 1000 && !error.contains('\u{1b}'), "{error}");
}
