//go:build linux

package netio

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// A bell wakes the engine: when a socket that it watches has something to read, when somebody
// rings, or when a time has come. A thread that waited in a system call would cost ten times as
// much: each time it came back, the runtime would begin to look after its threads every 20 µs.
//
// The runtime's poller watches one descriptor, an epoll instance, which in turn watches the
// sockets. Each socket wakes the engine once (EPOLLONESHOT, epoll(7)) and is watched again when the
// engine waits the next time, so that the packets of a batch wake nobody.
type bell struct {
	file *os.File // the epoll instance
	rc   syscall.RawConn
	rope *conn // an eventfd
	// struck are the descriptors that woke the engine. They are not watched at the moment.
	struck []int
	// due is when a wait ends at the latest.
	due    time.Time
	events [16]unix.EpollEvent
}

const watched = unix.EPOLLIN | unix.EPOLLONESHOT

func (b *bell) open() error {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return fmt.Errorf("epoll: %w", err)
	}
	if err := unix.SetNonblock(fd, true); err != nil { // what the runtime's poller takes
		return errors.Join(err, unix.Close(fd))
	}
	b.file = os.NewFile(uintptr(fd), "epoll")
	if b.rc, err = b.file.SyscallConn(); err != nil {
		return errors.Join(err, b.file.Close())
	}
	number, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return errors.Join(fmt.Errorf("eventfd: %w", err), b.file.Close())
	}
	b.rope = &conn{fd: number}
	err = b.watch(b.rope)
	if err == nil {
		err = b.file.SetReadDeadline(time.Time{}) // fails where the runtime's poller did not take it
	}
	if err != nil {
		b.close()
	}
	return err
}

func (b *bell) close() {
	b.rope.close()
	closing(b.file)
}

// ring ends a wait. It may be called from any goroutine.
func (b *bell) ring() {
	_ = b.rope.use(func(fd int) error {
		ring(fd)
		return nil
	})
}

// quiet makes the bell wait for the next ring.
func (b *bell) quiet() {
	_ = b.rope.use(func(fd int) error {
		hush(fd)
		return nil
	})
}

// watch adds a socket, until it is closed. It may be called from any goroutine.
func (b *bell) watch(c *conn) error {
	return c.use(func(fd int) error { return b.control(unix.EPOLL_CTL_ADD, fd) })
}

func (b *bell) control(operation, fd int) error {
	var inner error
	err := b.rc.Control(func(epoll uintptr) {
		inner = unix.EpollCtl(int(epoll), operation, fd, &unix.EpollEvent{Events: watched, Fd: int32(fd)})
	})
	if err = errors.Join(err, inner); err != nil {
		return fmt.Errorf("epoll: %w", err)
	}
	return nil
}

// wait returns when there is something to do, or after a while.
func (b *bell) wait(limit time.Duration) {
	for _, fd := range b.struck {
		_ = b.control(unix.EPOLL_CTL_MOD, fd) // it may be closed
	}
	b.struck = b.struck[:0]
	// To wake once too early costs less than to set the time for each wait.
	if now := time.Now(); !b.due.After(now) || now.Add(limit).Before(b.due) {
		b.set(now.Add(limit))
	}
	b.await()
}

// doze returns when somebody rings, and when due has come. A socket wakes it once at most.
func (b *bell) doze() {
	rope := -1
	_ = b.rope.use(func(fd int) error { rope = fd; return nil })
	if i := slices.Index(b.struck, rope); i >= 0 {
		_ = b.control(unix.EPOLL_CTL_MOD, rope)
		b.struck = slices.Delete(b.struck, i, i+1)
	}
	b.await()
}

// set sets when a wait ends at the latest, also one that has begun.
func (b *bell) set(due time.Time) {
	b.due = due
	_ = b.file.SetReadDeadline(due) // where it fails, so does the wait
}

// await waits for an event.
func (b *bell) await() {
	if err := b.rc.Read(b.strike); err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
		time.Sleep(breather) // it must not spin
	}
}

// strike takes the events, and reports whether there is one.
func (b *bell) strike(epoll uintptr) bool {
	n, errno := happened(epoll, b.events[:])
	if errno != 0 {
		return true
	}
	for _, e := range b.events[:n] {
		b.struck = append(b.struck, int(e.Fd))
	}
	return n > 0
}
