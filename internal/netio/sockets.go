//go:build linux

package netio

import (
	"errors"
	"fmt"
	"io"
	"net"
	"syscall"
	"unsafe"

	"golang.org/x/net/bpf"
	"golang.org/x/net/icmp"
	"golang.org/x/sys/unix"
)

// sockets are the sockets of one interface, or of no particular one; nil if not available.
type sockets struct {
	device string
	raw4   *conn
	raw6   *conn
	// suspects get the ICMP errors that do not quote us at first sight (filter.go).
	suspects4, suspects6 *conn
	// whole4 sends whole IPv4 packets, whole6 whole IPv6 packets: fragments, ESP and AH. They receive
	// nothing.
	whole4, whole6 *conn
	// outboxes are those of whole4 and raw6, nil without a socket.
	outbox4, outbox6 *outbox
	// flows are open from their first use on, the first one always. Stack.mu guards them.
	flows  [Flows]*flow
	fixed  fixedPorts // guarded likewise
	inside bool       // sockets obey IPsec policies
	bypass bool       // every socket is exempt from IPsec policies
	stamps bool       // every socket stamps what it receives
	marks  bool       // this process may set firewall marks
}

// A receiver is one socket to read from.
type receiver struct {
	set  *sockets
	name string // as counted in local_drops_total
	conn *conn
	v6   bool
	port uint16 // of UDP
	// suspects: it gets what is not ours at first sight.
	suspects bool
	// copies: it gets whole datagrams that other sockets get too. tap: it gets all that arrives.
	copies, tap bool
	// queue: it has an error queue. errors: ICMP errors come by it alone, as there is no raw socket.
	// queued: something is in it.
	queue, errors, queued bool
	lost                  *dropSocket
}

func openSockets(device string, echoID uint16, cfg Config) (*sockets, error) {
	s := &sockets{device: device, inside: cfg.inside, bypass: !cfg.inside, stamps: true, marks: true}
	var failed error
	if !cfg.Unprivileged {
		for _, open := range [...]func() error{s.openRaw4, s.openRaw6, s.openWhole4, s.openWhole6} {
			if err := open(); err != nil && !isPermission(err) && !isNoFamily(err) {
				failed = errors.Join(failed, err)
			}
		}
	}
	if s.whole4 != nil {
		s.outbox4 = &outbox{conn: s.whole4}
	}
	if s.raw6 != nil {
		s.outbox6 = &outbox{conn: s.raw6}
	}
	first, err := s.openFlow(0, echoID)
	if s.flows[0] = first; err == nil {
		err = s.filter()
	}
	if failed = errors.Join(failed, err); failed != nil {
		s.close()
		if device != "" {
			return nil, fmt.Errorf("interface %s: %w", device, failed)
		}
		return nil, failed
	}
	return s, nil
}

// openFlow opens the UDP sockets of a flow.
func (s *sockets) openFlow(number Flow, echoID uint16) (*flow, error) {
	f := &flow{number: number, echoID: echoID}
	var err4, err6, failed error
	f.udp4, f.port4, err4 = s.listenUDP("udp4", "UDP socket", options4(), s.raw4 == nil)
	f.udp6, f.port6, err6 = s.listenUDP("udp6", "UDP socket (IPv6)", options6(), s.raw6 == nil)
	for _, err := range [...]error{err4, err6} {
		if err != nil && !isNoFamily(err) {
			failed = errors.Join(failed, err)
		}
	}
	if f.udp4 == nil && f.udp6 == nil && failed == nil {
		failed = ErrNoSocket
	}
	if failed != nil {
		f.close()
		return nil, failed
	}
	return f, nil
}

func (s *sockets) close() {
	for _, c := range [...]*conn{s.raw4, s.raw6, s.suspects4, s.suspects6, s.whole4, s.whole6} {
		c.close()
	}
	for _, f := range s.flows {
		if f != nil {
			f.close()
		}
	}
	s.fixed.close()
}

// closing closes a socket whose error would help no reader.
func closing(c io.Closer) { c.Close() }

func (s *sockets) capabilities() map[Capability]bool {
	return map[Capability]bool{
		RawICMP:          s.raw4 != nil || s.raw6 != nil,
		RawIP:            s.whole4 != nil,
		PolicyBypass:     s.bypass,
		KernelTimestamps: s.stamps,
		FirewallMark:     s.marks,
		IPv4:             s.flows[0].udp4 != nil,
		IPv6:             s.flows[0].udp6 != nil,
	}
}

// receivers are the sockets that all flows share.
func (s *sockets) receivers() (rs receivers) {
	rs.add(s, &receiver{name: "icmp4", conn: s.raw4})
	rs.add(s, &receiver{name: "icmp6", conn: s.raw6, v6: true})
	rs.add(s, &receiver{name: "icmp4_suspects", conn: s.suspects4, suspects: true})
	rs.add(s, &receiver{name: "icmp6_suspects", conn: s.suspects6, v6: true, suspects: true})
	return rs
}

