package ciscoasa

import (
	"cmp"
	"context"
	"net/netip"
	"regexp"
	"strconv"
	"strings"

	"ipsec_path_exporter/collectors/gateways"
)

// session is one record of `show vpn-sessiondb`, or one of `show crypto session` of IOS. Both name
// the identity behind an address. An ASA lists established sessions only, so neither output says
// whether a tunnel is up.
type session struct {
	gateways.Identity
	index   string
	in, out gateways.Traffic
	// local is our end, of IOS only.
	local netip.Addr
}

type sessionTable struct {
	sessions []*session
	// active counts the kinds of sessions of a summary, by their label.
	active map[string]int
	unread
}

// Fields of `show vpn-sessiondb l2l`, `ra-ikev1-ipsec` and the like, of all versions.
var (
	dbFields = regexp.MustCompile(`(?:^|\s)(Connection|Username|Index|IP Addr|Assigned IP(?:v6)?|Public IP|Protocol|License|Encryption|Hashing|Bytes Tx|Bytes Rx|` +
		`Pkts Tx Drop|Pkts Rx Drop|Pkts Tx|Pkts Rx|Login Time|Duration|Group Policy|Tunnel Group|Client Ver|Client Type|Client OS Ver|Client OS|` +
		`Inactivity|NAC Result|VLAN Mapping|VLAN|Audt Sess ID|Security Grp|Tunnel Zone|Tunnel ID|UDP Src Port|UDP Dst Port|TCP Src Port|TCP Dst Port|` +
		`IKE Neg Mode|Auth Mode|Rekey Int ?\([TD]\)|Rekey Left ?\([TD]\)|D/H Group|Filter Name|Local Addr|Remote Addr|Encapsulation|PFS Group|` +
		`Idle Time Out|Idle TO Left|IPv6 Filter|PRF|Ciphersuite|Role|Guest Tunnel|Assigned VLAN|Conn Time Out|Conn TO Left)\s*:(?:\s|$)`)
	dbOther = regexp.MustCompile(`^\s*(?:Session Type:|INFO: |IKE(?:v1|v2)?(?:IPSec|IPsec)?\w*:?|IP[Ss]ec\w*:|(?:IKE|IKEv1|IKEv2|IPSec|IPsec|IPsecOverNatT|` +
		`AnyConnect-Parent|SSL-Tunnel|DTLS-Tunnel|Clientless) (?:Tunnels|Sessions):|[\w-]+ Tunnels: *\d+|There are presently no )`)
	dbSummary = regexp.MustCompile(`^( *)(\S.*?) *: +(\d+) *: +\d+ *: +\d+(?: *: +\d+)?$`)
	dbHeading = regexp.MustCompile(`^\s*(?:VPN Session Summary|Tunnels Summary|Active : |Total Active|Device (?:Total|Load)|Totals? )`)
)

// parseSessions reads any `show vpn-sessiondb`.
func parseSessions(ctx context.Context, raw string) sessionTable {
	t := sessionTable{active: map[string]int{}}
	var s *session
	inTunnel, inTunnels, parent, indent := false, false, "", -1
	for line := range answerLines(ctx, raw) {
		fields := split(line, dbFields)
		switch m := dbSummary.FindStringSubmatch(line); {
		case noise.MatchString(line):
		case m != nil && inTunnels:
		case m != nil:
			if indent < 0 {
				indent = len(m[1])
			}
			name := m[2]
			if len(m[1]) <= indent {
				parent = name
			} else {
				name = parent + " " + name
			}
			t.active[kind(name)], _ = strconv.Atoi(m[3])
		case dbHeading.MatchString(line):
			inTunnels = inTunnels || strings.Contains(line, "Tunnels Summary")
		case fields == nil && !dbOther.MatchString(line):
			t.lines = append(t.lines, line)
		}
		for _, f := range fields {
			switch f.key {
			case "Connection", "Username":
				s, inTunnel = &session{}, false
				t.sessions = append(t.sessions, s)
			case "Tunnel ID":
				inTunnel = true // From here on it counts one tunnel, no longer the session.
			}
			if s != nil && !inTunnel {
				s.field(f.key, f.value)
			}
		}
	}
	return t
}

func (s *session) field(key, value string) {
	switch key {
	case "Connection", "Tunnel Group": // The tunnel group of a fixed peer is its address.
		s.Group = value
	case "Username":
		s.Username = value
	case "IP Addr", "Public IP":
		id := identity(value)
		s.Address, s.Name = id.Address, id.Name
	case "Index":
		s.index = value
	case "Bytes Tx":
		s.out.Bytes = gateways.ParseCount(value)
	case "Bytes Rx":
		s.in.Bytes = gateways.ParseCount(value)
	}
}

// kind makes a label value of a heading: "Site-to-Site VPN" is site_to_site_vpn.
func kind(heading string) string {
	return strings.Trim(strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= '0' && r <= '9':
			return r
		case r >= 'A' && r <= 'Z':
			return r + 'a' - 'A'
		}
		return '_'
	}, heading), "_")
}

// Lines of `show crypto session detail` of IOS.
var (
	iosBlock = regexp.MustCompile(`^Interface: *(\S*)`)
	iosField = regexp.MustCompile(`^\s*(Username|Profile|Group|Assigned address|Uptime|Session status|Phase1_id|Desc|Session ID|System IP): *(.*)$`)
	iosPeer  = regexp.MustCompile(`^\s*Peer: *(\S+) port \d+`)
	iosSA    = regexp.MustCompile(`^\s*IKE(?:v[12])? SA: local (\S+)/\d+`)
	iosOther = regexp.MustCompile(`^\s*(?:Crypto session current status|Code: |[A-Z] - |K - |remote \S+/\d+|Capabilities:|IPSEC FLOW:|Active SAs:|` +
		`(?:In|Out)bound: +#pkts|Session ID|IKEv?\d? SA:)`)
)

// parseIOSSessions reads `show crypto session detail`.
func parseIOSSessions(ctx context.Context, raw string) sessionTable {
	var t sessionTable
	var s *session
	for line := range answerLines(ctx, raw) {
		switch {
		case iosBlock.MatchString(line):
			s = &session{}
			t.sessions = append(t.sessions, s)
		case s != nil && readLine(iosDetails, s, line), noise.MatchString(line), iosOther.MatchString(line):
		default:
			t.lines = append(t.lines, line)
		}
	}
	return t
}

var iosDetails = []lineRule[*session]{
	{iosField, func(s *session, m []string) {
		switch value := strings.TrimSpace(m[2]); m[1] {
		case "Username":
			s.Username = value
		case "Group":
			s.Group = value
		case "Profile":
			s.Group = cmp.Or(s.Group, value)
		case "Phase1_id":
			s.ID = strings.TrimSuffix(strings.TrimPrefix(value, "(none)"), "(none)")
		}
	}},
	{iosPeer, func(s *session, m []string) {
		id := identity(m[1])
		s.Address, s.Name = id.Address, id.Name
	}},
	{iosSA, func(s *session, m []string) { s.local, _ = netip.ParseAddr(m[1]) }},
}
