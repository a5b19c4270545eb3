package ciscoasa

import (
	"context"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
	"time"

	"ipsec_path_exporter/collectors/gateways"
)

// ikeSA is one row of an SA table, before it is known which end is ours.
type ikeSA struct {
	gateways.IKESA
	// dst and src are the responder's and initiator's address, as IOS shows them for IKEv1.
	dst, src string
	local    netip.Addr
	lifetime time.Duration
	age      time.Duration
	hasAge   bool
	typed    bool // The line with its type is read.
}

type ikeTable struct {
	sas []*ikeSA
	// recognised reports whether the output was one of SAs, or of none.
	recognised bool
	total      int // as the device counts IKEv1 SAs
	unread
}

// Lines of `show crypto isakmp sa`, `show crypto ikev1 sa` and `show crypto ikev2 sa`, with and
// without `detail`.
var (
	ikeBlock   = regexp.MustCompile(`^\s*\d+\s+IKE Peer: *(\S+)$`)
	ikeFields  = regexp.MustCompile(`(?:^|\s)(Type|Role|Rekey|State|Encrypt|Hash|Auth|Lifetime Remaining|Lifetime|D/H Group)\s*:`)
	ikeColumn  = regexp.MustCompile(`^\s*\d+\s+(\S+)\s+\S+\s+(Init|Resp)\w*\s+(No|Yes)\s+([AM]M_\w+)(?:\s.*)?$`)
	ikeCount   = regexp.MustCompile(`^\s*Total IKE SA: *(\d+)$`)
	ikeNone    = regexp.MustCompile(`^\s*There are no (?:IKEv1 |IKEv2 |isakmp |ikev1 |ikev2 )?[sS][aA]s$`)
	ikeHeading = regexp.MustCompile(`^\s*(?:IKEv[12] SAs:|Active SA: *\d+|Rekey SA: *\d+.*|IPv[46] Crypto (?:ISAKMP SA|IKEv2 +(?:SA|Session))|` +
		`IKE Peer +Type +.*|dst +src +state .*|C-id +Local .*|Tunnel-id +.*|Session-id: ?\d+, *Status:.*|Crypto session current status)$`)
	iosRow    = regexp.MustCompile(`^(\S+) +(\S+) +([A-Z]{2,4}_[A-Z_0-9]+) +(\d+)(?: +\d+)? +([A-Z]+(?: \(deleted\))?)$`)
	iosDetail = regexp.MustCompile(`^(\d+) +(\S+) +(\S+) +(?:\S+ +)?(ACTIVE|STDBY)\b.*$`)
	// IOS shows an IKEv1 SA with an IPv6 peer on three lines.
	iosV6Dst   = regexp.MustCompile(`^\s*dst: *(\S+)$`)
	iosV6Src   = regexp.MustCompile(`^\s*src: *(\S+)$`)
	iosV6State = regexp.MustCompile(`^\s*state: *([A-Z]{2,4}_[A-Z_0-9]+) +conn-id: *(\d+)(?: +slot: *\d+)? +status: *([A-Z]+(?: \(deleted\))?)$`)
	// ikeUnknown matches further properties of an SA.
	ikeUnknown  = regexp.MustCompile(`^\s+[A-Za-z][^:]*:`)
	ikev2Row    = regexp.MustCompile(`^\s*(\d+) +(\S+)/(\d+) +(\S+)/(\d+) +(?:(\S+/\S+) +)?([A-Z][A-Z_-]*)(?: +(INITIATOR|RESPONDER))?$`)
	ikev2Split  = regexp.MustCompile(`^\s*(\d+) +\S+/\S+ +([A-Z][A-Z_-]*)(?: +(INITIATOR|RESPONDER))?$`)
	ikev2End    = regexp.MustCompile(`^\s*(Local|Remote) +(\S+)/\d+$`)
	ikev2Time   = regexp.MustCompile(`^\s*Life/Active Time: *(\d+)/(\d+) sec`)
	ikev2SPIs   = regexp.MustCompile(`^\s*Local spi: *(\w+) +Remote spi: *(\w+)$`)
	ikev2ID     = regexp.MustCompile(`^\s*(Local|Remote) id: *(.*)$`)
	ikev2Init   = regexp.MustCompile(`^\s*Initiator of SA *: *(Yes|No)$`)
	ikev2Frag   = regexp.MustCompile(`^\s*(?:IETF Std |IETF |Cisco )?Fragmentation +(?:is +)?(not +)?(?:configured|enabled)`)
	ikev2Detail = regexp.MustCompile(`^\s*(?:Encr:|CE id:|Session-id:|Status Description:|(?:Local|Remote) (?:req|next|window|Sys)|DPD configured|` +
		`Dynamic Route|Extended Authentication|NAT-T is|Cisco Trust|Quantum|PEER TYPE|PQC|Pushed IP|Assigned|Remote subnets|IKEV2 Fragmentation|` +
		`Parent SA Extended|Delete Reason|Auth sign|Fragmentation|IETF|MTU|Child sa:|(?:local|remote) +selector|\S+/\d+ +- +\S+/\d+|` +
		`(?:ESP|AH) spi|AH spi|CPI in|Encr:|ah_hmac|Engine-id|\d+\.\d+\.\d+\.\d+ \d+\.\d+\.\d+\.\d+$|[0-9A-Fa-f:]+/\d+$|IPv6 Crypto|Initiator of SA)`)
)

