// Package config reads what is to be measured: a strict YAML file, addresses from the command line, or both.
//
//	YAML ──▶ nodes with their lines ──▶ overrides per module and peer ──▶ Settings of each peer
//	                                     built-in < default < module < peer
//
// All problems are reported at once, each with its line and place. Nothing is resolved, opened or measured here.
package config

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"slices"
	"strconv"
)

// Config is a valid configuration.
type Config struct {
	// Peers in the order in which they are written, those of the command line last. Their names are unique.
	Peers []Peer
	// Known are all configured peers, where Peers are only those of them that were asked for: SAs of the others are theirs. Else it is nil.
	Known []Peer
	// Modules are the settings of each module by its name. There always is one called DefaultModule.
	Modules map[string]Settings
	// Gateways are those whose table of SAs is read. Their names are unique.
	Gateways []Gateway
	// Limits bound the whole process.
	Limits Limits
	// Controls are addresses beyond the own edge that are known to behave: where they fail too, this host's own connection is the fault.
	Controls []netip.Addr
}

// DefaultModule is the module of a peer that names none. Its settings are also the base of all other modules.
const DefaultModule = "default"

// A Peer is one remote address whose path is measured.
type Peer struct {
	// Name identifies the peer.
	Name string
	// Address is what was configured: a host name or an IP address. Addr is valid if it is the latter.
	Address string
	Addr    netip.Addr
	// Labels stand on every series of this peer. Peers may have different ones. None has an empty value.
	Labels map[string]string
	// Gateways are the names of those where an SA of this peer is expected, Match is how its SAs are known besides by its address.
	Gateways []string
	Match    Match
	Settings
}

// Equal tells whether two peers are the same in all respects.
func (p Peer) Equal(q Peer) bool {
	return p.SamePath(q) && p.OnDemand == q.OnDemand && slices.Equal(p.Gateways, q.Gateways) && p.Match.Equal(q.Match)
}

// SamePath tells whether two peers are measured in the same way, and their series have the same labels, whatever gateways are to know of them.
func (p Peer) SamePath(q Peer) bool {
	p.OnDemand = q.OnDemand
	return p.Name == q.Name && p.Address == q.Address && p.Addr == q.Addr && p.Settings == q.Settings && maps.Equal(p.Labels, q.Labels)
}

// Discovered adds a peer that gateways have told about: with the settings of the default module, and its address as its name. Whether it
// should have an SA just now they did not tell. source is where it has to be measured from, in place of what the module says; not valid if
// that is not known.
func (c *Config) Discovered(address string, source netip.Addr, gateways []string) error {
	d := newDecoder("")
	settings := c.Modules[DefaultModule]
	if source.IsValid() && !settings.SourceAddress.IsValid() && settings.Interface == "" && settings.Family.Allows(source) {
		settings.SourceAddress, settings.Family = source, FamilyIP6
		if source.Is4() {
			settings.Family = FamilyIP4
		}
	}
	d.modules = map[string]module{DefaultModule: {settings: settings}}
	d.argument(place{item: strconv.Quote(address)}, address)
	if err := d.err(); err != nil {
		return err
	}
	p := d.config.Peers[0]
	p.Gateways, p.OnDemand = gateways, true
	c.Peers = append(slices.Clip(c.Peers), p)
	return nil
}

// Load reads a file.
func Load(path string) (*Config, error) { return Read(path, nil) }

// Parse reads the content of a file. The name is what its problems are reported for.
func Parse(name string, data []byte) (*Config, error) { return parse(name, data, nil) }

// FromFlags makes a configuration without a file: from [NAME=]ADDRESS, each peer with the default settings.
func FromFlags(peers []string) (*Config, error) { return parse("", nil, peers) }

// FromArguments is FromFlags for what stands on the command line without a flag.
func FromArguments(peers []string) (*Config, error) {
	d := newDecoder("")
	d.document(nil)
	for _, arg := range peers {
		d.argument(place{item: strconv.Quote(arg)}, arg)
	}
	if err := d.err(); err != nil {
		return nil, err
	}
	return &d.config, nil
}

// Read reads a file, unless path is empty, and adds peers given as [NAME=]ADDRESS, whose module is the file's default one.
// The file then needs no peers of its own.
func Read(path string, peers []string) (*Config, error) {
	cfg, err := ReadAny(path, peers)
	if err == nil && len(cfg.Peers) == 0 {
		return nil, ErrNoPeers(path)
	}
	return cfg, err
}

// ReadAny is Read, but there may be no peers at all.
func ReadAny(path string, peers []string) (*Config, error) {
	if path == "" {
		return decode("", nil, peers)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("cannot read the configuration: %w", err)
	}
	return decode(path, data, peers)
}

func parse(file string, data []byte, flags []string) (*Config, error) {
	cfg, err := decode(file, data, flags)
	if err == nil && len(cfg.Peers) == 0 {
		return nil, ErrNoPeers(file)
	}
	return cfg, err
}

func decode(file string, data []byte, flags []string) (*Config, error) {
	d := newDecoder(file)
	d.document(data)
	for _, flag := range flags {
		d.argument(place{item: "--peer=" + flag}, flag)
	}
	if err := d.err(); err != nil {
		return nil, err
	}
	return &d.config, nil
}

// ErrNoPeers says what to do about a configuration without peers; file is empty if there is none.
func ErrNoPeers(file string) error {
	if file == "" {
		return errors.New("no peers: give --peer=203.0.113.10 or a file with --config.file")
	}
	return &Error{File: file, Text: "no peers: write for example `peers: [{address: 203.0.113.10}]`, or give --peer=203.0.113.10"}
}
