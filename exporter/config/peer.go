package config

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/prometheus/common/model"
	"go.yaml.in/yaml/v3"

	"ipsec_path_exporter/exporter/suite"
	"ipsec_path_exporter/internal/untrusted"
)

// ReservedLabels returns the label names of Prometheus and of the exporter's own series.
func ReservedLabels() []string {
	return []string{
		"job", "instance", "le", "quantile", // of Prometheus
		"peer", "address", "family", "source", "diagnosis", "gateway", "method", "state", "port", "version", "probe", "reply",
		"protocol", "vendor_state", "direction", "kind", "collector", "reason", "error", "socket", "name", "type",
		"file", "shard", "total", "result", "target", "sent", "received",
	}
}

func (d *decoder) filePeer(n *yaml.Node, at place) {
	before := len(d.problems)
	p := Peer{Name: scalar(n, "name"), Address: scalar(n, "address")}
	index := at.String()
	at = at.named(cmp.Or(p.Name, p.Address))
	var overrides []override
	base := d.modules[DefaultModule]
	nodes := map[string]*yaml.Node{"name": n, "address": n}
	readable := n.Kind == yaml.MappingNode
	keep := func(n *yaml.Node, at place) {
		nodes[at.path] = n
		if _, ok := d.text(n, at); !ok {
			readable = false
		}
	}
	d.fields(n, at, append([]field{
		{"name", keep},
		{"address", keep},
		{"module", func(n *yaml.Node, at place) { base = d.moduleOf(n, at) }},
		{"labels", func(n *yaml.Node, at place) { p.Labels = d.labels(n, at) }},
		{"gateways", func(n *yaml.Node, at place) { p.Gateways = d.gatewaysOf(n, at) }},
		{"match", func(n *yaml.Node, at place) { p.Match = d.match(n, at) }},
		{"inside", func(n *yaml.Node, at place) { p.Inside = d.insideOf(n, at) }},
	}, d.settings(&overrides)...))
	if !readable {
		return
	}
	if p.Settings = apply(base.settings, overrides); len(p.Inside) > 0 {
		p.Collectors = p.Collectors.With(suite.Inside)
	}
	for _, f := range p.faults() {
		if !slices.Contains(base.faults, f) {
			d.problem(n, at.key(f.path), f.text)
		}
	}
	d.identify(&p, nodes["name"], nodes["address"], at, fmt.Sprintf("%s (%s:%d)", index, d.file, n.Line))
	if len(d.problems) == before {
		d.config.Peers = append(d.config.Peers, p.byFamily()...)
	}
}

// argument reads [NAME=]ADDRESS.
func (d *decoder) argument(at place, arg string) {
	before := len(d.problems)
	p := Peer{Address: arg, Settings: d.modules[DefaultModule].settings}
	if name, address, ok := strings.Cut(arg, "="); ok {
		p.Name, p.Address = name, address
	}
	if d.identify(&p, nil, nil, at, at.item); len(d.problems) == before {
		d.config.Peers = append(d.config.Peers, p.byFamily()...)
	}
}

func (d *decoder) control(n *yaml.Node, at place) {
	parse := func(s string) (netip.Addr, string) {
		a, why := parseAddress(s)
		switch {
		case why == "" && !a.IsValid():
			why = fmt.Sprintf("%q is a host name: controls must be IP addresses, to work without DNS", s)
		case why == "" && slices.Contains(d.config.Controls, a):
			why = fmt.Sprintf("%q is listed twice", s)
		}
		return a, why
	}
	if a, ok := single(d, parse)(n, at); ok {
		d.config.Controls = append(d.config.Controls, a)
	}
}

// identify checks the name and address of a peer. where names it in problems of later peers.
func (d *decoder) identify(p *Peer, name, address *yaml.Node, at place, where string) {
	var why string
	if p.Addr, why = parseAddress(p.Address); why == "" {
		why = p.mismatch()
	}
	if why != "" {
		d.problem(address, at.key("address"), why)
	}
	if p.Name == "" {
		if p.Name = p.Address; why != "" {
			return // The address is reported already.
		}
	}
	if why := badName(p.Name); why != "" {
		d.problem(name, at.key("name"), fmt.Sprintf("%q %s", p.Name, why))
		return
	}
	claimed := []string{p.Name}
	for _, part := range p.byFamily() {
		if part.Group != "" {
			claimed = append(claimed, part.Name)
		}
	}
	for _, one := range claimed {
		if first, twice := d.claimed(one); twice {
			d.problem(name, at.key("name"), fmt.Sprintf("%q is already the name of %s", one, first))
			return
		}
	}
	for _, one := range claimed {
		d.names[one] = where
	}
}

// claimed returns the place of a peer's name that is in use.
func (d *decoder) claimed(name string) (place string, ok bool) {
	if place, ok = d.names[name]; ok || d.taken == nil {
		return place, ok
	}
	return d.taken(name)
}

// mismatch returns why a valid address cannot be measured with the settings of its peer.
func (p *Peer) mismatch() string {
	switch a, src := p.Addr, p.SourceAddress; {
	case !a.IsValid():
		return ""
	case !p.Family.Allows(a):
		return fmt.Sprintf("%q is not of family %s", p.Address, p.Family)
	case src.IsValid() && src.Is4() != a.Is4():
		return fmt.Sprintf("%q is not of the same family as the source address %s", p.Address, src)
	case a.Is6() && a.IsLinkLocalUnicast() && p.Interface == "":
		return fmt.Sprintf("%q is a link-local address: it requires interface", p.Address)
	}
	return ""
}

