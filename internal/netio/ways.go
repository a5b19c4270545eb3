//go:build linux

package netio

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// Policy routing may send traffic by its protocol, ports or user to another router (ip-rule(8)). The
// way that counts is that of the traffic that a probe stands for: for a probe of an IKE port, that of
// the IKE daemon. The socket of the probe looks up its own route:
//
//	raw socket     knows no ports, and the protocol only in newer kernels
//	UDP socket     knows the destination port, but not the source port or the user of the daemon
//
// Where the two differ, a source address or an interface may make the probe follow. The kernel says
// whether it does, before anything is sent.

// A way is a route with what makes probes take it.
type way struct {
	Route
	link int // index of the interface
	followed
}

// followed says how a way is taken: raw by whole packets, datagram by those of a UDP socket.
type followed struct{ raw, datagram pin }

// A pin makes packets of a socket take a way. The zero pin is for sockets that take it anyway.
type pin struct {
	link int // index of an interface, 0 for none
	src  netip.Addr
	// number is the IP protocol by which a whole packet is routed, 0 to leave that to the socket.
	number uint8
	// apart means that nothing makes it take the way.
	apart bool
}

// rules are what is known of the policy rules of this host.
type rules struct {
	at time.Time
	// selective, by IPv6, means that routes depend on the protocol, a port, the user or a mark, which
	// the packet filter may derive from them; marks means the last.
	selective, marks [2]bool
	// numbers are the IP protocols that rules name, by IPv6.
	numbers [2][]int
}

// selective reports whether routes depend on what is sent. It is asked for every packet: the rules
// are read again after routeAge.
func (r *routes) selective(v6 bool) bool { return r.newestRules().selective[family(v6)] }

// family is an index by address family.
func family(v6 bool) int {
	if v6 {
		return 1
	}
	return 0
}

func (r *routes) newestRules() *rules {
	known, now := r.rules.Load(), time.Now()
	if known != nil && now.Sub(known.at) < routeAge {
		return known
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if newer := r.rules.Load(); newer != known {
		return newer
	}
	fresh := &rules{at: now}
	for i, f := range [...]int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
		all, err := r.handle.RuleList(f)
		if err != nil {
			continue // a kernel without policy routing or without the family
		}
		for _, rule := range all {
			if rule.IPProto > 0 {
				fresh.numbers[i] = append(fresh.numbers[i], rule.IPProto)
			}
			fresh.marks[i] = fresh.marks[i] || rule.Mark != 0 || rule.Mask != nil
			fresh.selective[i] = fresh.selective[i] || fresh.marks[i] ||
				rule.IPProto > 0 || rule.Dport != nil || rule.Sport != nil || rule.UIDRange != nil
		}
	}
	r.rules.Store(fresh)
	return fresh
}

// plain returns the path without its flow, and without its traffic if routes do not depend on it. All
// flows of a path have its route.
func (r *routes) plain(p Path) Path {
	p.Flow = 0
	if !r.selective(p.IPv6()) {
		p.Traffic = Traffic{}
	}
	return p
}

// find returns the way of a path. The caller holds the lock.
func (r *routes) find(p Path) (way, error) {
	q, err := r.question(p)
	if err != nil {
		return way{}, err
	}
	if known := r.rules.Load(); known == nil || !known.selective[family(p.IPv6())] {
		return r.simple(p, q)
	}
	number := p.Traffic.Protocol.number(p.IPv6())
	if p.Traffic.Protocol == ESP || p.Traffic.Protocol == AH {
		w, err := r.findIPsec(p, q, number)
		if err == nil {
			err = r.redirect(p, &w)
		}
		return w, err
	}
	q.number = number
	wanted := q
	if p.Traffic.Protocol == UDP {
		wanted.port, wanted.daemon = p.Traffic.Port, true
		if p.Traffic.Port == ikePort || p.Traffic.Port == nattPort {
			wanted.sourcePort = p.Traffic.Port // RFC 7296, section 2.11: daemons use the same ports
		}
	}
	target, err := r.ask(wanted)
	if err != nil {
		return way{}, fmt.Errorf("route to %s: %w", p, err)
	}
	w := way{link: target.link}
	if w.Route, err = r.route(p, target); err != nil {
		return way{}, err
	}
	raw := q
	if !r.numbers && (p.Traffic.Protocol == UDP || !p.IPv6()) {
		raw.number = 0
	}
	w.raw = r.pin(p, raw, target)
	w.raw.number = raw.number
	q.port = p.Traffic.Port
	w.datagram = r.pin(p, q, target)
	return w, r.redirect(p, &w)
}

