//! The command line of `bottle`: see `cli`.

mod cli;

fn main() -> std::process::ExitCode {
    bottle::vm::become_vmm_if_asked();
    cli::main()
}
