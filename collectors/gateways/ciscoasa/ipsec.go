package ciscoasa

import (
	"net/netip"
	"regexp"
	"strconv"
	"strings"

	"ipsec_path_exporter/collectors/gateways"
)

// ipsecEntry is one pair of selectors of `show crypto ipsec sa`, with its SAs if it has any.
type ipsecEntry struct {
	gateways.ChildSA
	local    netip.Addr
	counters map[string]uint64
	// sections says that the output lists SAs; inbound and outbound count them.
	sections          bool
	inbound, outbound int
	standby           bool
}

// ipsecTable is what `show crypto ipsec sa` says.
type ipsecTable struct {
	entries    []*ipsecEntry
	recognised bool
	unparsed   int
}

// Lines of `show crypto ipsec sa`.
var (
	ipsecNone      = regexp.MustCompile(`^\s*There are no ipsec sas`)
	ipsecInterface = regexp.MustCompile(`^\s*interface: *(\S+)`)
	ipsecMap       = regexp.MustCompile(`^\s*Crypto map tag: *([^,\s]+)`)
	ipsecLocal     = regexp.MustCompile(`^\s*local +ident \(addr/mask/prot/port\): *\((.*)\)`)
	ipsecRemote    = regexp.MustCompile(`^\s*remote +ident \(addr/mask/prot/port\): *\((.*)\)`)
	ipsecPeer      = regexp.MustCompile(`^\s*current_peer:? *([^,\s]+)(?:, *username: *(\S+)| port \d+)?`)
	ipsecCounter   = regexp.MustCompile(`#+([A-Za-z][^:#,]*?):? +(\d+)(?:,|\s|$)`)
	ipsecEnds      = regexp.MustCompile(`(local|remote) crypto endpt\.: *([^,\s]+)`)
	ipsecMTU       = regexp.MustCompile(`\bpath mtu (\d+)`)
	ipsecOverhead  = regexp.MustCompile(`\bipsec overhead (\d+)`)
	ipsecPlain     = regexp.MustCompile(`\bplaintext mtu (\d+)`)
	ipsecSection   = regexp.MustCompile(`^\s*(inbound|outbound) +(esp|ah|pcp) sas:`)
	ipsecSPI       = regexp.MustCompile(`^\s*spi: *(0x[0-9A-Fa-f]+|\[Not Available\])`)
	ipsecSettings  = regexp.MustCompile(`^\s*in use settings *= *\{(.*)\}`)
	ipsecStatus    = regexp.MustCompile(`^\s*Status: *(\S+)`)
	ipsecOther     = regexp.MustCompile(`^\s*(?:access-list |dynamic allocated peer|protected vrf:|PERMIT|DENY|current (?:in|out)bound spi|PFS |` +
		`PMTU time|ICMP error validation|transform:|SA State|slot:|conn id:|sa timing:|Kilobyte|IV size:|replay detection|Anti replay|ecn bit|` +
		`replay window|initiator|0x[0-9A-Fa-f]+ 0x|crypto map:|spi: 0x|IPSec tunnel|Crypto IPSec|sibling|PQC|RI |IPsecv6 policy|TBAR|\(sec\))`)
)

// parseIPsec reads `show crypto ipsec sa`, with and without `detail` or a filter.
func parseIPsec(raw string) ipsecTable {
	var t ipsecTable
	p := ipsecParser{table: &t}
	for _, line := range answerLines(raw) {
		if !noise.MatchString(line) && !p.line(line) {
			t.unparsed++
		}
	}
	for _, e := range t.entries {
		e.finish()
	}
	return t
}

// ipsecParser reads line by line: what stands above several entries is remembered for each.
type ipsecParser struct {
	table      *ipsecTable
	entry      *ipsecEntry
	iface, tag string
	section    *int // where the SAs of the current section are counted
}

func (p *ipsecParser) line(line string) bool {
	if m := ipsecInterface.FindStringSubmatch(line); m != nil {
		p.iface, p.entry, p.table.recognised = m[1], nil, true
	} else if m := ipsecMap.FindStringSubmatch(line); m != nil {
		p.tag, p.entry, p.table.recognised = m[1], nil, true
	} else if ipsecNone.MatchString(line) {
		p.table.recognised = true
	} else if m := ipsecLocal.FindStringSubmatch(line); m != nil {
		p.entry, p.section, p.table.recognised = &ipsecEntry{counters: map[string]uint64{}}, nil, true
		p.entry.Name, p.entry.Key = p.tag, p.iface+" "+p.tag+" "+m[1]
		p.table.entries = append(p.table.entries, p.entry)
	} else if p.entry == nil {
		return ipsecOther.MatchString(line)
	} else {
		return p.inEntry(line) || ipsecOther.MatchString(line)
	}
	return true
}

