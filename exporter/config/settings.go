package config

import (
	"iter"
	"net/netip"
	"time"

	"ipsec_path_exporter/collectors"
	"ipsec_path_exporter/internal/ikeprobe"
	"ipsec_path_exporter/internal/wire/ipsec"
)

// Settings say how a peer is measured. They are comparable.
type Settings struct {
	// Family decides which address of a name is measured.
	Family Family
	// SourceAddress is where packets come from. The zero Addr lets routing choose.
	SourceAddress netip.Addr
	// Interface is the network interface or VRF device that packets leave by. Empty lets routing choose.
	Interface string
	// IKE is how the peer is spoken to.
	IKE collectors.IKESettings
	// ESP is what its tunnels are like.
	ESP ESP
	// Collectors are what is measured.
	Collectors CollectorSet
	// Intervals are how often.
	Intervals Intervals
	// OnDemand says that a tunnel without traffic may have no SA.
	OnDemand bool
}

// ESP describes the tunnels of a peer, only to compute how large the packets inside them may be.
type ESP struct {
	Cipher ipsec.Cipher
	NATT   NATT
}

// Intervals are how often a peer is measured.
type Intervals struct {
	ICMP, IKE, PMTU, Fragments, Protocols time.Duration
	// PMTURaise is how often a reduced path MTU is tested for having grown (RFC 8899, section 5.1.1).
	PMTURaise time.Duration
}

// The least intervals. Those on IKE ports are long because it is the real tunnel that suffers from a gateway's defence.
const (
	minICMP = 100 * time.Millisecond
	minIKE  = 10 * time.Second
	minPMTU = 10 * time.Second
	// A round of these takes a while where something is wrong.
	minFragments = time.Minute
	minProtocols = time.Minute
	// maxInterval keeps results, which are shown for three intervals, from outliving their meaning.
	maxInterval = 7 * 24 * time.Hour
)

// Defaults are the built-in settings: those of a peer for which nothing but its address is configured.
func Defaults() Settings {
	// RFC 7296, section 2, and RFC 3948, section 2.2, name the ports.
	const port, nattPort = 500, 4500
	cipher, _ := ipsec.CipherByName("aes-cbc-sha1")
	return Settings{
		Family:     FamilyAny,
		IKE:        collectors.IKESettings{Version: ikeprobe.Auto, Port: port, NATTPort: nattPort, Auth: ikeprobe.PSK},
		ESP:        ESP{Cipher: cipher, NATT: NATTAuto},
		Collectors: NewCollectorSet(ICMP, IKE, PMTU, Fragments),
		Intervals: Intervals{
			ICMP: 5 * time.Second, IKE: 30 * time.Second, PMTU: time.Minute, PMTURaise: 10 * time.Minute,
			Fragments: 5 * time.Minute, Protocols: 15 * time.Minute,
		},
	}
}

// Family is the address family of a peer.
type Family uint8

// The families. Any prefers IPv4, as IPsec peers do.
const (
	FamilyAny Family = iota
	FamilyIP4
	FamilyIP6
)

// String is the family as it is configured.
func (f Family) String() string {
	switch f {
	case FamilyAny:
		return "any"
	case FamilyIP4:
		return "ip4"
	case FamilyIP6:
		return "ip6"
	}
	return "unknown"
}

// Allows tells whether an address is of this family.
func (f Family) Allows(a netip.Addr) bool {
	return f == FamilyAny || (f == FamilyIP4) == a.Is4()
}

// NATT says whether ESP travels inside UDP (RFC 3948).
type NATT uint8

// The ways. Auto is always, unless the SA of a gateway says otherwise.
const (
	NATTAuto NATT = iota
	NATTAlways
	NATTNever
)

// String is the way as it is configured.
func (n NATT) String() string {
	switch n {
	case NATTAuto:
		return "auto"
	case NATTAlways:
		return "always"
	case NATTNever:
		return "never"
	}
	return "unknown"
}

// Collector is one aspect of the path that is measured.
type Collector uint8

// The collectors.
const (
	ICMP Collector = iota
	IKE
	PMTU
	Fragments
	Protocols
	collectorCount
)

// String is the collector's name.
func (c Collector) String() string {
	switch c {
	case ICMP:
		return "icmp"
	case IKE:
		return "ike"
	case PMTU:
		return "pmtu"
	case Fragments:
		return "fragments"
	case Protocols:
		return "protocols"
	case collectorCount:
	}
	return "unknown"
}

// CollectorSet is a set of collectors.
type CollectorSet uint8

// NewCollectorSet makes a set.
func NewCollectorSet(collectors ...Collector) CollectorSet {
	var s CollectorSet
	for _, c := range collectors {
		s |= 1 << c
	}
	return s
}

// Has tells whether a collector is in the set.
func (s CollectorSet) Has(c Collector) bool { return s&(1<<c) != 0 }

// With is the set with these collectors as well.
func (s CollectorSet) With(collectors ...Collector) CollectorSet {
	return s | NewCollectorSet(collectors...)
}

// All are the collectors of the set in their usual order.
func (s CollectorSet) All() iter.Seq[Collector] {
	return func(yield func(Collector) bool) {
		for c := range collectorCount {
			if s.Has(c) && !yield(c) {
				return
			}
		}
	}
}