// parseIKE reads any of the outputs about IKE SAs, also several one after the other.
func parseIKE(ctx context.Context, raw string) ikeTable {
	var t ikeTable
	var sa *ikeSA
	for line := range answerLines(ctx, raw) {
		switch {
		case noise.MatchString(line):
		case ikeNone.MatchString(line), ikeHeading.MatchString(line):
			t.recognised = true
		case t.row(line):
			sa, t.recognised = t.sas[len(t.sas)-1], true
		case t.count(line):
		case sa != nil && !sa.has(line) && sa.detail(line):
		case ikev2Detail.MatchString(line):
		case sa != nil && !sa.has(line) && sa.VendorState != "" && ikeUnknown.MatchString(line):
			t.lines = append(t.lines, line)
		default:
			t.unread.sas = append(t.unread.sas, line)
			sa = nil // What follows is about another SA.
		}
	}
	t.finish()
	return t
}

// finish takes note of SAs that are counted and not shown, or shown in part.
func (t *ikeTable) finish() {
	v1 := 0
	for _, sa := range t.sas {
		if sa.Rekey && sa.State == gateways.Established {
			sa.State = gateways.IKERekeying
		}
		if sa.Version == 1 {
			v1++
		}
		if sa.dst != "" && sa.src == "" {
			t.doubts++
		}
	}
	t.doubts += max(0, t.total-v1)
}

func (t *ikeTable) count(line string) bool {
	m := ikeCount.FindStringSubmatch(line)
	if m == nil {
		return false
	}
	if n, err := strconv.Atoi(m[1]); err == nil {
		t.total, t.recognised = t.total+n, true
	}
	return true
}

var ikeRows = []lineRule[*ikeSA]{
	{ikeBlock, func(sa *ikeSA, m []string) { sa.Version, sa.Peer = 1, identity(m[1]) }},
	{ikeColumn, func(sa *ikeSA, m []string) {
		sa.Version, sa.Peer, sa.Initiator, sa.Rekey = 1, identity(m[1]), m[2] == "Init", m[3] == "Yes"
		sa.vendor(m[4])
	}},
	{iosRow, func(sa *ikeSA, m []string) {
		sa.dst, sa.src = m[1], m[2]
		sa.ios(m[3], m[4], m[5])
	}},
	{iosV6Dst, func(sa *ikeSA, m []string) { sa.Version, sa.dst = 1, m[1] }},
	{ikev2Row, func(sa *ikeSA, m []string) {
		sa.ikev2(m[1], m[7], m[8])
		sa.local, _ = netip.ParseAddr(m[2])
		sa.Peer = identity(m[4])
	}},
	{ikev2Split, func(sa *ikeSA, m []string) { sa.ikev2(m[1], m[2], m[3]) }},
	{iosDetail, func(sa *ikeSA, m []string) {
		// This output has no state: ACTIVE means that this device, not its standby, holds the SA.
		sa.Version, sa.Key, sa.VendorState = 1, "conn "+m[1], m[4]
		sa.local, _ = netip.ParseAddr(m[2])
		sa.Peer = identity(m[3])
	}},
}

