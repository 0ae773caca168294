//! `bottle probe`: it finds nothing where there is nothing, and each hole again that is made for it to find.

use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::harness::archive;
use crate::home::Home;

/// The `bottle` whose allowlist leaves out what its own name says.
fn with_holes() -> PathBuf {
    let program = std::env::var_os("BOTTLE_BIN_HOLES").map(PathBuf::from);
    program.expect("BOTTLE_BIN_HOLES is not set: run cargo xtask test")
}

/// Of a report, those that are not as they should be: what, and the verdict.
fn bad(report: &Value) -> Vec<(String, String)> {
    let findings = report["findings"].as_array().unwrap();
    assert!(findings.len() > 300, "{} attempts only", findings.len());
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let is_good = |finding: &&Value| !matches!(text(&finding["verdict"]).as_str(), "refused" | "works");
    findings.iter().filter(is_good).map(|one| (text(&one["what"]), text(&one["verdict"]))).collect()
}

#[test]
#[ignore = "needs KVM: run cargo xtask test"]
fn nothing_is_found_with_one_allowed_port_and_with_none() {
    let allowed = TcpListener::bind((Ipv4Addr::new(127, 0, 0, 16), 0)).unwrap();
    let other = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let rule = format!("tcp:{}", allowed.local_addr().unwrap());
    for options in [&["--allow", &*rule][..], &[]] {
        let home = Home::new();
        home.detach("probed", options, "exec sleep 600");
        let ended = home.expect(0, &["probe", "--json", "probed"]);
        let report: Value = serde_json::from_str(ended.text()).unwrap();
        assert_eq!(bad(&report), [], "{}", ended.quoted());
        assert_eq!(report["policy"].as_array().unwrap().len(), options.len() / 2);
        assert_eq!(report["libkrun_patches"].as_str().unwrap().len(), 64);
        let findings = report["findings"].as_array().unwrap();
        let has = |words: &str| findings.iter().any(|one| one["what"].as_str().unwrap().contains(words));
        // It has looked at the host.
        assert!(has(&format!("TSI: {}, where somebody listens", other.local_addr().unwrap())));
        let works = findings.iter().filter(|one| one["verdict"] == "works").count();
        assert_eq!(works, options.len(), "{}", ended.quoted());

        // The agent has borne it, and what was refused is on record.
        assert_eq!(home.ok(&["exec", "probed", "echo", "well"]), "well\n");
        let denials: Value =
            serde_json::from_str(&home.ok(&["logs", "--denials", "--json", "probed"])).unwrap();
        let denials = denials.as_array().unwrap();
        let refused = |operation, protocol| {
            denials.iter().any(|one| one["operation"] == operation && one["protocol"] == protocol)
        };
        // Where there is no TSI, nothing is asked.
        assert_eq!(refused("connect", "tcp"), !options.is_empty(), "{denials:?}");
        assert_eq!(refused("send", "udp"), !options.is_empty(), "{denials:?}");
        home.ok(&["rm", "-f", "probed"]);
        home.nothing_left();
    }
}

#[test]
#[ignore = "needs KVM: run cargo xtask test"]
fn each_hole_is_found_again() {
    let allowed = TcpListener::bind((Ipv4Addr::new(127, 0, 0, 16), 0)).unwrap();
    let rule = format!("tcp:{}", allowed.local_addr().unwrap());
    // What is left out, and what finds it. Where two checks stand behind each other, each alone is enough.
    let holes = [
        ("connect", &["TCP to the host's 127.0.0.1", "a call to the host"][..]),
        ("listen", &["a listener on 127.0.0.1", "a listener on the host"]),
        ("create", &["which is allowed for TCP"]),
        ("create-send", &["which is allowed for TCP", "a call to the host"]),
    ];
    let dir = tempfile::TempDir::new_in(with_holes().parent().unwrap()).unwrap();
    for (left_out, found_by) in holes {
        let program = dir.path().join(format!("bottle-without-{left_out}"));
        std::fs::copy(with_holes(), &program).unwrap();
        let report = probe_with(&program, &rule);
        let bad = bad(&report);
        eprintln!("    without {left_out}: {bad:?}");
        for words in found_by {
            let found = bad.iter().any(|(what, verdict)| what.contains(words) && verdict == "found");
            assert!(found, "without {left_out}: {words}: {bad:?}");
        }
    }
    // And it is the hole that is found, not the other program.
    let program = dir.path().join("bottle-without");
    std::fs::copy(with_holes(), &program).unwrap();
    assert_eq!(bad(&probe_with(&program, &rule)), []);
}

/// The report on a bottle of this program's.
fn probe_with(program: &Path, rule: &str) -> Value {
    let home = Home::new();
    let image = format!("docker-archive:{}", archive("debian").display());
    let args = [
        "vm", "run", "-d", "--name", "probed", "--cpus", "1", "--memory", "512", "--allow", rule, &image,
        "--", "sleep", "600",
    ];
    let ended = home.with(program, &args).run();
    assert_eq!(ended.code, 0, "{}", ended.quoted());
    let ended = home.bottle(&["probe", "--json", "probed"]).run();
    let report = serde_json::from_slice(&ended.stdout);
    let report: Value = report.unwrap_or_else(|error| panic!("{error}: {}", ended.quoted()));
    assert_eq!(ended.code == 0, bad(&report).is_empty(), "{}", ended.quoted());
    home.ok(&["rm", "-f", "probed"]);
    report
}
