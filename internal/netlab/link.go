package netlab

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"time"
	"unsafe"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// An End is one end of a link.
type End struct {
	// NS is the namespace of the end.
	NS *NS
	// Name is the name of its device.
	Name string
	// Addrs are its addresses.
	Addrs []netip.Prefix
}

// Veth joins two namespaces by a link and waits until the link carries packets.
func Veth(t T, a, b End, mtu int) {
	t.Helper()
	addVeth(t, a, b, mtu)
	awaitUp(t, a, b)
}

func addVeth(t T, a, b End, mtu int) {
	t.Helper()
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MTU = a.Name, mtu
	v := &netlink.Veth{
		LinkAttrs: attrs, PeerName: b.Name, PeerNamespace: netlink.NsFd(b.NS.Fd()), PeerMTU: uint32(mtu),
	}
	if err := a.NS.link.LinkAdd(v); err != nil {
		t.Fatalf("veth %s-%s: %v", a.Name, b.Name, err)
	}
	for _, e := range []End{a, b} {
		if err := e.setUp(); err != nil {
			t.Fatalf("%v", err)
		}
	}
}

func (e End) setUp() error {
	link, err := e.NS.link.LinkByName(e.Name)
	if err != nil {
		return fmt.Errorf("link %s: %w", e.Name, err)
	}
	if err := e.NS.link.LinkSetUp(link); err != nil {
		return fmt.Errorf("link %s up: %w", e.Name, err)
	}
	e.offloadsOff()
	return e.setAddrs()
}

// setAddrs adds the missing addresses of the end: a link below 1280 bytes loses its IPv6 addresses
// (RFC 8200, section 5).
func (e End) setAddrs() error {
	link, err := e.NS.link.LinkByName(e.Name)
	if err != nil {
		return fmt.Errorf("link %s: %w", e.Name, err)
	}
	for _, p := range e.Addrs {
		if p.Addr().Is6() && link.Attrs().MTU < minMTU6 {
			continue
		}
		if err := e.NS.link.AddrReplace(link, &netlink.Addr{IPNet: ipNet(p)}); err != nil {
			return fmt.Errorf("address %s on %s: %w", p, e.Name, err)
		}
	}
	return e.awaitAddrs(link)
}

// awaitAddrs waits until no address is tentative. There is no duplicate address detection here, but
// the kernel joins the multicast group of an address (RFC 4291, section 2.7.1) some time after it
// has added the address, and does not answer its neighbours before. Only this flag shows that
// state. With IFA_F_NODAD an address would never be tentative, with the same delay.
func (e End) awaitAddrs(link netlink.Link) error {
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(linkTimeout); ; <-tick.C {
		addrs, err := e.NS.link.AddrList(link, netlink.FAMILY_V6)
		interrupted := errors.Is(err, netlink.ErrDumpInterrupted) // they changed meanwhile, as tentative ones do
		if err != nil && !interrupted {
			return fmt.Errorf("addresses of %s: %w", e.Name, err)
		}
		if !interrupted && !slices.ContainsFunc(addrs, func(a netlink.Addr) bool { return a.Flags&unix.IFA_F_TENTATIVE != 0 }) {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("addresses of %s stay tentative", e.Name)
		}
	}
}

// linkTimeout is how long a link or an address may take to work.
const linkTimeout = 5 * time.Second

// minMTU6 is the minimum MTU for IPv6 (RFC 8200, section 5).
const minMTU6 = 1280

func (e End) setMTU(mtu int) error {
	link, err := e.NS.link.LinkByName(e.Name)
	if err == nil {
		err = e.NS.link.LinkSetMTU(link, mtu)
	}
	if err != nil {
		return fmt.Errorf("mtu %d on %s: %w", mtu, e.Name, err)
	}
	return e.setAddrs()
}

