package netio

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// routeAge is how long what was learned about a way out is believed without asking again.
const routeAge = 5 * time.Second

// maxRoutes bounds the memory for them.
const maxRoutes = 65536

// routes asks this host's kernel about the ways out. All its descriptors are opened at the start, so they stay in the network
// namespace of then.
type routes struct {
	mu     sync.Mutex
	handle *netlink.Handle
	xfrm   *os.File // /proc/net/xfrm_stat, nil where the kernel has no IPsec
	cache  map[Path]cachedRoute
}

type cachedRoute struct {
	route Route
	err   error
	at    time.Time
}

func newRoutes() (*routes, error) {
	h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("routing socket: %w", err)
	}
	r := &routes{handle: h, cache: make(map[Path]cachedRoute)}
	if f, err := os.Open("/proc/thread-self/net/xfrm_stat"); err == nil {
		r.xfrm = f
	}
	return r, nil
}

func (r *routes) close() {
	r.handle.Close()
	if r.xfrm != nil {
		r.xfrm.Close()
	}
}

// forget drops what is known about a path, because the kernel said something that does not fit it.
func (r *routes) forget(p Path) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.cache, p)
}

// remembered is what was last learned about a path, however long ago.
func (r *routes) remembered(p Path) (Route, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	c, ok := r.cache[p]
	return c.route, ok && c.err == nil
}

// lookup tells how packets of a path leave this host. bypass: no policy of this host applies to our sockets.
func (r *routes) lookup(p Path, bypass bool) (Route, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()
	if c, ok := r.cache[p]; ok && now.Sub(c.at) < routeAge {
		return c.route, c.err
	}
	if len(r.cache) >= maxRoutes {
		clear(r.cache)
	}
	route, err := r.ask(p)
	if err == nil && route.Tunnel == "" && !bypass {
		route.Tunnel, err = r.policy(p)
	}
	r.cache[p] = cachedRoute{route: route, err: err, at: now}
	return route, err
}

func (r *routes) ask(p Path) (Route, error) {
	opt := &netlink.RouteGetOptions{Oif: p.Interface}
	if p.Src.IsValid() {
		opt.SrcAddr = p.Src.AsSlice()
	}
	found, err := r.handle.RouteGetWithOptions(p.Dst.AsSlice(), opt)
	if err != nil {
		return Route{}, fmt.Errorf("route to %s: %w", p, err)
	}
	if len(found) == 0 {
		return Route{}, fmt.Errorf("route to %s: %w", p, unix.ENETUNREACH)
	}
	link, err := r.handle.LinkByIndex(found[0].LinkIndex)
	if err != nil {
		return Route{}, fmt.Errorf("route to %s: interface %d: %w", p, found[0].LinkIndex, err)
	}
	route := Route{Interface: link.Attrs().Name, LinkMTU: min(link.Attrs().MTU, maxPacket), Src: p.Src}
	if src, ok := netip.AddrFromSlice(found[0].Src); ok && !route.Src.IsValid() {
		route.Src = src.Unmap()
	}
	if m := found[0].MTU; m > 0 && m != link.Attrs().MTU {
		route.CachedMTU = m
	}
	if p.Interface == "" {
		route.Tunnel = tunnelDevice(link)
	}
	return route, nil
}

// tunnelDevice says why a link is the inside of an IPsec tunnel: a route-based VPN's interface, or the TUN device of a
// userspace IPsec (strongSwan's kernel-libipsec names it ipsec0). Other tunnels are a path like any other.
func tunnelDevice(link netlink.Link) string {
	name, kind := link.Attrs().Name, link.Type()
	switch {
	case kind == "xfrm", kind == "vti", kind == "vti6",
		kind == "tuntap" && strings.HasPrefix(name, "ipsec"), kind == "tun" && strings.HasPrefix(name, "ipsec"):
		return "device " + name + " (" + kind + ")"
	}
	return ""
}

// policyTries is how often a connect must have been caught by a policy before we believe it: other traffic
// of this host moves the same counters.
const policyTries = 3

// policy tells whether an IPsec policy of this host would catch our probes. Without CAP_NET_ADMIN policies cannot be listed,
// but connecting a UDP socket (no packet is sent) takes the way through them: with an SA the path becomes smaller than the
// interface, without one the kernel counts that it found none.
func (r *routes) policy(p Path) (string, error) {
	if r.xfrm == nil {
		return "", nil
	}
	for range policyTries {
		before := r.blocked()
		mtu, linkMTU, err := r.connect(p)
		switch {
		case err != nil:
			return "", err
		case mtu < linkMTU:
			return "policy", nil
		case r.blocked() == before:
			return "", nil
		}
	}
	return "policy", nil
}

// connect connects a UDP socket and returns the MTU that the kernel has for it and the one it has for the route alone.
func (r *routes) connect(p Path) (mtu, routeMTU int, err error) {
	d := net.Dialer{Control: func(_, _ string, c syscall.RawConn) error { return bindRaw(c, p.Interface) }}
	if p.Src.IsValid() {
		d.LocalAddr = &net.UDPAddr{IP: p.Src.AsSlice()}
	}
	c, err := d.Dial("udp", netip.AddrPortFrom(p.Dst, 500).String())
	if err != nil {
		if errors.Is(err, unix.EPERM) || errors.Is(err, unix.EAGAIN) {
			return 0, 1, nil // refused by a policy
		}
		return 0, 0, fmt.Errorf("route to %s: %w", p.Dst, err)
	}
	defer c.Close()
	u, ok := c.(net.PacketConn)
	if !ok {
		return 0, 0, ErrNoSocket
	}
	err = control(u, func(fd int) error {
		level, option := unix.IPPROTO_IP, unix.IP_MTU
		if p.IPv6() {
			level, option = unix.IPPROTO_IPV6, unix.IPV6_MTU
		}
		var err error
		mtu, err = unix.GetsockoptInt(fd, level, option)
		return err
	})
	if err != nil {
		return 0, 0, err
	}
	route, err := r.ask(p)
	if err != nil {
		return 0, 0, err
	}
	if route.CachedMTU != 0 {
		return mtu, route.CachedMTU, nil
	}
	return mtu, route.LinkMTU, nil
}

// bindRaw binds a socket to a device, if there is one.
func bindRaw(c syscall.RawConn, device string) error {
	if device == "" {
		return nil
	}
	var inner error
	if err := c.Control(func(fd uintptr) { inner = unix.BindToDevice(int(fd), device) }); err != nil {
		return err
	}
	return inner
}

// blocked is how often this host found a policy but no SA for a packet, or a policy that blocks.
func (r *routes) blocked() (n uint64) {
	var b [8192]byte
	read, _ := r.xfrm.ReadAt(b[:], 0)
	for line := range strings.Lines(string(b[:read])) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), "\t")
		switch strings.TrimSpace(name) {
		case "XfrmOutNoStates", "XfrmOutPolBlock", "XfrmOutBundleGenError", "XfrmOutStateInvalid":
			v, _ := strconv.ParseUint(strings.TrimSpace(value), 10, 64)
			n += v
		}
	}
	return n
}
