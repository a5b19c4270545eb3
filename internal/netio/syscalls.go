//go:build linux

package netio

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// The system calls of this file return at once. They are made without a word to the runtime
// (RawSyscall), which else takes each for one that may block: it begins to look after its threads
// every 20 µs, and that costs more than the calls.

// sending sends messages and returns how many were sent. Where the buffer of the socket has no room,
// it waits for sendPatience, and tells the runtime.
func sending(fd int, messages []mmsghdr) (sent int, err error) {
	first, count := unsafe.Pointer(&messages[0]), uintptr(len(messages)) //nolint:gosec // no wrapper exists
	n, _, errno := unix.RawSyscall6(unix.SYS_SENDMMSG, uintptr(fd), uintptr(first), count, unix.MSG_DONTWAIT, 0, 0)
	for errno == unix.EAGAIN || errno == unix.EINTR {
		if n, _, errno = unix.Syscall6(unix.SYS_SENDMMSG, uintptr(fd), uintptr(first), count, 0, 0, 0); errno == unix.EAGAIN {
			return 0, unix.ENOBUFS
		}
	}
	if errno != 0 {
		return 0, errno
	}
	return int(n), nil
}

// receiving reads the messages that have come to a socket.
func receiving(fd int, messages []mmsghdr) (n int, errno unix.Errno) {
	r, _, errno := unix.RawSyscall6(unix.SYS_RECVMMSG, uintptr(fd), uintptr(unsafe.Pointer(&messages[0])), //nolint:gosec // no wrapper exists
		uintptr(len(messages)), unix.MSG_DONTWAIT, 0, 0)
	return int(r), errno
}

// polling asks what can be read. It changes the descriptors' Revents.
func polling(fds []unix.PollFd) (errno unix.Errno) {
	var now unix.Timespec
	_, _, errno = unix.RawSyscall6(unix.SYS_PPOLL, uintptr(unsafe.Pointer(&fds[0])), uintptr(len(fds)), //nolint:gosec // the wrapper tells the runtime
		uintptr(unsafe.Pointer(&now)), 0, 0, 0) //nolint:gosec // the same
	return errno
}

// happened takes the events of an epoll instance.
func happened(epoll uintptr, events []unix.EpollEvent) (n int, errno unix.Errno) {
	r, _, errno := unix.RawSyscall6(unix.SYS_EPOLL_PWAIT, epoll, uintptr(unsafe.Pointer(&events[0])), //nolint:gosec // the wrapper tells the runtime
		uintptr(len(events)), 0, 0, 0)
	return int(r), errno
}

// ring adds 1 to the counter of an eventfd, unless it is full; hush sets it to 0.
func ring(fd int) { counter(unix.SYS_WRITE, fd) }
func hush(fd int) { counter(unix.SYS_READ, fd) }

func counter(number uintptr, fd int) {
	n := uint64(1)
	_, _, _ = unix.RawSyscall(number, uintptr(fd), uintptr(unsafe.Pointer(&n)), unsafe.Sizeof(n)) //nolint:gosec // the wrapper tells the runtime
}