// The ports of IKE (RFC 7296, section 2; RFC 3948, section 2.2).
const ikePort, nattPort = 500, 4500

// simple returns the way where routes do not depend on what is sent.
func (r *routes) simple(p Path, q question) (way, error) {
	f, err := r.ask(q)
	if err != nil {
		return way{}, fmt.Errorf("route to %s: %w", p, err)
	}
	route, err := r.route(p, f)
	return way{Route: route, link: f.link}, err
}

// pin returns what makes a socket take a way that asks for its route with this question.
func (r *routes) pin(p Path, q question, target found) pin {
	pins := []pin{{}}
	if !p.Src.IsValid() {
		pins = append(pins, pin{src: target.src})
	}
	if p.Interface == "" {
		pins = append(pins, pin{link: target.link})
		if !p.Src.IsValid() {
			pins = append(pins, pin{link: target.link, src: target.src})
		}
	}
	for _, c := range pins {
		trial := q
		if c.link != 0 {
			trial.link = c.link
		}
		if c.src.IsValid() {
			trial.src = c.src
		}
		f, err := r.ask(trial)
		// A route of several gateways is one way: which of them it is depends on the flow.
		if err == nil && (f.leadsAs(target) || c == pin{} && f.table == target.table) {
			return c
		}
	}
	return pin{apart: true}
}

// findIPsec returns the way of ESP or AH. The kernel answers no question for routes by these numbers,
// but a connected socket shows the source address and the MTU of its route.
func (r *routes) findIPsec(p Path, q question, number uint8) (way, error) {
	if !slices.Contains(r.rules.Load().numbers[family(p.IPv6())], int(number)) {
		w, err := r.simple(p, q)
		if r.numbers {
			w.raw.number = number
		}
		return w, err
	}
	var src netip.Addr
	var mtu int
	err := r.home.do(func() (err error) {
		src, mtu, err = connectRaw(p, number)
		return err
	})
	if err != nil {
		return way{}, fmt.Errorf("route of protocol %d to %s: %w", number, p, err)
	}
	shown := way{Route: Route{Src: src, LinkMTU: mtu}, followed: followed{raw: pin{number: number, apart: !r.numbers}}}
	for _, t := range [...]Traffic{{UDP, ikePort}, {UDP, nattPort}, {}} {
		w, err := r.find(p.For(t.Protocol, t.Port))
		if err == nil && w.Src == src && (w.CachedMTU == mtu || w.CachedMTU == 0 && w.LinkMTU == mtu) {
			shown.Route, shown.link = w.Route, w.link
			return shown, nil
		}
	}
	return shown, nil
}

// connectRaw connects a raw socket, which sends nothing, and returns the source address and the MTU.
func connectRaw(p Path, number uint8) (src netip.Addr, mtu int, err error) {
	domain, level, option := unix.AF_INET, unix.IPPROTO_IP, unix.IP_MTU
	var to unix.Sockaddr
	if p.IPv6() {
		domain, level, option = unix.AF_INET6, unix.IPPROTO_IPV6, unix.IPV6_MTU
		to = &unix.SockaddrInet6{Addr: p.Dst.As16()}
	} else {
		to = &unix.SockaddrInet4{Addr: p.Dst.As4()}
	}
	fd, err := unix.Socket(domain, unix.SOCK_RAW|unix.SOCK_CLOEXEC, int(number))
	if err != nil {
		return src, 0, fmt.Errorf("raw socket: %w", err)
	}
	defer unix.Close(fd)
	if p.Interface != "" {
		err = unix.BindToDevice(fd, p.Interface)
	}
	if p.Mark != 0 {
		err = errors.Join(err, set(fd, unix.SOL_SOCKET, unix.SO_MARK, int(p.Mark)))
	}
	if err = errors.Join(err, unix.Connect(fd, to)); err != nil {
		return src, 0, fmt.Errorf("raw socket: %w", err)
	}
	mtu, err = unix.GetsockoptInt(fd, level, option)
	if err != nil {
		return src, 0, os.NewSyscallError("getsockopt", err)
	}
	name, err := unix.Getsockname(fd)
	if err != nil {
		return src, 0, os.NewSyscallError("getsockname", err)
	}
	return addrPort(name).Addr(), mtu, nil
}

// routesByNumber reports whether whole packets are routed by the protocol that the sender names: the
// kernels that do so show the protocol of a socket by an option of the same number (ip(7)).
func routesByNumber() bool {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return false
	}
	defer unix.Close(fd)
	_, err = unix.GetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_PROTOCOL)
	return err == nil
}

