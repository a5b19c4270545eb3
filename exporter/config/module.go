package config

import (
	"fmt"
	"maps"
	"math"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/common/model"
	"go.yaml.in/yaml/v3"

	"ipsec_path_exporter/collectors"
	"ipsec_path_exporter/exporter/suite"
	"ipsec_path_exporter/internal/ikeprobe"
	"ipsec_path_exporter/internal/wire/ipsec"
)

// An override is the effect of one key of a module or peer.
type override func(*Settings)

// A module is a named template. Its faults are not reported again for its peers.
type module struct {
	overrides []override
	settings  Settings
	faults    []fault
}

// A fault is a contradiction between several settings.
type fault struct{ path, text string }

// readModules reads all modules, and makes the default one even if it is not in the file.
func (d *decoder) readModules(n *yaml.Node) {
	d.modules = make(map[string]module)
	nodes := make(map[string]*yaml.Node)
	if n != nil {
		d.pairs(n, place{path: "modules"}, func(key, value *yaml.Node) {
			var m module
			if !isNull(value) {
				d.fields(value, modulePlace(key.Value), d.settings(&m.overrides))
			}
			d.modules[key.Value], nodes[key.Value] = m, key
		})
	}
	d.config.Modules = make(map[string]Settings, len(d.modules)+1)
	base := d.finish(DefaultModule, nodes[DefaultModule], module{settings: Defaults()})
	for _, name := range slices.Sorted(maps.Keys(nodes)) {
		if name != DefaultModule {
			d.finish(name, nodes[name], base)
		}
	}
}

func modulePlace(name string) place { return place{item: "modules." + name} }

// finish applies a module to its base and reports contradictions that the base does not have.
func (d *decoder) finish(name string, n *yaml.Node, base module) module {
	m := d.modules[name]
	m.settings = apply(base.settings, m.overrides)
	m.faults = m.settings.faults()
	for _, f := range m.faults {
		if !slices.Contains(base.faults, f) {
			d.problem(n, modulePlace(name).key(f.path), f.text)
		}
	}
	d.modules[name], d.config.Modules[name] = m, m.settings
	return m
}

func apply(s Settings, overrides []override) Settings {
	for _, o := range overrides {
		o(&s)
	}
	if s.Partner.Configured() {
		s.Collectors = s.Collectors.With(suite.Partner)
	}
	return s
}

// faults returns the contradictions between settings that are each valid.
func (s *Settings) faults() (all []fault) {
	if every := s.Intervals[suite.PMTU]; s.PMTURaise < every {
		all = append(all, fault{"intervals.pmtu_raise", fmt.Sprintf("%s is shorter than the pmtu interval of %s",
			model.Duration(s.PMTURaise), model.Duration(every))})
	}
	if s.IKE.Port == s.IKE.NATTPort {
		all = append(all, fault{"ike.natt_port", fmt.Sprintf("%d is also ike.port: "+
			"messages with and without the non-ESP marker need different ports", s.IKE.Port)})
	}
	switch a := s.SourceAddress; {
	case !a.IsValid():
	case s.Family == FamilyBoth:
		all = append(all, fault{"source_address", fmt.Sprintf("%s is of one family, and family is both (set interface instead)", a)})
	case !s.Family.Allows(a):
		all = append(all, fault{"source_address", fmt.Sprintf("%s is not of family %s", a, s.Family)})
	}
	return append(all, s.partnerFaults()...)
}

// set returns a reader that adds an override with the value.
func set[T any](to *[]override, read reader[T], assign func(*Settings, T)) func(*yaml.Node, place) {
	return func(n *yaml.Node, at place) {
		if v, ok := read(n, at); ok {
			*to = append(*to, func(s *Settings) { assign(s, v) })
		}
	}
}

