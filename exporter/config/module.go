package config

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/common/model"
	"go.yaml.in/yaml/v3"

	"ipsec_path_exporter/internal/ikeprobe"
	"ipsec_path_exporter/internal/wire/ipsec"
)

// An override is one key of a module or peer, as what it changes.
type override func(*Settings)

// A module is a named template. Its faults are contradictions between its keys, which are not reported again for its peers.
type module struct {
	overrides []override
	settings  Settings
	faults    []fault
}

// A fault is a contradiction between several settings.
type fault struct{ path, text string }

// readModules reads all modules, and makes those that need no file.
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

// finish lays a module over the one below it and looks for contradictions that are new.
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
	return s
}

// faults are the contradictions between settings that are each valid.
func (s *Settings) faults() (all []fault) {
	if i := s.Intervals; i.PMTURaise < i.PMTU {
		all = append(all, fault{"intervals.pmtu_raise", fmt.Sprintf("%s is shorter than the pmtu interval of %s",
			model.Duration(i.PMTURaise), model.Duration(i.PMTU))})
	}
	if s.IKE.Port == s.IKE.NATTPort {
		all = append(all, fault{"ike.natt_port", fmt.Sprintf("%d is also ike.port: "+
			"a message with the non-ESP marker and one without cannot share a port", s.IKE.Port)})
	}
	if a := s.SourceAddress; a.IsValid() && !s.Family.Allows(a) {
		all = append(all, fault{"source_address", fmt.Sprintf("%s is not of family %s", a, s.Family)})
	}
	return all
}

// set makes the reader of a key into one that adds an override.
func set[T any](to *[]override, read func(*yaml.Node, place) (T, bool), assign func(*Settings, T)) func(*yaml.Node, place) {
	return func(n *yaml.Node, at place) {
		if v, ok := read(n, at); ok {
			*to = append(*to, func(s *Settings) { assign(s, v) })
		}
	}
}

// settings are the keys that modules and peers have in common.
func (d *decoder) settings(to *[]override) []field {
	interval := func(least time.Duration, why string) func(*yaml.Node, place) (time.Duration, bool) {
		return func(n *yaml.Node, at place) (time.Duration, bool) { return d.interval(n, at, least, why) }
	}
	nested := func(name string, fields ...field) field {
		return field{name, func(n *yaml.Node, at place) { d.fields(n, at, fields) }}
	}
	const lockout = ": a gateway that is asked more often may take it for an attack and lock out the real peer at this address"
	return []field{
		{"family", set(to, oneOf(d, FamilyAny, FamilyIP4, FamilyIP6), func(s *Settings, v Family) { s.Family = v })},
		{"source_address", set(to, d.source, func(s *Settings, v netip.Addr) { s.SourceAddress = v })},
		{"interface", set(to, d.device, func(s *Settings, v string) { s.Interface = v })},
		nested("ike",
			field{"version", set(to, oneOf(d, ikeprobe.Auto, ikeprobe.V1, ikeprobe.V2), func(s *Settings, v ikeprobe.Version) { s.IKE.Version = v })},
			field{"port", set(to, d.port, func(s *Settings, v uint16) { s.IKE.Port = v })},
			field{"natt_port", set(to, d.port, func(s *Settings, v uint16) { s.IKE.NATTPort = v })},
			field{"auth", set(to, oneOf(d, ikeprobe.PSK, ikeprobe.XAUTH, ikeprobe.RSA), func(s *Settings, v ikeprobe.Auth) { s.IKE.Auth = v })},
		),
		nested("esp",
			field{"cipher", set(to, d.cipher, func(s *Settings, v ipsec.Cipher) { s.ESP.Cipher = v })},
			field{"natt", set(to, oneOf(d, NATTAuto, NATTAlways, NATTNever), func(s *Settings, v NATT) { s.ESP.NATT = v })},
		),
		{"collectors", set(to, d.collectors, func(s *Settings, v CollectorSet) { s.Collectors = v })},
		{"on_demand", set(to, d.boolean, func(s *Settings, v bool) { s.OnDemand = v })},
		nested("intervals",
			field{"icmp", set(to, interval(minICMP, ""), func(s *Settings, v time.Duration) { s.Intervals.ICMP = v })},
			field{"ike", set(to, interval(minIKE, lockout), func(s *Settings, v time.Duration) { s.Intervals.IKE = v })},
			field{"pmtu", set(to, interval(minPMTU, lockout), func(s *Settings, v time.Duration) { s.Intervals.PMTU = v })},
			field{"fragments", set(to, interval(minFragments, ""), func(s *Settings, v time.Duration) { s.Intervals.Fragments = v })},
			field{"protocols", set(to, interval(minProtocols, ""), func(s *Settings, v time.Duration) { s.Intervals.Protocols = v })},
			field{"pmtu_raise", set(to, interval(minPMTU, ""), func(s *Settings, v time.Duration) { s.Intervals.PMTURaise = v })},
		),
	}
}

