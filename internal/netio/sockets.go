package netio

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"syscall"
	"unsafe"

	"golang.org/x/net/bpf"
	"golang.org/x/net/icmp"
	"golang.org/x/net/ipv6"
	"golang.org/x/sys/unix"
)

// sockets are those of one interface, or of none in particular. A nil one could not be had.
type sockets struct {
	device string
	echoID uint16 // the ICMP identifier of all echoes
	raw4   *icmp.PacketConn
	raw6   *icmp.PacketConn
	// suspects get the ICMP errors that do not quote us at first sight (filter.go).
	suspects4, suspects6 *icmp.PacketConn
	// whole6 sends whole IPv6 packets: fragments, and protocols without a socket of their own. It receives nothing.
	whole6 *net.IPConn
	udp4   *net.UDPConn
	udp6   *net.UDPConn
	port4  uint16
	port6  uint16
	bypass bool // every socket is exempt from IPsec policies
	stamps bool // every socket stamps what it receives
}

// A receiver is one socket to read from.
type receiver struct {
	set  *sockets
	name string // as counted in local_drops_total
	conn syscall.Conn
	pc   net.PacketConn
	v6   bool
	port uint16
	// suspects: it gets what is not ours at first sight.
	suspects bool
	// errors: ICMP errors come by this socket's error queue, because there is no raw socket.
	errors bool
}

func openSockets(device string, echoID uint16, unprivileged bool) (*sockets, error) {
	s := &sockets{device: device, echoID: echoID, bypass: true, stamps: true}
	var failed error
	if !unprivileged {
		for _, open := range [...]func() error{s.openRaw4, s.openRaw6, s.openWhole6} {
			if err := open(); err != nil && !isPermission(err) && !isNoFamily(err) {
				failed = errors.Join(failed, err)
			}
		}
	}
	for _, open := range [...]func() error{s.openUDP4, s.openUDP6} {
		if err := open(); err != nil && !isNoFamily(err) {
			failed = errors.Join(failed, err)
		}
	}
	failed = errors.Join(failed, s.filter())
	if s.udp4 == nil && s.udp6 == nil && failed == nil {
		failed = ErrNoSocket
	}
	if failed != nil {
		s.close()
		if device != "" {
			return nil, fmt.Errorf("interface %s: %w", device, failed)
		}
		return nil, failed
	}
	return s, nil
}

func (s *sockets) close() {
	for _, c := range s.receivers() {
		closing(c.pc)
	}
	if s.whole6 != nil {
		closing(s.whole6)
	}
}

// closing closes a socket that nobody needs any more. What could go wrong then helps nobody.
func closing(c io.Closer) { c.Close() }

func (s *sockets) capabilities() map[Capability]bool {
	return map[Capability]bool{
		RawICMP:          s.raw4 != nil || s.raw6 != nil,
		RawIP:            s.raw4 != nil,
		PolicyBypass:     s.bypass,
		KernelTimestamps: s.stamps,
		IPv4:             s.udp4 != nil,
		IPv6:             s.udp6 != nil,
	}
}

func (s *sockets) receivers() []*receiver {
	var rs []*receiver
	add := func(r *receiver, pc net.PacketConn) {
		if c, ok := pc.(syscall.Conn); ok {
			r.set, r.conn, r.pc = s, c, pc
			rs = append(rs, r)
		}
	}
	if s.raw4 != nil {
		add(&receiver{name: "icmp4"}, s.raw4.IPv4PacketConn().PacketConn)
	}
	if s.raw6 != nil {
		add(&receiver{name: "icmp6", v6: true}, s.raw6.IPv6PacketConn().PacketConn)
	}
	if s.suspects4 != nil {
		add(&receiver{name: "icmp4_suspects", suspects: true}, s.suspects4.IPv4PacketConn().PacketConn)
	}
	if s.suspects6 != nil {
		add(&receiver{name: "icmp6_suspects", v6: true, suspects: true}, s.suspects6.IPv6PacketConn().PacketConn)
	}
	if s.udp4 != nil {
		add(&receiver{name: "udp4", port: s.port4, errors: s.raw4 == nil}, s.udp4)
	}
	if s.udp6 != nil {
		add(&receiver{name: "udp6", v6: true, port: s.port6, errors: s.raw6 == nil}, s.udp6)
	}
	return rs
}

// filter has the kernel sort what the raw sockets get. The filters know the port of the UDP sockets, so they come last.
func (s *sockets) filter() error {
	for _, f := range [...]struct {
		answers, suspects *icmp.PacketConn
		layout            layout
		port              uint16
	}{{s.raw4, s.suspects4, layout4(), s.port4}, {s.raw6, s.suspects6, layout6(), s.port6}} {
		if f.answers == nil {
			continue
		}
		for c, suspects := range map[*icmp.PacketConn]bool{f.answers: false, f.suspects: true} {
			code, err := f.layout.filter(s.echoID, f.port, suspects)
			if err != nil {
				return err
			}
			if p := c.IPv4PacketConn(); p != nil {
				err = p.SetBPF(code)
			} else {
				err = c.IPv6PacketConn().SetBPF(code)
			}
			if err != nil {
				return fmt.Errorf("filter of a raw socket: %w", err)
			}
		}
	}
	return nil
}