// settings returns the keys that modules and peers have in common.
func (d *decoder) settings(to *[]override) []field {
	nested := func(name string, fields ...field) field {
		return field{name, func(n *yaml.Node, at place) { d.fields(n, at, fields) }}
	}
	const lockout = ": with more frequent IKE messages the gateway may lock out the real peer"
	var intervals []field
	for _, c := range suite.All() {
		spec, why := c.Spec(), ""
		if spec.Talks {
			why = lockout
		}
		intervals = append(intervals,
			field{spec.Name, set(to, single(d, interval(spec.Least, why)), func(s *Settings, v time.Duration) { s.Intervals[c] = v })})
	}
	intervals = append(intervals,
		field{"pmtu_raise", set(to, single(d, interval(minRaise, "")), func(s *Settings, v time.Duration) { s.PMTURaise = v })})
	return []field{
		{"family", set(to, single(d, oneOf(Families()...)), func(s *Settings, v Family) { s.Family = v })},
		{"source_address", set(to, single(d, source), func(s *Settings, v netip.Addr) { s.SourceAddress = v })},
		{"interface", set(to, single(d, device), func(s *Settings, v string) { s.Interface = v })},
		{"fwmark", set(to, single(d, ParseMark), func(s *Settings, v uint32) { s.Mark = v })},
		nested("ike",
			field{"version", set(to, single(d, oneOf(ikeprobe.Auto, ikeprobe.V1, ikeprobe.V2)), func(s *Settings, v ikeprobe.Version) { s.IKE.Version = v })},
			field{"port", set(to, single(d, integer[uint16](1, 1<<16-1)), func(s *Settings, v uint16) { s.IKE.Port = v })},
			field{"natt_port", set(to, single(d, integer[uint16](1, 1<<16-1)), func(s *Settings, v uint16) { s.IKE.NATTPort = v })},
			field{"source_port", set(to, single(d, oneOf(collectors.RandomPort, collectors.FixedPort)),
				func(s *Settings, v collectors.SourcePort) { s.IKE.SourcePort = v })},
			field{"auth", set(to, single(d, oneOf(ikeprobe.PSK, ikeprobe.XAUTH, ikeprobe.RSA)), func(s *Settings, v ikeprobe.Auth) { s.IKE.Auth = v })},
		),
		nested("esp",
			field{"cipher", set(to, single(d, cipher), func(s *Settings, v ipsec.Cipher) { s.ESP.Cipher = v })},
			field{"natt", set(to, single(d, oneOf(NATTAuto, NATTAlways, NATTNever)), func(s *Settings, v NATT) { s.ESP.NATT = v })},
		),
		{"collectors", set(to, d.collectors, func(s *Settings, v suite.Set) { s.Collectors = v })},
		{"on_demand", set(to, single(d, boolean), func(s *Settings, v bool) { s.OnDemand = v })},
		nested("intervals", intervals...),
		d.partnerKeys(to),
	}
}

func oneOf[T fmt.Stringer](values ...T) func(s string) (T, string) {
	return func(s string) (v T, why string) {
		i := slices.Index(names(values), s)
		if i < 0 {
			return v, fmt.Sprintf("unknown value %q: %s", s, choices(names(values)))
		}
		return values[i], ""
	}
}

func names[T fmt.Stringer](values []T) []string {
	all := make([]string, len(values))
	for i, v := range values {
		all[i] = v.String()
	}
	return all
}

// A word is a string for oneOf.
type word string

func (w word) String() string { return string(w) }

// source parses a source address. If it is empty, routing chooses.
func source(s string) (a netip.Addr, why string) {
	if s == "" {
		return a, ""
	}
	a, err := netip.ParseAddr(s)
	if err != nil {
		return a, fmt.Sprintf("%q is not an IP address", s)
	}
	if why = unusable(a); why != "" {
		why = fmt.Sprintf("%q %s", s, why)
	}
	return a, why
}

// device parses the name of a network interface. The kernel allows fewer than IFNAMSIZ (16) bytes,
// and neither slashes nor spaces.
func device(s string) (_, why string) {
	const longest = 15
	if len(s) > longest || strings.ContainsAny(s, "/: \t\r\n\v\f\x00") || s == "." || s == ".." {
		why = fmt.Sprintf("%q is not a valid interface name", s)
	}
	return s, why
}

// ParseMark parses a firewall mark: decimal, or hexadecimal after 0x. 0 is none.
func ParseMark(s string) (mark uint32, why string) {
	base, digits := 10, s
	if hex, ok := strings.CutPrefix(s, "0x"); ok {
		base, digits = 16, hex
	}
	v, err := strconv.ParseUint(digits, base, 32)
	if err != nil {
		why = fmt.Sprintf("%q is not a firewall mark: 0 to %d, or hexadecimal like 0x10", s, uint32(math.MaxUint32))
	}
	return uint32(v), why
}

func cipher(s string) (c ipsec.Cipher, why string) {
	c, known := ipsec.CipherByName(s)
	if !known {
		why = fmt.Sprintf("unknown cipher %q: %s", s, meant(s, ipsec.CipherNames()))
	}
	return c, why
}

func (d *decoder) collectors(n *yaml.Node, at place) (set suite.Set, ok bool) {
	before := len(d.problems)
	read := single(d, oneOf(suite.Named()...))
	d.list(n, at, func(n *yaml.Node, at place) {
		c, ok := read(n, at)
		if ok && set.Has(c) {
			d.problem(n, at, fmt.Sprintf("%q is listed twice", c))
		}
		if ok {
			set = set.With(c)
		}
	})
	if ok = len(d.problems) == before; ok && set == 0 {
		d.problem(n, at, "is empty: a peer needs at least one collector")
		return 0, false
	}
	return set, ok
}

// interval parses a duration in the format of Prometheus (1m30s, 1d) or Go (1.5s).
func interval(least time.Duration, because string) func(s string) (time.Duration, string) {
	return func(s string) (v time.Duration, why string) {
		v, err := parseDuration(s)
		switch {
		case err != nil:
			why = fmt.Sprintf("%q is not a duration (examples: 5s, 1m30s, 1d)", s)
		case v < least:
			why = fmt.Sprintf("%q is below the minimum of %s%s", s, model.Duration(least), because)
		case v > maxInterval:
			why = fmt.Sprintf("%q is above the maximum of %s", s, model.Duration(maxInterval))
		}
		return v, why
	}
}

func parseDuration(s string) (time.Duration, error) {
	if v, err := model.ParseDuration(s); err == nil {
		return time.Duration(v), nil
	}
	return time.ParseDuration(s)
}
