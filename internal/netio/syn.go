//go:build linux

package netio

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"time"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"ipsec_path_exporter/internal/wire/ip"
	"ipsec_path_exporter/internal/wire/tcp"
)

// A connection is requested by a raw socket, from a port that a socket holds which neither listens nor
// connects:
//
//	raw socket ── SYN ──▶ host
//	           ◀─ SYN-ACK ┘    its MSS is read from the raw socket's copy
//	kernel ────── RST ───▶     because nobody here has requested that connection
//
// So the host forgets the connection at once, and its program never hears of it. A connection of the
// kernel would not show the MSS: it subtracts its own options and obeys the path MTU cache.
const (
	// offeredMSS is ours: that of a link of 1500 bytes, for IPv6.
	offeredMSS = 1440
	// synPoll is how often a wait looks whether it is cancelled.
	synPoll = 100 * time.Millisecond
	synSize = HeaderIPv6 + tcp.HeaderLength + 4
)

// Request sends one request for a TCP connection and waits for the answer. The connection is not
// made.
func (s *Stack) Request(ctx context.Context, p Path, port uint16, account *Account, timeout time.Duration) (SynAck, error) {
	if delay := s.pacer.reserve(time.Now(), 1, synSize); delay > 0 {
		if pause(ctx, delay); ctx.Err() != nil {
			return SynAck{}, fmt.Errorf("waiting for the packet budget: %w", ctx.Err())
		}
	}
	var c *synConn
	err := s.home.do(func() (err error) {
		c, err = openSyn(p, port)
		return err
	})
	if err != nil {
		return SynAck{}, err
	}
	defer c.close()
	if err := c.send(); err != nil {
		return SynAck{}, err
	}
	if account != nil {
		account.Packets.Add(1)
		account.Bytes.Add(uint64(p.HeaderIP() + tcp.HeaderLength + 4))
	}
	return c.await(ctx, timeout)
}

// A synConn is the two sockets of one request.
type synConn struct {
	raw, holder int // -1 if not open
	v6          bool
	from, to    netip.AddrPort
	seq         uint32
	sent        time.Time
}

func openSyn(p Path, port uint16) (c *synConn, err error) {
	c = &synConn{raw: -1, holder: -1, v6: p.IPv6(), to: netip.AddrPortFrom(p.Dst, port), seq: rand.Uint32()} //nolint:gosec // it need not be secret: the answer decides about nothing but an MSS
	family := unix.AF_INET
	if c.v6 {
		family = unix.AF_INET6
	}
	if err = c.openRaw(family, p); err == nil {
		err = c.hold(family)
	}
	if err == nil {
		err = c.filter()
	}
	if err != nil {
		c.close()
		if isPermission(err) {
			err = fmt.Errorf("%w: %w", ErrNoPrivilege, err)
		}
		return nil, fmt.Errorf("TCP request: %w", err)
	}
	return c, nil
}

// openRaw opens the raw socket and lets routing choose the source address.
func (c *synConn) openRaw(family int, p Path) (err error) {
	if c.raw, err = unix.Socket(family, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_TCP); err != nil {
		return err
	}
	wait := unix.NsecToTimeval(int64(synPoll))
	err = unix.SetsockoptTimeval(c.raw, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &wait)
	if err == nil && p.Mark != 0 {
		err = set(c.raw, unix.SOL_SOCKET, unix.SO_MARK, int(p.Mark))
	}
	if err == nil && p.Interface != "" {
		err = unix.BindToDevice(c.raw, p.Interface)
	}
	if err == nil && p.Src.IsValid() {
		err = unix.Bind(c.raw, address(p.Src, 0))
	}
	if err == nil {
		err = unix.Connect(c.raw, address(p.Dst, 0))
	}
	if err != nil {
		return err
	}
	name, err := unix.Getsockname(c.raw)
	if err != nil {
		return err
	}
	c.from = netip.AddrPortFrom(addrPort(name).Addr().Unmap(), 0)
	return nil
}

// hold takes a port that no connection of this host gets meanwhile.
func (c *synConn) hold(family int) (err error) {
	if c.holder, err = unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, unix.IPPROTO_TCP); err != nil {
		return err
	}
	if err = unix.Bind(c.holder, address(c.from.Addr(), 0)); err != nil {
		return err
	}
	name, err := unix.Getsockname(c.holder)
	if err == nil {
		c.from = netip.AddrPortFrom(c.from.Addr(), addrPort(name).Port())
	}
	return err
}

