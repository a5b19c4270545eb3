package config

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/common/model"
	"go.yaml.in/yaml/v3"
)

// A Gateway is a device or daemon whose table of SAs is read. It is comparable.
type Gateway struct {
	// Name identifies the gateway; peers name it.
	Name string
	Type GatewayType
	// Interval is from the beginning of one reading to that of the next, Timeout for one of them.
	Interval, Timeout time.Duration
	// UnmatchedEach lists SAs that belong to no peer by address.
	UnmatchedEach bool
	// Socket is where a daemon is asked, empty where its packages have it. Program is what asks it, where that is a program.
	Socket, Program string
	// Login is for devices.
	Login Login
}

// Login is how a device is reached. Secrets are in files, and are not read here.
type Login struct {
	// Address is a host, with a port where it is not the usual one. Transport is ssh or https.
	Address, Transport string
	Username           string
	// PasswordFile and EnablePasswordFile hold one secret each.
	PasswordFile, EnablePasswordFile string
	// EnableLevel is that of `enable 5`, 0 for plain `enable`. EnableLogin uses `login` in its place.
	EnableLevel int
	EnableLogin bool
	// Context is one of several on a device.
	Context string
	// KnownHostsFile has the host keys that are trusted by SSH, CAFile the certificates by HTTPS. Insecure trusts any certificate.
	KnownHostsFile, CAFile string
	Insecure               bool
	// LegacyAlgorithms allows what old devices need and nobody should.
	LegacyAlgorithms bool
}

// Secrets are the files with secrets.
func (g *Gateway) Secrets() []string {
	return slices.DeleteFunc([]string{g.Login.PasswordFile, g.Login.EnablePasswordFile}, func(s string) bool { return s == "" })
}

// Trusted are the files with what is trusted.
func (g *Gateway) Trusted() []string {
	return slices.DeleteFunc([]string{g.Login.KnownHostsFile, g.Login.CAFile}, func(s string) bool { return s == "" })
}

// GatewayType is what a gateway is.
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
	types := make([]GatewayType, gatewayTypes)
	for i := range types {
		types[i] = GatewayType(i)
	}
	return types
}

// String is the type as it is configured.
func (t GatewayType) String() string {
	switch t {
	case CiscoASA:
		return "cisco_asa"
	case CiscoIOS:
		return "cisco_ios"
	case StrongSwan:
		return "strongswan"
	case Libreswan:
		return "libreswan"
	case OpenIKED:
		return "openiked"
	case XFRM:
		return "xfrm"
	case gatewayTypes:
	}
	return "unknown"
}

// isDevice tells whether a gateway is reached by logging in.
func (t GatewayType) isDevice() bool { return t == CiscoASA || t == CiscoIOS }

// IsDevice tells whether it is reached by logging in.
func (g *Gateway) IsDevice() bool { return g.Type.isDevice() }

// Transports of devices.
const (
	transportSSH   = "ssh"
	transportHTTPS = "https"
)

// Defaults of gateways. A reading that takes longer than its interval would delay the next one, so the timeout is bounded by it.
const (
	DefaultGatewayInterval = 30 * time.Second
	defaultGatewayTimeout  = 20 * time.Second
	minGatewayInterval     = time.Second
	minGatewayTimeout      = 100 * time.Millisecond
	// minDeviceInterval is long because each reading is a handful of commands on a device that has other things to do.
	minDeviceInterval = 5 * time.Second
)

// Match says how SAs are attributed to a peer besides by its address.
type Match struct {
	// Addresses are addresses, networks, and names that a device shows in their place.
	Addresses []string
	// IDs, Usernames and Groups are those of the SA, without regard to case.
	IDs, Usernames, Groups []string
}

// Equal tells whether two are the same.
func (m Match) Equal(o Match) bool {
	return slices.Equal(m.Addresses, o.Addresses) && slices.Equal(m.IDs, o.IDs) && slices.Equal(m.Usernames, o.Usernames) &&
		slices.Equal(m.Groups, o.Groups)
}

