package config

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/common/model"
	"go.yaml.in/yaml/v3"

	"ipsec_path_exporter/collectors/gateways"
	"ipsec_path_exporter/collectors/gateways/ciscoasa"
	"ipsec_path_exporter/internal/enum"
)

// A Gateway is a device or daemon whose SA table is read. It is comparable.
type Gateway struct {
	Name string
	Type GatewayType
	// Interval is the time between the starts of two readings, Timeout the limit of one reading.
	Interval, Timeout time.Duration
	// UnmatchedEach lists each SA without a peer by its address.
	UnmatchedEach bool
	// Socket is the control socket of a daemon, Program the command that reads it. Each is empty
	// for the location that packages use.
	Socket, Program string
	// Cisco is how a device is reached. Its Refusals are nil.
	Cisco ciscoasa.Config
}

// GatewayType is the kind of device or daemon.
type GatewayType uint8

// The types of gateways.
const (
	CiscoASA GatewayType = iota
	CiscoIOS
	StrongSwan
	Libreswan
	OpenIKED
	XFRM
	gatewayTypes
)

// GatewayTypes returns all types of gateways.
func GatewayTypes() []GatewayType {
	return []GatewayType{CiscoASA, CiscoIOS, StrongSwan, Libreswan, OpenIKED, XFRM}
}

// String returns the value of the configuration key.
func (t GatewayType) String() string {
	return enum.Name(t, "cisco_asa", "cisco_ios", "strongswan", "libreswan", "openiked", "xfrm")
}

// IsDevice reports whether reading the gateway requires a login.
func (g *Gateway) IsDevice() bool { return g.Type == CiscoASA || g.Type == CiscoIOS }

// Defaults and bounds of gateways. A reading longer than the interval would delay the next one, so
// the interval bounds the timeout.
const (
	DefaultGatewayInterval = 30 * time.Second
	defaultGatewayTimeout  = 20 * time.Second
	minGatewayInterval     = time.Second
	minGatewayTimeout      = 100 * time.Millisecond
	// minDeviceInterval is long because each reading runs several commands on a busy device.
	minDeviceInterval = 5 * time.Second
)

// gateway reads one gateway. The name of a faulty one is kept for the peers that refer to it.
func (d *decoder) gateway(n *yaml.Node, at place) {
	name := scalar(n, "name")
	at = at.named(name)
	before := len(d.problems)
	g := Gateway{Name: name, Type: gatewayTypes}
	given := map[string]*yaml.Node{}
	d.fields(n, at, d.gatewayFields(&g, given))
	if n.Kind != yaml.MappingNode {
		return
	}
	switch why := badName(name); {
	case name == "":
		d.problem(n, at.key("name"), "is missing: peers refer to gateways by name")
	case why != "":
		d.problem(given["name"], at.key("name"), fmt.Sprintf("%q %s", name, why))
	case d.gateways[name]:
		d.problem(given["name"], at.key("name"), fmt.Sprintf("%q is already the name of another gateway", name))
	default:
		d.gateways[name] = true
	}
	if given["type"] == nil {
		d.problem(n, at.key("type"), "is missing: "+choices(names(GatewayTypes())))
	}
	if g.Type == gatewayTypes {
		return
	}
	d.gatewayKeys(&g, n, given, at)
	d.gatewayTimes(&g, n, given, at)
	if len(d.problems) == before {
		d.config.Gateways = append(d.config.Gateways, g)
	}
}

// gatewayFields returns the keys of all types. Reading adds the keys that have a value to given.
func (d *decoder) gatewayFields(g *Gateway, given map[string]*yaml.Node) []field {
	known := []field{
		{"name", func(n *yaml.Node, at place) { d.text(n, at) }},
		{"type", into(&g.Type, single(d, oneOf(GatewayTypes()...)))},
		{"address", into(&g.Cisco.Address, single(d, deviceAddress))},
		{"socket", into(&g.Socket, single(d, d.socket))},
		{"program", into(&g.Program, single(d, filled))},
		{"transport", into((*word)(&g.Cisco.Transport), single(d, oneOf[word](ciscoasa.SSH, ciscoasa.HTTPS)))},
		{"username", into(&g.Cisco.Username, single(d, filled))},
		{"password_file", into(&g.Cisco.PasswordFile, single(d, d.path))},
		{"enable_password_file", into(&g.Cisco.EnablePasswordFile, single(d, d.path))},
		{"enable", func(n *yaml.Node, at place) {
			level, ok := single(d, enableLevel)(n, at)
			g.Cisco.EnableLevel, g.Cisco.EnableLogin = level, ok && level == 0
		}},
		{"context", into(&g.Cisco.Context, single(d, contextName))},
		{"known_hosts_file", into(&g.Cisco.KnownHostsFile, single(d, d.path))},
		{"ca_file", into(&g.Cisco.CAFile, single(d, d.path))},
		{"insecure", into(&g.Cisco.Insecure, single(d, boolean))},
		{"legacy_algorithms", into(&g.Cisco.LegacyAlgorithms, single(d, boolean))},
		{"interval", into(&g.Interval, single(d, interval(minGatewayInterval, "")))},
		{"timeout", into(&g.Timeout, single(d, interval(minGatewayTimeout, "")))},
		{"unmatched", func(n *yaml.Node, at place) {
			word, _ := single(d, oneOf[word]("count", "each"))(n, at)
			g.UnmatchedEach = word == "each"
		}},
	}
	for i, f := range known {
		known[i].read = func(n *yaml.Node, at place) {
			given[f.name] = n
			f.read(n, at)
		}
	}
	return known
}

