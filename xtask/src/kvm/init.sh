#!/bin/busybox sh
# PID 1 of the emulated host until its root is there: the machine's own root file system over 9p, read-only, under an
# overlay that lies on the scratch disk. Then the real PID 1, `xtask inside`, is run from there.
B=/bin/busybox
fail() {
    echo "emulated host: $*"
    $B poweroff -f
}
$B mount -t proc proc /proc && $B mount -t sysfs sys /sys && $B mount -t devtmpfs dev /dev || fail "no /proc, /sys or /dev"
for word in $($B cat /proc/cmdline); do
    case $word in bottle.inside=*) inside=${word#bottle.inside=} ;; esac
done
for module in $($B cat /modules/order); do
    $B insmod "/modules/$module" || fail "module $module cannot be loaded"
done
if [ -z "$inside" ]; then
    # The probe of whether KVM works: to have come this far is the answer.
    echo bottle-probe-booted
    $B poweroff -f
fi
# cache=loose: nothing of the machine that matters here changes while we run, and it is many times as fast.
$B mount -t 9p -o trans=virtio,version=9p2000.L,msize=512000,cache=loose,ro root /host || fail "no root share"
$B mount -t ext4 -o noatime /dev/vda /scratch || fail "no scratch disk"
$B mkdir -p /scratch/upper /scratch/work /scratch/docker
$B mount -t overlay -o lowerdir=/host,upperdir=/scratch/upper,workdir=/scratch/work overlay /root || fail "no overlay"
for dir in proc sys dev; do
    $B mkdir -p /root/$dir
    $B mount --move /$dir /root/$dir || fail "/$dir cannot be moved"
done
$B mount -t tmpfs -o mode=755 run /root/run && $B mkdir -p /root/run/bottle-scratch || fail "no /run"
$B mount --move /scratch /root/run/bottle-scratch || fail "the scratch disk cannot be moved"
$B ip link set lo up
exec $B switch_root /root "$inside" inside
fail "$inside cannot be run"
