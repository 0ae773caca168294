//! The real credential goes upstream, and is nowhere else.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use bottle::bundle::{AuthScheme, BundleManifest, Route, TokenSource};

use crate::bench::{API, Bench, PASSED, PLAIN, image};

/// Looks like what pipelock refuses in any other place.
const REAL: &str = "sk-ant-api03-real0000000000000000000000";
const OTHER: &str = "other-real-token-111111111111";

/// A manifest with two tokens that are in files, and those files.
pub(crate) fn with_routes(bench: &Bench) -> (BundleManifest, [PathBuf; 2]) {
    let file = |name: &str, token: &str| {
        let path = bench.state.path().join(name);
        std::fs::write(&path, format!("{token}\n")).expect("written");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).expect("closed");
        path
    };
    let (first, second) = (file("first", REAL), file("second", OTHER));
    let cat = |path: &Path| TokenSource::Command(vec!["cat".to_owned(), path.display().to_string()]);
    let route = |path: &str, methods: &[&str], scheme: AuthScheme, token: TokenSource| Route {
        host: API.to_owned(),
        path: Some(path.to_owned()),
        methods: methods.iter().map(|method| (*method).to_owned()).collect(),
        scheme,
        token,
    };
    let manifest = BundleManifest {
        routes: vec![
            route("/v1", &[], AuthScheme::Bearer, cat(&first)),
            route("/v2", &["POST"], AuthScheme::Header { name: "X-Api-Key".to_owned() }, cat(&second)),
            Route {
                host: PASSED.to_owned(),
                path: Some("/routed".to_owned()),
                ..route("/", &[], AuthScheme::Bearer, cat(&second))
            },
        ],
        pass_through: vec![PASSED.parse().expect("a host")],
        ..bench.manifest()
    };
    (manifest, [first, second])
}

#[tokio::test]
#[ignore = "needs docker and the bundle's image: run cargo xtask test"]
async fn a_placeholder_becomes_the_real_token_on_its_route_alone() {
    Bench::run(async |bench| {
        let (manifest, _) = with_routes(bench);
        let sidecars = bench.start(&manifest).await;
        let url = |host: &str, path: &str| format!("https://{host}{path}");
        let placeholder = ["-H", "Authorization: Bearer placeholder", "-H", "X-Api-Key: placeholder"];
        let ask = async |words: &[&str]| bench.curl(&sidecars, &[&placeholder[..], words].concat()).await;

        let reply = ask(&[&url(API, "/v1/messages?beta=true")]).await;
        assert_eq!(reply.arrived("authorization"), [format!("Bearer {REAL}")]);
        assert_eq!(reply.arrived("x-api-key"), Vec::<String>::new());
        assert_eq!(reply.arrived("proxy-authorization"), Vec::<String>::new());

        let reply = ask(&[&url(API, "/v2/things"), "-d", "x=1"]).await;
        assert_eq!(
            (reply.arrived("authorization"), reply.arrived("x-api-key")),
            (vec![], vec![OTHER.to_owned()])
        );

        let reply = ask(&[&url(PASSED, "/routed")]).await;
        assert_eq!(reply.arrived("authorization"), [format!("Bearer {OTHER}")]);

        // What is passed through comes as it was sent, with nothing that is for pipelock.
        let reply = ask(&[&url(PASSED, "/any")]).await;
        assert_eq!(reply.arrived("authorization"), ["Bearer placeholder"]);
        assert_eq!(reply.arrived("proxy-authorization"), Vec::<String>::new());

        // Another method, other paths, another host: as the agent sent it.
        for url in [url(API, "/v2/things"), url(API, "/"), url(API, "/v10"), url(PLAIN, "/v1/messages")] {
            let reply = ask(&[&url]).await;
            assert_eq!(reply.arrived("authorization"), ["Bearer placeholder"], "{url}");
            assert_eq!(reply.arrived("x-api-key"), ["placeholder"], "{url}");
        }
        // By plain HTTP no credential goes anywhere.
        let reply = ask(&[&format!("http://{API}/v1/messages")]).await;
        assert!(!reply.text.contains(REAL), "{reply:?}");
    })
    .await;
}