func (f *flow) receivers(s *sockets) (rs receivers) {
	rs.add(s, &receiver{name: "udp4", conn: f.udp4, port: f.port4, queue: true, errors: s.raw4 == nil})
	rs.add(s, &receiver{name: "udp6", conn: f.udp6, v6: true, port: f.port6, queue: true, errors: s.raw6 == nil})
	return rs
}

type receivers []*receiver

// add adds a socket if it is open.
func (rs *receivers) add(s *sockets, r *receiver) {
	if r.conn != nil {
		r.set = s
		*rs = append(*rs, r)
	}
}

// filter has the kernel sort what the raw sockets get. The filters know the identifiers and the
// ports of all flows, so each flow that is opened or closed changes them.
func (s *sockets) filter() error {
	var ids, ports4, ports6 []uint16
	for _, f := range s.flows {
		if f != nil {
			ids, ports4, ports6 = append(ids, f.echoID), append(ports4, f.port4), append(ports6, f.port6)
		}
	}
	for _, f := range [...]struct {
		answers, suspects *conn
		layout            layout
		ports             []uint16
	}{{s.raw4, s.suspects4, layout4(), ports4}, {s.raw6, s.suspects6, layout6(), ports6}} {
		if f.answers == nil {
			continue
		}
		for c, suspects := range map[*conn]bool{f.answers: false, f.suspects: true} {
			code, err := f.layout.filter(ids, f.ports, suspects)
			if err != nil {
				return err
			}
			if err := c.use(func(fd int) error { return attachRaw(fd, code) }); err != nil {
				return fmt.Errorf("filter of a raw socket: %w", err)
			}
		}
	}
	return nil
}

// openRaw4 opens the raw ICMP sockets.
func (s *sockets) openRaw4() (err error) {
	if s.raw4, err = s.listenRaw4(); err == nil {
		s.suspects4, err = s.listenRaw4()
	}
	return err
}

func (s *sockets) listenRaw4() (*conn, error) {
	c, err := icmp.ListenPacket("ip4:icmp", "0.0.0.0")
	if err != nil {
		return nil, fmt.Errorf("raw ICMP socket: %w", err)
	}
	ip, err := ipConn(c, false)
	if err != nil {
		return nil, err
	}
	// Echo replies, unreachables, time exceeded, parameter problems; the rest stays in the kernel
	// (raw(7)).
	const wanted = 1<<0 | 1<<3 | 1<<11 | 1<<12
	return s.configure(ip, "raw ICMP socket", options4(), unix.IP_PMTUDISC_INTERFACE, func(fd int) error {
		return set(fd, unix.SOL_RAW, unix.ICMP_FILTER, ^wanted)
	})
}

// openWhole4 opens the socket for whole IPv4 packets (raw(7), IPPROTO_RAW).
func (s *sockets) openWhole4() (err error) {
	s.whole4, err = s.openWhole("ip4:255", "raw IPv4 socket", options4(), func(fd int) error {
		// Or connection tracking on this host would put our fragments together again (ip(7)).
		return set(fd, unix.IPPROTO_IP, unix.IP_NODEFRAG, 1)
	})
	return err
}

// openWhole6 opens the socket for whole IPv6 packets.
func (s *sockets) openWhole6() (err error) {
	s.whole6, err = s.openWhole("ip6:255", "raw IPv6 socket", options6(), func(int) error { return nil })
	return err
}

// openWhole opens a socket that only sends. Its error queue has the kernel report a packet that a
// full queue of this host dropped: without it, sending seems to succeed (ip(7), ENOBUFS). No ICMP
// error comes by it, because it has a protocol of its own.
func (s *sockets) openWhole(network, name string, o options, own func(fd int) error) (*conn, error) {
	pc, err := net.ListenPacket(network, "") //nolint:noctx // opens at once
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	ip, ok := pc.(*net.IPConn)
	if !ok {
		return nil, fmt.Errorf("%w: %T", ErrNoSocket, pc)
	}
	c, err := s.configure(ip, name, o, unix.IP_PMTUDISC_INTERFACE, func(fd int) error {
		return errors.Join(set(fd, o.level, o.errorQueue, 1), attach(fd, nothing()), own(fd))
	})
	if err == nil {
		// The queue, which is not read, takes local errors as well: it may be as small as it can.
		err = c.use(func(fd int) error { return set(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, 0) })
	}
	return c, err
}

func (s *sockets) openRaw6() (err error) {
	if s.raw6, err = s.listenRaw6(); err == nil {
		s.suspects6, err = s.listenRaw6()
	}
	return err
}

func (s *sockets) listenRaw6() (*conn, error) {
	c, err := icmp.ListenPacket("ip6:ipv6-icmp", "::")
	if err != nil {
		return nil, fmt.Errorf("raw ICMPv6 socket: %w", err)
	}
	ip, err := ipConn(c, true)
	if err != nil {
		return nil, err
	}
	var filter unix.ICMPv6Filter
	for i := range filter.Data {
		filter.Data[i] = 0xffffffff // blocked (RFC 3542, section 3.2)
	}
	for _, typ := range [...]uint{1, 2, 3, 4, 129} {
		filter.Data[typ/32] &^= 1 << (typ % 32)
	}
	return s.configure(ip, "raw ICMPv6 socket", options6(), unix.IPV6_PMTUDISC_INTERFACE, func(fd int) error {
		return unix.SetsockoptICMPv6Filter(fd, unix.IPPROTO_ICMPV6, unix.ICMPV6_FILTER, &filter)
	})
}