// openRaw4 opens the raw ICMP sockets: on the first, whole IPv4 packets are sent, UDP ones too.
func (s *sockets) openRaw4() (err error) {
	if s.raw4, err = s.listenRaw4(); err != nil {
		return err
	}
	s.suspects4, err = s.listenRaw4()
	return err
}

func (s *sockets) listenRaw4() (*icmp.PacketConn, error) {
	c, err := icmp.ListenPacket("ip4:icmp", "0.0.0.0")
	if err != nil {
		return nil, fmt.Errorf("raw ICMP socket: %w", err)
	}
	// Everything but echo replies, unreachables, time exceeded and parameter problems stays in the kernel (raw(7)).
	const wanted = 1<<0 | 1<<3 | 1<<11 | 1<<12
	err = control(c.IPv4PacketConn().PacketConn, func(fd int) error {
		return errors.Join(
			set(fd, unix.IPPROTO_IP, unix.IP_HDRINCL, 1),
			set(fd, unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, unix.IP_PMTUDISC_INTERFACE),
			set(fd, unix.SOL_RAW, unix.ICMP_FILTER, ^wanted),
			// Connection tracking on this host would otherwise put fragments of ours together again (ip(7)).
			set(fd, unix.IPPROTO_IP, unix.IP_NODEFRAG, 1),
			s.common(fd, unix.IPPROTO_IP))
	})
	if err != nil {
		closing(c)
		return nil, fmt.Errorf("raw ICMP socket: %w", err)
	}
	return c, nil
}

// openWhole6 opens the socket for whole IPv6 packets (raw(7), IPPROTO_RAW: IPV6_HDRINCL is implied).
func (s *sockets) openWhole6() error {
	pc, err := net.ListenPacket("ip6:255", "::") //nolint:noctx // opens at once
	if err != nil {
		return fmt.Errorf("raw IPv6 socket: %w", err)
	}
	c, ok := pc.(*net.IPConn)
	if !ok {
		return fmt.Errorf("%w: %T", ErrNoSocket, pc)
	}
	err = control(c, func(fd int) error {
		return errors.Join(
			set(fd, unix.IPPROTO_IPV6, unix.IPV6_MTU_DISCOVER, unix.IPV6_PMTUDISC_INTERFACE),
			s.common(fd, unix.IPPROTO_IPV6))
	})
	if err != nil {
		closing(c)
		return fmt.Errorf("raw IPv6 socket: %w", err)
	}
	// Nobody reads it: what others send under this protocol number is not to pile up.
	nothing, err := bpf.Assemble([]bpf.Instruction{bpf.RetConstant{Val: 0}})
	if err == nil {
		err = ipv6.NewPacketConn(c).SetBPF(nothing)
	}
	if err != nil {
		closing(c)
		return fmt.Errorf("raw IPv6 socket: %w", err)
	}
	s.whole6 = c
	return nil
}

func (s *sockets) openRaw6() (err error) {
	if s.raw6, err = s.listenRaw6(); err != nil {
		return err
	}
	s.suspects6, err = s.listenRaw6()
	return err
}

func (s *sockets) listenRaw6() (*icmp.PacketConn, error) {
	c, err := icmp.ListenPacket("ip6:ipv6-icmp", "::")
	if err != nil {
		return nil, fmt.Errorf("raw ICMPv6 socket: %w", err)
	}
	var filter unix.ICMPv6Filter
	for i := range filter.Data {
		filter.Data[i] = 0xffffffff // blocked (RFC 3542, section 3.2)
	}
	for _, typ := range [...]uint{1, 2, 3, 4, 129} {
		filter.Data[typ/32] &^= 1 << (typ % 32)
	}
	err = control(c.IPv6PacketConn().PacketConn, func(fd int) error {
		return errors.Join(
			unix.SetsockoptICMPv6Filter(fd, unix.IPPROTO_ICMPV6, unix.ICMPV6_FILTER, &filter),
			set(fd, unix.IPPROTO_IPV6, unix.IPV6_MTU_DISCOVER, unix.IPV6_PMTUDISC_INTERFACE),
			s.common(fd, unix.IPPROTO_IPV6))
	})
	if err != nil {
		closing(c)
		return nil, fmt.Errorf("raw ICMPv6 socket: %w", err)
	}
	return c, nil
}