#[tokio::test]
#[ignore = "needs docker and the bundle's image: run cargo xtask test"]
async fn tokens_leave_no_trace() {
    Bench::run(async |bench| {
        let (manifest, _) = with_routes(bench);
        let sidecars = bench.start(&manifest).await;
        let reply = bench.curl(&sidecars, &[&format!("https://{API}/v1/messages")]).await;
        assert_eq!(reply.arrived("authorization"), [format!("Bearer {REAL}")]);

        let container = sidecars.bundle().container().to_owned();
        let init = docker(&["inspect", "--format", "{{.State.Pid}}", &container]);
        // The host's root, in the container's file system and among its processes, with all rights that no container has.
        let inside = |script: &str| {
            let words = ["--target", init.trim(), "--mount", "--pid", "--", "sh", "-c", script];
            run(Command::new("nsenter").args(words))
        };
        // As root with all rights: what any process was started with, and every file in memory or mounted.
        let files = inside("grep -rlaF -e real0000 -e other-real /run /tmp /etc /var /opt/egress; true");
        assert_eq!(files, "", "files with a token");
        let processes = inside("cat /proc/[0-9]*/cmdline /proc/[0-9]*/environ | tr '\\0' '\\n'");
        assert!(processes.contains("pipelock") && processes.contains("egress.py"), "{processes}");
        let logs = docker(&["logs", &container]);
        assert!(logs.contains("has the tokens of token-0, token-1"), "{logs}");
        let told = [
            ("processes", processes),
            ("logs", logs),
            ("inspect", docker(&["inspect", &container])),
            ("image", docker(&["history", "--no-trunc", &image()])),
            ("image", docker(&["inspect", &image()])),
            ("changes", docker(&["diff", &container])),
            ("our files", {
                let dir = sidecars.log_dir().parent().expect("the bundle's directory");
                run(Command::new("grep").args(["-raF", "-e", "real0000", "-e", "other-real"]).arg(dir))
            }),
        ];
        for (what, text) in told {
            assert!(!text.contains("real0000") && !text.contains("other-real"), "{what}: {text}");
        }
        // As a daemon, without rights: the memory of init and egress is shut. (This shell's own line does not match.)
        let uid = "$(stat -c %u /run/bottle)";
        let look = inside(&format!(
            "exec 2>&1; for dir in /proc/[0-9]*; do case $(tr '\\0' ' ' <$dir/cmdline) in *[e]gress.py*|*'sidecar '[i]nit*) stat -c '%u' $dir/mem;; esac; done; echo daemon {uid}"
        ));
        let (owners, daemon) = look.split_once("daemon ").expect("both");
        assert_eq!(owners.split_whitespace().collect::<Vec<_>>(), ["0", "0"], "{look}");
        assert_ne!(daemon.trim(), "0");
        // Nor can it hand over others.
        let user = daemon.trim().to_owned();
        let pushed = Command::new("docker")
            .args(["exec", "--user", &user, &container, "sh", "-c"])
            .arg("echo '{\"egress\":{\"token-0\":\"mine\"}}' | bottle-sidecar secrets")
            .output()
            .expect("docker");
        assert!(!pushed.status.success());
        assert!(String::from_utf8_lossy(&pushed.stderr).contains("only root may"), "{pushed:?}");
    })
    .await;
}

#[tokio::test]
#[ignore = "needs docker and the bundle's image: run cargo xtask test"]
async fn a_token_that_changes_is_used_without_a_restart() {
    Bench::run(async |bench| {
        let (manifest, [first, _]) = with_routes(bench);
        let sidecars = bench.start(&manifest).await;
        let before = sidecars.status(&bench.docker).await.expect("status");
        std::fs::write(&first, "the-next-one\n").expect("written");
        sidecars.refresh_tokens(&bench.docker, &std::collections::BTreeMap::new()).await.expect("a refresh");
        let url = format!("https://{API}/v1/messages");
        crate::bench::until("the new token is used", async || {
            bench.curl(&sidecars, &[&url]).await.arrived("authorization") == ["Bearer the-next-one"]
        })
        .await;
        assert_eq!(sidecars.status(&bench.docker).await.expect("status"), before);
        // A source that fails changes nothing.
        std::fs::remove_file(&first).expect("removed");
        let error = sidecars
            .refresh_tokens(&bench.docker, &std::collections::BTreeMap::new())
            .await
            .expect_err("none");
        assert!(error.to_string().starts_with("the command cat failed"), "{error}");
        assert_eq!(bench.curl(&sidecars, &[&url]).await.arrived("authorization"), ["Bearer the-next-one"]);
    })
    .await;
}

fn docker(words: &[&str]) -> String {
    run(Command::new("docker").args(words))
}

/// What a command says, on both outputs.
fn run(command: &mut Command) -> String {
    let output = command.output().expect("it runs");
    [output.stdout, output.stderr].iter().map(|bytes| String::from_utf8_lossy(bytes)).collect()
}
