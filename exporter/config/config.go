// Package config reads the configuration: strict YAML, addresses from the command line, or both.
//
//	YAML ──▶ nodes with their lines ──▶ overrides per module and peer ──▶ Settings of each peer
//	                                     built-in < default < module < peer
//
// All problems are reported at once, each with its line and place. The package resolves no names,
// opens no other file and measures nothing.
package config

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"slices"
	"strconv"

	"ipsec_path_exporter/collectors/gateways"
	"ipsec_path_exporter/collectors/inside"
)

// Config is a valid configuration.
type Config struct {
	// Peers are in the order of the file, then of the command line. Their names are unique.
	Peers []Peer
	// Known has all configured peers if Peers is a selection, so that SAs of the other peers are
	// not attributed to the selected ones. Otherwise it is nil.
	Known []Peer
	// Others are the peers that other shards measure; see Divide.
	Others []Other
	// PeerFiles are the patterns of files with further peers, in the format of Prometheus's file_sd.
	// Places has the position of each peer that the configuration itself names, if there are any.
	PeerFiles []string
	Places    map[string]string
	// Modules has the settings of each module by its name, always including DefaultModule.
	Modules map[string]Settings
	// Gateways are the gateways whose SA tables are read. Their names are unique.
	Gateways []Gateway
	Limits   Limits
	// Controls are addresses beyond the local network edge that are known to work: a fault that
	// they share with the peers is in this host's own uplink.
	Controls []netip.Addr
	// Partners is how the partners of the peers are answered.
	Partners Partners
}

// DefaultModule is the module of a peer that names no module, and the base of all other modules.
const DefaultModule = "default"

// A Peer is one remote address whose path is measured.
type Peer struct {
	Name string
	// Group is the configured name of a peer of FamilyBoth, of which this is the part of one family;
	// otherwise it is empty.
	Group string
	// Address is the configured host name or IP address. Addr is valid if it is an IP address.
	Address string
	Addr    netip.Addr
	// Labels are added to every series of this peer. Their values are not empty.
	Labels map[string]string
	// Gateways are the names of the gateways where an SA of this peer is expected.
	Gateways []string
	Match    gateways.Match
	// Inside are addresses behind the tunnel to the peer, which are measured through it.
	Inside []inside.Target
	Settings
}

// Equal reports whether two peers are the same in all respects.
func (p Peer) Equal(q Peer) bool {
	return p.SamePath(q) && p.Group == q.Group && p.OnDemand == q.OnDemand && slices.Equal(p.Gateways, q.Gateways) && sameMatch(&p.Match, &q.Match)
}

func sameMatch(a, b *gateways.Match) bool {
	return slices.Equal(a.Addresses, b.Addresses) && slices.Equal(a.IDs, b.IDs) &&
		slices.Equal(a.Usernames, b.Usernames) && slices.Equal(a.Groups, b.Groups)
}

// SamePath reports whether two peers are measured in the same way and have the same labels. It
// ignores what concerns gateways only.
func (p Peer) SamePath(q Peer) bool {
	p.OnDemand = q.OnDemand
	return p.Name == q.Name && p.Address == q.Address && p.Addr == q.Addr && p.Settings == q.Settings && maps.Equal(p.Labels, q.Labels) && slices.Equal(p.Inside, q.Inside)
}

// Discovered adds a peer that gateways have reported, with its address as its name and the settings
// of the default module. It is on demand, because gateways do not report whether an SA has to exist
// now. A valid source is the source address, unless the module determines one.
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
	c.Peers = slices.Clip(c.Peers)
	for _, p := range d.config.Peers {
		p.Gateways, p.OnDemand = gateways, true
		c.Peers = append(c.Peers, p)
	}
	return nil
}

// Load reads a file that must have peers.
func Load(path string) (*Config, error) {
	cfg, err := ReadAny(path, nil)
	return needPeers(path, cfg, err)
}

// Parse reads the content of a file that must have peers. Problems are reported under the name.
func Parse(name string, data []byte) (*Config, error) {
	cfg, err := decode(name, data, nil, nil)
	return needPeers(name, cfg, err)
}

// FromArguments makes a configuration of [NAME=]ADDRESS arguments with the default settings.
func FromArguments(peers []string) (*Config, error) {
	return decode("", nil, peers, strconv.Quote)
}

// ReadAny reads a file, unless path is empty, and adds the peers of [NAME=]ADDRESS flags with the
// settings of the default module. The result may have no peers.
func ReadAny(path string, flags []string) (*Config, error) {
	if path == "" {
		return decode("", nil, flags, peerFlag)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("cannot read the configuration: %w", err)
	}
	return decode(path, data, flags, peerFlag)
}

func peerFlag(s string) string { return "--peer=" + s }

// decode reads a file and arguments, which item names in problems.
func decode(file string, data []byte, arguments []string, item func(string) string) (*Config, error) {
	d := newDecoder(file)
	d.document(data)
	for _, arg := range arguments {
		d.argument(place{item: item(arg)}, arg)
	}
	if err := d.err(); err != nil {
		return nil, err
	}
	if len(d.config.PeerFiles) > 0 {
		d.config.Places = d.names
	}
	return &d.config, nil
}

func needPeers(file string, cfg *Config, err error) (*Config, error) {
	if err == nil && len(cfg.Peers) == 0 {
		return nil, ErrNoPeers(file)
	}
	return cfg, err
}

// ErrNoPeers returns the error for a configuration without peers. file is empty if there is none.
func ErrNoPeers(file string) error {
	if file == "" {
		return errors.New("no peers: give --peer=203.0.113.10 or a file with --config.file")
	}
	return &Error{File: file, Text: "no peers: write for example `peers: [{address: 203.0.113.10}]`, or give --peer=203.0.113.10"}
}
