//! The half of `xtask kvm` that runs inside the emulated host, as its PID 1.
//!
//! It makes the rest of the system ([`system`]), says that it is up, gets its job, has docker running if that is asked
//! for, runs the command ([`payload`]) and reports how it ended. Then the other half ends the emulation. Its stderr is
//! the emulated host's console.

mod payload;
mod ports;
mod system;

use std::{
    ffi::OsString,
    fs::File,
    io::BufReader,
    os::unix::ffi::OsStringExt,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::Duration,
};

use super::{
    docker,
    wire::{self, Job, Order, Report},
};
use crate::error::{Context, Error, FAILED, Result};

/// The name of the hidden verb.
pub(crate) const VERB: &str = "inside";

/// Where `init.sh` has moved the scratch disk.
const SCRATCH: &str = "/run/bottle-scratch";

/// The reporting end of the control port.
#[derive(Clone)]
struct Reports(Arc<Mutex<File>>);

impl Reports {
    fn send(&self, report: &Report) -> Result<()> {
        let mut port = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        wire::write_line(&mut *port, report).doing("write to the control port")
    }
}

/// Runs as PID 1 of the emulated host.
pub(crate) fn run() -> Result<ExitCode> {
    if std::process::id() != 1 {
        return Err(Error::other("this verb is for the emulated host"));
    }
    // A PID 1 that ends is a panic of the kernel; the other half sees that, and quotes this line from the console.
    let result = system::basics().and_then(|()| serve());
    if let Err(error) = result {
        eprintln!("emulated host: {error}");
    }
    system::power_off()
}

fn serve() -> Result<()> {
    let control = ports::open(wire::CONTROL)?;
    let mut orders = BufReader::new(control.try_clone().doing("duplicate the control port")?);
    let reports = Reports(Arc::new(Mutex::new(control)));
    reports.send(&Report::Up)?;
    let Some(Order::Job(job)) = wire::read_line(&mut orders).doing("read the job")? else {
        return Err(Error::other("the first order is not a job"));
    };
    let beat = reports.clone();
    thread::spawn(move || {
        while beat.send(&Report::Beat).is_ok() {
            thread::sleep(wire::BEAT_INTERVAL);
        }
    });
    let report = match prepare(&job).and_then(|docker| payload::run(job, docker, &reports, orders)) {
        Ok(code) => Report::Exited(code),
        Err(payload::Failed { code, message }) => Report::Failed { code, message },
    };
    reports.send(&report)?;
    // The other half ends the emulation now. This long for the case that it cannot.
    thread::sleep(Duration::from_secs(30));
    Ok(())
}

/// Whatever the command needs; the docker socket if there is one.
fn prepare(job: &Job) -> std::result::Result<Option<PathBuf>, payload::Failed> {
    let prepared = || {
        system::modules(&path(&job.kernel))?;
        system::share(&path(&job.out))?;
        if !job.docker {
            return Ok(None);
        }
        let docker =
            docker::Dockerd::start(&Path::new(SCRATCH).join("docker"), Path::new("/run/docker.sock"))?;
        for image in &job.images {
            docker.load(&path(image))?;
        }
        // It goes down with this emulated host.
        Ok(Some(docker.into_socket()))
    };
    prepared().map_err(|error: Error| payload::Failed { code: FAILED, message: error.to_string() })
}

fn path(bytes: &[u8]) -> PathBuf {
    PathBuf::from(OsString::from_vec(bytes.to_vec()))
}
