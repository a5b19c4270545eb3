//go:build linux

package sandbox

import (
	"fmt"
	"syscall"

	"golang.org/x/sys/unix"
)

// Enter restricts the program to the rules. On an error some rights may be gone and others not.
func Enter(rules Rules) (Outcome, error) {
	var out Outcome
	if err := everywhere(unix.SYS_PRCTL, unix.PR_SET_NO_NEW_PRIVS, 1); err != nil {
		return out, fmt.Errorf("no_new_privs: %w", err)
	}
	var err error
	if out.Landlock, err = restrictFiles(&rules); err != nil {
		return out, fmt.Errorf("files: %w", err)
	}
	if err := out.drop(); err != nil {
		return out, fmt.Errorf("capabilities: %w", err)
	}
	return out, nil
}

// everywhere makes a system call on every thread of the program. The runtime ends the program if
// threads disagree about the result.
func everywhere(call, a, b uintptr) error {
	_, _, errno := syscall.AllThreadsSyscall6(call, a, b, 0, 0, 0, 0)
	return failure(errno)
}

// failure returns the error of a system call on every thread.
func failure(errno syscall.Errno) error {
	if errno == syscall.ENOTSUP { // of the Go runtime: the program uses cgo
		return ErrUnsupported
	}
	if errno != 0 {
		return errno
	}
	return nil
}