// scalar returns the single value of a key, or "". The reader of the key reports problems.
func scalar(n *yaml.Node, key string) string {
	for i := 0; n.Kind == yaml.MappingNode && i+1 < len(n.Content); i += 2 {
		if v := resolve(n.Content[i+1]); n.Content[i].Value == key && v.Kind == yaml.ScalarNode && !isNull(v) {
			return v.Value
		}
	}
	return ""
}

func (d *decoder) moduleOf(n *yaml.Node, at place) module {
	name, ok := d.text(n, at)
	m, known := d.modules[name]
	if ok && !known {
		d.problem(n, at, fmt.Sprintf("unknown module %q: %s", name, meant(name, slices.Sorted(maps.Keys(d.modules)))))
	}
	if !ok || !known {
		return d.modules[DefaultModule]
	}
	return m
}

// labels reads labels. In Prometheus, a label with an empty value is the same as no label.
func (d *decoder) labels(n *yaml.Node, at place) map[string]string {
	labels := make(map[string]string)
	d.pairs(n, at, func(key, value *yaml.Node) {
		name, at := key.Value, at.key(key.Value)
		switch {
		case !model.LegacyValidation.IsValidLabelName(name):
			d.problem(key, at, "is not a valid label name (letters, digits and underscores, no leading digit)")
		case strings.HasPrefix(name, "__"):
			d.problem(key, at, "is reserved by Prometheus, like all names that begin with __")
		case slices.Contains(ReservedLabels(), name):
			d.problem(key, at, "is reserved by Prometheus or by the exporter's own series")
		case isNull(value):
		default:
			switch v, ok := d.text(value, at); {
			case !ok, v == "":
			case untrusted.Hidden(v):
				d.problem(value, at, fmt.Sprintf("%q has unprintable characters", v))
			default:
				labels[name] = v
			}
		}
	})
	if len(labels) == 0 {
		return nil
	}
	return labels
}

// badName returns why a string cannot be a name, which is used in labels and URLs.
func badName(s string) string {
	const longest = 255
	switch {
	case untrusted.Hidden(s):
		return "has unprintable characters"
	case s != strings.TrimSpace(s):
		return "begins or ends with a space"
	case len(s) > longest:
		return fmt.Sprintf("is longer than %d bytes", longest)
	case strings.Contains(s, "/"), s == ".", s == "..":
		return "cannot be part of a URL"
	case s == "_unmatched":
		return "is reserved for SAs without a peer"
	}
	return ""
}

// parseAddress reads an IP address, or a host name as the zero Addr, or says what is wrong.
func parseAddress(s string) (a netip.Addr, why string) {
	if s == "" {
		return a, "is missing: must be a host name or IP address"
	}
	a, err := netip.ParseAddr(s)
	if err == nil {
		if why = unusable(a); why != "" {
			return netip.Addr{}, fmt.Sprintf("%q %s", s, why)
		}
		return a, ""
	}
	if _, err := netip.ParseAddrPort(s); err == nil {
		return a, fmt.Sprintf("%q has a port: set ike.port instead", s)
	}
	switch host, _, _ := strings.Cut(s, ":"); {
	case strings.ContainsAny(s, "/"):
		return a, fmt.Sprintf("%q is a URL or a prefix: must be a host name or IP address", s)
	case strings.HasPrefix(s, "["):
		return a, fmt.Sprintf("%q has brackets: write the IPv6 address without them", s)
	case strings.Count(s, ":") == 1 && badHost(host) == "":
		return a, fmt.Sprintf("%q has a port: set ike.port instead", s)
	case strings.Contains(s, ":"):
		return a, fmt.Sprintf("%q is not a valid IPv6 address", s)
	}
	if why = badHost(s); why != "" {
		return a, fmt.Sprintf("%q %s", s, why)
	}
	return a, ""
}

// unusable returns why a valid IP address cannot be one end of a path.
func unusable(a netip.Addr) string {
	switch {
	case a.Zone() != "":
		return fmt.Sprintf("has a zone: write %s, and interface: %s", a.WithZone(""), a.Zone())
	case a.Is4In6():
		return fmt.Sprintf("is an IPv4-mapped IPv6 address: write %s", a.Unmap())
	case a.IsUnspecified(), a.IsMulticast(), a == netip.AddrFrom4([4]byte{255, 255, 255, 255}):
		return "is not a unicast address"
	}
	return ""
}

// badHost returns why a string is not a host name (RFC 1123, section 2.1). Underscores are allowed,
// because they occur in practice.
func badHost(s string) string {
	const longestName, longestLabel = 253, 63
	s = strings.TrimSuffix(s, ".")
	labels := strings.Split(s, ".")
	for _, l := range labels {
		switch {
		case l == "" || len(l) > longestLabel || len(s) > longestName:
			return "is not a host name: the name or a label is empty or too long"
		case strings.ContainsFunc(l, func(r rune) bool { return r >= utf8.RuneSelf }):
			return "is not a host name in ASCII form (xn--...)"
		case strings.ContainsFunc(l, notInHost) || strings.HasPrefix(l, "-") || strings.HasSuffix(l, "-"):
			return "is not a host name or IP address"
		}
	}
	if last := labels[len(labels)-1]; strings.Trim(last, "0123456789") == "" {
		return "is not a valid IPv4 address"
	}
	return ""
}

func notInHost(r rune) bool {
	return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '-' && r != '_'
}
