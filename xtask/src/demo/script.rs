//! The steps, in order, and the sum.

use std::{env, ffi::OsString, path::Path, process::ExitCode, time::Instant};

use super::{
    Images,
    listener::{Listener, SECRET},
    outside::{Outside, TOKEN},
    step::{ANYTHING, Environment, Step},
};
use crate::error::{Context, Result};

/// What the guests get.
const SIZE: &str = "--cpus 1 --memory 512";

/// Runs all steps and says whether everything was as it should be.
pub(super) fn run(programs: &Path, images: &Images<'_>) -> Result<ExitCode> {
    let start = Instant::now();
    let work = tempfile::tempdir().doing("make a temporary directory")?;
    let environment = environment(programs, images, work.path());
    println!("\nThe commands below see these:");
    println!("  PATH        begins with {}", programs.display());
    println!("  IMAGE       docker-archive:{}", images.debian.display());
    println!("  SIZE        {SIZE}, modest, since an emulated processor is slow");
    println!("  BUNDLE      {}, the image of the bundle's daemons", images.bundle);
    println!("  DEMO_TOKEN  {TOKEN}");
    println!(
        "  REQUESTS    a file to which the demo's API, in a container of its own, writes what it is asked"
    );
    let listener = Listener::start()?;
    let _outside = Outside::start(work.path(), images.client, images.upstream, &listener)?;
    let mut problems = Vec::new();
    let (alone, behind) = (alone(), an_agent(listener.port));
    let count = alone.len() + behind.len();
    println!("\n-- A microVM without a network --");
    for step in alone {
        problems.extend(step.show(&environment)?);
    }
    println!("\n-- An agent in a bottle: a microVM whose only way out is a bundle of daemons made for it --");
    if images.bundle.ends_with("-stand-in") {
        println!(
            "The pipelock in this bundle is a stand-in that knows its allowlist and looks for no secrets: the module could not be had."
        );
    }
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
fn environment(programs: &Path, images: &Images<'_>, work: &Path) -> Environment {
    let mut path = OsString::from(programs);
    path.push(":");
    path.push(env::var_os("PATH").unwrap_or_default());
    let mut image = OsString::from("docker-archive:");
    image.push(images.debian);
    vec![
        ("PATH", path),
        ("IMAGE", image),
        ("SIZE", SIZE.into()),
        ("BUNDLE", images.bundle.into()),
        ("DEMO_TOKEN", TOKEN.into()),
        ("PROJECT", work.join("project").into()),
        ("REQUESTS", work.join("requests").into()),
        ("BOTTLE_CONFIG_DIR", work.join("config").into()),
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

fn an_agent(host_port: u16) -> Vec<Step> {
    vec![
        Step {
            about: "The manifest says what the agent is, and what it may reach; the token is in this shell's environment:",
            line: "cat $BOTTLE_CONFIG_DIR/bottle.toml".into(),
            code: 0,
            wanted: &["[agent.visitor]"],
            unwanted: &[TOKEN],
        },
        Step {
            about: "The agent is a script in a git repository; it works on a copy of that:",
            line: "cat $PROJECT/visit.sh".into(),
            code: 0,
            wanted: &["api.demo.example"],
            unwanted: &[TOKEN],
        },
        Step {
            about: "Something listens on this machine's own 127.0.0.1, and the machine can reach it:",
            line: format!("cat </dev/tcp/127.0.0.1/{host_port}"),
            code: 0,
            wanted: &[SECRET],
            unwanted: &[],
        },
        Step {
            about: "The agent asks the API, which greets the owner of the token. It never held that, and reaches nothing else:",
            line: "bottle run --yes --timings --cwd=$PROJECT --bundle-image $BUNDLE visitor".into(),
            code: 0,
            wanted: &[
                "I am agent, in /workspace on a Linux",
                "Hello, you are the owner of this account.",
                "allowlist",
                "An Agent: Say who was here",
            ],
            unwanted: &[TOKEN, SECRET, "Who are you?"],
        },
        Step {
            about: "What the API was asked: with the real token, which was put in on the way:",
            line: "cat $REQUESTS".into(),
            code: 0,
            wanted: &["GET /v1/whoami, authorization: Bearer ", TOKEN],
            unwanted: &["nothing"],
        },
        Step {
            about: "The agent's work is in the repository, as a branch to be looked at, and the working tree is as it was:",
            line: "git -C $PROJECT log --format='%D %an: %s' --branches && git -C $PROJECT status --short".into(),
            code: 0,
            wanted: &["bottle/visitor-", "An Agent: Say who was here", "main"],
            unwanted: &["notes.txt"],
        },
        Step {
            about: "All of it is gone, VM, container, network and state; so this prints nothing:",
            line: "docker ps --all --quiet --filter name=bottle-; docker network ls --quiet --filter name=bottle-\n\
                   find $BOTTLE_STATE_DIR -mindepth 1 -type d"
                .into(),
            code: 0,
            wanted: &[],
            unwanted: &[ANYTHING],
        },
    ]
}
