//! Carries out a plan: a bottle with its image, its bundle and its process, and nothing left of it at the end. What `bottle run` does,
//! for a launcher that has plans of its own.
//!
//! ```text
//! cargo run --release --example carry_out -- PLAN
//! ```
//!
//! PLAN is a [`Plan`] as JSON. SIGTERM and the like end this program, as they would any; `bottle gc` then removes what is left.

use std::error::Error;
use std::process::ExitCode;

use bottle::launch::{Event, Interrupt, Observer, Output, Timings, launch};
use bottle::plan::Plan;

fn main() -> Result<ExitCode, Box<dyn Error>> {
    bottle::vm::become_vmm_if_asked();

    let path = std::env::args_os().nth(1).ok_or("usage: carry_out PLAN")?;
    let plan: Plan = serde_json::from_slice(&std::fs::read(path)?)?;
    let mut timings = Timings::default();
    let observer = Observer {
        interrupt: &Interrupt::new(),
        on_event: &mut |event| {
            if let Event::Runs { slug } = event {
                eprintln!("{slug} runs");
            }
        },
        timings: &mut timings,
    };
    let ended = launch(&plan, Output::Ours, observer);
    for step in timings.steps() {
        eprintln!("{:>9.3} s  {}", step.took.as_secs_f64(), step.name);
    }
    match ended {
        Ok(status) => Ok(status.shell_code().into()),
        Err(error) => {
            eprintln!("carry_out: {error}");
            Ok(ExitCode::from(125))
        }
    }
}
