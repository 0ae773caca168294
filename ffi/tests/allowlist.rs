//! `krun_set_tsi_allowlist` as C sees it, in the library that is linked.

#![allow(unsafe_code)]
#![allow(clippy::unwrap_used, reason = "also outside of test functions, this is all test")]

use std::ffi::{CStr, c_char};
use std::ptr;

use libkrun_sys::{krun_create_ctx, krun_free_ctx, krun_set_tsi_allowlist};

/// A context of its own for each test, freed also when the test fails.
struct Context(u32);

impl Context {
    fn new() -> Self {
        // SAFETY: takes no argument.
        let id = unsafe { krun_create_ctx() };
        Self(u32::try_from(id).unwrap())
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        // SAFETY: takes a number, which may be anything.
        assert_eq!(unsafe { krun_free_ctx(self.0) }, 0);
    }
}

fn set(context: u32, rules: &[&CStr]) -> i32 {
    let mut array: Vec<*const c_char> = rules.iter().map(|rule| rule.as_ptr()).collect();
    array.push(ptr::null());
    // SAFETY: the array ends with NULL; it and its strings outlive the call.
    unsafe { krun_set_tsi_allowlist(context, array.as_ptr()) }
}

#[test]
fn well_formed_rules_are_taken() {
    let context = Context::new();
    assert_eq!(set(context.0, &[]), 0);
    assert_eq!(set(context.0, &[c"tcp:127.0.0.16/32:40123"]), 0);
    assert_eq!(set(context.0, &[c"tcp:127.0.0.16:40123", c"tcp:[::1]/128:80", c"tcp:10.0.0.0/8:1-65535"]), 0);
}

#[test]
fn a_malformed_rule_is_invalid_wherever_it_stands() {
    let context = Context::new();
    let malformed = [
        c"",
        c"tcp:",
        c"udp:127.0.0.1:53",
        c"tcp:127.0.0.1",
        c"tcp:127.0.0.1:0",
        c"tcp:127.0.0.1:80 ",
        c"tcp:127.0.0.1:90-80",
        c"tcp:127.0.0.1/24:80",
        c"tcp:127.0.0.1/33:80",
        c"tcp:::1:80",
        c"tcp:[::1]/129:80",
        c"tcp:[::ffff:127.0.0.1]:80",
        c"tcp:127.0.0.1:80\xff",
    ];
    for rule in malformed {
        assert_eq!(set(context.0, &[rule]), -libc::EINVAL, "{rule:?}");
        assert_eq!(set(context.0, &[rule, c"tcp:127.0.0.1:80"]), -libc::EINVAL, "{rule:?} first");
        assert_eq!(set(context.0, &[c"tcp:127.0.0.1:80", rule]), -libc::EINVAL, "{rule:?} last");
    }
}

#[test]
fn no_array_is_invalid() {
    let context = Context::new();
    // SAFETY: NULL is what the call is to refuse.
    assert_eq!(unsafe { krun_set_tsi_allowlist(context.0, ptr::null()) }, -libc::EINVAL);
}

#[test]
fn an_unknown_context_is_not_found() {
    let freed = Context::new().0;
    assert_eq!(set(freed, &[c"tcp:127.0.0.1:80"]), -libc::ENOENT);
    assert_eq!(set(u32::MAX, &[]), -libc::ENOENT);
}
