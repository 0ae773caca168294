//! The disk's size: what the guest sees of it, and what it costs.

use std::os::unix::fs::MetadataExt;

use crate::harness::Bottle;

/// Prints the size of the device, that of the file system in blocks of 4096 bytes, and what of it df calls the size.
const SIZES: &str = "blockdev --getsize64 /dev/vda; dumpe2fs -h /dev/vda 2>&1 | sed -n 's/^Block count: *//p'; \
                     df --output=size -B4096 / | tail -n 1 | tr -d ' '";

const GIB: u64 = 1 << 30;

/// Runs `script` in a guest with these options, which then reads from its stdin until that ends. Returns the lines it wrote,
/// and the MiB that its disk takes on the host.
fn measure(options: &[&str], script: &str) -> (Vec<String>, u64) {
    let script = format!("set -e; {script}; sync; echo end; cat");
    let options = [&["-i", "--name", "disk"], options].concat();
    let mut bottle = Bottle::vm_run("debian", &options, &["bash", "-c", &script]).start();
    bottle.until("the end of the script", |running| running.stdout().ends_with("end\n"));
    let disk = bottle.state().join("disk/disk.qcow2").metadata().unwrap();
    let used_mib = (disk.blocks() * 512) >> 20;
    drop(bottle.stdin());
    let ended = bottle.end().expect(0);
    (ended.text().lines().map(str::to_owned).collect(), used_mib)
}

/// Looks at the answer to [`SIZES`].
fn assert_sizes(lines: &[String], bytes: u64) {
    let numbers: Vec<u64> = lines[..3].iter().map(|line| line.parse().unwrap()).collect();
    assert_eq!(numbers[..2], [bytes, bytes / 4096]);
    // Without inode tables and journal, which are a 64th and a bit.
    assert!(numbers[2] < bytes / 4096 && numbers[2] > bytes / 4096 / 100 * 97, "{numbers:?}");
}

#[test]
#[ignore = "needs KVM: run cargo xtask test"]
fn a_disk_has_16_gib_that_cost_next_to_nothing() {
    let (lines, used_mib) = measure(&[], SIZES);
    assert_sizes(&lines, 16 * GIB);
    assert!(used_mib < 8, "{used_mib} MiB");
}

#[test]
#[ignore = "needs KVM: run cargo xtask test"]
fn a_disk_grows_to_the_size_asked_for() {
    // A file that does not fit into 16 GiB, with something at its end, read back from the disk.
    let script = format!(
        "{SIZES}; fallocate -l 40G /big; echo at the end | dd of=/big bs=1M seek=40959 conv=notrunc status=none; sync; \
         echo 3 > /proc/sys/vm/drop_caches; dd if=/big bs=1M skip=40959 status=none | head -n 1; \
         stat -c %s /big; head -c 1M /big | tr -d '\\0' | wc -c; grep -o noinit_itable /proc/mounts"
    );
    let (lines, used_mib) = measure(&["--disk", "64"], &script);
    assert_sizes(&lines, 64 * GIB);
    assert_eq!(lines[3..], ["at the end", "42949672960", "0", "noinit_itable", "end"]);
    assert!(used_mib < 16, "{used_mib} MiB");
}

#[test]
#[ignore = "needs KVM: run cargo xtask test"]
fn a_disk_neither_shrinks_nor_grows_without_bounds() {
    let ended = Bottle::vm_run("debian", &["--disk", "8"], &["true"]).run().expect(125);
    assert_eq!(
        ended.stderr,
        "bottle: a disk of 8 GiB can't be had: the image is made for 16 GiB\n\
         hint: leave --disk out, or ask for more: a disk costs nothing until it is used\n"
    );
    let ended = Bottle::vm_run("debian", &["--disk", "2T"], &["true"]).run().expect(125);
    assert_eq!(
        ended.stderr,
        "bottle: a disk of 2 TiB can't be had: that of this image grows to 1 TiB at most\n\
         hint: choose a smaller size with --disk\n"
    );
    let ended = Bottle::vm_run("debian", &["--disk", "40GB"], &["true"]).run().expect(125);
    assert!(ended.stderr.contains("\"40GB\" is no size: a whole number of GiB is"), "{}", ended.quoted());
}