// openUDP4 opens the socket that owns the probes' source port. Without a raw socket beside it, it sends the DF probes too:
// then it must learn of ICMP errors by its error queue, which only path MTU discovery modes that write the cache offer.
func (s *sockets) openUDP4() error {
	c, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4zero})
	if err != nil {
		return fmt.Errorf("UDP socket: %w", err)
	}
	err = control(c, func(fd int) error {
		mode, queue := unix.IP_PMTUDISC_INTERFACE, 0
		if s.raw4 == nil {
			mode, queue = unix.IP_PMTUDISC_PROBE, 1
		}
		return errors.Join(
			set(fd, unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, mode),
			set(fd, unix.IPPROTO_IP, unix.IP_RECVERR, queue),
			s.common(fd, unix.IPPROTO_IP))
	})
	if err != nil {
		closing(c)
		return fmt.Errorf("UDP socket: %w", err)
	}
	s.udp4, s.port4 = c, localPort(c)
	return nil
}

func (s *sockets) openUDP6() error {
	c, err := net.ListenUDP("udp6", &net.UDPAddr{IP: net.IPv6zero})
	if err != nil {
		return fmt.Errorf("UDP socket (IPv6): %w", err)
	}
	err = control(c, func(fd int) error {
		mode, queue := unix.IPV6_PMTUDISC_INTERFACE, 0
		if s.raw6 == nil {
			mode, queue = unix.IPV6_PMTUDISC_PROBE, 1
		}
		return errors.Join(
			set(fd, unix.IPPROTO_IPV6, unix.IPV6_MTU_DISCOVER, mode),
			set(fd, unix.IPPROTO_IPV6, unix.IPV6_RECVERR, queue),
			s.common(fd, unix.IPPROTO_IPV6))
	})
	if err != nil {
		closing(c)
		return fmt.Errorf("UDP socket (IPv6): %w", err)
	}
	s.udp6, s.port6 = c, localPort(c)
	return nil
}

// receiveBuffer holds some 20,000 answers: those of a burst over all peers at once.
const receiveBuffer = 16 << 20

// common sets what all sockets have in common. What an old kernel or a lack of rights forbids is done without.
func (s *sockets) common(fd, level int) error {
	if s.device != "" {
		if err := unix.BindToDevice(fd, s.device); err != nil {
			return fmt.Errorf("bind to the device: %w", err)
		}
	}
	if set(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, receiveBuffer) != nil {
		_ = set(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, receiveBuffer) // capped at net.core.rmem_max
	}
	// Without the size of an answer's fragments less is known about the way back, and nothing is wrong.
	if level == unix.IPPROTO_IP {
		_ = set(fd, level, unix.IP_RECVFRAGSIZE, 1)
	} else {
		_ = set(fd, level, unix.IPV6_RECVFRAGSIZE, 1)
	}
	s.stamps = s.stamps && set(fd, unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1) == nil
	s.bypass = s.bypass && bypassPolicy(fd, level) == nil
	return nil
}

// drops asks the kernel how many packets it could not put into the socket's buffer (SK_MEMINFO_DROPS, linux/sock_diag.h).
func (r *receiver) drops() (n uint32, err error) {
	const field = 8
	err = control(r.pc, func(fd int) error {
		var info [field + 1]uint32
		size := uint32(unsafe.Sizeof(info))
		_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(fd), unix.SOL_SOCKET, unix.SO_MEMINFO,
			uintptr(unsafe.Pointer(&info)), uintptr(unsafe.Pointer(&size)), 0)
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

// control runs f on the descriptor of a socket.
func control(pc net.PacketConn, f func(fd int) error) error {
	c, ok := pc.(syscall.Conn)
	if !ok {
		return fmt.Errorf("%w: %T has no descriptor", ErrNoSocket, pc)
	}
	rc, err := c.SyscallConn()
	if err != nil {
		return fmt.Errorf("socket: %w", err)
	}
	var inner error
	if err := rc.Control(func(fd uintptr) { inner = f(int(fd)) }); err != nil {
		return fmt.Errorf("socket: %w", err)
	}
	return inner
}

// port is the UDP port from which a peer is probed.
func (s *sockets) port(dst netip.Addr) uint16 {
	switch {
	case s == nil:
		return 0
	case dst.Is4():
		return s.port4
	}
	return s.port6
}

func localPort(c *net.UDPConn) uint16 {
	if a, err := netip.ParseAddrPort(c.LocalAddr().String()); err == nil {
		return a.Port()
	}
	return 0
}

func isPermission(err error) bool {
	return errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES)
}

func isNoFamily(err error) bool {
	return errors.Is(err, unix.EAFNOSUPPORT) || errors.Is(err, unix.EADDRNOTAVAIL) || errors.Is(err, unix.EPROTONOSUPPORT)
}

func isNoDevice(err error) bool { return errors.Is(err, unix.ENODEV) || errors.Is(err, unix.ENXIO) }

func isMessageSize(err error) bool { return errors.Is(err, unix.EMSGSIZE) }

// pingSocketAllowed tells whether this process may open an unprivileged echo socket (icmp(7), ping_group_range).
func pingSocketAllowed() bool {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, unix.IPPROTO_ICMP)
	if err != nil {
		return false
	}
	_ = unix.Close(fd)
	return true
}
