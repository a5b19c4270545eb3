// Package responder is a small IKE gateway for tests and the demo: it answers the first message of
// an IKE exchange like an ordinary gateway that refuses it. It never agrees to an offer, keeps no
// state and has no keys.
//
//	IKEv2, IKE_SA_INIT, message ID 0   INVALID_KE_PAYLOAD, group 14
//	the same without any payload       INVALID_SYNTAX
//	major version 3 and above          INVALID_MAJOR_VERSION
//	IKEv1, main and aggressive mode    NO-PROPOSAL-CHOSEN
//	anything else                      silence
//
// Replies are small and leave without DF, so they say nothing about the size that fits on the path
// back.
package responder

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
	"golang.org/x/sys/unix"
)

// The ports of IKE and of IKE behind NAT (RFC 7296, section 2).
const (
	IKEPort  = 500
	NATTPort = 4500
)

// A Behaviour describes the gateway's answers. The zero value answers all requests without delay.
type Behaviour struct {
	// Versions are the configured IKE versions.
	Versions Versions
	// Silent suppresses all answers.
	Silent bool
	// Delay is the time before an answer.
	Delay time.Duration
	// Largest is the size in bytes of the largest datagram that is answered; 0 means no limit.
	Largest int
	// Loss is the share of requests, from 0 to 1, that are ignored at random.
	Loss float64
}

// A Config describes the sockets of a gateway.
type Config struct {
	// Addrs are its addresses; none means every address of the host, of both families.
	Addrs []netip.Addr
	// Closed are ports without a socket: the kernel answers "port unreachable" there.
	Closed []uint16
	// IKEPort and NATTPort are the UDP ports; 0 means the default.
	IKEPort, NATTPort uint16
	// Seed makes losses repeatable.
	Seed uint64
	// Behaviour is the initial behaviour.
	Behaviour Behaviour
}

// A Responder is a gateway that runs until its context ends.
type Responder struct {
	behaviour         atomic.Pointer[Behaviour]
	requests, replies atomic.Uint64
	workers           sync.WaitGroup

	mu     sync.Mutex
	random *rand.Rand
	err    error
}

// Start opens the sockets in the network namespace of the calling thread and answers until ctx
// ends.
func Start(ctx context.Context, c Config) (*Responder, error) {
	r := &Responder{random: rand.New(rand.NewPCG(c.Seed, 0))}
	r.Set(c.Behaviour)
	addrs := c.Addrs
	if len(addrs) == 0 {
		addrs = []netip.Addr{netip.IPv4Unspecified(), netip.IPv6Unspecified()}
	}
	var sockets []socket
	for _, a := range addrs {
		for _, port := range []struct{ port, usual uint16 }{{c.IKEPort, IKEPort}, {c.NATTPort, NATTPort}} {
			s := socket{natt: port.usual == NATTPort}
			at := netip.AddrPortFrom(a, port.port)
			if port.port == 0 {
				at = netip.AddrPortFrom(a, port.usual)
			}
			if slices.Contains(c.Closed, at.Port()) {
				continue
			}
			var err error
			if s.conn, err = listen(ctx, at); err != nil {
				for _, open := range sockets {
					err = errors.Join(err, open.conn.Close())
				}
				return nil, err
			}
			sockets = append(sockets, s)
		}
	}
	for _, s := range sockets {
		context.AfterFunc(ctx, func() { s.conn.Close() })
		r.workers.Go(func() { r.serve(ctx, s) })
	}
	return r, nil
}

// Set changes the behaviour of the gateway.
func (r *Responder) Set(b Behaviour) { r.behaviour.Store(&b) }

// Requests returns the number of received datagrams.
func (r *Responder) Requests() uint64 { return r.requests.Load() }

// Replies returns the number of answered datagrams.
func (r *Responder) Replies() uint64 { return r.replies.Load() }

// Wait returns when the context has ended and every socket is closed, with the error of a socket
// that failed before.
func (r *Responder) Wait() error {
	r.workers.Wait()
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.err
}

func (r *Responder) fail(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.err = errors.Join(r.err, err)
}

// A socket is one open port.
type socket struct {
	conn packetConn
	// natt is set on the port where IKE follows the non-ESP marker.
	natt bool
}

