//! Process 1 of the guest. Started otherwise, `bottle-guest serve SOCKET` answers the same protocol on a UNIX
//! socket, for tests and for trying things out on any Linux machine; `bottle-guest probe` is what `bottle probe` runs in a
//! guest; and by the name `git-proxy` it is git's way to git-gate.

#[cfg(target_os = "linux")]
use bottle_guest::relay;

#[cfg(target_os = "linux")]
fn main() {
    let mut arguments = std::env::args_os();
    let name = arguments.next().unwrap_or_default();
    if std::process::id() == 1 {
        bottle_guest::boot::run();
    }
    let is_git_proxy = std::path::Path::new(&name).file_name().is_some_and(|name| name == relay::NAME);
    match (arguments.next(), arguments.next()) {
        (Some(host), Some(port)) if is_git_proxy => {
            if let Err(error) = relay::run(&host, &port) {
                bottle_guest::log(&format!("git-gate: {error}"));
                std::process::exit(1);
            }
        }
        (Some(verb), Some(socket)) if verb == "serve" => {
            if let Err(error) = bottle_guest::server::serve_unix(socket.as_ref(), arguments.next().as_deref())
            {
                bottle_guest::log(&error);
                std::process::exit(1);
            }
        }
        (Some(verb), None) if verb == "probe" => {
            if let Err(error) = bottle_guest::probe::run() {
                bottle_guest::log(&format!("probe: {error}"));
                std::process::exit(1);
            }
        }
        _ => {
            bottle_guest::log(
                "this is the init of a bottle's guest; elsewhere: bottle-guest serve SOCKET [CONFIG]",
            );
            std::process::exit(2);
        }
    }
}

#[cfg(not(target_os = "linux"))]
fn main() {
    bottle_guest::log("this is the init of a bottle's guest, which is Linux");
    std::process::exit(2);
}
