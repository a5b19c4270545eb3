package report

import (
	"fmt"
	"net/netip"
	"strings"
)

// Header sizes of the commands' packets: IP, then ICMP or UDP (RFC 791, RFC 8200, RFC 792, RFC 768).
const (
	ip4Header, ip6Header = 20, 40
	innerHeader          = 8
	// ikeScanBytes is the IPv4 packet of an ike-scan with one transform and an empty Vendor ID payload: IP and UDP 28, IKE header 28, SA
	// payload 56, header of the Vendor ID payload 4 (RFC 2408, section 3).
	ikeScanBytes = 116
)

// A shell is a list of commands with a word on each.
type shell struct{ lines []string }

func (s *shell) add(why, format string, args ...any) {
	if len(s.lines) > 0 {
		s.lines = append(s.lines, "")
	}
	s.lines = append(s.lines, "# "+why)
	for line := range strings.Lines(fmt.Sprintf(format, args...)) {
		s.lines = append(s.lines, strings.TrimSuffix(line, "\n"))
	}
}

// reproduce are commands that show the same by hand. None of them leaves anything in the peer.
func (r *Report) reproduce() []string {
	var s shell
	r.sizes(&s)
	to := r.tracerouteTo()
	if len(r.Diagnoses) > 0 {
		s.add("how far UDP gets, hop by hop (as root)", "traceroute -n -U -p %d %s", r.port("ike", 500), to)
		s.add("how far ESP and AH get: IP protocols 50 and 51, which have no ports (as root; a silent last hop proves nothing)",
			"traceroute -n -P 50 %s\ntraceroute -n -P 51 %s", to, to)
	}
	s.add("where path MTU discovery says that the path becomes smaller", "tracepath -n %s", r.Address)
	r.ikeScan(&s)
	s.add("watch at either end while the above runs (as root)", "tcpdump -ni %s '%s'", shellWord(r.device()), r.captureFilter())
	s.add("does anybody say \"packet too big\"?", "tcpdump -ni %s '%s'", shellWord(r.device()), r.tooBigFilter())
	return s.lines
}

// sizes are pings of the size that passes, and one byte more.
func (r *Report) sizes(s *shell) {
	m := r.mtu("icmp")
	ping, header := "ping", ip4Header+innerHeader
	if r.v6() {
		ping, header = "ping -6", ip6Header+innerHeader
	}
	if r.Via != "" {
		ping += " -I " + shellWord(r.Via)
	}
	if r.ICMP != nil && r.ICMP.State == "silent" {
		s.add("echo is not answered, so ping cannot show sizes here; it shows when ICMP passes again", "%s -c 5 %s", ping, r.Address)
		return
	}
	if m == nil {
		s.add("echo", "%s -c 5 %s", ping, r.Address)
		return
	}
	s.add(fmt.Sprintf("IP packets of %d bytes with DF pass (%d bytes of data, %d of headers)", m.Bytes, m.Bytes-header, header),
		"%s -M do -c 5 -s %d %s", ping, m.Bytes-header, r.Address)
	if forward := r.forward(); m.State == "clean" && forward.State == "black_hole" {
		s.lines = append(s.lines, "# this does not show what IKE sees: the fault is one of UDP, or of another way that UDP takes")
	}
	if m.State != "clean" {
		s.add(fmt.Sprintf("one byte more does not; \"message too long\" from this host itself is its path MTU cache: see `ip route get %s`", r.Address),
			"%s -M do -c 5 -s %d %s", ping, m.Bytes+1-header, r.Address)
	}
}

// ikeScan are IKE messages of two sizes. The offer is one that nobody accepts (DES, MD5, group 1), so it leaves no half-open SA; what ike-scan offers
// by default is accepted by some gateways, and does.
func (r *Report) ikeScan(s *shell) {
	if r.v6() || r.port("ike", 500) != 500 {
		return // ike-scan speaks IPv4; the sizes are those of port 500
	}
	const harmless = "ike-scan --sport=0 --retry=3 --trans=1,1,1,1"
	s.add("IKEv1 on UDP port 500 with an offer that no gateway of today accepts (DES, MD5, group 1); do not use ike-scan's defaults, --ikev2 or --aggressive: "+
		"what a gateway accepts stays half-open there. A gateway without IKEv1 is silent", "%s %s", harmless, r.Address)
	m := r.mtu("ike")
	if m == nil || m.State == "clean" || m.Bytes < ikeScanBytes {
		return
	}
	s.add(fmt.Sprintf("the same in an IP packet of %d bytes, and of one byte more, padded with a Vendor ID", m.Bytes),
		"%s --vendor=$(printf '00%%.0s' $(seq %d)) %s\n%s --vendor=$(printf '00%%.0s' $(seq %d)) %s",
		harmless, m.Bytes-ikeScanBytes, r.Address, harmless, m.Bytes+1-ikeScanBytes, r.Address)
}

// device is the interface for tcpdump.
func (r *Report) device() string {
	if r.Interface != "" {
		return r.Interface
	}
	return "any"
}

// tracerouteTo is the destination of a traceroute, with the way out that was asked for.
func (r *Report) tracerouteTo() string {
	switch _, err := netip.ParseAddr(r.Via); {
	case r.Via == "":
		return r.Address
	case err == nil:
		return "-s " + r.Via + " " + r.Address
	}
	return "-i " + shellWord(r.Via) + " " + r.Address
}

// captureFilter is everything that a VPN with the peer sends, fragments included: after the first they have no ports.
func (r *Report) captureFilter() string {
	udp := fmt.Sprintf("udp port %d or udp port %d", r.port("ike", 500), r.port("natt", 4500))
	if r.v6() {
		return fmt.Sprintf("host %s and (%s or ip6 proto 50 or ip6 proto 51 or ip6[6] == 44) or icmp6", r.Address, udp)
	}
	return fmt.Sprintf("host %s and (%s or ip proto 50 or ip proto 51 or ip[6:2] & 0x3fff != 0) or icmp", r.Address, udp)
}

// tooBigFilter is "packet too big" from anybody (RFC 792; RFC 4443, section 3.2).
func (r *Report) tooBigFilter() string {
	if r.v6() {
		return "icmp6 and ip6[40] == 2"
	}
	return "icmp[0] == 3 and icmp[1] == 4"
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
