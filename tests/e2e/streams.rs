//! Much data, either way, byte for byte.

use sha2::{Digest, Sha256};

use crate::harness::Bottle;

const MIB: usize = 1 << 20;

fn hex(data: &[u8]) -> String {
    Sha256::digest(data).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Every byte value, in an order that repeats late, from a generator that is as short in Perl as it is here.
fn noise(length: usize) -> Vec<u8> {
    let mut state: u32 = 1;
    let block: Vec<u8> = (0..99_991)
        .map(|_| {
            state = state.wrapping_mul(1_103_515_245).wrapping_add(12345) & 0x7fff_ffff;
            u8::try_from(state >> 16 & 0xff).unwrap()
        })
        .collect();
    block.iter().copied().cycle().take(length).collect()
}

#[test]
#[ignore = "needs KVM: run cargo xtask test"]
fn much_data_passes_unchanged() {
    let make = "use integer; $s = 1; for (1..99991) { $s = ($s * 1103515245 + 12345) & 0x7fffffff; $b .= chr($s >> 16 & 255) } \
                $left = 64 << 20; while ($left > 0) { $n = $left < 99991 ? $left : 99991; print substr($b, 0, $n); $left -= $n }";
    let script = format!("sha256sum >&2 && perl -e '{make}'");
    let mut bottle = Bottle::vm_run("debian", &["-i", "--cpus", "2"], &["sh", "-c", &script]).start();
    let sent = noise(16 * MIB + 1);
    let expected = hex(&sent);
    bottle.feed(sent);
    bottle.until("the hash of stdin", |running| !running.stdout().is_empty());
    let ended = bottle.end().expect(0);
    assert_eq!(ended.stderr.trim_end(), format!("{expected}  -"), "stdin came changed");
    assert_eq!(ended.stdout.len(), 64 * MIB);
    assert_eq!(hex(&ended.stdout), hex(&noise(64 * MIB)), "stdout came changed");
}
