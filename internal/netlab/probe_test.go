package netlab_test

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/net/icmp"
	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
	"golang.org/x/sys/unix"

	"ipsec_path_exporter/internal/netlab"
)

func TestMain(m *testing.M) { netlab.Main(m) }

// What becomes of a probe, beside "ptb MTU from ROUTER".
const (
	answered    = "answered"
	silent      = "silent"
	unreachable = "unreachable"
)

// A probe is one packet from the client.
type probe struct {
	dst  netip.Addr
	size int
	// port is the UDP port to which it goes as an IKE message; 0 makes it an echo request.
	port int
	// source is the UDP port that it comes from.
	source int
	// split lets it go without DF.
	split bool
}

// send sends the probe and returns the outcome. An expected silence has a shorter timeout.
func (p probe) send(t *testing.T, client *netlab.NS, want string) string {
	t.Helper()
	wait := 5 * time.Second
	if want == silent {
		wait = 100 * time.Millisecond
	}
	result := ""
	client.Do(t, func() {
		raw := p.socket(t, unix.SOCK_RAW, p.icmp())
		defer unix.Close(raw)
		fds := []unix.PollFd{{Fd: int32(raw), Events: unix.POLLIN}}
		out := raw
		if p.port != 0 {
			out = p.socket(t, unix.SOCK_DGRAM, 0)
			defer unix.Close(out)
			if err := unix.Bind(out, p.sockaddr(netip.IPv6Unspecified(), p.source)); err != nil {
				t.Fatal(err)
			}
			fds = append(fds, unix.PollFd{Fd: int32(out), Events: unix.POLLIN})
		}
		if err := unix.Sendto(out, p.payload(t), 0, p.sockaddr(p.dst, p.port)); err != nil {
			result = err.Error()
			return
		}
		result = p.await(t, fds, time.Now().Add(wait))
	})
	return result
}

// await reads the sockets until one has the answer: the first is the raw one, the second that of
// UDP.
func (p probe) await(t *testing.T, fds []unix.PollFd, deadline time.Time) string {
	t.Helper()
	b := make([]byte, 10000)
	for {
		left := time.Until(deadline)
		if left <= 0 {
			return silent
		}
		if _, err := unix.Poll(fds, int(left.Milliseconds())+1); err != nil && err != unix.EINTR {
			t.Fatal(err)
		}
		for i, fd := range fds {
			if fd.Revents == 0 {
				continue
			}
			n, from, err := unix.Recvfrom(int(fd.Fd), b, unix.MSG_DONTWAIT)
			if err != nil {
				continue
			}
			if i == 1 {
				return answered
			}
			if r := p.icmpResult(b[:n], from); r != "" {
				return r
			}
		}
	}
}

// icmpResult is what an ICMP message says about the probe, or nothing.
func (p probe) icmpResult(b []byte, from unix.Sockaddr) string {
	if !p.dst.Is6() {
		b = b[ipv4.HeaderLen:]
	}
	m, err := icmp.ParseMessage(p.icmp(), b)
	if err != nil {
		return ""
	}
	router := ""
	switch sa := from.(type) {
	case *unix.SockaddrInet4:
		router = netip.AddrFrom4(sa.Addr).String()
	case *unix.SockaddrInet6:
		router = netip.AddrFrom16(sa.Addr).String()
	}
	switch m.Type {
	case ipv4.ICMPTypeEchoReply, ipv6.ICMPTypeEchoReply:
		return answered
	case ipv4.ICMPTypeDestinationUnreachable:
		if m.Code == 4 {
			return fmt.Sprintf("ptb %d from %s", int(b[6])<<8|int(b[7]), router)
		}
		return unreachable
	case ipv6.ICMPTypePacketTooBig:
		return fmt.Sprintf("ptb %d from %s", int(b[6])<<8|int(b[7]), router)
	case ipv6.ICMPTypeDestinationUnreachable:
		return unreachable
	}
	return ""
}

// socket opens a socket of the probe's family that sets DF and ignores what the kernel has learned,
// or does not set it.
func (p probe) socket(t *testing.T, kind, protocol int) int {
	t.Helper()
	domain, level, option := unix.AF_INET, unix.IPPROTO_IP, unix.IP_MTU_DISCOVER
	if p.dst.Is6() {
		domain, level, option = unix.AF_INET6, unix.IPPROTO_IPV6, unix.IPV6_MTU_DISCOVER
	}
	fd, err := unix.Socket(domain, kind|unix.SOCK_CLOEXEC, protocol)
	if err != nil {
		t.Fatal(err)
	}
	mode := unix.IP_PMTUDISC_PROBE
	if p.split {
		mode = unix.IP_PMTUDISC_DONT
	}
	if err := unix.SetsockoptInt(fd, level, option, mode); err != nil {
		t.Fatal(err)
	}
	if p.dst.Is6() && !p.split {
		if err := unix.SetsockoptInt(fd, level, unix.IPV6_DONTFRAG, 1); err != nil {
			t.Fatal(err)
		}
	}
	return fd
}

// payload is what follows the IP header, or for UDP what follows that: an IKE header of version 3
// and zeros.
func (p probe) payload(t *testing.T) []byte {
	t.Helper()
	body := p.size - 20 - 8
	kind := icmp.Type(ipv4.ICMPTypeEcho)
	if p.dst.Is6() {
		body, kind = p.size-40-8, ipv6.ICMPTypeEchoRequest
	}
	data := make([]byte, body)
	if p.port != 0 {
		ike := data
		if p.port == 4500 {
			ike = data[4:]
		}
		copy(ike, "initSPI.")
		copy(ike[17:], []byte{0x30, 34, 0x08, 0, 0, 0, 0, 0, 0, byte(len(ike) >> 8), byte(len(ike))})
		return data
	}
	b, err := (&icmp.Message{Type: kind, Body: &icmp.Echo{ID: 7, Seq: 1, Data: data}}).Marshal(nil)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// icmp is the number of the family's ICMP.
func (p probe) icmp() int {
	if p.dst.Is6() {
		return unix.IPPROTO_ICMPV6
	}
	return unix.IPPROTO_ICMP
}

// sockaddr is an address of the probe's family; any unspecified one becomes the family's.
func (p probe) sockaddr(a netip.Addr, port int) unix.Sockaddr {
	switch {
	case p.dst.Is6():
		return &unix.SockaddrInet6{Addr: a.As16(), Port: port}
	case a.IsUnspecified():
		return &unix.SockaddrInet4{Port: port}
	}
	return &unix.SockaddrInet4{Addr: a.As4(), Port: port}
}
