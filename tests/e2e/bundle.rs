//! `bottle run`: what a guest behind its bundle reaches, and what it does not.

use std::io::Write;
use std::net::SocketAddrV4;
use std::process::Command;

use rustix::process::Signal;

use crate::docker;
use crate::harness::{Bottle, archive, vmm_processes};
use crate::network::{Listeners, PROBE, host_listeners, proc_net};

/// What the host's side of a connect that is not allowed answers.
const EACCES: i32 = 13;

#[test]
#[ignore = "needs KVM: run cargo xtask test"]
fn the_proxy_is_the_only_way_out() {
    let listeners = Listeners::start();
    let before = host_listeners();
    let script = format!("echo proxy=$HTTP_PROXY $HTTPS_PROXY; exec perl -e '{PROBE}'");
    let mut bottle = Bottle::run_behind_proxy(&["-i"], &["sh", "-c", &script]).start();
    bottle.until_stdout("\n");
    let first = bottle.stdout();
    let (proxy, other) = first.trim_end().strip_prefix("proxy=").unwrap().split_once(' ').unwrap();
    assert_eq!(proxy, other);
    let proxy: SocketAddrV4 = proxy.strip_prefix("http://").unwrap().parse().unwrap();
    assert!(proxy.ip().is_loopback() && (16..32).contains(&proxy.ip().octets()[3]), "{proxy} is on no alias");

    let bundle = docker::bundle();
    let port = listeners.port();
    let alias = proxy.ip();
    let refused = [
        format!("tcp {alias} {port}"),
        format!("tcp {alias} {}", proxy.port() ^ 1),
        format!("tcp 127.0.0.1 {port}"),
        format!("tcp 127.0.0.1 {}", proxy.port()),
        format!("tcp 127.0.0.31 {}", proxy.port()),
        format!("tcp {} {port}", bundle.gateway),
        format!("tcp {} 8888", bundle.container),
        format!("tcp {} 8080", bundle.container),
        format!("tcp ::1 {port}"),
        format!("tcp ::ffff:127.0.0.1 {port}"),
        format!("tcp ::ffff:{alias} {port}"),
        format!("tcp 0.0.0.0 {port}"),
        "tcp 203.0.113.7 80".to_owned(),
        "tcp 2001:db8::7 80".to_owned(),
    ];
    let lost = [
        format!("udp 127.0.0.1 {port}"),
        format!("udp {alias} {port}"),
        format!("udp {alias} {}", proxy.port()),
        format!("udp {} {port}", bundle.gateway),
        format!("udp ::1 {port}"),
    ];
    let mut probes = vec!["proxy".to_owned(), "hold".to_owned(), "serve".to_owned()];
    probes.extend(refused.iter().chain(&lost).cloned());
    let mut stdin = bottle.stdin();
    stdin.write_all(format!("{}\n", probes.join("\n")).as_bytes()).unwrap();
    // The last answer: then all has been tried, and the guest still holds its listeners.
    bottle.until_stdout(&format!("{}: ", lost[lost.len() - 1]));
    let during = host_listeners();
    drop(stdin);
    let ended = bottle.end().expect(0);

    let answer = |probe: &str| {
        let line = ended.text().lines().find_map(|line| line.strip_prefix(&format!("{probe}: ")));
        line.unwrap_or_else(|| panic!("no answer to {probe}: {}", ended.quoted()))
    };
    assert!(answer("proxy").contains("the page behind the proxy"), "{}", ended.quoted());
    assert_eq!(answer("hold"), "held");
    assert_eq!(answer("serve"), "served", "{}", ended.quoted());
    for probe in &refused {
        assert_eq!(answer(probe), format!("errno {EACCES}"), "{probe}: {}", ended.quoted());
    }
    for probe in &lost {
        assert_ne!(answer(probe), "unknown", "{}", ended.quoted());
    }
    listeners.assert_untouched(&[*alias]);
    let new: Vec<&String> = during.difference(&before).collect();
    assert_eq!(
        new,
        [&proc_net(*alias, proxy.port())],
        "the host listens where it should not: {}",
        ended.quoted()
    );
}

#[test]
#[ignore = "needs KVM: run cargo xtask test"]
fn two_bottles_reach_their_own_bundles_and_not_each_others() {
    let script = format!("echo proxy=$HTTP_PROXY; exec perl -e '{PROBE}'");
    let start = || {
        let mut bottle = Bottle::run_behind_proxy(&["-i"], &["sh", "-c", &script]).start();
        bottle.until_stdout("\n");
        let first = bottle.stdout();
        let proxy = first.trim_end().strip_prefix("proxy=http://").unwrap();
        (bottle, proxy.parse::<SocketAddrV4>().unwrap())
    };
    let (one, two) = (start(), start());
    assert_ne!(one.1.ip(), two.1.ip());
    let proxies = [one.1, two.1];
    let mut ended = Vec::new();
    for ((mut bottle, own), other) in [one, two].into_iter().zip([proxies[1], proxies[0]]) {
        let refused = [
            format!("tcp {} {}", other.ip(), other.port()),
            format!("tcp ::ffff:{} {}", other.ip(), other.port()),
            format!("tcp {} {}", other.ip(), own.port()),
        ];
        let probes = [&refused[..], &["proxy".to_owned()]].concat();
        let mut stdin = bottle.stdin();
        stdin.write_all(format!("{}\n", probes.join("\n")).as_bytes()).unwrap();
        bottle.until_stdout("proxy: ");
        ended.push((bottle, stdin, refused));
    }
    // Both were there until each had tried the other.
    let ended = ended.into_iter().map(|(bottle, stdin, refused)| {
        drop(stdin);
        (bottle.end(), refused)
    });
    for (ended, refused) in ended.collect::<Vec<_>>() {
        let ended = ended.expect(0);
        for probe in refused {
            let refusal = format!("{probe}: errno {EACCES}\n");
            assert!(ended.text().contains(&refusal), "{probe}: {}", ended.quoted());
        }
        assert!(ended.text().contains("the page behind the proxy"), "{}", ended.quoted());
    }
}

#[test]
#[ignore = "needs KVM: run cargo xtask test"]
fn a_vm_does_not_outlive_the_wait_for_its_bundle() {
    let image = format!("docker-archive:{}", archive("debian").display());
    let machine = ["run", "--image", &image, "--cpus", "1", "--memory", "256"];
    // A port on which nobody ever listens: the VM boots, and waits.
    let bundle = ["--bundle-image", "bottle-test/proxy:latest", "--bundle-port", "9", "--", "true"];
    let waiting = || {
        let mut launch = Bottle::new(&[&machine[..], &bundle].concat()).start();
        launch.until("a VMM", |_| !vmm_processes().is_empty());
        launch
    };
    let launch = waiting();
    launch.signal(Signal::TERM);
    let ended = launch.end().expect(143);
    assert!(ended.stderr.contains("stopped by signal 15"), "{}", ended.quoted());

    let launch = waiting();
    let kill = "docker kill $(docker ps --quiet --filter label=bottle.slug)";
    assert!(Command::new("sh").args(["-c", kill]).status().unwrap().success());
    let ended = launch.end().expect(125);
    assert!(ended.stderr.contains("exited with code 137"), "{}", ended.quoted());
}
