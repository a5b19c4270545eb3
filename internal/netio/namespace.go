//go:build linux

package netio

import (
	"fmt"
	"runtime"

	"github.com/vishvananda/netns"
)

// A namespace is the network namespace in which a Stack was opened. Sockets that are opened later
// belong to it too, whichever thread opens them.
type namespace struct{ handle netns.NsHandle }

// here is the namespace of this thread. Without /proc it is not known, and then never left.
func here() namespace {
	h, err := netns.Get()
	if err != nil {
		return namespace{netns.None()}
	}
	return namespace{h}
}

func (n *namespace) close() { closing(&n.handle) }

// do calls f on a thread in the namespace.
func (n *namespace) do(f func() error) error {
	runtime.LockOSThread()
	current := here()
	defer current.close()
	if !n.handle.IsOpen() || !current.handle.IsOpen() || current.handle.Equal(n.handle) {
		defer runtime.UnlockOSThread()
		return f()
	}
	if err := netns.Set(n.handle); err != nil {
		runtime.UnlockOSThread()
		return fmt.Errorf("network namespace: %w", err)
	}
	err := f()
	if netns.Set(current.handle) == nil {
		runtime.UnlockOSThread() // otherwise the thread ends with its goroutine
	}
	return err
}
