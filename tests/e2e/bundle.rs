//! `bottle run`: what a guest behind its bundle reaches, and what it does not.

use std::io::Write;
use std::net::SocketAddrV4;

use crate::docker;
use crate::harness::Bottle;
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