// oneOf reads one of a few words.
func oneOf[T fmt.Stringer](d *decoder, values ...T) func(*yaml.Node, place) (T, bool) {
	return func(n *yaml.Node, at place) (v T, ok bool) {
		s, ok := d.text(n, at)
		if !ok {
			return v, false
		}
		words := make([]string, len(values))
		for i, known := range values {
			if words[i] = known.String(); s == words[i] {
				return known, true
			}
		}
		d.problem(n, at, fmt.Sprintf("%q is none of %s", s, strings.Join(words, ", ")))
		return v, false
	}
}

// source reads a source address; an empty one lets routing choose.
func (d *decoder) source(n *yaml.Node, at place) (netip.Addr, bool) {
	s, ok := d.text(n, at)
	if !ok || s == "" {
		return netip.Addr{}, ok
	}
	a, err := netip.ParseAddr(s)
	if err != nil {
		d.problem(n, at, fmt.Sprintf("%q is not an IP address", s))
		return netip.Addr{}, false
	}
	if why := unusable(a); why != "" {
		d.problem(n, at, fmt.Sprintf("%q %s", s, why))
		return netip.Addr{}, false
	}
	return a, true
}

// device reads the name of a network interface, which the kernel keeps below IFNAMSIZ (16) bytes and free of slashes and spaces.
func (d *decoder) device(n *yaml.Node, at place) (string, bool) {
	const longest = 15
	s, ok := d.text(n, at)
	if ok && (len(s) > longest || strings.ContainsAny(s, "/: \t\r\n\v\f\x00") || s == "." || s == "..") {
		d.problem(n, at, fmt.Sprintf("%q cannot be the name of a network interface", s))
		return "", false
	}
	return s, ok
}

func (d *decoder) port(n *yaml.Node, at place) (uint16, bool) {
	const highest = 1<<16 - 1
	v, ok := d.integer(n, at, 1, highest)
	return uint16(v), ok
}

func (d *decoder) cipher(n *yaml.Node, at place) (ipsec.Cipher, bool) {
	s, ok := d.text(n, at)
	if !ok {
		return ipsec.Cipher{}, false
	}
	c, known := ipsec.CipherByName(s)
	if !known {
		d.problem(n, at, fmt.Sprintf("unknown cipher %q: %s", s, meant(s, ipsec.CipherNames())))
	}
	return c, known
}

// collectors reads a list of collectors, each at most once.
func (d *decoder) collectors(n *yaml.Node, at place) (set CollectorSet, ok bool) {
	before := len(d.problems)
	read := oneOf(d, ICMP, IKE, PMTU, Fragments, Protocols)
	d.list(n, at, func(n *yaml.Node, at place) {
		c, ok := read(n, at)
		if ok && set.Has(c) {
			d.problem(n, at, fmt.Sprintf("%q is listed twice", c))
		}
		if ok {
			set |= NewCollectorSet(c)
		}
	})
	if ok = len(d.problems) == before; ok && set == 0 {
		d.problem(n, at, "is empty: a peer needs at least one collector")
		return 0, false
	}
	return set, ok
}

// interval reads a duration as Prometheus writes it (1m30s, 1d), or Go (1.5s).
func (d *decoder) interval(n *yaml.Node, at place, least time.Duration, why string) (time.Duration, bool) {
	s, ok := d.text(n, at)
	if !ok {
		return 0, false
	}
	v, err := parseDuration(s)
	switch {
	case err != nil:
		d.problem(n, at, fmt.Sprintf("%q is not a duration: write it as 5s, 1m30s or 1d", s))
	case v < least:
		d.problem(n, at, fmt.Sprintf("%q is below %s%s", s, model.Duration(least), why))
	case v > maxInterval:
		d.problem(n, at, fmt.Sprintf("%q is above %s", s, model.Duration(maxInterval)))
	default:
		return v, true
	}
	return 0, false
}

func parseDuration(s string) (time.Duration, error) {
	if v, err := model.ParseDuration(s); err == nil {
		return time.Duration(v), nil
	}
	return time.ParseDuration(s)
}
