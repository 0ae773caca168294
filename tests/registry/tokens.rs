//! Token servers: the challenge, who asks for what, and what they answer.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::bottle::Bottle;
use crate::http::{Answer, Request, Server};
use crate::image::{Image, MANIFEST};

/// What the registry answers to who has the right token.
pub(crate) fn serve(image: &Image, request: &Request) -> Answer {
    let path = request.path.split('?').next().unwrap();
    let (_, name) = path.rsplit_once('/').unwrap();
    if path == "/v2/" {
        return Answer::new(200);
    }
    let id = name.strip_prefix("sha256:").map_or(image.manifest, |digest| digest.parse().unwrap());
    match image.blobs.get(&id) {
        Some(bytes) if id == image.manifest => Answer::ok(MANIFEST, bytes.clone()),
        Some(bytes) => Answer::ok("application/octet-stream", bytes.clone()),
        None => Answer::new(404),
    }
}

/// A registry that wants the tokens that `token` gives. Each is good for `uses` requests.
fn registry(
    image: &Image,
    uses: usize,
    token: impl Fn(&Request) -> Option<String> + Send + Sync + 'static,
) -> Server {
    let image = image.clone();
    let good = Mutex::new(None);
    let used = AtomicUsize::new(0);
    Server::start(move |request, address| {
        if request.path.starts_with("/token") {
            let Some(token) = token(request) else { return Answer::new(401) };
            *good.lock().unwrap() = Some(format!("Bearer {token}"));
            used.store(0, Ordering::SeqCst);
            return Answer::ok("application/json", format!(r#"{{"token":"{token}","expires_in":60}}"#));
        }
        let given = request.header("authorization");
        if given.is_some()
            && given == good.lock().unwrap().as_deref()
            && used.fetch_add(1, Ordering::SeqCst) < uses
        {
            return serve(&image, request);
        }
        let challenge =
            format!(r#"Bearer realm="http://{address}/token",service="some thing",scope="all:of:it""#);
        Answer::new(401).header("WWW-Authenticate", &challenge)
    })
}

#[test]
fn an_anonymous_token_is_asked_for() {
    let (bottle, image) = (Bottle::new(), Image::new(31, 1000));
    let asked = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&asked);
    let registry = registry(&image, 1000, move |request| {
        let account = request.header("authorization").map(str::to_owned);
        seen.lock().unwrap().push((request.method.clone(), request.path.clone(), account));
        Some("first".to_owned())
    });
    assert_eq!(bottle.import(&registry.reference("a/b:1")), image.id.to_string());
    let path = "/token?scope=repository%3Aa%2Fb%3Apull&service=some+thing";
    assert_eq!(*asked.lock().unwrap(), [("GET".to_owned(), path.to_owned(), None)]);
}

#[test]
fn a_token_that_has_expired_is_replaced() {
    let (bottle, image) = (Bottle::new(), Image::new(32, 1000));
    let count = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&count);
    let registry =
        registry(&image, 1, move |_| Some(format!("token-{}", counter.fetch_add(1, Ordering::SeqCst))));
    assert_eq!(bottle.import(&registry.reference("a:1")), image.id.to_string());
    assert_eq!(count.load(Ordering::SeqCst), 4, "for the manifest, the config and two layers");
}

#[test]
fn a_password_buys_a_token() {
    let (bottle, image) = (Bottle::new(), Image::new(33, 1000));
    let account = STANDARD.encode("agent:secret-one");
    let wanted = format!("Basic {account}");
    let registry = registry(&image, 1000, move |request| {
        (request.header("authorization") == Some(wanted.as_str())).then(|| "bought".to_owned())
    });
    let source = registry.reference("a:1");
    let error = bottle.refused(&source);
    assert!(error.contains("to nobody who is not logged in"), "{error}");
    let config = |auth: &str| format!(r#"{{"auths":{{"http://{}":{{"auth":"{auth}"}}}}}}"#, registry.address);
    bottle.docker_config(&config(&STANDARD.encode("agent:secret-two")));
    let error = bottle.refused(&source);
    assert!(error.contains("refuses") && !error.contains("secret-two"), "{error}");
    bottle.docker_config(&config(&account));
    assert_eq!(bottle.import(&source), image.id.to_string());
}

#[test]
fn an_identity_token_buys_a_token() {
    let (bottle, image) = (Bottle::new(), Image::new(34, 1000));
    let registry = registry(&image, 1000, |request| {
        let fields: Vec<_> = request.body.split('&').collect();
        let wanted = ["grant_type=refresh_token", "refresh_token=id%2Btoken", "service=some+thing"];
        (request.method == "POST" && wanted.iter().all(|field| fields.contains(field)))
            .then(|| "bought".to_owned())
    });
    let address = &registry.address;
    bottle.docker_config(&format!(r#"{{"credHelpers":{{"{address}":"test"}}}}"#));
    bottle.program("docker-credential-test", r#"echo '{"Username":"<token>","Secret":"id+token"}'"#);
    assert_eq!(bottle.import(&registry.reference("a:1")), image.id.to_string());
}

#[test]
fn a_token_server_may_lie_as_well() {
    let (bottle, image) = (Bottle::new(), Image::new(35, 10));
    for (token, said) in [("a\\r\\nX: y", "token is none"), ("", "gives no token")] {
        let registry = registry(&image, 1000, move |_| Some(token.to_owned()));
        let error = bottle.refused(&registry.reference("a:1"));
        assert!(error.contains(said), "{error}");
    }
    for (realm, said) in [
        ("http://tokens.invalid/", "sends us to http://tokens.invalid by plain HTTP"),
        ("file:///etc/passwd", "its token server's address is none"),
        ("nothing", "its token server's address is none"),
    ] {
        let registry = Server::start(move |_, _| {
            Answer::new(401).header("WWW-Authenticate", &format!("Bearer realm=\"{realm}\""))
        });
        let error = bottle.refused(&registry.reference("a:1"));
        assert!(error.contains(said), "{error}");
    }
    let endless = Server::start(|request, address| {
        if request.path.starts_with("/token") {
            return Answer::ok("application/json", " ".repeat(4096)).endless();
        }
        Answer::new(401).header("WWW-Authenticate", &format!("Bearer realm=\"http://{address}/token\""))
    });
    let error = bottle.refused(&endless.reference("a:1"));
    assert!(error.contains("more than 1048576 bytes for a token"), "{error}");
}