// gateway reads one gateway of the file. Even a faulty one is known by its name to the peers.
func (d *decoder) gateway(n *yaml.Node, at place) {
	name := scalar(n, "name")
	if index := at.String(); name != "" {
		at = place{item: fmt.Sprintf("%s (%q)", index, name)}
	} else {
		at = place{item: index}
	}
	before := len(d.problems)
	g := Gateway{Name: name, Type: gatewayTypes, Login: Login{Transport: transportSSH}}
	given := map[string]*yaml.Node{}
	d.fields(n, at, d.gatewayFields(&g, given))
	if n.Kind != yaml.MappingNode {
		return
	}
	switch why := badName(name); {
	case name == "":
		d.problem(n, at.key("name"), "is missing: peers refer to their gateways by name")
	case why != "":
		d.problem(given["name"], at.key("name"), fmt.Sprintf("%q %s", name, why))
	case d.gateways[name]:
		d.problem(given["name"], at.key("name"), fmt.Sprintf("%q is already the name of another gateway", name))
	default:
		d.gateways[name] = true
	}
	if given["type"] == nil {
		d.problem(n, at.key("type"), "is missing: there is "+strings.Join(gatewayTypeNames(), ", "))
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

func gatewayTypeNames() []string {
	var names []string
	for _, t := range GatewayTypes() {
		names = append(names, t.String())
	}
	return names
}

// gatewayFields are the keys of all types. given notes which of them have a value.
func (d *decoder) gatewayFields(g *Gateway, given map[string]*yaml.Node) []field {
	known := []field{
		{"name", func(n *yaml.Node, at place) { d.text(n, at) }},
		{"type", into(&g.Type, oneOf(d, GatewayTypes()...))},
		{"address", into(&g.Login.Address, d.deviceAddress)},
		{"socket", into(&g.Socket, d.socket)},
		{"program", into(&g.Program, d.filled)},
		{"transport", into(&g.Login.Transport, oneOfWords(d, transportSSH, transportHTTPS))},
		{"username", into(&g.Login.Username, d.filled)},
		{"password_file", into(&g.Login.PasswordFile, d.path)},
		{"enable_password_file", into(&g.Login.EnablePasswordFile, d.path)},
		{"enable", func(n *yaml.Node, at place) { d.enable(&g.Login, n, at) }},
		{"context", into(&g.Login.Context, d.contextName)},
		{"known_hosts_file", into(&g.Login.KnownHostsFile, d.path)},
		{"ca_file", into(&g.Login.CAFile, d.path)},
		{"insecure", into(&g.Login.Insecure, d.boolean)},
		{"legacy_algorithms", into(&g.Login.LegacyAlgorithms, d.boolean)},
		{"interval", into(&g.Interval, func(n *yaml.Node, at place) (time.Duration, bool) { return d.interval(n, at, minGatewayInterval, "") })},
		{"timeout", into(&g.Timeout, func(n *yaml.Node, at place) (time.Duration, bool) { return d.interval(n, at, minGatewayTimeout, "") })},
		{"unmatched", func(n *yaml.Node, at place) {
			word, _ := oneOfWords(d, "count", "each")(n, at)
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

// gatewayKeys finds keys that a gateway of this type does not have, and those that it lacks.
func (d *decoder) gatewayKeys(g *Gateway, n *yaml.Node, given map[string]*yaml.Node, at place) {
	allowed := []string{"name", "type", "interval", "timeout", "unmatched"}
	var needed []string
	switch g.Type {
	case CiscoASA, CiscoIOS:
		needed = []string{"address", "username", "password_file"}
		allowed = append(allowed, "transport", "enable_password_file", "enable", "legacy_algorithms")
		if g.Login.Transport == transportHTTPS {
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
	what := "a gateway of type " + g.Type.String()
	if g.Type.isDevice() {
		what += " that is read by " + g.Login.Transport
	}
	for _, key := range slices.Sorted(maps.Keys(given)) {
		if !slices.Contains(allowed, key) {
			d.problem(given[key], at.key(key), what+" has no such key")
		}
	}
	for _, key := range needed {
		if given[key] == nil {
			d.problem(n, at.key(key), "is missing: "+what+" needs it")
		}
	}
	if strings.Contains(g.Socket, "://") && g.Type != StrongSwan {
		d.problem(given["socket"], at.key("socket"), "must be the path of a socket, not a URL")
	}
	if g.Type == CiscoIOS && g.Login.Transport == transportHTTPS {
		d.problem(given["transport"], at.key("transport"), "cisco_ios is read by ssh only")
	}
	if given["enable"] != nil && given["enable_password_file"] == nil && !g.Login.EnableLogin {
		d.problem(given["enable"], at.key("enable"), "needs an enable_password_file")
	}
	if g.Login.Insecure && g.Login.CAFile != "" {
		d.problem(given["insecure"], at.key("insecure"), "trusts any certificate, so a ca_file would mean nothing: leave one of them out")
	}
}

// gatewayTimes fills in the times that are not given.
func (d *decoder) gatewayTimes(g *Gateway, n *yaml.Node, given map[string]*yaml.Node, at place) {
	if g.Type.isDevice() && g.Interval > 0 && g.Interval < minDeviceInterval {
		d.problem(given["interval"], at.key("interval"), fmt.Sprintf("%s is below %s, which is the least for a device that one logs in to",
			model.Duration(g.Interval), model.Duration(minDeviceInterval)))
	}
	g.Interval = cmp.Or(g.Interval, DefaultGatewayInterval)
	if g.Timeout > g.Interval {
		d.problem(cmp.Or(given["timeout"], n), at.key("timeout"), fmt.Sprintf("%s is longer than the interval of %s",
			model.Duration(g.Timeout), model.Duration(g.Interval)))
	}
	g.Timeout = cmp.Or(g.Timeout, min(g.Interval, defaultGatewayTimeout))
}

// enable reads `login`, or a privilege level.
func (d *decoder) enable(l *Login, n *yaml.Node, at place) {
	const highest = 15
	if s, ok := d.text(n, at); ok && s == "login" {
		l.EnableLogin = true
		return
	} else if !ok {
		return
	}
	before := len(d.problems)
	if v, ok := d.integer(n, at, 1, highest); ok {
		l.EnableLevel = v
		return
	}
	d.problems = d.problems[:before]
	d.problem(n, at, fmt.Sprintf("%q is neither a privilege level from 1 to %d nor login", resolve(n).Value, highest))
}

// into makes the reader of a key into one that stores its value.
func into[T any](to *T, read func(*yaml.Node, place) (T, bool)) func(*yaml.Node, place) {
	return func(n *yaml.Node, at place) {
		if v, ok := read(n, at); ok {
			*to = v
		}
	}
}

// word is a string that oneOf can read.
type word string

func (w word) String() string { return string(w) }

func oneOfWords(d *decoder, values ...word) func(*yaml.Node, place) (string, bool) {
	return func(n *yaml.Node, at place) (string, bool) {
		w, ok := oneOf(d, values...)(n, at)
		return string(w), ok
	}
}

// filled reads a value that is not empty, and fits in one line.
func (d *decoder) filled(n *yaml.Node, at place) (string, bool) {
	s, ok := d.text(n, at)
	if ok && (s == "" || strings.ContainsAny(s, "\r\n\x00")) {
		d.problem(n, at, "is empty, or more than one line")
		return "", false
	}
	return s, ok
}

func (d *decoder) boolean(n *yaml.Node, at place) (v, ok bool) {
	w, ok := oneOfWords(d, "true", "false")(n, at)
	return w == "true", ok
}

// words reads a list of words.
func (d *decoder) words(n *yaml.Node, at place) []string {
	var all []string
	d.list(n, at, func(n *yaml.Node, at place) {
		if s, ok := d.filled(n, at); ok {
			all = append(all, s)
		}
	})
	return all
}

// match reads how SAs are attributed.
func (d *decoder) match(n *yaml.Node, at place) (m Match) {
	list := func(to *[]string) func(*yaml.Node, place) {
		return func(n *yaml.Node, at place) { *to = d.words(n, at) }
	}
	d.fields(n, at, []field{
		{"addresses", list(&m.Addresses)}, {"ids", list(&m.IDs)}, {"usernames", list(&m.Usernames)}, {"groups", list(&m.Groups)},
	})
	return m
}

// gatewaysOf reads the names of a peer's gateways.
func (d *decoder) gatewaysOf(n *yaml.Node, at place) []string {
	var names []string
	d.list(n, at, func(n *yaml.Node, at place) {
		s, ok := d.text(n, at)
		switch {
		case !ok:
		case slices.Contains(names, s):
			d.problem(n, at, fmt.Sprintf("%q is listed twice", s))
		case !d.gateways[s] && len(d.gateways) == 0:
			d.problem(n, at, fmt.Sprintf("unknown gateway %q: there is none", s))
		case !d.gateways[s]:
			d.problem(n, at, fmt.Sprintf("unknown gateway %q: %s", s, meant(s, slices.Sorted(maps.Keys(d.gateways)))))
		default:
			names = append(names, s)
		}
	})
	return names
}
