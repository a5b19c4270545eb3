package ciscoasa

import (
	"context"
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
	// sas counts the SAs below each heading, such as "inbound esp".
	sas map[string]int
	// odd reports whether a line about an SA is missing or contradicts another one.
	odd       bool
	standby   bool
	hasRemote bool
	hasPeer   bool // The peer is read, and it is the remote endpoint.
}

type ipsecTable struct {
	entries    []*ipsecEntry
	recognised bool
	unread
}

// Lines of `show crypto ipsec sa`.
var (
	ipsecNone      = regexp.MustCompile(`^\s*There are no ipsec sas`)
	ipsecInterface = regexp.MustCompile(`^\s*interface: *(\S+)`)
	ipsecMap       = regexp.MustCompile(`^\s*Crypto map tag: *([^,\s]+)`)
	ipsecBefore    = regexp.MustCompile(`^\s*(?:access-list |[Pp]rotected vrf\b)`)
	ipsecLocal     = regexp.MustCompile(`^\s*local +ident \(addr/mask/prot/port\): *\((.*)\)`)
	ipsecRemote    = regexp.MustCompile(`^\s*remote +ident \(addr/mask/prot/port\): *\((.*)\)`)
	ipsecPeer      = regexp.MustCompile(`^\s*current_peer:? *([^,\s]+)(?:, *username: *(\S+)| port \d+)?`)
	ipsecCounter   = regexp.MustCompile(`#+([A-Za-z][^:#,]*?):? +(\d+)(?:,|\s|$)`)
	ipsecEnds      = regexp.MustCompile(`(local|remote) crypto endpt\.: *([^,\s]+)`)
	ipsecMTU       = regexp.MustCompile(`\bpath mtu (\d+)`)
	ipsecOverride  = regexp.MustCompile(`\boverride mtu (\d+)`)
	ipsecOverhead  = regexp.MustCompile(`\bipsec overhead (\d+)`)
	ipsecPlain     = regexp.MustCompile(`\bplaintext mtu (\d+)`)
	ipsecSection   = regexp.MustCompile(`^\s*(inbound|outbound) +(esp|ah|pcp) sas:`)
	ipsecSPI       = regexp.MustCompile(`^\s*spi: *(0x[0-9A-Fa-f]+|\[Not Available\])`)
	ipsecSettings  = regexp.MustCompile(`^\s*in use settings *= *\{(.*)\}`)
	ipsecStatus    = regexp.MustCompile(`^\s*Status: *(\S+)`)
	ipsecOther     = regexp.MustCompile(`^\s*(?:dynamic allocated peer|PERMIT|DENY|current (?:in|out)bound spi|PFS |` +
		`PMTU time|ICMP error validation|transform:|SA State|slot:|conn id:|sa timing:|Kilobyte|IV size:|replay detection|Anti replay|ecn bit|` +
		`replay window|initiator|0x[0-9A-Fa-f]+ 0x|crypto map:|spi: 0x|IPSec tunnel|Crypto IPSec|sibling|PQC|RI |IPsecv6 policy|TBAR|\(sec\))`)
)

// parseIPsec reads `show crypto ipsec sa`, with and without `detail` or a filter.
func parseIPsec(ctx context.Context, raw string) ipsecTable {
	var t ipsecTable
	p := ipsecParser{table: &t}
	for line := range answerLines(ctx, raw) {
		if !noise.MatchString(line) && !p.line(line) {
			t.lines = append(t.lines, line)
		}
	}
	for _, e := range t.entries {
		if e.finish(); !e.hasPeer && !e.empty() {
			t.doubts++
		}
	}
	return t
}

// ipsecParser reads line by line. Lines above several entries apply to each of them.
type ipsecParser struct {
	table      *ipsecTable
	entry      *ipsecEntry
	iface, tag string
	section    string // the heading of the current SAs
}

// open starts an entry, whose selectors are not read yet.
func (p *ipsecParser) open(local string) {
	p.entry, p.section = &ipsecEntry{counters: map[string]uint64{}, sas: map[string]int{}}, ""
	p.entry.Name, p.entry.Key = p.tag, p.iface+" "+p.tag+" "+local
	p.table.entries = append(p.table.entries, p.entry)
}

// ipsecHeads read the lines outside entries, and the first line of an entry.
var ipsecHeads = []lineRule[*ipsecParser]{
	{ipsecInterface, func(p *ipsecParser, m []string) { p.iface, p.entry = m[1], nil }},
	{ipsecMap, func(p *ipsecParser, m []string) { p.tag, p.entry = m[1], nil }},
	{ipsecNone, func(*ipsecParser, []string) {}},
	{ipsecBefore, func(p *ipsecParser, _ []string) { p.entry = nil }},
	{ipsecLocal, func(p *ipsecParser, m []string) { p.open(m[1]) }},
}

