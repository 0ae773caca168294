//! Runs many microVMs of one image at once, asks each of them something, and prints what they take of the host's memory.
//!
//! ```text
//! cargo run --release --example many_vms -- IMAGE NUMBER [MEMORY_MIB]
//! cargo run --release --example many_vms -- debian:12 20 256
//! ```

use std::error::Error;
use std::fs;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Instant;

use bottle::image::{Image, ImportOptions, Source, Store};
use bottle::state;
use bottle::vm::agent::ExecRequest;
use bottle::vm::{Vm, VmConfig, create_overlay};

/// An error that can come out of a thread.
type Failure = Box<dyn Error + Send + Sync>;

fn main() -> Result<(), Failure> {
    bottle::vm::become_vmm_if_asked();

    const USAGE: &str = "usage: many_vms IMAGE NUMBER [MEMORY_MIB]";
    let mut arguments = std::env::args().skip(1);
    let image: Source = arguments.next().ok_or(USAGE)?.parse()?;
    let number: usize = arguments.next().ok_or(USAGE)?.parse()?;
    let memory_mib: u32 = arguments.next().map_or(Ok(256), |mib| mib.parse())?;

    let store = Store::open(&state::cache_root()?)?;
    let image = store.import(&image, &ImportOptions::default(), &mut |_| ControlFlow::Continue(()))?;
    let directory = tempfile::tempdir()?;

    let started = Instant::now();
    let vms = boot(&image, number, memory_mib, directory.path())?;
    println!("{number} VMs with {memory_mib} MiB each are up after {:.1} s", started.elapsed().as_secs_f64());

    let asked = Instant::now();
    ask(&vms)?;
    println!("all of them answered, at once, within {:.1} s", asked.elapsed().as_secs_f64());
    print_memory(&vms);
    Ok(())
}

/// Boots them, as many at a time as there are processors: more would only wait for each other. All have the one base image;
/// each has an overlay.
fn boot(image: &Image, number: usize, memory_mib: u32, directory: &Path) -> Result<Vec<Vm>, Failure> {
    let next = AtomicUsize::new(0);
    let worker = || -> Result<Vec<Vm>, Failure> {
        let mut vms = Vec::new();
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            if index >= number {
                return Ok(vms);
            }
            let own = directory.join(index.to_string());
            fs::create_dir(&own)?;
            let disk = own.join("disk.qcow2");
            create_overlay(&image.base, &disk, None)?;
            let mut config = VmConfig::new(own, disk).image(image);
            config.hostname = format!("vm-{index}");
            config.memory_mib = memory_mib;
            config.cpus = 1;
            vms.push(Vm::start(&config)?);
        }
    };
    let workers = thread::available_parallelism().map_or(1, usize::from).min(number);
    thread::scope(|scope| {
        let threads: Vec<_> = (0..workers).map(|_| scope.spawn(worker)).collect();
        let mut vms = Vec::new();
        for thread in threads {
            vms.extend(thread.join().map_err(|_| "a thread panicked")??);
        }
        Ok(vms)
    })
}

/// Has each of them say its name, all at the same time.
fn ask(vms: &[Vm]) -> Result<(), Failure> {
    thread::scope(|scope| {
        let ask_one = |vm: &Vm| -> Result<String, Failure> {
            let output = vm.agent().exec(&ExecRequest::new(["uname", "-n"]))?.output()?;
            Ok(String::from_utf8(output.stdout)?)
        };
        let threads: Vec<_> = vms.iter().map(|vm| scope.spawn(move || ask_one(vm))).collect();
        for thread in threads {
            let name = thread.join().map_err(|_| "a thread panicked")??;
            println!("  {} answers", name.trim_end());
        }
        Ok(())
    })
}

/// What the processes take that are the VMs, the guests' memory included: RSS counts what several share in each of them, PSS
/// divides it among them.
fn print_memory(vms: &[Vm]) {
    let (mut rss, mut pss, mut known) = (0, 0, 0);
    for vm in vms {
        let path = format!("/proc/{}/smaps_rollup", vm.vmm_pid());
        let Ok(text) = fs::read_to_string(path) else { continue };
        let kib = |key: &str| -> u64 {
            let line = text.lines().find_map(|line| line.strip_prefix(key));
            line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0)
        };
        (rss, pss, known) = (rss + kib("Rss:"), pss + kib("Pss:"), known + 1);
    }
    if known == 0 {
        println!("this system does not tell what a process takes of its memory");
        return;
    }
    let mib = |kib: u64| kib as f64 / 1024.0;
    let each = |kib: u64| mib(kib) / known as f64;
    println!(
        "memory of the {known} VMMs: RSS {:.0} MiB, {:.1} each; PSS {:.0} MiB, {:.1} each",
        mib(rss),
        each(rss),
        mib(pss),
        each(pss)
    );
    let own = fs::read_to_string("/proc/self/smaps_rollup").unwrap_or_default();
    let own = own.lines().find_map(|line| line.strip_prefix("Pss:")?.split_whitespace().next()?.parse().ok());
    println!("memory of this program: PSS {:.1} MiB", mib(own.unwrap_or(0)));
}
