package netlab

import (
	"fmt"
	"os"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// stateUMLStart is the state of the process that becomes User-Mode Linux.
const stateUMLStart = "uml-start"

// umlStart replaces this process by User-Mode Linux. It does not return.
//
// User-Mode Linux 6.1 saves the registers of its processes by PTRACE_GETREGSET and NT_X86_XSTATE
// into an area of fixed size. A host kernel refuses to restore a shorter area than its CPU has, so
// on CPUs with AMX every process dies at once ("ptrace set fp regs failed, errno = 14"). A filter
// removes that request, and User-Mode Linux uses PTRACE_GETFPREGS instead. The upper halves of AVX
// registers are then lost at a page fault, so no program may use them: umlNoAVX.
func umlStart() {
	runtime.LockOSThread()
	err := filterXState()
	if err == nil {
		err = os.Unsetenv(stateEnv)
	}
	if err == nil {
		err = unix.Exec(umlKernel, append([]string{umlKernel}, os.Args[1:]...), os.Environ())
	}
	fmt.Fprintln(os.Stderr, "netlab: start User-Mode Linux:", err)
	os.Exit(1)
}

// filterXState makes ptrace requests for NT_X86_XSTATE fail with ENODEV, as on a CPU without it,
// for this thread and what it executes.
func filterXState() error {
	const (
		nr, arch, request, address = 0, 4, 16, 32 // offsets in struct seccomp_data, little-endian
		ntX86XState                = 0x202
	)
	load := func(offset uint32) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: offset}
	}
	equal := func(value uint32, yes, no uint8) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: value, Jt: yes, Jf: no}
	}
	verdict := func(action uint32) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: action}
	}
	filter := []unix.SockFilter{
		load(arch), equal(unix.AUDIT_ARCH_X86_64, 0, 8),
		load(nr), equal(unix.SYS_PTRACE, 0, 6),
		load(request), equal(unix.PTRACE_GETREGSET, 1, 0), equal(unix.PTRACE_SETREGSET, 0, 3),
		load(address), equal(ntX86XState, 0, 1),
		verdict(unix.SECCOMP_RET_ERRNO | uint32(unix.ENODEV)),
		verdict(unix.SECCOMP_RET_ALLOW),
	}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("no new privileges: %w", err)
	}
	program := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	if err := unix.Prctl(unix.PR_SET_SECCOMP, unix.SECCOMP_MODE_FILTER, uintptr(unsafe.Pointer(&program)), 0, 0); err != nil {
		return fmt.Errorf("seccomp filter: %w", err)
	}
	runtime.KeepAlive(filter)
	return nil
}
