package netio

import (
	"fmt"
	"net/netip"
	"sync"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Beliefs tell what this host's kernel believes about paths: what it builds the packets of IPsec tunnels for. It stays in the
// network namespace that it was made in.
type Beliefs struct {
	handle *netlink.Handle

	mu    sync.Mutex
	links map[int]int // MTU by index
	asked time.Time   // when links was begun
}

// NewBeliefs opens the socket to ask with. It needs no privileges.
func NewBeliefs() (*Beliefs, error) {
	h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("routing socket: %w", err)
	}
	return &Beliefs{handle: h}, nil
}

// Close closes the socket.
func (b *Beliefs) Close() { b.handle.Close() }

// PathMTU is the path MTU from one of this host's addresses to another host, as far as the kernel knows: what a "packet too big"
// or the route says, else that of the interface. It is 0 where there is no way, or where local is no address of this host: then
// the question is for somebody else.
func (b *Beliefs) PathMTU(local, remote netip.Addr) int {
	if !local.IsValid() || !remote.IsValid() || local.IsUnspecified() || remote.IsUnspecified() {
		return 0
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	found, err := b.handle.RouteGetWithOptions(remote.AsSlice(), &netlink.RouteGetOptions{SrcAddr: local.AsSlice()})
	if err != nil || len(found) == 0 {
		return 0
	}
	link := b.linkMTU(found[0].LinkIndex)
	if m := found[0].MTU; m > 0 && (m < link || link == 0) {
		return m
	}
	return link
}

// linkMTU asks for the MTU of an interface, each at most once in routeAge.
func (b *Beliefs) linkMTU(index int) int {
	if now := time.Now(); b.links == nil || now.Sub(b.asked) >= routeAge {
		b.links, b.asked = map[int]int{}, now
	}
	mtu, known := b.links[index]
	if !known {
		if link, err := b.handle.LinkByIndex(index); err == nil {
			mtu = min(link.Attrs().MTU, maxPacket)
		}
		b.links[index] = mtu
	}
	return mtu
}

// Source is the address of this host that routing chooses for packets to another host, not valid where there is no way.
func (b *Beliefs) Source(remote netip.Addr) netip.Addr {
	if !remote.IsValid() {
		return netip.Addr{}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	found, err := b.handle.RouteGet(remote.AsSlice())
	if err != nil || len(found) == 0 {
		return netip.Addr{}
	}
	source, _ := netip.AddrFromSlice(found[0].Src)
	return source.Unmap()
}
