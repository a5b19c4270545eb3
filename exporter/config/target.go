package config

import (
	"fmt"
	"maps"
	"slices"
)

// Target returns a peer that is not configured, for one measurement on request, with the settings of a
// module: those of DefaultModule if it is empty.
func (c *Config) Target(address, module string) (Peer, error) {
	settings, err := c.settingsOf(module)
	if err != nil {
		return Peer{}, err
	}
	d := newDecoder("")
	p := Peer{Address: address, Settings: settings}
	if p.Family == FamilyBoth {
		p.Family = FamilyAny // one measurement has one address
	}
	d.identify(&p, nil, nil, place{item: fmt.Sprintf("target %q", address)}, "")
	return p, d.err()
}

// WithModule returns a configured peer with the settings of a module in place of its own.
func (c *Config) WithModule(p Peer, module string) (Peer, error) {
	settings, err := c.settingsOf(module)
	if err != nil {
		return Peer{}, err
	}
	family := p.Family
	if p.Settings = settings; p.Group != "" || p.Family == FamilyBoth {
		p.Family = family // it is a part of a peer, or has an address
	}
	if why := p.mismatch(); why != "" {
		return Peer{}, &Error{Place: fmt.Sprintf("target %q with module %q", p.Name, module), Text: why}
	}
	return p, nil
}

// settingsOf returns the settings of a module.
func (c *Config) settingsOf(module string) (Settings, error) {
	if module == "" {
		module = DefaultModule
	}
	s, known := c.Modules[module]
	if !known {
		return s, &Error{Text: fmt.Sprintf("unknown module %q: %s", module, meant(module, slices.Sorted(maps.Keys(c.Modules))))}
	}
	return s, nil
}
