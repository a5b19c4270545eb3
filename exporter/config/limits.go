package config

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/common/model"
	"go.yaml.in/yaml/v3"

	"ipsec_path_exporter/internal/ikeprobe"
)

// Limits bound what the whole process does. Over them, everything stretches evenly.
type Limits struct {
	// PacketsPerSecond and BytesPerSecond of whole IP packets are what may be sent.
	PacketsPerSecond, BytesPerSecond int
	// Searches is how many measurements that block may run at the same time.
	Searches int
}

// DefaultLimits are the limits of a configuration that names none.
func DefaultLimits() Limits {
	return Limits{PacketsPerSecond: 2000, BytesPerSecond: 2_000_000, Searches: 256}
}

// The bounds of the limits. Below leastBytes, one large packet would have to wait for several seconds.
const (
	mostPackets  = 1_000_000
	mostSearches = 10_000
	leastBytes   = 10_000
)

func (d *decoder) limits(n *yaml.Node, at place) {
	l := &d.config.Limits
	bounded := func(to *int, most int) func(*yaml.Node, place) {
		return func(n *yaml.Node, at place) {
			if v, ok := d.integer(n, at, 1, most); ok {
				*to = v
			}
		}
	}
	d.fields(n, at, []field{
		{"packets_per_second", bounded(&l.PacketsPerSecond, mostPackets)},
		{"bytes_per_second", func(n *yaml.Node, at place) {
			s, ok := d.text(n, at)
			if !ok {
				return
			}
			v, ok := parseBytes(s)
			switch {
			case !ok:
				d.problem(n, at, fmt.Sprintf("%q is not a number of bytes: write it as 500kB, 2MB or 2000000", s))
			case v < leastBytes:
				d.problem(n, at, fmt.Sprintf("%q is below 10kB, which is too little for the large packets of a path MTU search", s))
			default:
				l.BytesPerSecond = v
			}
		}},
		{"searches", bounded(&l.Searches, mostSearches)},
	})
}

// parseBytes reads a number of bytes with a decimal (kB, MB, GB) or binary unit (KiB, MiB, GiB), or without.
func parseBytes(s string) (int, bool) {
	end := strings.IndexFunc(s, func(r rune) bool { return r != '.' && (r < '0' || r > '9') })
	if end < 0 {
		end = len(s)
	}
	unit := map[string]float64{
		"": 1, "B": 1, "kB": 1e3, "KB": 1e3, "MB": 1e6, "GB": 1e9, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30,
	}[strings.TrimPrefix(s[end:], " ")]
	v, err := strconv.ParseFloat(s[:end], 64)
	if v *= unit; err != nil || unit == 0 || v != math.Trunc(v) || v > math.MaxInt32 {
		return 0, false
	}
	return int(v), true
}

// Sizes of whole IP packets, in bytes, for estimates. They take the larger IPv6 header for granted.
const (
	echoBytes = 40 + 8 + 56
	headers   = 40 + 8
	linkMTU   = 1500
)

// PacketRate is what the configuration sends when all is well: each round one echo, one IKE message by each of two methods,
// one packet of 1500 bytes by each of three methods to confirm the path MTU, one large IKE message in two fragments by each of two methods,
// and a ladder of six protocols over ten hops. What a search takes is not in it.
func (c *Config) PacketRate() (packetsPerSecond, bytesPerSecond float64) {
	const ikeMethods, mtuMethods, ladderProtocols, ladderHops = 2, 3, 6, 10
	add := func(packets float64, size int, every time.Duration) {
		packetsPerSecond += packets / every.Seconds()
		bytesPerSecond += packets * float64(size) / every.Seconds()
	}
	for i := range c.Peers {
		p := &c.Peers[i]
		if p.Collectors.Has(ICMP) {
			add(1, echoBytes, p.Intervals.ICMP)
		}
		if p.Collectors.Has(IKE) {
			add(ikeMethods, headers+ikeBytes(p.IKE.Auth, p.IKE.Version), p.Intervals.IKE)
		}
		if p.Collectors.Has(PMTU) {
			add(mtuMethods, linkMTU, p.Intervals.PMTU)
			add(mtuMethods, linkMTU, p.Intervals.PMTURaise)
		}
		if p.Collectors.Has(Fragments) {
			add(ikeMethods*2, linkMTU/2, p.Intervals.Fragments)
		}
		if p.Collectors.Has(Protocols) {
			add(ladderProtocols*ladderHops, headers+ikeBytes(p.IKE.Auth, p.IKE.Version)/2, p.Intervals.Protocols)
		}
	}
	// A control is measured as a peer is that has no collectors but icmp and pmtu.
	every := Defaults().Intervals
	add(float64(len(c.Controls)), echoBytes, every.ICMP)
	add(float64(len(c.Controls)), linkMTU, every.PMTU)
	return packetsPerSecond, bytesPerSecond
}

