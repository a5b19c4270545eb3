package config

import (
	"net/netip"
	"time"

	"ipsec_path_exporter/collectors"
	"ipsec_path_exporter/exporter/suite"
	"ipsec_path_exporter/internal/enum"
	"ipsec_path_exporter/internal/ikeprobe"
	"ipsec_path_exporter/internal/wire/ipsec"
)

// Settings are how a peer is measured. They are comparable.
type Settings struct {
	// Family selects the address of a host name.
	Family Family
	// Routing chooses where SourceAddress or Interface, which may be a VRF device, is not set.
	SourceAddress netip.Addr
	Interface     string
	// Mark is the firewall mark of all probes, 0 for none.
	Mark       uint32
	IKE        collectors.IKESettings
	ESP        ESP
	Collectors suite.Set
	Intervals  suite.Intervals
	// PMTURaise is the interval for raising a reduced path MTU (RFC 8899, section 5.1.1).
	PMTURaise time.Duration
	// OnDemand means that a tunnel without traffic may have no SA.
	OnDemand bool
	// Partner is the exporter or STAMP reflector at the other end, if there is one.
	Partner Partner
}

// ESP describes the tunnels of a peer, to compute the size of the packets that fit into them.
type ESP struct {
	Cipher ipsec.Cipher
	NATT   NATT
}

const (
	// minRaise is the shortest interval for raising a reduced path MTU.
	minRaise = 10 * time.Second
	// maxInterval bounds the age of results, which are shown for three intervals.
	maxInterval = 7 * 24 * time.Hour
)

// Defaults returns the built-in settings.
func Defaults() Settings {
	// The ports are from RFC 7296, section 2, and RFC 3948, section 2.2.
	const port, nattPort = 500, 4500
	cipher, _ := ipsec.CipherByName("aes-cbc-sha1")
	return Settings{
		Family:     FamilyAny,
		IKE:        collectors.IKESettings{Version: ikeprobe.Auto, Port: port, NATTPort: nattPort, Auth: ikeprobe.PSK},
		ESP:        ESP{Cipher: cipher, NATT: NATTAuto},
		Collectors: suite.DefaultSet(),
		Intervals:  suite.DefaultIntervals(),
		PMTURaise:  10 * time.Minute,
	}
}

// Family is the address family of a peer.
type Family uint8

// The families. FamilyAny prefers IPv4, as IPsec peers do. A peer of FamilyBoth is measured as two
// peers, one of each family.
const (
	FamilyAny Family = iota
	FamilyIP4
	FamilyIP6
	FamilyBoth
)

// Families returns all families.
func Families() []Family { return []Family{FamilyAny, FamilyIP4, FamilyIP6, FamilyBoth} }

// String returns the value of the configuration key.
func (f Family) String() string { return enum.Name(f, "any", "ip4", "ip6", "both") }

// Allows reports whether an address is of this family.
func (f Family) Allows(a netip.Addr) bool {
	return f == FamilyAny || f == FamilyBoth || (f == FamilyIP4) == a.Is4()
}

// NATT is whether ESP is encapsulated in UDP (RFC 3948).
type NATT uint8

// The values. NATTAuto is NATTAlways, unless the SA of a gateway shows otherwise.
const (
	NATTAuto NATT = iota
	NATTAlways
	NATTNever
)

// String returns the value of the configuration key.
func (n NATT) String() string { return enum.Name(n, "auto", "always", "never") }