var ipsecDetails = []lineRule[*ipsecParser]{
	{ipsecRemote, func(p *ipsecParser, m []string) {
		p.entry.Key += " " + m[1]
		p.entry.hasRemote = true
	}},
	{ipsecPeer, func(p *ipsecParser, m []string) {
		p.entry.hasPeer = true
		p.entry.Peer = identity(m[1])
		p.entry.Peer.Username = m[2]
	}},
	{ipsecSection, func(p *ipsecParser, m []string) {
		p.section = m[1] + " " + m[2]
		p.entry.sas[p.section] += 0
	}},
	{ipsecSettings, func(p *ipsecParser, m []string) {
		p.entry.odd = p.entry.odd || p.section != "" && p.entry.sas[p.section] == 0
		p.entry.NATT = gateways.AnswerOf(strings.Contains(m[1], "NAT-T") || strings.Contains(m[1], "UDP-Encaps"))
	}},
	{ipsecStatus, func(p *ipsecParser, m []string) {
		p.entry.standby = p.entry.standby || strings.HasPrefix(m[1], "STANDBY")
	}},
}

func (p *ipsecParser) line(line string) bool {
	if readLine(ipsecHeads, p, line) {
		p.table.recognised = true
		return true
	}
	// The first line of an entry may be missing.
	switch remote, peer := ipsecRemote.MatchString(line), ipsecPeer.MatchString(line); {
	case p.entry == nil && (remote || peer), remote && p.entry.hasRemote, peer && p.entry.hasPeer:
		p.open("")
	}
	return p.entry != nil && p.inEntry(line) || ipsecOther.MatchString(line)
}

func (p *ipsecParser) inEntry(line string) bool {
	if ipsecSPI.MatchString(line) {
		p.entry.odd = p.entry.odd || p.section == ""
		p.entry.sas[p.section]++
		return true
	}
	return readLine(ipsecDetails, p, line) || p.entry.counts(line) || p.entry.endpoints(line) || p.entry.mtu(line)
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
		default:
			e.hasPeer = e.hasPeer && e.Peer.Address == a.Unmap()
		}
	}
	return found != nil
}

func (e *ipsecEntry) mtu(line string) bool {
	m, override := ipsecMTU.FindStringSubmatch(line), ipsecOverride.FindStringSubmatch(line)
	if m != nil {
		e.PathMTU = small(m[1])
	}
	if override != nil && small(override[1]) != e.PathMTU { // Which of them the device uses is not documented.
		e.PathMTU = 0
	}
	if o := ipsecOverhead.FindStringSubmatch(line); o != nil {
		e.Overhead = small(o[1])
	} else if p := ipsecPlain.FindStringSubmatch(line); p != nil {
		e.Overhead = max(0, e.PathMTU-small(p[1]))
	}
	return m != nil || override != nil
}

// small is a number that fits into the length of a packet, 0 if it does not.
func small(s string) int {
	n, err := strconv.ParseUint(s, 10, 16)
	if err != nil {
		return 0
	}
	return int(n)
}

// finish sets the state of an entry whose lines are all read. Its counters belong to the entry;
// whether they continue over a rekey is unknown.
func (e *ipsecEntry) finish() {
	e.Key = e.Peer.String() + " " + e.Key
	if v, ok := e.counters["pkts decaps"]; ok {
		e.In.Packets = gateways.Counted(v)
	}
	if v, ok := e.counters["pkts encaps"]; ok {
		e.Out.Packets = gateways.Counted(v)
	}
	for label, kind := range entryErrors {
		if v, ok := e.counters[label]; ok {
			e.Errors[kind] = gateways.Counted(v)
		}
	}
	in, out := e.sasOf("inbound"), e.sasOf("outbound")
	switch {
	case e.odd, !e.paired("esp"), !e.paired("ah"), e.standby, len(e.sas) == 0:
		e.State = gateways.ChildUnknown
	case in > 1 && out > 0: // The old one is kept for a while beside the new one.
		e.State = gateways.ChildRekeying
	case in > 0 && out > 0:
		e.State = gateways.Installed
	case in > 0 || out > 0:
		e.State = gateways.Installing
	}
}

// sasOf counts the SAs of a direction. Each SA of IPComp (pcp) belongs to one of them.
func (e *ipsecEntry) sasOf(direction string) int {
	return e.sas[direction+" esp"] + e.sas[direction+" ah"]
}

// paired reports whether the SAs of a protocol have both headings: if one is missing, its SAs were
// counted elsewhere.
func (e *ipsecEntry) paired(protocol string) bool {
	_, in := e.sas["inbound "+protocol]
	_, out := e.sas["outbound "+protocol]
	return in == out || e.sas["inbound "+protocol]+e.sas["outbound "+protocol] == 0
}

// empty reports whether an entry is only a line of the configuration: it has no SAs.
func (e *ipsecEntry) empty() bool {
	return len(e.sas) > 0 && !e.odd && e.paired("esp") && e.sasOf("inbound")+e.sasOf("outbound") == 0
}