// ikeBytes is the size of the first form that a peer is asked with, which is the one that most of them answer.
func ikeBytes(auth ikeprobe.Auth, version ikeprobe.Version) int {
	form := ikeprobe.V2BadKE
	if version == ikeprobe.V1 {
		form = ikeprobe.V1Main
	}
	return ikeprobe.Size(form, auth, true)
}

// Warnings say what is valid and probably not meant.
func (c *Config) Warnings() []string {
	var all []string
	packets, bytes := c.PacketRate()
	warn := func(what string, needed float64, limit int) {
		if stretch := needed / float64(limit); stretch > 1 {
			all = append(all, fmt.Sprintf("limits.%s: %d is below the %.0f that the configuration needs: intervals will be %.1f times as long",
				what, limit, math.Ceil(needed), stretch))
		}
	}
	warn("packets_per_second", packets, c.Limits.PacketsPerSecond)
	warn("bytes_per_second", bytes, c.Limits.BytesPerSecond)
	return slices.Concat(all, c.crowded(), c.shadowed())
}

// shadowed finds peers that no SA can be attributed to, because another of the same address has it.
func (c *Config) shadowed() (all []string) {
	type place struct{ gateway, address string }
	first := make(map[place]string)
	for i := range c.Peers {
		p := &c.Peers[i]
		m := &p.Match
		if len(m.Addresses)+len(m.IDs)+len(m.Usernames)+len(m.Groups) > 0 {
			continue
		}
		for _, g := range p.Gateways {
			at := place{g, p.where()}
			if other, taken := first[at]; taken {
				all = append(all, fmt.Sprintf("the peers %s and %s are both at %s, and both expected at gateway %s: an SA with that address is taken for the first one's; "+
					"leave the gateway out of one, or say by match whose is whose", other, p.Name, at.address, g))
				continue
			}
			first[at] = p.Name
		}
	}
	return all
}

// where is the peer's address, so that the same one is written the same.
func (p *Peer) where() string {
	if p.Addr.IsValid() {
		return p.Addr.String()
	}
	return strings.ToLower(strings.TrimSuffix(p.Address, "."))
}

// crowded finds addresses that several peers together ask more often than one may.
func (c *Config) crowded() []string {
	type load struct {
		names []string
		rate  float64
	}
	loads := make(map[string]*load)
	var order []string
	for i := range c.Peers {
		p := &c.Peers[i]
		if !p.Collectors.Has(IKE) {
			continue
		}
		key := p.where()
		if loads[key] == nil {
			loads[key] = &load{}
			order = append(order, key)
		}
		loads[key].names = append(loads[key].names, p.Name)
		loads[key].rate += 1 / p.Intervals.IKE.Seconds()
	}
	var all []string
	for _, key := range order {
		l := loads[key]
		if every := time.Duration(float64(time.Second) / cmp.Or(l.rate, 1)); len(l.names) > 1 && every < minIKE-time.Millisecond {
			all = append(all, fmt.Sprintf("the peers %s are all at %s, which is asked by IKE every %s: below %s its gateway may lock out the real peer",
				strings.Join(l.names, ", "), key, model.Duration(every.Round(time.Millisecond)), model.Duration(minIKE)))
		}
	}
	return all
}