// filter keeps all segments to other ports out: a raw socket gets a copy of everything.
func (c *synConn) filter() error {
	load := []bpf.Instruction{bpf.LoadAbsolute{Off: 2, Size: 2}}
	if !c.v6 { // the IPv4 header comes first
		load = []bpf.Instruction{bpf.LoadMemShift{Off: 0}, bpf.LoadIndirect{Off: 2, Size: 2}}
	}
	raw, err := bpf.Assemble(append(load,
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: uint32(c.from.Port()), SkipFalse: 1}, bpf.RetConstant{Val: 0xffff}, bpf.RetConstant{Val: 0}))
	if err != nil {
		return err
	}
	program := make([]unix.SockFilter, len(raw))
	for i, r := range raw {
		program[i] = unix.SockFilter{Code: r.Op, Jt: r.Jt, Jf: r.Jf, K: r.K}
	}
	return unix.SetsockoptSockFprog(c.raw, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]})
}

func (c *synConn) send() error {
	c.sent = time.Now()
	_, err := unix.Write(c.raw, tcp.AppendSYN(nil, c.from, c.to, c.seq, offeredMSS))
	if err != nil {
		return fmt.Errorf("TCP request: %w", err)
	}
	return nil
}

// await reads until an answer to this request, or the end of its time.
func (c *synConn) await(ctx context.Context, timeout time.Duration) (SynAck, error) {
	b := make([]byte, 2048)
	for time.Since(c.sent) < timeout {
		if ctx.Err() != nil {
			return SynAck{}, context.Cause(ctx)
		}
		n, err := unix.Read(c.raw, b)
		switch {
		case errors.Is(err, unix.EAGAIN), errors.Is(err, unix.EINTR):
			continue
		case errors.Is(err, unix.EHOSTUNREACH), errors.Is(err, unix.ENETUNREACH), errors.Is(err, unix.ECONNREFUSED), errors.Is(err, unix.EACCES):
			continue // a report about an ICMP error, and still no answer
		case err != nil:
			return SynAck{}, fmt.Errorf("TCP request: %w", err)
		}
		if a, ok := c.answer(b[:n]); ok {
			a.RoundTrip = time.Since(c.sent)
			return a, nil
		}
	}
	return SynAck{}, nil
}

// answer reads what a raw socket delivers: a whole IPv4 packet, or the payload of an IPv6 packet.
func (c *synConn) answer(b []byte) (a SynAck, ok bool) {
	if !c.v6 {
		if len(b) < HeaderIPv4 || len(b) < int(b[0]&0x0f)*4 || b[9] != ip.ProtocolTCP || !fromAddr(b, c.to.Addr()) {
			return a, false
		}
		b = b[int(b[0]&0x0f)*4:]
	}
	s, err := tcp.Parse(b)
	if err != nil || s.Src != c.to.Port() || s.Dst != c.from.Port() || s.Flags&tcp.ACK == 0 || s.Ack != c.seq+1 {
		return a, false
	}
	switch {
	case s.Flags&tcp.RST != 0:
		return SynAck{Refused: true}, true
	case s.Flags&tcp.SYN == 0:
		return a, false
	}
	if a = (SynAck{Answered: true, MSS: s.MSS}); a.MSS == 0 {
		a.MSS = tcp.DefaultMSS4
		if c.v6 {
			a.MSS = tcp.DefaultMSS6
		}
	}
	return a, true
}

// fromAddr reports whether an IPv4 packet comes from an address.
func fromAddr(b []byte, a netip.Addr) bool {
	four := a.As4()
	return binary.BigEndian.Uint32(b[12:]) == binary.BigEndian.Uint32(four[:])
}

func (c *synConn) close() {
	for _, fd := range [...]int{c.raw, c.holder} {
		if fd >= 0 {
			_ = unix.Close(fd) // its error would help nobody
		}
	}
}

// address is an address as the kernel takes it.
func address(a netip.Addr, port int) unix.Sockaddr {
	if a.Is4() {
		return &unix.SockaddrInet4{Addr: a.As4(), Port: port}
	}
	return &unix.SockaddrInet6{Addr: a.As16(), Port: port}
}