// inEntry reads a further line of an entry.
func (p *ipsecParser) inEntry(line string) bool {
	e := p.entry
	if m := ipsecRemote.FindStringSubmatch(line); m != nil {
		e.Key += " " + m[1]
	} else if m := ipsecPeer.FindStringSubmatch(line); m != nil {
		e.Peer = identity(m[1])
		e.Peer.Username = m[2]
	} else if m := ipsecSection.FindStringSubmatch(line); m != nil {
		e.sections, p.section = true, nil
		if m[2] != "pcp" {
			p.section = map[string]*int{"inbound": &e.inbound, "outbound": &e.outbound}[m[1]]
		}
	} else if m := ipsecSPI.FindStringSubmatch(line); m != nil && p.section != nil {
		*p.section++
	} else if m := ipsecSettings.FindStringSubmatch(line); m != nil {
		e.NATT = gateways.AnswerOf(strings.Contains(m[1], "NAT-T") || strings.Contains(m[1], "UDP-Encaps"))
	} else if m := ipsecStatus.FindStringSubmatch(line); m != nil {
		e.standby = e.standby || strings.HasPrefix(m[1], "STANDBY")
	} else {
		return e.counts(line) || e.endpoints(line) || e.mtu(line)
	}
	return true
}

func (e *ipsecEntry) counts(line string) bool {
	found := ipsecCounter.FindAllStringSubmatch(line, -1)
	for _, m := range found {
		if v, err := strconv.ParseUint(m[2], 10, 64); err == nil {
			e.counters[strings.ToLower(m[1])] = v
		}
	}
	return found != nil
}

func (e *ipsecEntry) endpoints(line string) bool {
	found := ipsecEnds.FindAllStringSubmatch(line, -1)
	for _, m := range found {
		host, _, _ := strings.Cut(m[2], "/")
		a, err := netip.ParseAddr(host)
		switch {
		case err != nil:
		case m[1] == "local":
			e.local = a.Unmap()
		case !e.Peer.Address.IsValid():
			e.Peer.Address = a.Unmap()
		}
	}
	return found != nil
}

func (e *ipsecEntry) mtu(line string) bool {
	m := ipsecMTU.FindStringSubmatch(line)
	if m == nil {
		return false
	}
	e.PathMTU = small(m[1])
	if m := ipsecOverhead.FindStringSubmatch(line); m != nil {
		e.Overhead = small(m[1])
	} else if m := ipsecPlain.FindStringSubmatch(line); m != nil {
		e.Overhead = max(0, e.PathMTU-small(m[1]))
	}
	return true
}

// small is a number that fits into the length of a packet, 0 if it does not.
func small(s string) int {
	n, err := strconv.ParseUint(s, 10, 16)
	if err != nil {
		return 0
	}
	return int(n)
}

// finish judges an entry whose lines are all read. Its counters belong to the entry: they may go on over a rekey or not.
func (e *ipsecEntry) finish() {
	e.Key = e.Peer.String() + " " + e.Key
	if v, ok := e.counters["pkts decaps"]; ok {
		e.In.Packets = gateways.Counted(v)
	}
	if v, ok := e.counters["pkts encaps"]; ok {
		e.Out.Packets = gateways.Counted(v)
	}
	switch {
	case !e.sections, e.standby:
		e.State = gateways.ChildUnknown
	case e.inbound > 1 && e.outbound > 0: // The old one is kept for a while beside the new one.
		e.State = gateways.ChildRekeying
	case e.inbound > 0 && e.outbound > 0:
		e.State = gateways.Installed
	case e.inbound > 0 || e.outbound > 0:
		e.State = gateways.Installing
	}
}

// empty tells whether an entry is only a line of the configuration: it has no SAs.
func (e *ipsecEntry) empty() bool { return e.sections && e.inbound+e.outbound == 0 }