// A packetConn is a UDP socket that reports the destination address of a datagram and replies from
// it.
type packetConn interface {
	// read reads one datagram; reply sends one back to its sender.
	read(b []byte) (n int, reply func([]byte) error, err error)
	io.Closer
}

const maxDatagram = 65535

// serve answers the datagrams of one socket until it is closed.
func (r *Responder) serve(ctx context.Context, s socket) {
	b := make([]byte, maxDatagram)
	for {
		n, reply, err := s.conn.read(b)
		if err != nil {
			if !errors.Is(err, net.ErrClosed) {
				r.fail(err)
			}
			return
		}
		r.requests.Add(1)
		behaviour := r.behaviour.Load()
		response, ok := Answer(nil, b[:n], s.natt, behaviour.Versions)
		if !ok || behaviour.Silent || behaviour.Largest > 0 && n > behaviour.Largest || r.loses(behaviour.Loss) {
			continue
		}
		if behaviour.Delay == 0 {
			r.send(response, reply)
			continue
		}
		r.workers.Go(func() {
			late := time.NewTimer(behaviour.Delay)
			defer late.Stop()
			select {
			case <-late.C:
				r.send(response, reply)
			case <-ctx.Done():
			}
		})
	}
}

// send sends a reply. A reply that cannot be sent is lost, which the protocol permits.
func (r *Responder) send(response []byte, reply func([]byte) error) {
	if reply(response) == nil {
		r.replies.Add(1)
	}
}

// loses decides at random whether a request is lost.
func (r *Responder) loses(share float64) bool {
	if share <= 0 {
		return false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.random.Float64() < share
}

// listen opens one UDP port whose datagrams leave without DF.
func listen(ctx context.Context, at netip.AddrPort) (packetConn, error) {
	network, level, option := "udp4", unix.IPPROTO_IP, unix.IP_MTU_DISCOVER
	if at.Addr().Is6() {
		network, level, option = "udp6", unix.IPPROTO_IPV6, unix.IPV6_MTU_DISCOVER
	}
	lc := net.ListenConfig{}
	c, err := lc.ListenPacket(ctx, network, net.JoinHostPort(at.Addr().String(), strconv.Itoa(int(at.Port()))))
	if err != nil {
		return nil, fmt.Errorf("listen: %w", err)
	}
	conn, err := prepare(c, level, option)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("listen on %s: %w", at, err), c.Close())
	}
	return conn, nil
}

func prepare(c net.PacketConn, level, option int) (packetConn, error) {
	udp, ok := c.(*net.UDPConn)
	if !ok {
		return nil, fmt.Errorf("a %T is not a UDP socket", c)
	}
	raw, err := udp.SyscallConn()
	if err != nil {
		return nil, err
	}
	var optErr error
	err = raw.Control(func(fd uintptr) { optErr = unix.SetsockoptInt(int(fd), level, option, unix.IP_PMTUDISC_DONT) })
	if err := errors.Join(err, optErr); err != nil {
		return nil, err
	}
	if level == unix.IPPROTO_IPV6 {
		p := ipv6.NewPacketConn(c)
		return conn6{p}, p.SetControlMessage(ipv6.FlagDst, true)
	}
	p := ipv4.NewPacketConn(c)
	return conn4{p}, p.SetControlMessage(ipv4.FlagDst, true)
}

type conn4 struct{ *ipv4.PacketConn }

func (c conn4) read(b []byte) (int, func([]byte) error, error) {
	n, cm, from, err := c.ReadFrom(b)
	if err != nil {
		return 0, nil, err
	}
	out := &ipv4.ControlMessage{}
	if cm != nil {
		out.Src = cm.Dst
	}
	return n, func(b []byte) error {
		_, err := c.WriteTo(b, out, from)
		return err
	}, nil
}

type conn6 struct{ *ipv6.PacketConn }

func (c conn6) read(b []byte) (int, func([]byte) error, error) {
	n, cm, from, err := c.ReadFrom(b)
	if err != nil {
		return 0, nil, err
	}
	out := &ipv6.ControlMessage{}
	if cm != nil {
		out.Src = cm.Dst
	}
	return n, func(b []byte) error {
		_, err := c.WriteTo(b, out, from)
		return err
	}, nil
}
