package ciscoasa

import (
	"context"
	"regexp"
	"strconv"
	"strings"

	"ipsec_path_exporter/collectors/gateways"
)

// Kinds of counters about the path, label values of gateway_errors_total.
const (
	// kindPMTU counts ICMP "packet too big" messages that the device accepted for its tunnels: path
	// MTU discovery works as long as the counter grows.
	kindPMTU     = "pmtu_received"
	kindPMTUSent = "pmtu_sent"
	// kindPreFragment counts packets too big for the tunnel that could not be fragmented first.
	kindPreFragment  = "pre_fragmentation_failed"
	kindPostFragment = "post_fragmentation_failed"
	// kindReassembled counts encrypted packets that arrived in fragments made on the path.
	kindReassembled = "decapsulated_fragments"
	kindICMPInvalid = "icmp_errors_invalid"
	kindSend        = "send_errors"
	kindReceive     = "receive_errors"
	// kindFragTimeout counts datagrams of which a fragment never arrived, kindFragFailed all that
	// could not be reassembled.
	kindFragTimeout  = "fragment_reassembly_timeout"
	kindFragFailed   = "fragment_reassembly_failed"
	kindFragOverflow = "fragment_overflow"

	kindInitiator   = "ike_initiator_failed"
	kindResponder   = "ike_responder_failed"
	kindIKEDropsIn  = "ike_in_dropped"
	kindIKEDropsOut = "ike_out_dropped"
	kindIKEAuth     = "ike_authentication_failed"
	kindIKERequests = "ike_requests_failed"
)

// perEntry are the counters of an entry of `show crypto ipsec sa`, by their label in lower case.
var perEntry = map[string]string{
	"pmtus rcvd":                            kindPMTU,
	"pmtus sent":                            kindPMTUSent,
	"pre-frag failures":                     kindPreFragment,
	"invalid icmp errors rcvd":              kindICMPInvalid,
	"send errors":                           kindSend,
	"recv errors":                           kindReceive,
	"decapsulated frgs needing reassembly":  kindReassembled,
	"decapsulated frags needing reassembly": kindReassembled,
}

// entryErrors are the counters of received packets that an entry did not accept, by their label in lower
// case. All but the first need `detail`.
var entryErrors = map[string]gateways.ErrorKind{
	"recv errors":              gateways.Receive,
	"pkts replay failed (rcv)": gateways.Replay,
	"pkts verify failed":       gateways.Integrity,
}

// global are the counters of `show crypto ipsec stats`, `show crypto isakmp stats` and `show crypto
// protocol statistics`.
var global = map[string]string{
	"PMTUs rcvd":                                kindPMTU,
	"PMTUs sent":                                kindPMTUSent,
	"Pre-fragmentation failures":                kindPreFragment,
	"Post-fragmentation failures":               kindPostFragment,
	"Decapsulated fragments needing reassembly": kindReassembled,
	"Invalid ICMP Errors rcvd":                  kindICMPInvalid,
	"Initiator Fails":                           kindInitiator,
	"Responder Fails":                           kindResponder,
	"In Drop Packets":                           kindIKEDropsIn,
	"Out Drop Packets":                          kindIKEDropsOut,
	"Auth Fails":                                kindIKEAuth,
	"Failed requests":                           kindIKERequests,
}

var (
	statLine     = regexp.MustCompile(`^\s*([A-Za-z][\w /().'-]*?) *: *(\d+)$`)
	statSection  = regexp.MustCompile(`^\s*(?:\[.*\]|[A-Za-z][\w -]*(?:[Ss]tatistics|[Ss]tats)|Inbound|Outbound)$`)
	fragIface    = regexp.MustCompile(`^\s*Interface: *(\S+)`)
	fragCounters = regexp.MustCompile(`(?:^|[,:])\s*([A-Za-z][\w ]*?): *(\d+)`)
	fragConfig   = regexp.MustCompile(`^\s*(?:Configuration:|Size:)`)
	fragDrops    = regexp.MustCompile(`^\s*Drops:`)
)

type counterTable struct {
	counters []gateways.DeviceCounter
	unread
}

// parseStats reads the global statistics. Labels of no interest are recognised by their form.
func parseStats(ctx context.Context, raw, key string) counterTable {
	var t counterTable
	for line := range answerLines(ctx, raw) {
		m := statLine.FindStringSubmatch(line)
		switch {
		case m == nil:
			if !noise.MatchString(line) && !statSection.MatchString(line) {
				t.lines = append(t.lines, line)
			}
		case global[m[1]] != "":
			if v, err := strconv.ParseUint(m[2], 10, 64); err == nil {
				t.add(global[m[1]], key, v)
			}
		}
	}
	return t
}

// parseFragments reads `show fragment`. "Timeout" is both a setting and one of the drops.
func parseFragments(ctx context.Context, raw string) counterTable {
	var t counterTable
	iface, drops := "", false
	failed := map[string]uint64{}
	for line := range answerLines(ctx, raw) {
		if m := fragIface.FindStringSubmatch(line); m != nil {
			iface, drops = m[1], false
			continue
		}
		found := fragCounters.FindAllStringSubmatch(line, -1)
		switch {
		case iface == "" || found == nil:
			if !noise.MatchString(line) {
				t.lines = append(t.lines, line)
			}
			continue
		case fragConfig.MatchString(line):
			continue
		}
		drops = drops || fragDrops.MatchString(line)
		for _, m := range found {
			if v, err := strconv.ParseUint(m[2], 10, 64); err == nil && t.fragments(iface, strings.ToLower(m[1]), drops, v) {
				failed[iface] += v
			}
		}
	}
	for iface, v := range failed {
		t.add(kindFragFailed, iface, v)
	}
	return t
}

// fragments takes one counter of an interface and reports whether it counts failures.
func (t *counterTable) fragments(iface, name string, drops bool, v uint64) (failures bool) {
	switch {
	case drops && name == "timeout":
		t.add(kindFragTimeout, iface, v)
	case drops && strings.HasSuffix(name, "overflow"):
		t.add(kindFragOverflow, iface+" "+name, v)
	case !drops && name == "overflow":
		t.add(kindFragOverflow, iface, v)
	}
	return drops || name == "fail"
}

func (t *counterTable) add(kind, key string, v uint64) {
	t.counters = append(t.counters, gateways.DeviceCounter{Kind: kind, Key: key, Value: v})
}

type platform uint8

const (
	platformUnknown platform = iota
	platformASA
	platformIOS
)

func platformOf(typeName string) platform {
	return map[string]platform{"cisco_asa": platformASA, "cisco_ios": platformIOS}[typeName]
}

func (p platform) typeName() string {
	if p == platformIOS {
		return "cisco_ios"
	}
	return "cisco_asa"
}

// versions find what `show version` says. FTD runs the ASA's software.
var versions = []struct {
	line *regexp.Regexp
	of   platform
}{
	{regexp.MustCompile(`^Cisco (?:Adaptive|PIX) Security Appliance Software Version (\S+)`), platformASA},
	{regexp.MustCompile(`^Model +: Cisco .*Threat Defense.* Version (\S+)`), platformASA},
	{regexp.MustCompile(`^Cisco IOS.*[, ]Version ([^\s,]+)`), platformIOS},
}

func parseVersion(ctx context.Context, raw string) (platform, string) {
	for line := range answerLines(ctx, raw) {
		for _, v := range versions {
			if m := v.line.FindStringSubmatch(line); m != nil {
				return v.of, m[1]
			}
		}
	}
	return platformUnknown, ""
}
