package crowd

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"time"

	"github.com/cespare/xxhash/v2"

	"ipsec_path_exporter/internal/netlab/responder"
)

// DefaultMTU is the MTU of the device, and of each path that is not small.
const DefaultMTU = 1500

// Config describes all peers. The zero value of a field is its default; Complete fills it in, and the
// other methods need that.
type Config struct {
	// Seed chooses the profiles.
	Seed uint64
	// Count is the number of peers of each family; the default is 1.
	Count int
	// IPv4 and IPv6 are where the addresses begin: peer i has the (i+1)th address of the prefix. The
	// defaults are 10.64.0.0/12 and no IPv6.
	IPv4, IPv6 netip.Prefix
	// Mix are the kinds of peers; the default is clean ones only.
	Mix []Share
	// Narrow are the path MTUs of peers that have a small one, in bytes; the default is 1400.
	Narrow []int
	// Delay is the round-trip time of each peer, Jitter the addition to it of each packet.
	Delay, Jitter Distribution
	// Hops is the number of routers before the peers; the default is 3, the minimum 2.
	Hops int
}

// Addresses of this host's end of the device and of the first router.
var (
	local4, local6   = netip.MustParseAddr("10.63.0.1"), netip.MustParseAddr("fd63::1")
	router4, router6 = netip.MustParseAddr("10.63.255.1"), netip.MustParseAddr("fd63:ffff::1")
)

var errConfig = errors.New("simulated peers")

// Complete fills in the defaults and validates the rest.
func (c *Config) Complete() error {
	if !c.IPv4.IsValid() {
		c.IPv4 = netip.MustParsePrefix("10.64.0.0/12")
	}
	if len(c.Mix) == 0 {
		c.Mix = []Share{{Clean, 1}}
	}
	if len(c.Narrow) == 0 {
		c.Narrow = []int{1400}
	}
	if c.Count == 0 {
		c.Count = 1
	}
	if c.Hops == 0 {
		c.Hops = 3
	}
	if c.Hops < 2 || c.Hops > 30 {
		return fmt.Errorf("%w: %d routers: must be from 2 to 30", errConfig, c.Hops)
	}
	for _, p := range c.prefixes() {
		if room := p.Addr().BitLen() - p.Bits(); room < 31 && c.Count+2 > 1<<room {
			return fmt.Errorf("%w: %s has no room for %d peers", errConfig, p, c.Count)
		}
	}
	return nil
}

// prefixes returns the prefix of each family that is simulated.
func (c *Config) prefixes() []netip.Prefix {
	if c.IPv6.IsValid() {
		return []netip.Prefix{c.IPv4.Masked(), c.IPv6.Masked()}
	}
	return []netip.Prefix{c.IPv4.Masked()}
}

// Addr returns the address of peer i, counted from 0.
func (c *Config) Addr(i int, v6 bool) netip.Addr {
	if v6 {
		b := c.IPv6.Masked().Addr().As16()
		binary.BigEndian.PutUint32(b[12:], binary.BigEndian.Uint32(b[12:])+uint32(i)+1)
		return netip.AddrFrom16(b)
	}
	b := c.IPv4.Masked().Addr().As4()
	binary.BigEndian.PutUint32(b[:], binary.BigEndian.Uint32(b[:])+uint32(i)+1)
	return netip.AddrFrom4(b)
}

// A Reaction is how a peer, or the router before it, reacts to a kind of packet.
type Reaction uint8

// The reactions.
const (
	Answers Reaction = iota
	Ignores
	// Refuses means an ICMP error: port unreachable from the peer, or administratively prohibited
	// from the last router where the peer itself would never answer.
	Refuses
)

// A Profile is the truth about one peer and the path to it. Sizes are of whole IP packets, in bytes.
type Profile struct {
	Address netip.Addr `json:"address"`
	Kind    Kind       `json:"kind"`
	// MTU and ReverseMTU are the path MTUs to the peer and from it.
	MTU        int `json:"mtu_bytes"`
	ReverseMTU int `json:"reverse_mtu_bytes"`
	// TooBig means that the router before the small link sends "packet too big". ReverseDrop means
	// that packets above ReverseMTU vanish; otherwise they come in fragments.
	TooBig      bool `json:"packet_too_big"`
	ReverseDrop bool `json:"reverse_drop"`
	// Delay is the round-trip time without jitter.
	Delay time.Duration `json:"delay_ns"`
	// Loss is the probability that a round trip is lost.
	Loss float64 `json:"loss_ratio"`
	// Echo, IKE and NATT are the reactions to echo requests, UDP 500 and UDP 4500; IPsec is that to
	// ESP and AH, which no peer answers.
	Echo  Reaction `json:"echo"`
	IKE   Reaction `json:"udp500"`
	NATT  Reaction `json:"udp4500"`
	IPsec Reaction `json:"ipsec"`
	// Versions are the IKE versions that the peer answers.
	Versions responder.Versions `json:"ike_versions"`
	// Mute means that the provider drops all ICMP behind the first router.
	Mute bool `json:"mute"`
	// RepliesLost means that all packets from the peer vanish.
	RepliesLost bool `json:"replies_lost"`
	// Unreachable means that the last router has no route to the peer and reports it.
	Unreachable bool `json:"unreachable"`
	// FragmentsDropped means that IP fragments vanish in both directions.
	FragmentsDropped bool `json:"fragments_dropped"`

	narrow int
}

// Profile returns the truth about an address.
func (c *Config) Profile(a netip.Addr) Profile {
	r := rand.New(rand.NewPCG(c.Seed, hash(a)))
	p := Profile{Address: a, MTU: DefaultMTU, ReverseMTU: DefaultMTU, TooBig: true, IPsec: Ignores}
	p.Kind = pick(c.Mix, r.Float64())
	p.narrow = c.Narrow[r.IntN(len(c.Narrow))]
	p.Delay = c.Delay.at(r.Float64(), r.Float64())
	traits[p.Kind].shape(&p)
	return p
}

// Profiles calls yield with the profile of each peer, IPv4 before IPv6, until yield returns false.
func (c *Config) Profiles(yield func(Profile) bool) {
	for family := range c.prefixes() {
		for i := range c.Count {
			if !yield(c.Profile(c.Addr(i, family == 1))) {
				return
			}
		}
	}
}

// pick returns the kind for a number from 0 to 1.
func pick(mix []Share, u float64) Kind {
	total := 0.0
	for _, s := range mix {
		total += s.Weight
	}
	u *= total
	for _, s := range mix {
		if u -= s.Weight; u < 0 {
			return s.Kind
		}
	}
	return mix[len(mix)-1].Kind
}

func hash(a netip.Addr) uint64 {
	b := a.As16()
	return xxhash.Sum64(b[:])
}
