package crowd

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"ipsec_path_exporter/internal/netlab/responder"
)

// A Kind is a kind of peer: what the path to it and its gateway do.
type Kind uint8

// The kinds. What each does is in the table below.
const (
	Clean Kind = iota
	Small
	Hole
	SilentHole
	ReverseHole
	NoEcho
	Dead
	OneWay
	NoRoute
	Lossy
	HeavyLoss
	NoUDP500
	NoUDP4500
	Refused
	NoFragments
	Prohibited
	IKEv1
	kinds
)

// A trait is the name of a kind, what it does to a profile, and the diagnoses that hold at it.
type trait struct {
	name      string
	shape     func(p *Profile)
	diagnoses []string
}

// The loss of a round trip at lossy peers, from 0 to 1.
const (
	slightLoss = 0.01
	heavyLoss  = 0.5
)

var traits = [kinds]trait{
	Clean: {"clean", func(*Profile) {}, nil},
	// A smaller link whose router sends "packet too big".
	Small: {"small", func(p *Profile) { p.MTU, p.ReverseMTU = p.narrow, p.narrow }, nil},
	// A smaller link whose router sends nothing.
	Hole: {"hole", func(p *Profile) { p.MTU, p.TooBig = p.narrow, false }, []string{"pmtu_black_hole"}},
	// The same, and the provider drops all ICMP.
	SilentHole: {
		"silent_hole",
		func(p *Profile) { p.MTU, p.TooBig, p.Mute, p.Echo = p.narrow, false, true, Ignores },
		[]string{"icmp_blocked", "pmtu_black_hole"},
	},
	// Large packets from the peer vanish.
	ReverseHole: {"reverse_hole", func(p *Profile) { p.ReverseMTU, p.ReverseDrop = p.narrow, true }, []string{"pmtu_black_hole_reverse"}},
	NoEcho:      {"no_echo", func(p *Profile) { p.Echo = Ignores }, []string{"icmp_blocked"}},
	Dead:        {"dead", func(p *Profile) { p.Echo, p.IKE, p.NATT = Ignores, Ignores, Ignores }, []string{"peer_silent"}},
	// Requests arrive, and the replies are lost.
	OneWay: {"one_way", func(p *Profile) { p.RepliesLost = true }, []string{"peer_silent"}},
	// The last router reports that there is no such host.
	NoRoute:     {"no_route", func(p *Profile) { p.Unreachable = true }, []string{"no_route"}},
	Lossy:       {"lossy", func(p *Profile) { p.Loss = slightLoss }, nil},
	HeavyLoss:   {"heavy_loss", func(p *Profile) { p.Loss = heavyLoss }, []string{"loss_high"}},
	NoUDP500:    {"no_udp500", func(p *Profile) { p.IKE = Ignores }, []string{"udp500_blocked"}},
	NoUDP4500:   {"no_udp4500", func(p *Profile) { p.NATT = Ignores }, []string{"udp4500_blocked"}},
	Refused:     {"refused", func(p *Profile) { p.IKE, p.NATT = Refuses, Refuses }, []string{"ike_refused"}},
	NoFragments: {"no_fragments", func(p *Profile) { p.FragmentsDropped = true }, []string{"fragments_dropped"}},
	// The last router prohibits ESP and AH.
	Prohibited: {"prohibited", func(p *Profile) { p.IPsec = Refuses }, []string{"ah_blocked", "esp_blocked"}},
	IKEv1:      {"ikev1", func(p *Profile) { p.Versions = responder.Version1 }, nil},
}

// String returns the name of the kind.
func (k Kind) String() string {
	if k < kinds {
		return traits[k].name
	}
	return "unknown"
}

// MarshalText returns the name of the kind.
func (k Kind) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// UnmarshalText reads the name of a kind.
func (k *Kind) UnmarshalText(b []byte) error {
	i := slices.IndexFunc(traits[:], func(t trait) bool { return t.name == string(b) })
	if i < 0 {
		return fmt.Errorf("%w: %q", errKind, b)
	}
	*k = Kind(i)
	return nil
}

var (
	errKind = errors.New("unknown kind of peer")
	errMix  = errors.New("mix of peers: must be like clean:90,dead:10")
)

// A Share is a kind and its weight among all peers.
type Share struct {
	Kind   Kind
	Weight float64
}

// ParseMix reads "clean:90,dead:10". A kind without a weight has the weight 1.
func ParseMix(s string) ([]Share, error) {
	var mix []Share
	for term := range strings.SplitSeq(s, ",") {
		name, weight, weighted := strings.Cut(term, ":")
		share := Share{Weight: 1}
		if err := share.Kind.UnmarshalText([]byte(name)); err != nil {
			return nil, err
		}
		if weighted {
			var err error
			if share.Weight, err = strconv.ParseFloat(weight, 64); err != nil || share.Weight < 0 {
				return nil, fmt.Errorf("%w: %q", errMix, s)
			}
		}
		mix = append(mix, share)
	}
	return mix, nil
}
