package ciscoasa

import (
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
	// dst and src are the ends that IOS shows for IKEv1: the responder's and the initiator's address.
	dst, src string
	local    netip.Addr
	lifetime time.Duration
	age      time.Duration
	hasAge   bool
}

// ikeTable is what the outputs about IKE SAs say.
type ikeTable struct {
	sas []*ikeSA
	// recognised says that the output was one of SAs, or of none.
	recognised bool
	total      int // as the device counts IKEv1 SAs, -1 if it does not
	unparsed   int
}

// Lines of `show crypto isakmp sa`, `show crypto ikev1 sa` and `show crypto ikev2 sa`, with and without `detail`.
var (
	ikeBlock   = regexp.MustCompile(`^\s*\d+\s+IKE Peer: *(\S+)$`)
	ikeFields  = regexp.MustCompile(`(?:^|\s)(Type|Role|Rekey|State|Encrypt|Hash|Auth|Lifetime Remaining|Lifetime|D/H Group)\s*:`)
	ikeColumn  = regexp.MustCompile(`^\s*\d+\s+(\S+)\s+\S+\s+(Init|Resp)\w*\s+(No|Yes)\s+([AM]M_\w+)(?:\s.*)?$`)
	ikeCount   = regexp.MustCompile(`^\s*Total IKE SA: *(\d+)$`)
	ikeNone    = regexp.MustCompile(`^\s*There are no (?:IKEv1 |IKEv2 |isakmp |ikev1 |ikev2 )?[sS][aA]s$`)
	ikeHeading = regexp.MustCompile(`^\s*(?:IKEv[12] SAs:|Active SA: *\d+|Rekey SA: *\d+.*|IPv[46] Crypto (?:ISAKMP SA|IKEv2 +(?:SA|Session))|` +
		`IKE Peer +Type +.*|dst +src +state .*|C-id +Local .*|Tunnel-id +.*|Session-id: ?\d+, *Status:.*|Crypto session current status)$`)
	iosRow      = regexp.MustCompile(`^(\S+) +(\S+) +([A-Z]{2,4}_[A-Z_0-9]+) +(\d+)(?: +\d+)? +([A-Z]+(?: \(deleted\))?)$`)
	iosDetail   = regexp.MustCompile(`^(\d+) +(\S+) +(\S+) +(?:\S+ +)?(ACTIVE|STDBY)\b.*$`)
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
func parseIKE(raw string) ikeTable {
	t := ikeTable{total: -1}
	var sa *ikeSA
	for _, line := range answerLines(raw) {
		switch {
		case noise.MatchString(line):
		case ikeNone.MatchString(line), ikeHeading.MatchString(line):
			t.recognised = true
		case t.row(line):
			sa, t.recognised = t.sas[len(t.sas)-1], true
		case t.count(line):
		case sa != nil && sa.detail(line):
		case ikev2Detail.MatchString(line):
		default:
			t.unparsed++
		}
	}
	for _, sa := range t.sas {
		if sa.Rekey && sa.State == gateways.Established {
			sa.State = gateways.IKERekeying
		}
	}
	return t
}

// count reads how many SAs the device counts.
func (t *ikeTable) count(line string) bool {
	m := ikeCount.FindStringSubmatch(line)
	if m == nil {
		return false
	}
	if n, err := strconv.Atoi(m[1]); err == nil {
		t.total, t.recognised = max(0, t.total)+n, true
	}
	return true
}

// row reads the first line of an SA.
func (t *ikeTable) row(line string) bool {
	sa := &ikeSA{}
	if m := ikeBlock.FindStringSubmatch(line); m != nil {
		sa.Version, sa.Peer = 1, identity(m[1])
	} else if m := ikeColumn.FindStringSubmatch(line); m != nil {
		sa.Version, sa.Peer, sa.Initiator, sa.Rekey = 1, identity(m[1]), m[2] == "Init", m[3] == "Yes"
		sa.vendor(m[4])
	} else if m := iosRow.FindStringSubmatch(line); m != nil {
		sa.Version, sa.dst, sa.src, sa.Key = 1, m[1], m[2], "conn "+m[4]
		sa.VendorState, sa.State = m[3], iosState(m[3], m[5])
		if !strings.HasPrefix(m[5], "ACTIVE") || strings.Contains(m[5], "deleted") {
			sa.VendorState += " " + m[5]
		}
	} else if m := ikev2Row.FindStringSubmatch(line); m != nil {
		sa.ikev2(m[1], m[7], m[8])
		sa.local, _ = netip.ParseAddr(m[2])
		sa.Peer = identity(m[4])
	} else if m := ikev2Split.FindStringSubmatch(line); m != nil {
		sa.ikev2(m[1], m[2], m[3])
	} else if m := iosDetail.FindStringSubmatch(line); m != nil {
		// This output has no state: ACTIVE says that this box, not its standby, holds the SA.
		sa.Version, sa.Key, sa.VendorState = 1, "conn "+m[1], m[4]
		sa.local, _ = netip.ParseAddr(m[2])
		sa.Peer = identity(m[3])
	} else {
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

func (sa *ikeSA) ikev2(id, status, role string) {
	sa.Version, sa.Key, sa.VendorState, sa.State = 2, "tunnel "+id, status, ikev2State(status)
	sa.Initiator = role == "INITIATOR"
}

// detail reads a further line of an SA.
func (sa *ikeSA) detail(line string) bool {
	if fields := split(line, ikeFields); fields != nil && sa.Version == 1 {
		for _, f := range fields {
			sa.field(f.key, f.value)
		}
		return true
	}
	if m := ikev2End.FindStringSubmatch(line); m != nil {
		if m[1] == "Remote" {
			sa.Peer = identity(m[2])
		} else {
			sa.local, _ = netip.ParseAddr(m[2])
		}
	} else if m := ikev2Time.FindStringSubmatch(line); m != nil {
		sa.age, sa.hasAge = seconds(m[2])
	} else if m := ikev2SPIs.FindStringSubmatch(line); m != nil {
		sa.Key = m[1] + " " + m[2]
	} else if m := ikev2ID.FindStringSubmatch(line); m != nil {
		if m[1] == "Remote" {
			sa.Peer.ID = m[2]
		}
	} else if m := ikev2Init.FindStringSubmatch(line); m != nil {
		sa.Initiator = m[1] == "Yes"
	} else if m := ikev2Frag.FindStringSubmatch(line); m != nil {
		sa.Fragmentation = gateways.AnswerOf(m[1] == "")
	} else {
		return false
	}
	return true
}

// field reads one field of the block that an ASA prints for an IKEv1 SA.
func (sa *ikeSA) field(key, value string) {
	switch key {
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

// A field is one of several on a line.
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
