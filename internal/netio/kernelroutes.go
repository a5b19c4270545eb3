//go:build linux

package netio

import (
	"fmt"
	"net/netip"
	"sync"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// KernelRoutes asks the kernel of this host for the routes that it uses for the packets of IPsec
// tunnels. It stays in the network namespace in which it was opened.
type KernelRoutes struct {
	handle *netlink.Handle

	mu    sync.Mutex
	links map[int]int // MTU by index
	asked time.Time   // when the first of links was asked for
}

// NewKernelRoutes opens the netlink socket. It needs no privileges.
func NewKernelRoutes() (*KernelRoutes, error) {
	h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("routing socket: %w", err)
	}
	return &KernelRoutes{handle: h}, nil
}

// Close closes the socket.
func (k *KernelRoutes) Close() { k.handle.Close() }

// PathMTU returns the kernel's path MTU from an address of this host to another host: that of the
// route, cached or configured, or else of the interface; 0 without a route, or where local is not
// an address of this host.
func (k *KernelRoutes) PathMTU(local, remote netip.Addr) int {
	if !local.IsValid() || !remote.IsValid() || local.IsUnspecified() || remote.IsUnspecified() {
		return 0
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	found, err := k.handle.RouteGetWithOptions(remote.AsSlice(), &netlink.RouteGetOptions{SrcAddr: local.AsSlice()})
	if err != nil || len(found) == 0 {
		return 0
	}
	link := k.linkMTU(found[0].LinkIndex)
	if m := found[0].MTU; m > 0 && (m < link || link == 0) {
		return m
	}
	return link
}

// linkMTU returns the MTU of an interface. It asks for each at most once in routeAge.
func (k *KernelRoutes) linkMTU(index int) int {
	if now := time.Now(); k.links == nil || now.Sub(k.asked) >= routeAge {
		k.links, k.asked = map[int]int{}, now
	}
	mtu, known := k.links[index]
	if !known {
		if link, err := k.handle.LinkByIndex(index); err == nil {
			mtu = min(link.Attrs().MTU, maxPacket)
		}
		k.links[index] = mtu
	}
	return mtu
}

// Source returns the address that routing selects for packets to another host, if there is a route.
func (k *KernelRoutes) Source(remote netip.Addr) netip.Addr {
	if !remote.IsValid() {
		return netip.Addr{}
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	found, err := k.handle.RouteGet(remote.AsSlice())
	if err != nil || len(found) == 0 {
		return netip.Addr{}
	}
	source, _ := netip.AddrFromSlice(found[0].Src)
	return source.Unmap()
}
