//go:build linux

package netio

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"
	"time"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"ipsec_path_exporter/internal/wire/ip"
)

// Some peers accept IKE only from UDP 500 and 4500, the ports of an IKE daemon. A probe with
// Packet.SourcePort leaves this host as a whole packet of a raw socket, and its answer is read from
// a raw socket that gets a copy of each datagram (raw(7)). So a daemon that owns the port loses no
// datagram to us. It also gets the answers to our probes, and ignores them: they name no SA of its.
//
// While no process owns the port, we hold it as long as answers may come. Otherwise this host would
// refuse them with "port unreachable". The socket that holds it reads nothing and has SO_REUSEADDR, so a daemon that
// sets this option too (strongSwan and Libreswan do) can take the port over: of two sockets, Linux
// gives a datagram to the newer one.

// fixedPorts are the fixed source ports of the probes on the sockets of one interface.
type fixedPorts struct {
	copies4, copies6 *conn
	held             map[portKey]*heldPort
}

type portKey struct {
	port uint16
	v6   bool
}

// A heldPort is the socket that owns a port, and when a probe last left from there.
type heldPort struct {
	conn *net.UDPConn
	used time.Time
}

// holdRest is how long a port is held after the last probe from there: longer than answers take. It is
// short, because a daemon without SO_REUSEADDR cannot start meanwhile.
const holdRest = 10 * time.Second

// usePort makes sure that the answers to probes from a fixed port of this host are heard. The caller
// holds the lock.
func (s *Stack) usePort(set *sockets, port uint16, v6 bool) error {
	if set.whole4 == nil && !v6 || set.whole6 == nil && v6 {
		return fmt.Errorf("source port %d: %w", port, ErrNoPrivilege)
	}
	return s.home.do(func() error {
		if err := s.hold(set, portKey{port, v6}); err != nil {
			return err
		}
		r, err := set.listenCopies(v6)
		if err != nil {
			return err
		}
		s.fixed[port] = true
		s.listen(r)
		return nil
	})
}

// hold owns a port for a while, unless a process of this host does. The caller holds the lock.
func (s *Stack) hold(set *sockets, key portKey) error {
	if h := set.fixed.held[key]; h != nil {
		h.used = time.Now()
		return nil
	}
	c, err := set.own(key.port, key.v6)
	if c == nil || err != nil {
		return err
	}
	if set.fixed.held == nil {
		set.fixed.held = make(map[portKey]*heldPort)
	}
	h := &heldPort{c, time.Now()}
	set.fixed.held[key] = h
	s.wg.Go(func() {
		for !s.release(set, key, h) {
			pause(s.ctx, holdRest)
		}
	})
	return nil
}

// release gives up a port that no probe left from for holdRest, and reports whether it is given up.
func (s *Stack) release(set *sockets, key portKey, h *heldPort) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ctx.Err() != nil || set.fixed.held[key] != h {
		return true
	}
	if time.Since(h.used) < holdRest {
		return false
	}
	delete(set.fixed.held, key)
	closing(h.conn)
	return true
}

// own binds a port; the result is nil where a process of this host has it.
func (s *sockets) own(port uint16, v6 bool) (*net.UDPConn, error) {
	network := "udp4"
	if v6 {
		network = "udp6"
	}
	listen := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error { return s.prepareHold(c) }}
	pc, err := listen.ListenPacket(context.Background(), network, fmt.Sprintf(":%d", port))
	switch {
	case errors.Is(err, unix.EADDRINUSE):
		return nil, nil
	case isPermission(err):
		return nil, fmt.Errorf("source port %d: %w", port, ErrPortNotAllowed)
	case err != nil:
		return nil, fmt.Errorf("source port %d: %w", port, err)
	}
	c, ok := pc.(*net.UDPConn)
	if !ok {
		return nil, ErrNoSocket
	}
	// Not before: with this option we could bind a port that a daemon owns.
	if err := share(c, 1); err != nil {
		closing(c)
		return nil, err
	}
	return c, nil
}

// prepareHold binds the socket to the interface, if there is one, and has it receive nothing.
func (s *sockets) prepareHold(c syscall.RawConn) error {
	var inner error
	err := c.Control(func(fd uintptr) {
		drop := unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K}
		inner = unix.SetsockoptSockFprog(int(fd), unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: 1, Filter: &drop})
		if inner == nil && s.device != "" {
			inner = unix.BindToDevice(int(fd), s.device)
		}
	})
	return errors.Join(err, inner)
}

// listenCopies opens the socket that gets copies of datagrams, if it is not open.
func (s *sockets) listenCopies(v6 bool) (opened receivers, err error) {
	to := &s.fixed.copies4
	r := &receiver{name: "udp4_fixed", copies: true}
	if v6 {
		to, r.name, r.v6 = &s.fixed.copies6, "udp6_fixed", true
	}
	if *to != nil {
		return nil, nil
	}
	network, o, mode := "ip4:17", options4(), unix.IP_PMTUDISC_INTERFACE
	if v6 {
		network, o = "ip6:17", options6()
	}
	pc, err := net.ListenPacket(network, "") //nolint:noctx // opens at once
	if err != nil {
		return nil, fmt.Errorf("raw UDP socket: %w", err)
	}
	ip, ok := pc.(*net.IPConn)
	if !ok {
		return nil, ErrNoSocket
	}
	r.conn, err = s.configure(ip, "raw UDP socket", o, mode, func(fd int) error { return attach(fd, copiesFilter(v6)) })
	if err != nil {
		return nil, err
	}
	*to = r.conn
	opened.add(s, r)
	return opened, nil
}

// copiesFilter passes datagrams to the ports of IKE. An IPv4 socket has the IP header before them.
func copiesFilter(v6 bool) []bpf.Instruction {
	const all = 0xffff
	load := []bpf.Instruction{bpf.LoadMemShift{Off: 0}, bpf.LoadIndirect{Off: 2, Size: 2}}
	if v6 {
		load = []bpf.Instruction{bpf.LoadAbsolute{Off: 2, Size: 2}}
	}
	return append(load,
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: SourcePortIKE, SkipTrue: 2},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: SourcePortNATT, SkipTrue: 1},
		bpf.RetConstant{Val: 0},
		bpf.RetConstant{Val: all})
}

func (p *fixedPorts) close() {
	p.copies4.close()
	p.copies6.close()
	for _, h := range p.held {
		closing(h.conn)
	}
}

// onCopy takes a copy of a datagram to a fixed port: of one to a daemon, or of an answer to a probe.
func (s *Stack) onCopy(set *sockets, from netip.Addr, datagram []byte, rx reception) {
	h, payload, err := ip.ParseUDP(datagram)
	if err != nil {
		return
	}
	f := s.flights.findUDP(netip.AddrPortFrom(from, h.Src), payload)
	if f == nil || f.set != set || f.sourcePort != h.Dst {
		return
	}
	s.tap.note(f, func(o *Overheard) { o.UDP.Socket++ })
	rx.udp, rx.port = payload, h.Dst
	s.flights.settle(f, Answer{Outcome: Delivered, From: from, Payload: payload}, rx)
}