// awaitUp waits until both ends are operational. The end that comes up first silently drops all
// packets until the kernel's link watcher has run, up to a second later.
func awaitUp(t T, ends ...End) {
	t.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	deadline := time.Now().Add(linkTimeout)
	for _, e := range ends {
		for {
			link, err := e.NS.link.LinkByName(e.Name)
			if err == nil && link.Attrs().OperState == netlink.OperUp {
				break
			}
			if time.Now().After(deadline) {
				t.Fatalf("link %s did not come up: %v", e.Name, err)
			}
			<-tick.C
		}
	}
}

// offloadsOff disables segmentation and checksum offloads, so that real packets cross the link. A
// kernel that refuses is accepted, because probes are small enough to pass unchanged.
func (e End) offloadsOff() {
	_ = e.NS.Run(func() error {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		var errs []error
		for _, cmd := range []uint32{
			unix.ETHTOOL_STSO, unix.ETHTOOL_SGSO, unix.ETHTOOL_SGRO, unix.ETHTOOL_STXCSUM,
		} {
			errs = append(errs, ethtoolSet(fd, e.Name, cmd, 0))
		}
		return errors.Join(errs...)
	})
}

// ethtoolSet sets one feature by its old command: struct ethtool_value after struct ifreq
// (linux/ethtool.h).
func ethtoolSet(fd int, device string, cmd, value uint32) error {
	arg := struct{ cmd, value uint32 }{cmd, value}
	req := struct {
		name [unix.IFNAMSIZ]byte
		data unsafe.Pointer
		_    [16]byte // the rest of the union
	}{data: unsafe.Pointer(&arg)}
	copy(req.name[:unix.IFNAMSIZ-1], device)
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SIOCETHTOOL, uintptr(unsafe.Pointer(&req)))
	if errno != 0 {
		return errno
	}
	return nil
}

// A Route is one route of a namespace.
type Route struct {
	// Dst is the destination.
	Dst netip.Prefix
	// Via is the gateway.
	Via netip.Addr
	// MTU, if not 0, is the largest packet on the route: larger packets are fragmented or answered
	// by "packet too big".
	MTU int
	// Table is the routing table, 0 the main one.
	Table int
}

// Route adds the route or replaces the route to the same destination.
func (n *NS) Route(t T, r Route) {
	t.Helper()
	if err := n.route(r); err != nil {
		t.Fatalf("%v", err)
	}
}

// route deletes before it adds, because the kernel's path MTU exceptions belong to the route: a
// replacement that equals the old route would keep them.
func (n *NS) route(r Route) error {
	old := &netlink.Route{Dst: ipNet(r.Dst), Table: r.Table, Family: family(r.Dst.Addr())}
	if err := n.link.RouteDel(old); err != nil && !errors.Is(err, unix.ESRCH) && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("delete route to %s: %w", r.Dst, err)
	}
	add := &netlink.Route{
		Dst: ipNet(r.Dst), Gw: r.Via.AsSlice(), MTU: r.MTU, MTULock: r.MTU != 0, Table: r.Table, Family: old.Family,
	}
	if err := n.link.RouteAdd(add); err != nil {
		return fmt.Errorf("route to %s via %s: %w", r.Dst, r.Via, err)
	}
	return nil
}

func family(a netip.Addr) int {
	if a.Is6() {
		return netlink.FAMILY_V6
	}
	return netlink.FAMILY_V4
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}

// RemoveFamily takes the addresses and routes of one address family from the namespace, as on a host
// that has only the other one. It cannot be undone.
func (n *NS) RemoveFamily(t T, v6 bool) {
	t.Helper()
	if v6 {
		n.Sysctl(t, "net/ipv6/conf/all/disable_ipv6", "1")
		return
	}
	addrs, err := n.link.AddrList(nil, netlink.FAMILY_V4)
	if err != nil {
		t.Fatalf("addresses: %v", err)
	}
	for i := range addrs {
		link, err := n.link.LinkByIndex(addrs[i].LinkIndex)
		if err == nil {
			err = n.link.AddrDel(link, &addrs[i])
		}
		if err != nil {
			t.Fatalf("address %s: %v", addrs[i].IPNet, err)
		}
	}
}