// gatewayKeys finds keys that the type does not have, and required keys that are missing.
func (d *decoder) gatewayKeys(g *Gateway, n *yaml.Node, given map[string]*yaml.Node, at place) {
	allowed := []string{"name", "type", "interval", "timeout", "unmatched"}
	var needed []string
	switch g.Type {
	case CiscoASA, CiscoIOS:
		g.Cisco.Type, g.Cisco.Transport = g.Type.String(), cmp.Or(g.Cisco.Transport, ciscoasa.SSH)
		needed = []string{"address", "username", "password_file"}
		allowed = append(allowed, "transport", "enable_password_file", "enable", "legacy_algorithms")
		if g.Cisco.Transport == ciscoasa.HTTPS {
			allowed = append(allowed, "ca_file", "insecure")
		} else {
			needed = append(needed, "known_hosts_file")
			allowed = append(allowed, "context")
		}
		allowed = append(allowed, needed...)
	case StrongSwan:
		allowed = append(allowed, "socket")
	case Libreswan, OpenIKED:
		allowed = append(allowed, "socket", "program")
	case XFRM, gatewayTypes:
	}
	what := "type " + g.Type.String()
	if g.IsDevice() {
		what += " with transport " + g.Cisco.Transport
	}
	for _, key := range slices.Sorted(maps.Keys(given)) {
		if !slices.Contains(allowed, key) {
			d.problem(given[key], at.key(key), "is not supported by "+what)
		}
	}
	for _, key := range needed {
		if given[key] == nil {
			d.problem(n, at.key(key), "is missing: required by "+what)
		}
	}
	if strings.Contains(g.Socket, "://") && g.Type != StrongSwan {
		d.problem(given["socket"], at.key("socket"), "must be the path of a socket, not a URL")
	}
	if g.Type == CiscoIOS && g.Cisco.Transport == ciscoasa.HTTPS {
		d.problem(given["transport"], at.key("transport"), "must be ssh for type cisco_ios")
	}
	if given["enable"] != nil && given["enable_password_file"] == nil && !g.Cisco.EnableLogin {
		d.problem(given["enable"], at.key("enable"), "requires enable_password_file")
	}
	if g.Cisco.Insecure && g.Cisco.CAFile != "" {
		d.problem(given["insecure"], at.key("insecure"), "trusts any certificate: remove it or ca_file")
	}
}

// gatewayTimes checks the times and fills in the defaults.
func (d *decoder) gatewayTimes(g *Gateway, n *yaml.Node, given map[string]*yaml.Node, at place) {
	if g.IsDevice() && g.Interval > 0 && g.Interval < minDeviceInterval {
		d.problem(given["interval"], at.key("interval"), fmt.Sprintf("%s is below the minimum of %s for devices",
			model.Duration(g.Interval), model.Duration(minDeviceInterval)))
	}
	g.Interval = cmp.Or(g.Interval, DefaultGatewayInterval)
	if g.Timeout > g.Interval {
		d.problem(cmp.Or(given["timeout"], n), at.key("timeout"), fmt.Sprintf("%s is longer than the interval of %s",
			model.Duration(g.Timeout), model.Duration(g.Interval)))
	}
	g.Timeout = cmp.Or(g.Timeout, min(g.Interval, defaultGatewayTimeout))
}

// enableLevel parses a privilege level, or "login" as 0.
func enableLevel(s string) (level int, why string) {
	const highest = 15
	level, err := strconv.Atoi(s)
	if s != "login" && (err != nil || level < 1 || level > highest) {
		return 0, fmt.Sprintf("unknown value %q: must be login or a privilege level from 1 to %d", s, highest)
	}
	return level, ""
}

func boolean(s string) (v bool, why string) {
	_, why = oneOf[word]("true", "false")(s)
	return s == "true", why
}

func (d *decoder) words(n *yaml.Node, at place) []string {
	var all []string
	d.list(n, at, func(n *yaml.Node, at place) {
		if s, ok := single(d, filled)(n, at); ok {
			all = append(all, s)
		}
	})
	return all
}

func (d *decoder) match(n *yaml.Node, at place) (m gateways.Match) {
	list := func(to *[]string) func(*yaml.Node, place) {
		return func(n *yaml.Node, at place) { *to = d.words(n, at) }
	}
	d.fields(n, at, []field{
		{"addresses", list(&m.Addresses)}, {"ids", list(&m.IDs)}, {"usernames", list(&m.Usernames)}, {"groups", list(&m.Groups)},
	})
	return m
}

func (d *decoder) gatewaysOf(n *yaml.Node, at place) []string {
	var names []string
	d.list(n, at, func(n *yaml.Node, at place) {
		s, ok := d.text(n, at)
		switch {
		case !ok:
		case slices.Contains(names, s):
			d.problem(n, at, fmt.Sprintf("%q is listed twice", s))
		case !d.gateways[s] && len(d.gateways) == 0:
			d.problem(n, at, fmt.Sprintf("unknown gateway %q: no gateways are configured", s))
		case !d.gateways[s]:
			d.problem(n, at, fmt.Sprintf("unknown gateway %q: %s", s, meant(s, slices.Sorted(maps.Keys(d.gateways)))))
		default:
			names = append(names, s)
		}
	})
	return names
}
