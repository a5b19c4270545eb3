//go:build linux

package netio

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

const (
	// routeAge is how long a route is used without asking again.
	routeAge = 5 * time.Second
	// wayAge is how long probes follow a way: a question for each would be too expensive. One that the
	// kernel refuses asks again.
	wayAge = 30 * time.Second
	// linkAge is how long what is known of an interface is used. Thousands of peers have one in common.
	linkAge = time.Second
)

// maxRoutes bounds the memory for them.
const maxRoutes = 65536

// routes asks this host's kernel for routes. All its descriptors stay in the network namespace in
// which they were opened.
type routes struct {
	// rules are the newest policy rules, nil before the first question.
	rules atomic.Pointer[rules]
	// numbers means that the kernel routes whole packets by the protocol that the sender names.
	numbers bool
	home    *namespace // of the Stack

	mu     sync.Mutex
	handle *netlink.Handle
	socket *nl.NetlinkSocket
	xfrm   *os.File // /proc/net/xfrm_stat, nil where the kernel has no IPsec
	cache  map[Path]cachedWay
	links  map[int]knownLink
	// departures are where traffic was seen to leave.
	departures map[Path]departure
}

type knownLink struct {
	netlink.Link
	at time.Time
}

type cachedWay struct {
	way
	err error
	at  time.Time
}

func newRoutes() (*routes, error) {
	h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("routing socket: %w", err)
	}
	socket, err := nl.Subscribe(unix.NETLINK_ROUTE)
	if err != nil {
		h.Close()
		return nil, fmt.Errorf("routing socket: %w", err)
	}
	r := &routes{handle: h, socket: socket, numbers: routesByNumber(), cache: make(map[Path]cachedWay), links: make(map[int]knownLink), departures: make(map[Path]departure)}
	r.xfrm, _ = os.Open("/proc/thread-self/net/xfrm_stat")
	return r, nil
}

func (r *routes) close() {
	r.handle.Close()
	r.socket.Close()
	if r.xfrm != nil {
		r.xfrm.Close()
	}
}

// forget drops the route of a path, because the kernel reported something that contradicts it.
func (r *routes) forget(p Path) {
	p = r.plain(p)
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.cache, p)
	clear(r.links)
}

// remembered returns the last known route of a path, of any age.
func (r *routes) remembered(p Path) (Route, bool) {
	p = r.plain(p)
	r.mu.Lock()
	defer r.mu.Unlock()
	c, ok := r.cache[p]
	return c.Route, ok && c.err == nil
}

// lookup returns the way of a path, of that age at most. With bypass, no policy of this host applies to
// us.
func (r *routes) lookup(p Path, age time.Duration, bypass bool) (way, error) {
	p = r.plain(p)
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()
	if c, ok := r.cache[p]; ok && now.Sub(c.at) < age {
		return c.way, c.err
	}
	if len(r.cache) >= maxRoutes {
		clear(r.cache)
	}
	w, err := r.find(p)
	if err == nil && w.Tunnel == "" && !bypass {
		w.Tunnel, err = r.policy(p)
	}
	r.cache[p] = cachedWay{way: w, err: err, at: now}
	return w, err
}

// route completes what the kernel says about a route.
func (r *routes) route(p Path, f found) (Route, error) {
	link, err := r.linkOf(f.link)
	if err != nil {
		return Route{}, fmt.Errorf("route to %s: interface %d: %w", p, f.link, err)
	}
	route := Route{
		Interface: link.Attrs().Name, Gateway: f.gateway, LinkMTU: min(link.Attrs().MTU, maxPacket), Src: p.Src,
	}
	if !route.Src.IsValid() {
		route.Src = f.src
	}
	if f.mtu > 0 && f.mtu != link.Attrs().MTU {
		route.CachedMTU = f.mtu
	}
	if p.Interface == "" {
		route.Tunnel = tunnelDevice(link)
	}
	return route, nil
}

// linkOf returns what is known of an interface. The caller holds the lock.
func (r *routes) linkOf(index int) (netlink.Link, error) {
	now := time.Now()
	if l, ok := r.links[index]; ok && now.Sub(l.at) < linkAge {
		return l.Link, nil
	}
	link, err := r.handle.LinkByIndex(index)
	if err != nil {
		return nil, err //nolint:wrapcheck // the caller names the route
	}
	r.links[index] = knownLink{link, now}
	return link, nil
}

// tunnelDevice returns why a link is the inside of an IPsec tunnel, "" if it is not: a route-based
// VPN's interface, or the TUN device of a userspace IPsec (strongSwan's kernel-libipsec names it
// ipsec0). Other tunnels are a path like any other.
func tunnelDevice(link netlink.Link) string {
	name, kind := link.Attrs().Name, link.Type()
	switch {
	case kind == "xfrm", kind == "vti", kind == "vti6",
		kind == "tuntap" && strings.HasPrefix(name, "ipsec"), kind == "tun" && strings.HasPrefix(name, "ipsec"):
		return "device " + name + " (" + kind + ")"
	}
	return ""
}

// policyTries is how many connects a policy must catch: other traffic moves the counters too.
const policyTries = 3

// policy reports whether an IPsec policy of this host would catch our probes. Without CAP_NET_ADMIN
// policies cannot be listed, but connecting a UDP socket, which sends no packet, passes through
// them: with an SA the path MTU becomes smaller than that of the interface, without one the kernel
// counts that it found none.
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

// connect connects a UDP socket and returns the kernel's MTU for it, and for the route alone.
func (r *routes) connect(p Path) (mtu, routeMTU int, err error) {
	d := net.Dialer{Control: func(_, _ string, c syscall.RawConn) error { return bindRaw(c, p.Interface, p.Mark) }}
	if p.Src.IsValid() {
		d.LocalAddr = &net.UDPAddr{IP: p.Src.AsSlice()}
	}
	c, err := d.Dial("udp", netip.AddrPortFrom(p.Dst, ikePort).String())
	if err != nil {
		if errors.Is(err, unix.EPERM) || errors.Is(err, unix.EAGAIN) {
			return 0, 1, nil // refused by a policy
		}
		return 0, 0, fmt.Errorf("route to %s: %w", p.Dst, err)
	}
	defer c.Close()
	err = controlled(c, func(fd int) error {
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
	w, err := r.find(p.For(UDP, ikePort))
	if err != nil {
		return 0, 0, err
	}
	return mtu, cmp.Or(w.CachedMTU, w.LinkMTU), nil
}

// controlled calls f with the descriptor of a connection.
func controlled(c net.Conn, f func(fd int) error) error {
	u, ok := c.(*net.UDPConn)
	if !ok {
		return fmt.Errorf("%w: %T", ErrNoSocket, c)
	}
	rc, err := u.SyscallConn()
	if err != nil {
		return fmt.Errorf("socket: %w", err)
	}
	var inner error
	if err := rc.Control(func(fd uintptr) { inner = f(int(fd)) }); err != nil {
		return fmt.Errorf("socket: %w", err)
	}
	return inner
}

func bindRaw(c syscall.RawConn, device string, mark uint32) error {
	var inner error
	err := c.Control(func(fd uintptr) {
		if device != "" {
			inner = unix.BindToDevice(int(fd), device)
		}
		if mark != 0 {
			inner = cmp.Or(inner, set(int(fd), unix.SOL_SOCKET, unix.SO_MARK, int(mark)))
		}
	})
	return cmp.Or(err, inner)
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
