package netlab

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// NS is a network namespace, held open by a file descriptor: it has no name and leaves nothing
// behind.
type NS struct {
	handle netns.NsHandle
	link   *netlink.Handle
}

// New creates a network namespace with its loopback up. It ends with the test.
func New(t T) *NS {
	t.Helper()
	Need(t)
	n := &NS{}
	err := onThread(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("unshare: %w", err)
		}
		var err error
		n.handle, err = netns.Get()
		return err
	})
	if err != nil {
		t.Fatalf("new network namespace: %v", err)
	}
	n.endWith(t)
	n.useIPv6AtOnce(t)
	lo, err := n.link.LinkByName("lo")
	if err == nil {
		err = n.link.LinkSetUp(lo)
	}
	if err != nil {
		t.Fatalf("lo up: %v", err)
	}
	return n
}

// useIPv6AtOnce permits IPv6, also on a host that disables it by default, and its addresses without a
// delay: duplicate address detection would take a second, and no router here sends advertisements.
// A kernel without IPv6 has none of these.
func (n *NS) useIPv6AtOnce(t T) {
	t.Helper()
	for _, path := range []string{
		"net/ipv6/conf/all/accept_dad", "net/ipv6/conf/default/accept_dad", "net/ipv6/conf/default/dad_transmits",
		"net/ipv6/conf/default/accept_ra", "net/ipv6/conf/all/disable_ipv6", "net/ipv6/conf/default/disable_ipv6",
	} {
		n.sysctlIfPresent(t, path, "0")
	}
}

// endWith opens netlink in the namespace and closes it at the end of the test.
func (n *NS) endWith(t T) {
	t.Helper()
	t.Cleanup(func() {
		if err := n.handle.Close(); err != nil {
			t.Logf("close network namespace: %v", err)
		}
	})
	var err error
	if n.link, err = netlink.NewHandleAt(n.handle); err != nil {
		t.Fatalf("netlink in the namespace: %v", err)
	}
	t.Cleanup(n.link.Close)
}

// Here returns the namespace of the process itself.
func Here(t T) *NS {
	t.Helper()
	Need(t)
	n := &NS{}
	err := onThread(func() (err error) {
		n.handle, err = netns.Get()
		return err
	})
	if err != nil {
		t.Fatalf("this network namespace: %v", err)
	}
	n.endWith(t)
	return n
}

// Fd returns the file descriptor that holds the namespace. It is valid until the end of the test.
func (n *NS) Fd() int { return int(n.handle) }

// Netlink returns a route netlink handle inside the namespace.
func (n *NS) Netlink() *netlink.Handle { return n.link }

// ErrEnded means that the function ended its goroutine instead of returning, like FailNow and
// SkipNow.
var ErrEnded = errors.New("the function ended its goroutine")

// Run calls f on a thread inside the namespace and returns its error. Sockets that f opens stay in
// the namespace, even if other goroutines use them; goroutines that f starts are outside. A panic
// of f is returned as an error.
func (n *NS) Run(f func() error) error {
	return onThread(func() error {
		if err := netns.Set(n.handle); err != nil {
			return fmt.Errorf("enter network namespace: %w", err)
		}
		return f()
	})
}

// Do calls f on a thread inside the namespace, like Run. If f panics, fails or ends its goroutine,
// the test does the same.
func (n *NS) Do(t T, f func()) {
	t.Helper()
	err := n.Run(func() error {
		f()
		return nil
	})
	switch {
	case errors.Is(err, ErrEnded):
		if t.Failed() {
			t.FailNow()
		}
		runtime.Goexit() // a skip
	case err != nil:
		t.Fatalf("%v", err)
	}
}

// onThread calls f on a thread that ends afterwards, so that f may change the namespaces of the
// thread.
func onThread(f func() error) error {
	err := ErrEnded
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer func() {
			if p := recover(); p != nil {
				err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
			}
		}()
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		err = f()
	}()
	<-done
	return err
}

// Sysctl writes a sysctl of the namespace. The path is relative to /proc/sys.
func (n *NS) Sysctl(t T, path, value string) {
	t.Helper()
	if err := n.sysctl(path, value); err != nil {
		t.Fatalf("sysctl: %v", err)
	}
}

// sysctlIfPresent is Sysctl for sysctls that some kernels or namespaces lack.
func (n *NS) sysctlIfPresent(t T, path, value string) {
	t.Helper()
	if err := n.sysctl(path, value); err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatalf("sysctl: %v", err)
	}
}

// sysctl writes on a thread inside the namespace, because /proc/sys/net shows the namespace of the
// task that opens it.
func (n *NS) sysctl(path, value string) error {
	return n.Run(func() error { return writeFile("/proc/sys/"+path, value) })
}

// writeFile writes to an existing file; the kernel creates the files of /proc.
func writeFile(name, value string) error {
	f, err := os.OpenFile(name, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(value)
	return errors.Join(err, f.Close())
}