// A question asks the kernel for a route (rtnetlink(7), RTM_GETROUTE).
type question struct {
	dst, src netip.Addr
	link     int // index of the interface, 0 for any
	mark     uint32
	// number is the IP protocol, 0 for none. The kernel takes those of UDP and ICMP only.
	number           uint8
	port, sourcePort uint16
	// daemon asks as root, which IKE daemons run as, and not as the user of this process.
	daemon bool
}

func (r *routes) question(p Path) (question, error) {
	q := question{dst: p.Dst, src: p.Src, mark: p.Mark}
	if p.Interface == "" {
		return q, nil
	}
	link, err := r.handle.LinkByName(p.Interface)
	if err != nil {
		return q, fmt.Errorf("route to %s: %w", p, err)
	}
	q.link = link.Attrs().Index
	return q, nil
}

// found is the kernel's answer.
type found struct {
	link         int
	src, gateway netip.Addr
	mtu          int // cached or configured, 0 if it is that of the link
	table        int
}

// leadsAs reports whether two routes leave by the same interface, router and source address.
func (f found) leadsAs(other found) bool {
	return f.link == other.link && f.gateway == other.gateway && f.src == other.src
}

// ask asks the kernel. The caller holds the lock.
func (r *routes) ask(q question) (found, error) {
	req := nl.NewNetlinkRequest(unix.RTM_GETROUTE, 0)
	req.Sockets = map[int]*nl.SocketHandle{unix.NETLINK_ROUTE: {Socket: r.socket}}
	bits := uint8(q.dst.BitLen())
	m := &nl.RtMsg{}
	m.Family, m.Dst_len, m.Flags = unix.AF_INET, bits, unix.RTM_F_LOOKUP_TABLE
	if q.dst.Is6() {
		m.Family = unix.AF_INET6
	}
	req.AddData(m)
	add := func(typ int, value []byte) { req.AddData(nl.NewRtAttr(typ, value)) }
	number32 := func(v uint32) []byte { return binary.NativeEndian.AppendUint32(nil, v) }
	add(unix.RTA_DST, q.dst.AsSlice())
	if q.src.IsValid() {
		m.Src_len = bits
		add(unix.RTA_SRC, q.src.AsSlice())
	}
	if q.link != 0 {
		add(unix.RTA_OIF, number32(uint32(q.link)))
	}
	if q.mark != 0 {
		add(unix.RTA_MARK, number32(q.mark))
	}
	if q.number != 0 {
		add(unix.RTA_IP_PROTO, []byte{q.number})
	}
	if q.port != 0 {
		add(unix.RTA_DPORT, binary.BigEndian.AppendUint16(nil, q.port))
	}
	if q.sourcePort != 0 {
		add(unix.RTA_SPORT, binary.BigEndian.AppendUint16(nil, q.sourcePort))
	}
	if q.daemon {
		add(unix.RTA_UID, number32(0))
	}
	answers, err := req.Execute(unix.NETLINK_ROUTE, 0)
	if err != nil {
		return found{}, err
	}
	if len(answers) == 0 {
		return found{}, unix.ENETUNREACH
	}
	return parseFound(answers[0])
}

func parseFound(answer []byte) (f found, err error) {
	if len(answer) < unix.SizeofRtMsg {
		return f, unix.EBADMSG
	}
	m := nl.DeserializeRtMsg(answer)
	attributes, err := nl.ParseRouteAttr(answer[m.Len():])
	if err != nil {
		return f, fmt.Errorf("answer of the kernel: %w", err)
	}
	f.table = int(m.Table)
	for _, a := range attributes {
		switch a.Attr.Type {
		case unix.RTA_OIF:
			f.link = int(uint32At(a.Value))
		case unix.RTA_TABLE:
			f.table = int(uint32At(a.Value))
		case unix.RTA_PREFSRC:
			f.src, _ = netip.AddrFromSlice(a.Value)
		case unix.RTA_GATEWAY:
			f.gateway, _ = netip.AddrFromSlice(a.Value)
		case unix.RTA_VIA: // struct rtvia: the family, then an address of another family
			if len(a.Value) > 2 {
				f.gateway, _ = netip.AddrFromSlice(a.Value[2:])
			}
		case unix.RTA_METRICS:
			metrics, err := nl.ParseRouteAttr(a.Value)
			if err != nil {
				return f, fmt.Errorf("metrics of a route: %w", err)
			}
			for _, m := range metrics {
				if m.Attr.Type == unix.RTAX_MTU {
					f.mtu = int(uint32At(m.Value))
				}
			}
		}
	}
	return f, nil
}

func uint32At(b []byte) uint32 {
	if len(b) < 4 {
		return 0
	}
	return binary.NativeEndian.Uint32(b)
}
