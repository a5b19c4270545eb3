//go:build linux

package sandbox

import (
	"errors"
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The rights of the rules. Rights that the kernel does not know are left out.
const (
	read  = unix.LANDLOCK_ACCESS_FS_READ_FILE | unix.LANDLOCK_ACCESS_FS_READ_DIR
	write = read | unix.LANDLOCK_ACCESS_FS_WRITE_FILE | unix.LANDLOCK_ACCESS_FS_TRUNCATE | unix.LANDLOCK_ACCESS_FS_MAKE_REG |
		unix.LANDLOCK_ACCESS_FS_REMOVE_FILE
	run = unix.LANDLOCK_ACCESS_FS_READ_FILE | unix.LANDLOCK_ACCESS_FS_EXECUTE
	// ofFiles are the rights that a rule for a file, not a directory, may have.
	ofFiles = unix.LANDLOCK_ACCESS_FS_READ_FILE | unix.LANDLOCK_ACCESS_FS_WRITE_FILE | unix.LANDLOCK_ACCESS_FS_EXECUTE |
		unix.LANDLOCK_ACCESS_FS_TRUNCATE
)

// restrictFiles leaves the files of the rules, and returns the version of the interface, 0 where
// the kernel has no Landlock or a filter of system calls forbids it. Sockets with a path are not
// restricted: control sockets of daemons come and go.
func restrictFiles(rules *Rules) (version int, err error) {
	v, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, 0, 0, unix.LANDLOCK_CREATE_RULESET_VERSION)
	if errno != 0 {
		return 0, nil
	}
	attr := unix.LandlockRulesetAttr{Handled_access_fs: restricted(int(v))}
	fd, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, uintptr(unsafe.Pointer(&attr)), unsafe.Sizeof(attr.Handled_access_fs), 0) //nolint:gosec // a pointer to what the system call reads
	if errno != 0 {
		return 0, fmt.Errorf("rule set: %w", errno)
	}
	defer unix.Close(int(fd))
	for _, of := range []struct {
		paths  []string
		rights uint64
	}{{rules.Read, read}, {rules.Write, write}, {rules.Run, run}} {
		for _, path := range of.paths {
			if err := allow(int(fd), path, of.rights&attr.Handled_access_fs); err != nil {
				return 0, fmt.Errorf("%s: %w", path, err)
			}
		}
	}
	if err := everywhere(unix.SYS_LANDLOCK_RESTRICT_SELF, fd, 0); err != nil {
		return 0, err
	}
	return int(v), nil
}

// restricted returns the rights that a version of the interface can restrict. Renaming between
// directories is among them in version 1 too, without a name.
func restricted(version int) uint64 {
	all := uint64(unix.LANDLOCK_ACCESS_FS_MAKE_SYM)<<1 - 1 // version 1
	for _, later := range []struct {
		since int
		right uint64
	}{{2, unix.LANDLOCK_ACCESS_FS_REFER}, {3, unix.LANDLOCK_ACCESS_FS_TRUNCATE}, {5, unix.LANDLOCK_ACCESS_FS_IOCTL_DEV}} {
		if version >= later.since {
			all |= later.right
		}
	}
	return all
}

// allow adds a rule for a path and everything below it. A path that is not there needs none.
func allow(ruleSet int, path string, rights uint64) error {
	at, err := unix.Open(path, unix.O_PATH|unix.O_CLOEXEC, 0)
	switch {
	case errors.Is(err, unix.ENOENT), errors.Is(err, unix.ENOTDIR), errors.Is(err, unix.EACCES):
		return nil
	case err != nil:
		return err
	}
	defer unix.Close(at)
	var info unix.Stat_t
	if err := unix.Fstat(at, &info); err != nil {
		return err
	}
	if info.Mode&unix.S_IFMT != unix.S_IFDIR {
		rights &= ofFiles
	}
	// The kernel reads a packed structure: 8 bytes of rights, 4 of the descriptor.
	rule := unix.LandlockPathBeneathAttr{Allowed_access: rights, Parent_fd: int32(at)}
	_, _, errno := unix.Syscall6(unix.SYS_LANDLOCK_ADD_RULE, uintptr(ruleSet), unix.LANDLOCK_RULE_PATH_BENEATH, uintptr(unsafe.Pointer(&rule)), 0, 0, 0) //nolint:gosec // a pointer to what the system call reads
	if errno != 0 {
		return errno
	}
	return nil
}