// ikeDetails read the further lines of an SA, apart from the fields of IKEv1.
var ikeDetails = []lineRule[*ikeSA]{
	{iosV6Src, func(sa *ikeSA, m []string) { sa.src = m[1] }},
	{iosV6State, func(sa *ikeSA, m []string) { sa.ios(m[1], m[2], m[3]) }},
	{ikev2End, func(sa *ikeSA, m []string) {
		if m[1] == "Remote" {
			sa.Peer = identity(m[2])
		} else {
			sa.local, _ = netip.ParseAddr(m[2])
		}
	}},
	{ikev2Time, func(sa *ikeSA, m []string) { sa.age, sa.hasAge = seconds(m[2]) }},
	{ikev2SPIs, func(sa *ikeSA, m []string) { sa.Key = m[1] + " " + m[2] }},
	{ikev2ID, func(sa *ikeSA, m []string) {
		if m[1] == "Remote" {
			sa.Peer.ID = m[2]
		}
	}},
	{ikev2Init, func(sa *ikeSA, m []string) { sa.Initiator = m[1] == "Yes" }},
	{ikev2Frag, func(sa *ikeSA, m []string) { sa.Fragmentation = gateways.AnswerOf(m[1] == "") }},
}

func (t *ikeTable) row(line string) bool {
	sa := &ikeSA{}
	if !readLine(ikeRows, sa, line) {
		return false
	}
	t.sas = append(t.sas, sa)
	return true
}

// vendor takes a state of an ASA's IKEv1. Its case is not stable.
func (sa *ikeSA) vendor(word string) {
	sa.VendorState = strings.ToUpper(word)
	sa.State = asaState(sa.VendorState)
}

// ios takes the state of an IKEv1 SA of IOS.
func (sa *ikeSA) ios(word, conn, status string) {
	sa.Version, sa.Key, sa.VendorState, sa.State = 1, "conn "+conn, word, iosState(word, status)
	if !strings.HasPrefix(status, "ACTIVE") || strings.Contains(status, "deleted") {
		sa.VendorState += " " + status
	}
}

func (sa *ikeSA) ikev2(id, status, role string) {
	sa.Version, sa.Key, sa.VendorState, sa.State = 2, "tunnel "+id, status, ikev2State(status)
	sa.Initiator = role == "INITIATOR"
}

// has reports whether the SA has the property in the line already: the line is about another SA,
// whose first line was not understood.
func (sa *ikeSA) has(line string) bool {
	if m := ikev2End.FindStringSubmatch(line); m != nil {
		return m[1] == "Remote" && sa.Peer != gateways.Identity{} || m[1] == "Local" && sa.local.IsValid()
	}
	if iosV6Src.MatchString(line) {
		return sa.src != "" || sa.dst == ""
	}
	if iosV6State.MatchString(line) {
		return sa.VendorState != "" || sa.dst == ""
	}
	if ikev2Time.MatchString(line) {
		return sa.hasAge
	}
	for _, f := range split(line, ikeFields) {
		if f.key == "Type" && sa.typed || f.key == "State" && sa.VendorState != "" {
			return true
		}
	}
	return false
}

func (sa *ikeSA) detail(line string) bool {
	if fields := split(line, ikeFields); fields != nil && sa.Version == 1 {
		for _, f := range fields {
			sa.field(f.key, f.value)
		}
		return true
	}
	return readLine(ikeDetails, sa, line)
}

func (sa *ikeSA) field(key, value string) {
	switch key {
	case "Type":
		sa.typed = true
	case "Role":
		sa.Initiator = value == "initiator"
	case "Rekey":
		sa.Rekey = value == "yes"
	case "State":
		sa.vendor(value)
	case "Lifetime":
		sa.lifetime, _ = seconds(value)
	case "Lifetime Remaining":
		if left, ok := seconds(value); ok && left <= sa.lifetime {
			sa.age, sa.hasAge = sa.lifetime-left, true
		}
	}
}

type field struct{ key, value string }

// split reads the fields of a line; keys matches one, with its colon.
func split(line string, keys *regexp.Regexp) []field {
	at := keys.FindAllStringSubmatchIndex(line, -1)
	if at == nil || strings.TrimSpace(line[:at[0][0]]) != "" {
		return nil
	}
	var out []field
	for i, m := range at {
		end := len(line)
		if i+1 < len(at) {
			end = at[i+1][0]
		}
		out = append(out, field{line[m[2]:m[3]], strings.TrimSpace(line[m[1]:end])})
	}
	return out
}

// identity is the other end as a device shows it: an address, or a name in its place.
func identity(s string) gateways.Identity {
	if a, err := netip.ParseAddr(s); err == nil {
		return gateways.Identity{Address: a.Unmap()}
	}
	return gateways.Identity{Name: s}
}

func seconds(s string) (time.Duration, bool) {
	n, err := strconv.ParseUint(s, 10, 32)
	return time.Duration(n) * time.Second, err == nil
}
