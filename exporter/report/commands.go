package report

import (
	"net/netip"
	"strings"

	"ipsec_path_exporter/collectors"
	"ipsec_path_exporter/collectors/pmtu"
	"ipsec_path_exporter/collectors/pmtu/search"
)

// Header sizes of the packets of commands: IP, then ICMP or UDP (RFC 791, 8200, 792, 768).
const (
	ip4Header, ip6Header = 20, 40
	innerHeader          = 8
	// ikeScanBytes is the IPv4 packet of an ike-scan with one transform and an empty Vendor ID: IP
	// and UDP 28, IKE header 28, SA payload 56, Vendor ID payload 4 (RFC 2408, section 3).
	ikeScanBytes = 116
)

// A Boundary is a size that passes, and how much data a command puts into a packet of it and of one
// byte more. Clean means that no larger packet could be sent.
type Boundary struct {
	Bytes, Header, Data, Next int
	Clean                     bool
}

func boundary(s *pmtu.Result, header int) *Boundary {
	return &Boundary{Bytes: s.Bytes, Header: header, Data: s.Bytes - header, Next: s.Bytes + 1 - header, Clean: s.State == search.Clean}
}

// EchoSize is the path MTU by echoes, nil if unknown.
func (d *document) EchoSize() *Boundary {
	s := d.search(collectors.ICMP)
	if s == nil {
		return nil
	}
	header := ip4Header + innerHeader
	if d.V6() {
		header = ip6Header + innerHeader
	}
	return boundary(s, header)
}

// ScanSize is the path MTU by IKE messages where ike-scan can show it, nil elsewhere.
func (d *document) ScanSize() *Boundary {
	s := d.search(collectors.IKE)
	if s == nil || s.State == search.Clean || s.Bytes < ikeScanBytes {
		return nil
	}
	return boundary(s, ikeScanBytes)
}

// Ping is the ping command without a destination.
func (d *document) Ping() string {
	ping := "ping"
	if d.V6() {
		ping += " -6"
	}
	if d.Via != "" {
		ping += " -I " + shellWord(d.Via)
	}
	return ping
}

// TracerouteTo is the destination of a traceroute, with the way to it.
func (d *document) TracerouteTo() string {
	switch _, err := netip.ParseAddr(d.Via); {
	case d.Via == "":
		return d.To()
	case err == nil:
		return "-s " + d.Via + " " + d.To()
	}
	return "-i " + shellWord(d.Via) + " " + d.To()
}

// shellWord quotes what a shell could take for something else.
func shellWord(s string) string {
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("._:-@", r)
	}
	if s != "" && strings.IndexFunc(s, func(r rune) bool { return !plain(r) }) < 0 {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// inside reports whether an address belongs to a network of its owner's site: no provider uses it
// in its own network towards customers.
func inside(a netip.Addr) bool { return a.IsPrivate() }

// private reports whether an address is valid within a network only. 100.64.0.0/10 is shared by the
// customers of a carrier (RFC 6598).
func private(a netip.Addr) bool {
	return a.IsPrivate() || netip.PrefixFrom(netip.AddrFrom4([4]byte{100, 64}), 10).Contains(a)
}
