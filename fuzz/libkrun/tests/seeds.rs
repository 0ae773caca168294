//! What the fuzzer starts from, without the fuzzer.

use std::fs;
use std::path::Path;

#[test]
fn the_device_does_nothing_to_the_host_that_its_allowlist_does_not_permit() {
    let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds/vsock");
    let mut count = 0;
    for entry in fs::read_dir(&seeds).expect("the seeds") {
        bottle_fuzz_libkrun::packets(&fs::read(entry.expect("an entry").path()).expect("a seed"));
        count += 1;
    }
    assert!(count >= 8, "{count} seeds");
    // That would be no test if the device did nothing at all.
    assert!(bottle_fuzz_libkrun::connections() >= 2, "{} connections", bottle_fuzz_libkrun::connections());
}
