package ciscoasa

import (
	"regexp"
	"strconv"
	"strings"

	"ipsec_path_exporter/collectors/gateways"
)

// The kinds of counters that tell about the path. Each is a label value of gateway_errors_total.
const (
	// kindPMTU counts ICMP "packet too big" that the device took for its tunnels: path MTU discovery works as long as it grows.
	kindPMTU     = "pmtu_received"
	kindPMTUSent = "pmtu_sent"
	// kindPreFragment counts packets that were too big for the tunnel and could not be fragmented before encryption.
	kindPreFragment  = "pre_fragmentation_failed"
	kindPostFragment = "post_fragmentation_failed"
	// kindReassembled counts encrypted packets that arrived in fragments: something on the way fragments ESP.
	kindReassembled = "decapsulated_fragments"
	kindICMPInvalid = "icmp_errors_invalid"
	kindSend        = "send_errors"
	kindReceive     = "receive_errors"
	// kindFragTimeout counts datagrams of which a fragment never came, kindFragFailed all that could not be put together.
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

// global are the counters of `show crypto ipsec stats`, `show crypto isakmp stats` and `show crypto protocol statistics`.
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

// Lines of those outputs, and of `show fragment`.
var (
	statLine     = regexp.MustCompile(`^\s*([A-Za-z][\w /().'-]*?) *: *(\d+)$`)
	statSection  = regexp.MustCompile(`^\s*(?:\[.*\]|[A-Za-z][\w -]*(?:[Ss]tatistics|[Ss]tats)|Inbound|Outbound)$`)
	fragIface    = regexp.MustCompile(`^\s*Interface: *(\S+)`)
	fragCounters = regexp.MustCompile(`(?:^|[,:])\s*([A-Za-z][\w ]*?): *(\d+)`)
	fragConfig   = regexp.MustCompile(`^\s*(?:Configuration:|Size:)`)
	fragDrops    = regexp.MustCompile(`^\s*Drops:`)
)

// counterTable is what the outputs about counters say.
type counterTable struct {
	counters []gateways.DeviceCounter
	unparsed int
}

// parseStats reads the global statistics. Labels that say nothing about the path are known by their form only.
func parseStats(raw, key string) counterTable {
	var t counterTable
	for _, line := range answerLines(raw) {
		m := statLine.FindStringSubmatch(line)
		switch {
		case m == nil:
			if !noise.MatchString(line) && !statSection.MatchString(line) {
				t.unparsed++
			}
		case global[m[1]] != "":
			if v, err := strconv.ParseUint(m[2], 10, 64); err == nil {
				t.counters = append(t.counters, gateways.DeviceCounter{Kind: global[m[1]], Key: key, Value: v})
			}
		}
	}
	return t
}

// parseFragments reads `show fragment`. Timeout stands twice: as the setting in seconds, and among the drops.
func parseFragments(raw string) counterTable {
	var t counterTable
	iface, drops := "", false
	failed := map[string]uint64{}
	for _, line := range answerLines(raw) {
		if m := fragIface.FindStringSubmatch(line); m != nil {
			iface, drops = m[1], false
			continue
		}
		found := fragCounters.FindAllStringSubmatch(line, -1)
		switch {
		case iface == "" || found == nil:
			if !noise.MatchString(line) {
				t.unparsed++
			}
			continue
		case fragConfig.MatchString(line):
			continue
		}
		drops = drops || fragDrops.MatchString(line)
		for _, m := range found {
			v, err := strconv.ParseUint(m[2], 10, 64)
			if err != nil {
				continue
			}
			switch name := strings.ToLower(m[1]); {
			case drops:
				failed[iface] += v
				if name == "timeout" {
					t.add(kindFragTimeout, iface, v)
				} else if strings.HasSuffix(name, "overflow") {
					t.add(kindFragOverflow, iface+" "+name, v)
				}
			case name == "fail":
				failed[iface] += v
			case name == "overflow":
				t.add(kindFragOverflow, iface, v)
			}
		}
	}
	for iface, v := range failed {
		t.add(kindFragFailed, iface, v)
	}
	return t
}

func (t *counterTable) add(kind, key string, v uint64) {
	t.counters = append(t.counters, gateways.DeviceCounter{Kind: kind, Key: key, Value: v})
}

// platform is the family of a device's software.
type platform uint8

const (
	platformUnknown platform = iota
	platformASA
	platformIOS
)

// typeName is the type of the configuration.
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

// parseVersion reads `show version`.
func parseVersion(raw string) (platform, string) {
	for _, line := range answerLines(raw) {
		for _, v := range versions {
			if m := v.line.FindStringSubmatch(line); m != nil {
				return v.of, m[1]
			}
		}
	}
	return platformUnknown, ""
}
