//! The steps, in order, and the sum.

use std::{env, ffi::OsString, path::Path, process::ExitCode, time::Instant};

use super::{
    listener::{Listener, SECRET},
    step::{ANYTHING, Environment, Step},
};
use crate::error::{Context, Result};

/// What the guests get.
const SIZE: &str = "--cpus 1 --memory 512";

/// Runs all steps and says whether everything was as it should be.
pub(super) fn run(programs: &Path, guest: &Path, bundle: &str) -> Result<ExitCode> {
    let start = Instant::now();
    let work = tempfile::tempdir().doing("make a temporary directory")?;
    let environment = environment(programs, guest, bundle, work.path());
    println!("\nThe commands below see these:");
    println!("  PATH    begins with {}", programs.display());
    println!("  IMAGE   docker-archive:{}", guest.display());
    println!("  SIZE    {SIZE}, modest, since an emulated processor is slow");
    println!("  BUNDLE  {bundle}, an image with a plain proxy and a web server");
    let listener = Listener::start()?;
    let mut problems = Vec::new();
    let (alone, behind) = (alone(), behind_a_bundle(listener.port));
    let count = alone.len() + behind.len();
    println!("\n-- A microVM without a network --");
    for step in alone {
        problems.extend(step.show(&environment)?);
    }
    println!("\n-- A bottle: a microVM whose only way out is one port of one container --");
    for step in behind {
        problems.extend(step.show(&environment)?);
    }
    if listener.visitors() != 1 {
        problems.push(format!("the listener on the host had {} visitors, not 1", listener.visitors()));
    }
    println!("\n{count} steps, {:.0} s.", start.elapsed().as_secs_f32());
    if problems.is_empty() {
        println!("Everything was as it should be.");
        return Ok(ExitCode::SUCCESS);
    }
    println!("Not as it should be:");
    problems.iter().for_each(|problem| println!("  {problem}"));
    Ok(ExitCode::FAILURE)
}

/// `bottle` keeps its state and its images in directories of the demo's own: the first step shows an import.
fn environment(programs: &Path, guest: &Path, bundle: &str, work: &Path) -> Environment {
    let mut path = OsString::from(programs);
    path.push(":");
    path.push(env::var_os("PATH").unwrap_or_default());
    let mut image = OsString::from("docker-archive:");
    image.push(guest);
    vec![
        ("PATH", path),
        ("IMAGE", image),
        ("SIZE", SIZE.into()),
        ("BUNDLE", bundle.into()),
        ("BOTTLE_STATE_DIR", work.join("state").into()),
        ("BOTTLE_CACHE_DIR", work.join("cache").into()),
    ]
}

fn alone() -> Vec<Step> {
    vec![
        Step {
            about: "An image becomes a disk, a VM boots from it, and a command runs in it, with the image's environment:",
            line: "bottle vm run --timings $SIZE $IMAGE -- sh -c 'id; grep PRETTY /etc/os-release; uname -sr; echo $GREETING'"
                .into(),
            code: 0,
            wanted: &["uid=0(root)", "bookworm", "Linux ", "hello from the image"],
            unwanted: &[],
        },
        Step {
            about: "Once more: the image is there already. What is piped in arrives, and what comes out can be piped on:",
            line: "echo 'from the host, through the guest' | bottle vm run -i --timings $SIZE $IMAGE -- tr a-z A-Z | rev".into(),
            code: 0,
            wanted: &["TSEUG EHT HGUORHT ,TSOH EHT MORF"],
            unwanted: &[],
        },
        Step {
            about: "The command's exit code is bottle's:",
            line: "bottle vm run $SIZE $IMAGE -- sh -c 'exit 7'".into(),
            code: 7,
            wanted: &[],
            unwanted: &[],
        },
        Step {
            about: "The root is a disk of the guest's own, and no directory of the host is to be seen:",
            line: "bottle vm run $SIZE $IMAGE -- sh -c 'findmnt --real; stat -c \"%n %U:%G %a\" /tmp'".into(),
            code: 0,
            wanted: &["/dev/vda", "ext4", "/tmp root:root 1777"],
            unwanted: &["virtiofs", "9p"],
        },
    ]
}

fn behind_a_bundle(host_port: u16) -> Vec<Step> {
    let bottle = "bottle run --timings $SIZE --image $IMAGE --bundle-image $BUNDLE --bundle-port 8888 --";
    vec![
        Step {
            about: "A request through the proxy in the bundle, to the web server behind it, is answered:",
            line: format!(
                "{bottle} bash -c '\n  \
                 proxy=${{HTTP_PROXY#http://}}; echo \"the proxy is $proxy\"; exec 3<>/dev/tcp/${{proxy/://}}\n  \
                 printf \"GET http://127.0.0.1:8080/ HTTP/1.0\\r\\n\\r\\n\" >&3; cat <&3'"
            ),
            code: 0,
            wanted: &["the proxy is 127.0.0.", "200 OK", "the page behind the proxy"],
            unwanted: &[],
        },
        Step {
            about: "Something listens on the host's own loopback, and the host can reach it:",
            line: format!("cat </dev/tcp/127.0.0.1/{host_port}"),
            code: 0,
            wanted: &[SECRET],
            unwanted: &[],
        },
        Step {
            about: "The guest cannot, though it can reach its proxy:",
            line: format!(
                "{bottle} bash -c '\n  \
                 proxy=${{HTTP_PROXY#http://}}; exec 3<>/dev/tcp/${{proxy/://}} && echo \"the proxy: connected\"\n  \
                 cat </dev/tcp/127.0.0.1/{host_port}'"
            ),
            code: 1,
            wanted: &["the proxy: connected", "Permission denied"],
            unwanted: &[SECRET],
        },
        Step {
            about: "All of it is gone, VM, container, network and state; so this prints nothing:",
            line: "docker ps --all --quiet --filter name=bottle; docker network ls --quiet --filter name=bottle\n\
                   find $BOTTLE_STATE_DIR -mindepth 1 -type d"
                .into(),
            code: 0,
            wanted: &[],
            unwanted: &[ANYTHING],
        },
    ]
}
