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

	"ipsec_path_exporter/exporter/suite"
)

// Limits bound the whole process. If they are exceeded, all intervals stretch evenly.
type Limits struct {
	// PacketsPerSecond and BytesPerSecond limit the whole IP packets sent.
	PacketsPerSecond, BytesPerSecond int
	// Searches limits the blocking measurements that run at the same time.
	Searches int
	// Probes limits the measurements for /probe that run at the same time, ProbesPerSecond those that
	// begin in a second.
	Probes, ProbesPerSecond int
}

// DefaultLimits returns the limits of a configuration without the key limits.
func DefaultLimits() Limits {
	return Limits{PacketsPerSecond: 2000, BytesPerSecond: 2_000_000, Searches: 256, Probes: 64, ProbesPerSecond: 10}
}

// The bounds of the limits. Below leastBytes, one large packet would wait for several seconds.
const (
	mostPackets  = 1_000_000
	mostSearches = 10_000
	mostProbes   = 10_000
	leastBytes   = 10_000
)

func (d *decoder) limits(n *yaml.Node, at place) {
	l := &d.config.Limits
	d.fields(n, at, []field{
		{"packets_per_second", into(&l.PacketsPerSecond, single(d, integer(1, mostPackets)))},
		{"bytes_per_second", into(&l.BytesPerSecond, single(d, byteRate))},
		{"searches", into(&l.Searches, single(d, integer(1, mostSearches)))},
		{"probes", into(&l.Probes, single(d, integer(1, mostProbes)))},
		{"probes_per_second", into(&l.ProbesPerSecond, single(d, integer(1, mostProbes)))},
	})
}

func byteRate(s string) (v int, why string) {
	v, ok := parseBytes(s)
	switch {
	case !ok:
		why = fmt.Sprintf("%q is not a number of bytes (examples: 500kB, 2MB, 2000000)", s)
	case v < leastBytes:
		why = fmt.Sprintf("%q is below the minimum of 10kB: a path MTU search sends large packets", s)
	}
	return v, why
}

// parseBytes reads a number of bytes, with an optional decimal (kB) or binary (KiB) unit.
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

// PacketRate returns the rates that the configuration needs while all paths are healthy.
func (c *Config) PacketRate() (packetsPerSecond, bytesPerSecond float64) {
	add := func(l suite.Load, every time.Duration) {
		packetsPerSecond += float64(l.Packets) / every.Seconds()
		bytesPerSecond += float64(l.Packets*l.Bytes) / every.Seconds()
	}
	for i := range c.Peers {
		p := &c.Peers[i]
		for of := range p.Collectors.All() {
			load := of.Spec().Load(p.IKE)
			add(load, p.Intervals[of])
			if of == suite.PMTU {
				add(load, p.PMTURaise)
			}
		}
	}
	d := Defaults()
	for range c.Controls { // the path MTU to a control is measured by echo only
		add(suite.ICMP.Spec().Load(d.IKE), d.Intervals[suite.ICMP])
		load := suite.PMTU.Spec().Load(d.IKE)
		load.Packets = 1
		add(load, d.Intervals[suite.PMTU])
	}
	return packetsPerSecond, bytesPerSecond
}

// Warnings returns what is valid but probably not intended.
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
	return slices.Concat(all, c.crowded(), c.shadowed(), c.apart())
}

// shadowed finds peers that get no SA, because an earlier peer has the same address.
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
				all = append(all, fmt.Sprintf("peers %s and %s have the same address %s and gateway %s: SAs with this address are attributed to %s "+
					"(remove the gateway from one of the peers, or set match)", other, p.Name, at.address, g, other))
				continue
			}
			first[at] = p.Name
		}
	}
	return all
}

// where returns the peer's address in its canonical form.
func (p *Peer) where() string {
	if p.Addr.IsValid() {
		return p.Addr.String()
	}
	host := strings.ToLower(strings.TrimSuffix(p.Address, "."))
	if p.Group != "" {
		return fmt.Sprintf("%s (%s)", host, p.Family)
	}
	return host
}

// crowded finds addresses to which several peers together send IKE too often.
func (c *Config) crowded() []string {
	type load struct {
		names []string
		rate  float64
	}
	loads := make(map[string]*load)
	var order []string
	for i := range c.Peers {
		p := &c.Peers[i]
		if !p.Collectors.Has(suite.IKE) {
			continue
		}
		key := p.where()
		if loads[key] == nil {
			loads[key] = &load{}
			order = append(order, key)
		}
		loads[key].names = append(loads[key].names, p.Name)
		loads[key].rate += 1 / p.Intervals[suite.IKE].Seconds()
	}
	least := suite.IKE.Spec().Least
	var all []string
	for _, key := range order {
		l := loads[key]
		if every := time.Duration(float64(time.Second) / cmp.Or(l.rate, 1)); len(l.names) > 1 && every < least-time.Millisecond {
			all = append(all, fmt.Sprintf("peers %s have the same address %s, which gets IKE messages every %s: below %s the gateway may lock out the real peer",
				strings.Join(l.names, ", "), key, model.Duration(every.Round(time.Millisecond)), model.Duration(least)))
		}
	}
	return all
}
