/*
 * The part of libkrun's C interface that bottle uses, as of libkrun 1.19.7, and the one call that our patches add
 * to it. src/bindings.rs is generated from this file; tests/bindings.rs proves that it still is.
 *
 * Unless a comment says otherwise a call returns zero, or a negative errno: -ENOENT for a context that does not
 * exist, -EINVAL for an argument that makes no sense. Strings are UTF-8. Paths are the host's.
 */
#ifndef BOTTLE_LIBKRUN_H
#define BOTTLE_LIBKRUN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* ---- log ---- */

#define KRUN_LOG_TARGET_DEFAULT -1

#define KRUN_LOG_LEVEL_OFF 0
#define KRUN_LOG_LEVEL_ERROR 1
#define KRUN_LOG_LEVEL_WARN 2
#define KRUN_LOG_LEVEL_INFO 3
#define KRUN_LOG_LEVEL_DEBUG 4
#define KRUN_LOG_LEVEL_TRACE 5

#define KRUN_LOG_STYLE_AUTO 0
#define KRUN_LOG_STYLE_ALWAYS 1
#define KRUN_LOG_STYLE_NEVER 2

/* Keeps the environment from overriding the level. */
#define KRUN_LOG_OPTION_NO_ENV 1

/*
 * Starts the log, once in a process. libkrun owns target_fd from then on, unless it is 1, 2 or
 * KRUN_LOG_TARGET_DEFAULT (standard error). A second call, or one in a process whose own logger is set, panics.
 */
int32_t krun_init_log(int target_fd, uint32_t level, uint32_t style, uint32_t options);

/* Starts the log on standard error; the environment may override the level. */
int32_t krun_set_log_level(uint32_t level);

/* ---- a context: the configuration of one VM ---- */

/* Returns the context's number. Looks libkrunfw up already; that it is missing shows in krun_start_enter. */
int32_t krun_create_ctx(void);

int32_t krun_free_ctx(uint32_t ctx_id);

int32_t krun_set_vm_config(uint32_t ctx_id, uint8_t num_vcpus, uint32_t ram_mib);

/* Returns how many vCPUs the hypervisor can give a VM. */
int32_t krun_get_max_vcpus(void);

/* ---- file systems and disks ---- */

/* The tag of the file system that the guest boots from. */
#define KRUN_FS_ROOT_TAG "/dev/root"

/*
 * Adds a virtiofs device. A null path makes one without a host directory behind it: it holds what is overlaid, and
 * nothing else. shm_size is that of the DAX window in bytes, zero for none.
 */
int32_t krun_add_virtiofs3(uint32_t ctx_id, const char *tag, const char *path, uint64_t shm_size, bool read_only);

/*
 * Puts a file of data_len bytes into a virtiofs device. The bytes are not copied: they must stay where they are for
 * as long as the VM runs. A one_shot file can be looked up once only. Directories on the way must exist.
 */
int32_t krun_fs_add_overlay_file(uint32_t ctx_id, const char *tag, const char *path, const uint8_t *data,
                                 size_t data_len, uint32_t mode, bool one_shot);

/* Puts an empty directory, which cannot be written to, into a virtiofs device. */
int32_t krun_fs_add_overlay_dir(uint32_t ctx_id, const char *tag, const char *path, uint32_t mode);

#define KRUN_DISK_FORMAT_RAW 0
#define KRUN_DISK_FORMAT_QCOW2 1

/* What a flush of the guest's does: nothing; reach the host's file system; reach the medium. */
#define KRUN_SYNC_NONE 0
#define KRUN_SYNC_RELAXED 1
#define KRUN_SYNC_FULL 2

/* Adds a disk: /dev/vda, /dev/vdb … in the order of the calls. block_id names it to libkrun only. */
int32_t krun_add_disk3(uint32_t ctx_id, const char *block_id, const char *disk_path, uint32_t disk_format,
                       bool read_only, bool direct_io, uint32_t sync_mode);

/* ---- vsock, and the network through it ---- */

/* Leaves out the vsock device, with an open network, that libkrun would add by itself. */
int32_t krun_disable_implicit_vsock(uint32_t ctx_id);

/* The sockets of the guest that are impersonated (TSI): IPv4 and IPv6; UNIX. */
#define KRUN_TSI_HIJACK_INET (1 << 0)
#define KRUN_TSI_HIJACK_UNIX (1 << 1)

/* Adds the vsock device, after krun_disable_implicit_vsock. No feature means no network. */
int32_t krun_add_vsock(uint32_t ctx_id, uint32_t tsi_features);

/*
 * Joins a vsock port to a UNIX socket of the host. With listen, libkrun makes the socket, and who connects to it
 * reaches the guest's listener; without, the guest's connect is passed to whoever listens on the socket.
 */
int32_t krun_add_vsock_port2(uint32_t ctx_id, uint32_t port, const char *path, bool listen);

/*
 * Limits what the guest may reach through TSI to what the rules name. A patch of ours; see vendor/libkrun.
 *
 * rules is an array that ends with NULL. A rule is tcp:ADDRESS[/PREFIX]:PORT[-PORT], such as
 * "tcp:127.0.0.16/32:40123" or "tcp:[::1]/128:8000-8010". Without a rule nothing may be reached. A second call
 * replaces the list of the first.
 *
 * The guest's connect to anything else fails with EACCES. Datagrams and UNIX sockets do not leave the guest. A
 * listener stays inside the guest.
 *
 * Returns -EINVAL for a null array or a rule that is not exactly of that form (also: bits of the address set to the
 * right of the prefix, port 0, a range that is empty, an IPv4-mapped IPv6 address); then nothing has changed.
 */
int32_t krun_set_tsi_allowlist(uint32_t ctx_id, const char *const rules[]);

/* ---- consoles ---- */

/* Leaves out the console on standard input and output that libkrun would add by itself. */
int32_t krun_disable_implicit_console(uint32_t ctx_id);

/*
 * Adds a virtio console. Descriptors that are a terminal become its port 0; others become ports named krun-stdin,
 * krun-stdout and krun-stderr. -1 stands for none. The descriptors must stay open.
 */
int32_t krun_add_virtio_console_default(uint32_t ctx_id, int input_fd, int output_fd, int err_fd);

/* Sends what the implicit console prints to a file. Without an implicit console it does nothing. */
int32_t krun_set_console_output(uint32_t ctx_id, const char *path);

/* The value of console= on the guest kernel's command line. */
int32_t krun_set_kernel_console(uint32_t ctx_id, const char *console_id);

/* ---- running ---- */

/* Returns a descriptor; writing eight bytes to it asks the guest to power off. To be called before the start. */
int32_t krun_get_shutdown_eventfd(uint32_t ctx_id);

/*
 * Runs the VM. Returns only if it could not be started; otherwise the process exits with the guest.
 * -ENOENT: libkrunfw was not found.
 */
int32_t krun_start_enter(uint32_t ctx_id);

#endif
