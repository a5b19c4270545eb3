//go:build linux

package netio

import (
	"fmt"
	"net/netip"
	"sync"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"ipsec_path_exporter/internal/wire/icmp"
	"ipsec_path_exporter/internal/wire/ip"
)

// A tap sees what arrives at the links of this host before any packet filter does (packet(7)). While
// no destination is watched, it is bound to the loopback device and delivers nothing. The zero tap
// sees nothing.
type tap struct {
	conn *conn // nil without CAP_NET_RAW

	mu      sync.Mutex
	watched map[netip.Addr]*watch
}

type watch struct {
	users int
	Overheard
}

// open opens the socket where that is allowed.
func (t *tap) open() {
	t.watched = make(map[netip.Addr]*watch)
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return
	}
	t.conn = &conn{fd: fd}
	if t.listen(false) != nil {
		t.conn.close()
		t.conn = nil
	}
}

// listen turns the tap on or off.
func (t *tap) listen(on bool) error {
	filter, device := tapFilter(), 0
	if !on {
		filter, device = nothing(), loopbackIndex
	}
	err := t.conn.use(func(fd int) error {
		if err := attach(fd, filter); err != nil {
			return err
		}
		return unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: allProtocols, Ifindex: device})
	})
	if err != nil {
		return fmt.Errorf("tap: %w", err)
	}
	return nil
}

// attach sets the filter of a socket.
func attach(fd int, filter []bpf.Instruction) error {
	code, err := bpf.Assemble(filter)
	if err != nil {
		return fmt.Errorf("filter: %w", err)
	}
	return attachRaw(fd, code)
}

// loopbackIndex is the index of the loopback device in every network namespace; allProtocols is
// ETH_P_ALL in network byte order.
const (
	loopbackIndex = 1
	allProtocols  = unix.ETH_P_ALL << 8
)

// tapFilter passes ICMP and UDP that is addressed to this host.
func tapFilter() []bpf.Instruction {
	return []bpf.Instruction{
		bpf.LoadExtension{Num: bpf.ExtType},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: unix.PACKET_HOST, SkipTrue: 10},
		bpf.LoadAbsolute{Off: 0, Size: 1},
		bpf.ALUOpConstant{Op: bpf.ALUOpShiftRight, Val: 4},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: 6, SkipTrue: 2},
		bpf.LoadAbsolute{Off: 9, Size: 1},
		bpf.Jump{Skip: 1},
		bpf.LoadAbsolute{Off: 6, Size: 1},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: ip.ProtocolICMP, SkipTrue: 2},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: ip.ProtocolICMPv6, SkipTrue: 1},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: ip.ProtocolUDP, SkipTrue: 1},
		bpf.RetConstant{Val: packetBuffer},
		bpf.RetConstant{Val: 0},
	}
}

// Overhear counts the answers to the probes to a destination until stop is called. Without
// CAP_NET_RAW it counts none.
func (s *Stack) Overhear(dst netip.Addr) (stop func() Overheard) {
	t := &s.tap
	if t.conn == nil {
		return func() Overheard { return Overheard{} }
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.watched) == 0 && t.listen(true) != nil {
		return func() Overheard { return Overheard{} }
	}
	w := t.watched[dst]
	if w == nil {
		w = &watch{}
		t.watched[dst] = w
	}
	w.users++
	before := w.Overheard
	return func() Overheard {
		t.mu.Lock()
		defer t.mu.Unlock()
		if w.users--; w.users == 0 {
			delete(t.watched, dst)
		}
		if len(t.watched) == 0 {
			_ = t.listen(false) // it would only cost time
		}
		return w.since(&before)
	}
}

func (o *Overheard) since(before *Overheard) Overheard {
	return Overheard{
		ICMP: Seen{o.ICMP.Link - before.ICMP.Link, o.ICMP.Socket - before.ICMP.Socket},
		UDP:  Seen{o.UDP.Link - before.UDP.Link, o.UDP.Socket - before.UDP.Socket},
	}
}

// note counts an answer to a probe.
func (t *tap) note(f *flight, count func(o *Overheard)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if w := t.watched[f.dst]; w != nil {
		count(&w.Overheard)
	}
}

// overheard counts a packet at the link, if it answers a probe.
func (s *Stack) overheard(packet []byte) {
	if len(packet) == 0 {
		return
	}
	var from netip.Addr
	var protocol uint8
	var rest []byte
	if packet[0]>>4 == 6 {
		h, r, err := ip.ParseIPv6(packet)
		if err != nil {
			return
		}
		from, protocol, rest = h.Src, h.Protocol, r
	} else {
		h, r, err := ip.ParseIPv4(packet)
		if err != nil {
			return
		}
		from, protocol, rest = h.Src, h.Protocol, r
	}
	switch protocol {
	case ip.ProtocolUDP:
		h, payload, err := ip.ParseUDP(rest)
		if probes, _ := s.probePort(h.Dst); err == nil && probes {
			if f := s.flights.findUDP(netip.AddrPortFrom(from, h.Src), payload); f != nil {
				s.tap.note(f, func(o *Overheard) { o.UDP.Link++ })
			}
		}
	case ip.ProtocolICMP, ip.ProtocolICMPv6:
		if f := s.answeredBy(from, rest, protocol == ip.ProtocolICMPv6); f != nil {
			s.tap.note(f, func(o *Overheard) { o.ICMP.Link++ })
		}
	}
}

// answeredBy returns the probe that an ICMP message answers, nil if there is none.
func (s *Stack) answeredBy(from netip.Addr, message []byte, v6 bool) *flight {
	parse, reply := icmp.ParseIPv4, uint8(icmp.V4EchoReply)
	if v6 {
		parse, reply = icmp.ParseIPv6, icmp.V6EchoReply
	}
	m, err := parse(message)
	if m.Type != reply {
		f, _ := s.quoted(&m, err, v6, isTooBig(v6, m.Type, m.Code))
		return f
	}
	f := s.flights.findEcho(from, m.ID, m.Seq)
	if err != nil || f == nil || len(m.Data) < TokenSize || Token(m.Data) != f.token {
		return nil
	}
	return f
}