// listenUDP opens the socket that owns the probes' source port. It has an error queue for the same
// reason as openWhole. Without a raw socket beside it, it sends the DF probes too: then it must learn
// of ICMP errors by that queue, which only path MTU discovery modes that write the cache offer.
func (s *sockets) listenUDP(network, name string, o options, unprivileged bool) (*conn, uint16, error) {
	udp, err := net.ListenUDP(network, nil)
	if err != nil {
		return nil, 0, fmt.Errorf("%s: %w", name, err)
	}
	mode := unix.IP_PMTUDISC_INTERFACE
	if unprivileged {
		mode = unix.IP_PMTUDISC_PROBE
	}
	c, err := s.configure(udp, name, o, mode, func(fd int) error { return set(fd, o.level, o.errorQueue, 1) })
	if err != nil {
		return nil, 0, err
	}
	return c, c.port(), nil
}

// receiveBuffer holds some 20,000 answers, as many as a burst over all peers at once brings.
const receiveBuffer = 16 << 20

// options are the numbers of socket options that differ between the families. The modes of path MTU
// discovery have the same values in both.
type options struct{ level, discover, errorQueue, fragmentSize int }

func options4() options {
	return options{unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, unix.IP_RECVERR, unix.IP_RECVFRAGSIZE}
}

func options6() options {
	return options{unix.IPPROTO_IPV6, unix.IPV6_MTU_DISCOVER, unix.IPV6_RECVERR, unix.IPV6_RECVFRAGSIZE}
}

// configure sets the options of a new socket, its own ones and as far as kernel and privileges allow
// the common ones, and takes it over.
func (s *sockets) configure(from interface {
	syscall.Conn
	io.Closer
}, name string, o options, mode int, own func(fd int) error,
) (*conn, error) {
	c, err := adopt(from, o.level == unix.IPPROTO_IPV6)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	err = c.use(func(fd int) error {
		if err := errors.Join(set(fd, o.level, o.discover, mode), own(fd)); err != nil {
			return err
		}
		if s.device != "" {
			if err := unix.BindToDevice(fd, s.device); err != nil {
				return fmt.Errorf("bind to the device: %w", err)
			}
		}
		if set(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, receiveBuffer) != nil {
			_ = set(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, receiveBuffer) // capped at net.core.rmem_max
		}
		_ = set(fd, o.level, o.fragmentSize, 1) // without it, less is known about the return path
		s.stamps = s.stamps && set(fd, unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1) == nil
		s.marks = s.marks && set(fd, unix.SOL_SOCKET, unix.SO_MARK, 0) == nil
		s.bypass = s.bypass && bypassPolicy(fd, o.level) == nil
		return nil
	})
	if err != nil {
		c.close()
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return c, nil
}

// drops asks the kernel how many packets it could not put into the socket's buffer
// (SK_MEMINFO_DROPS, linux/sock_diag.h).
func (r *receiver) drops() (n uint32, err error) {
	const field = 8
	err = r.conn.use(func(fd int) error {
		var info [field + 1]uint32
		size := uint32(unsafe.Sizeof(info))
		_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(fd), unix.SOL_SOCKET, unix.SO_MEMINFO,
			uintptr(unsafe.Pointer(&info)), uintptr(unsafe.Pointer(&size)), 0) //nolint:gosec // no wrapper for SO_MEMINFO exists
		if errno != 0 {
			return errno
		}
		n = info[field]
		return nil
	})
	return n, err
}

func set(fd, level, option, value int) error {
	if err := unix.SetsockoptInt(fd, level, option, value); err != nil {
		return fmt.Errorf("socket option %d/%d: %w", level, option, err)
	}
	return nil
}

// attachRaw sets the filter of a socket.
func attachRaw(fd int, code []bpf.RawInstruction) error {
	raw := make([]unix.SockFilter, len(code))
	for i, c := range code {
		raw[i] = unix.SockFilter{Code: c.Op, Jt: c.Jt, Jf: c.Jf, K: c.K}
	}
	return unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: uint16(len(raw)), Filter: &raw[0]})
}

func isPermission(err error) bool {
	return errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES)
}

func isNoFamily(err error) bool {
	return errors.Is(err, unix.EAFNOSUPPORT) || errors.Is(err, unix.EADDRNOTAVAIL) || errors.Is(err, unix.EPROTONOSUPPORT)
}

func isNoDevice(err error) bool { return errors.Is(err, unix.ENODEV) || errors.Is(err, unix.ENXIO) }

func isMessageSize(err error) bool { return errors.Is(err, unix.EMSGSIZE) }

// pingSocketAllowed reports whether this process may open an unprivileged echo socket (icmp(7),
// ping_group_range).
func pingSocketAllowed() bool {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, unix.IPPROTO_ICMP)
	if err != nil {
		return false
	}
	_ = unix.Close(fd)
	return true
}
