//go:build linux

package netio

import (
	"encoding/binary"
	"net/netip"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"ipsec_path_exporter/internal/wire/ip"
)

// A reception describes how an answer arrived.
type reception struct {
	// at is when the kernel received it, zero if it did not say.
	at time.Time
	// fragment is the size of the largest fragment in which it came, 0 if it came whole.
	fragment int
	// ttl and df are fields of an IPv4 header.
	ttl uint8
	df  bool
	// One of these is what the socket delivered: a whole IPv4 packet, an ICMPv6 message, or a UDP
	// payload that came to port.
	packet, icmp6, udp []byte
	from               netip.Addr // of the ICMPv6 message
	port               uint16
}

// arrival reads the control messages that came with a packet.
func arrival(oob []byte) (rx reception) {
	for len(oob) >= unix.CmsgLen(0) {
		h, data, rest, err := unix.ParseOneSocketControlMessage(oob)
		if err != nil {
			break
		}
		oob = rest
		switch {
		case h.Level == unix.SOL_SOCKET && h.Type == unix.SCM_TIMESTAMPNS && len(data) >= int(unsafe.Sizeof(unix.Timespec{})):
			stamp := *(*unix.Timespec)(unsafe.Pointer(&data[0])) //nolint:gosec // the layout that the kernel defines
			rx.at = time.Unix(stamp.Unix())
		case h.Level == unix.SOL_IP && h.Type == unix.IP_RECVFRAGSIZE && len(data) >= 4,
			h.Level == unix.SOL_IPV6 && h.Type == unix.IPV6_RECVFRAGSIZE && len(data) >= 4:
			rx.fragment = int(binary.NativeEndian.Uint32(data))
		}
	}
	return rx
}

// wire returns the IP packet of the answer to a probe. Sockets hide headers: the fields that they
// do not show are written as they must have been, with the usual hop limit.
func (rx *reception) wire(f *flight) []byte {
	switch {
	case rx.packet != nil:
		return rx.packet
	case rx.icmp6 != nil:
		return appendIP(nil, rx.from, f.src, ip.ProtocolICMPv6, rx.icmp6)
	case rx.udp != nil:
		datagram := ip.AppendUDP(nil, netip.AddrPortFrom(f.dst, f.port), netip.AddrPortFrom(f.src, rx.port), rx.udp)
		return appendIP(nil, f.dst, f.src, ip.ProtocolUDP, datagram)
	}
	return nil
}

// appendIP appends an IP packet with DF and the usual hop limit.
func appendIP(b []byte, src, dst netip.Addr, protocol uint8, payload []byte) []byte {
	if dst.Is4() {
		h := ip.IPv4{TotalLength: HeaderIPv4 + len(payload), DontFragment: true, TTL: defaultTTL, Protocol: protocol, Src: src, Dst: dst}
		return append(h.Append(b), payload...)
	}
	h := ip.IPv6{PayloadLength: len(payload), NextHeader: protocol, HopLimit: defaultTTL, Src: src, Dst: dst}
	return append(h.Append(b), payload...)
}
