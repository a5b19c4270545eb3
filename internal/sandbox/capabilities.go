//go:build linux

package sandbox

import (
	"errors"
	"strconv"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// kept are the capabilities that measuring needs at any time, because a reload may add a peer with
// an interface, a firewall mark or a fixed source port, and gateways of the kernel:
//
//   - net_raw: raw sockets, bound to an interface or with a firewall mark
//   - net_admin: sockets exempt from IPsec policies, large receive buffers, reading the kernel's SAs,
//     removing what a probe left in the path MTU cache of IPv6
//   - net_bind_service: the source ports 500 and 4500
//   - dac_override: only root has it, for files and control sockets of other users; Landlock limits
//     it to the files of the rules
func kept() uint64 {
	return 1<<unix.CAP_NET_RAW | 1<<unix.CAP_NET_ADMIN | 1<<unix.CAP_NET_BIND_SERVICE | 1<<unix.CAP_DAC_OVERRIDE
}

// drop drops all capabilities but the kept ones from all sets.
func (o *Outcome) drop() error {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&header, &data[0]); err != nil {
		return err
	}
	had := uint64(data[1].Permitted)<<32 | uint64(data[0].Permitted)
	o.Kept, o.Dropped = names(had&kept()), names(had&^kept())
	// Ambient capabilities are not known before Linux 4.3.
	if err := everywhere(unix.SYS_PRCTL, unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL); err != nil && !errors.Is(err, unix.EINVAL) {
		return err
	}
	if had&(1<<unix.CAP_SETPCAP) != 0 {
		if err := bound(); err != nil {
			return err
		}
		o.Bounded = true
	}
	left := had & kept()
	for i := range data {
		word := uint32(left >> (32 * i))
		data[i] = unix.CapUserData{Effective: word, Permitted: word}
	}
	_, _, errno := syscall.AllThreadsSyscall(unix.SYS_CAPSET, uintptr(unsafe.Pointer(&header)), uintptr(unsafe.Pointer(&data[0])), 0) //nolint:gosec // pointers to what the system call reads
	return failure(errno)
}

// bound leaves only the kept capabilities to programs that this one runs.
func bound() error {
	for c := range uintptr(64) {
		if kept()&(1<<c) != 0 {
			continue
		}
		// The answer for a number that the kernel does not know is an error.
		if present, err := unix.PrctlRetInt(unix.PR_CAPBSET_READ, c, 0, 0, 0); err != nil || present == 0 {
			continue
		}
		if err := everywhere(unix.SYS_PRCTL, unix.PR_CAPBSET_DROP, c); err != nil {
			return err
		}
	}
	return nil
}

// names returns the names of capabilities, by their numbers in linux/capability.h.
func names(set uint64) []string {
	known := [...]string{
		"chown", "dac_override", "dac_read_search", "fowner", "fsetid", "kill", "setgid", "setuid", "setpcap", "linux_immutable",
		"net_bind_service", "net_broadcast", "net_admin", "net_raw", "ipc_lock", "ipc_owner", "sys_module", "sys_rawio", "sys_chroot",
		"sys_ptrace", "sys_pacct", "sys_admin", "sys_boot", "sys_nice", "sys_resource", "sys_time", "sys_tty_config", "mknod", "lease",
		"audit_write", "audit_control", "setfcap", "mac_override", "mac_admin", "syslog", "wake_alarm", "block_suspend", "audit_read",
		"perfmon", "bpf", "checkpoint_restore",
	}
	all := []string{}
	for c := range 64 {
		switch {
		case set&(1<<c) == 0:
		case c < len(known):
			all = append(all, known[c])
		default:
			all = append(all, strconv.Itoa(c))
		}
	}
	return all
}
