package netio

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"syscall"
	"time"

	"golang.org/x/net/ipv4"
	"golang.org/x/sys/unix"
)

const (
	// batchSize is how many packets one system call reads.
	batchSize = 64
	// packetBuffer holds what is of interest in an answer: an echo reply's token, an IKE reply, an ICMP error with its quote.
	packetBuffer = 4096
	// controlBuffer holds a timestamp, and on an error queue the error and its offender.
	controlBuffer = 256
	// breather is how long a reader waits that is busy, because packets came less than busy apart: the kernel has stamped what
	// comes meanwhile, and reading it in one go costs half of waking for each.
	breather, busy = 5 * time.Millisecond, 20 * time.Millisecond
	// errorPause keeps a persistent read error from spinning.
	errorPause = 100 * time.Millisecond
)

// pause waits unless ctx ends first.
func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// receive reads one socket until it is closed.
func (s *Stack) receive(ctx context.Context, r *receiver) {
	if r.errors {
		s.receiveWithErrors(ctx, r)
		return
	}
	batch := ipv4.NewPacketConn(r.pc) // ReadBatch is the same for both families
	ms := make([]ipv4.Message, batchSize)
	for i := range ms {
		ms[i].Buffers = [][]byte{make([]byte, packetBuffer)}
		ms[i].OOB = make([]byte, controlBuffer)
	}
	var last time.Time
	for ctx.Err() == nil {
		n, err := batch.ReadBatch(ms, 0)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			s.cfg.Log.Debug("cannot read a socket", "socket", r.name, "err", err)
			pause(ctx, errorPause)
			continue
		}
		for i := range ms[:n] {
			m := &ms[i]
			rx := arrival(m.OOB[:m.NN])
			s.dispatch(r, m.Addr, m.Buffers[0][:m.N], rx)
		}
		now := time.Now()
		if n > 1 || now.Sub(last) < busy {
			pause(ctx, breather)
		}
		last = now
	}
}

// dispatch hands a packet to the parser for its socket.
func (s *Stack) dispatch(r *receiver, from net.Addr, packet []byte, rx reception) {
	switch a := from.(type) {
	case *net.IPAddr:
		addr, ok := netip.AddrFromSlice(a.IP)
		switch {
		case !ok:
		case r.v6:
			s.onICMPv6(r.set, addr.Unmap(), packet, rx)
		default:
			s.onICMPv4(r.set, packet, rx)
		}
	case *net.UDPAddr:
		ap := a.AddrPort()
		s.onUDP(netip.AddrPortFrom(ap.Addr().Unmap().WithZone(""), ap.Port()), packet, rx)
	}
}

// receiveWithErrors reads a UDP socket and its error queue, which are ready together and can only be waited for together.
func (s *Stack) receiveWithErrors(ctx context.Context, r *receiver) {
	rc, err := r.conn.SyscallConn()
	if err != nil {
		s.cfg.Log.Debug("cannot read a socket", "socket", r.name, "err", err)
		return
	}
	data, oob := make([]byte, packetBuffer), make([]byte, controlBuffer)
	for ctx.Err() == nil {
		var persistent error
		err := rc.Read(func(fd uintptr) bool {
			queued := s.drainErrors(int(fd), data, oob)
			read, err := s.drainReplies(int(fd), data, oob)
			persistent = err
			return queued || read || err != nil
		})
		switch {
		case errors.Is(err, net.ErrClosed), errors.Is(err, os.ErrClosed):
			return
		case err != nil, persistent != nil:
			s.cfg.Log.Debug("cannot read a socket", "socket", r.name, "err", errors.Join(err, persistent))
			pause(ctx, errorPause)
		}
	}
}

// drainReplies reads all datagrams that wait. A pending ICMP error shows as an error of the next read, once; its story is on
// the error queue.
func (s *Stack) drainReplies(fd int, data, oob []byte) (some bool, err error) {
	for {
		n, nn, _, from, err := unix.Recvmsg(fd, data, oob, unix.MSG_DONTWAIT)
		switch {
		case errors.Is(err, unix.EAGAIN):
			return some, nil
		case isPending(err):
			continue
		case err != nil:
			return some, err
		}
		some = true
		rx := arrival(oob[:nn])
		if ap := addrPort(from); ap.IsValid() {
			s.onUDP(ap, data[:n], rx)
		}
	}
}

// isPending tells whether an error of a read is a pending ICMP error of an earlier send (ip(7), IP_RECVERR).
func isPending(err error) bool {
	for _, e := range [...]syscall.Errno{
		unix.ECONNREFUSED, unix.EHOSTUNREACH, unix.ENETUNREACH, unix.EMSGSIZE, unix.EHOSTDOWN,
		unix.ENOPROTOOPT, unix.ENONET, unix.EOPNOTSUPP, unix.EACCES, unix.EPROTO, unix.EINTR,
	} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

func addrPort(sa unix.Sockaddr) netip.AddrPort {
	switch a := sa.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(a.Addr), uint16(a.Port))
	case *unix.SockaddrInet6:
		return netip.AddrPortFrom(netip.AddrFrom16(a.Addr).Unmap(), uint16(a.Port))
	}
	return netip.AddrPort{}
}
