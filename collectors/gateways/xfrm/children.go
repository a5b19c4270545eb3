//go:build linux

package xfrm

import (
	"cmp"
	"net/netip"
	"slices"
	"strconv"
	"time"

	"ipsec_path_exporter/collectors/gateways"
)

// The kernel has no names of states; these are the kinds of its entries.
const (
	wordIn      = "in"
	wordOut     = "out"
	wordLarval  = "larval"  // an SPI that was chosen for an inbound SA while that is negotiated
	wordAcquire = "acquire" // traffic waits for an outbound SA, and the kernel has asked for one
)

// A group is what may belong together as pairs of SAs.
type group struct {
	pair
	proto              uint8
	reqid, interfaceID uint32
}

// children returns one entry per SA, two per pair, each with the counters of its direction. A child
// of an IKE daemon is a pair, so a group has at most one installed inbound entry per outbound one;
// all others have no state. During a rekey, while the old inbound SA is kept for packets under way,
// the new pair is installed and the old SA has no state. It also returns the number of SAs whose
// direction is unknown.
func children(states []state, local map[netip.Addr]bool, paths *kernelRoutes) ([]gateways.ChildSA, int) {
	entries := make([]gateways.ChildSA, len(states))
	outbound := make(map[group]int, len(states)/2)
	negotiated := map[group]bool{}
	var inbound, acquired []int // indices of states; entries have the same
	for i := range states {
		s := &states[i]
		if s.dir == unknownWay {
			s.dir = s.way(local)
		}
		entries[i] = entry(s)
		switch {
		case s.dir == unknownWay:
		case s.dir == in && s.keyed:
			inbound = append(inbound, i)
		case s.dir == in:
			entries[i].State, entries[i].VendorState = gateways.Installing, wordLarval
			negotiated[s.group().any()] = true
		case s.keyed:
			outbound[s.group()]++
		default:
			entries[i].VendorState = wordAcquire
			acquired = append(acquired, i)
		}
	}
	slices.SortFunc(inbound, func(a, b int) int { return cmp.Or(states[b].added.Compare(states[a].added), cmp.Compare(b, a)) })
	for _, i := range inbound {
		if g := states[i].group(); outbound[g] > 0 {
			outbound[g]--
			entries[i].State = gateways.Installed
		}
	}
	for _, i := range acquired {
		if !negotiated[states[i].group().any()] { // else one negotiation has left both
			entries[i].State = gateways.Installing
		}
	}
	if paths != nil {
		addPathMTUs(entries, states, paths)
	}
	known := slices.DeleteFunc(entries, func(e gateways.ChildSA) bool { return e.VendorState == "" })
	return known, len(states) - len(known)
}

// addPathMTUs adds the path MTUs of the SAs in use, except where a mark may change the route.
func addPathMTUs(entries []gateways.ChildSA, states []state, paths *kernelRoutes) {
	pairs := make(map[pair]bool, len(entries)/2)
	for i := range entries {
		if entries[i].State.Up() && !states[i].marked {
			pairs[states[i].pair()] = true
		}
	}
	paths.refresh(pairs)
	now := time.Now()
	for i := range entries {
		if p := states[i].pair(); pairs[p] && entries[i].State.Up() {
			entries[i].PathMTU = paths.of(p, now)
		}
	}
}

func (s *state) way(local map[netip.Addr]bool) direction {
	toUs, fromUs := local[s.dst], local[s.src]
	switch {
	case toUs && !fromUs:
		return in
	case fromUs && !toUs:
		return out
	}
	return unknownWay
}

func (s *state) pair() pair {
	if s.dir == in {
		return pair{s.dst, s.src}
	}
	return pair{s.src, s.dst}
}

func (s *state) group() group {
	return group{pair: s.pair(), proto: s.proto, reqid: s.reqid, interfaceID: s.interfaceID}
}

// any is the group without the properties that are unknown before an SA is negotiated.
func (g group) any() group { return group{pair: g.pair, proto: g.proto} }

// entry is what one SA shows by itself. Without a direction it has no VendorState.
func entry(s *state) gateways.ChildSA {
	e := gateways.ChildSA{Key: s.key()}
	traffic := gateways.Traffic{Packets: gateways.Counted(s.packets), Bytes: gateways.Counted(s.bytes)}
	switch s.dir {
	case unknownWay:
		return e
	case in:
		e.In, e.VendorState = traffic, wordIn
		if s.keyed {
			e.Lost = s.lost
			e.Errors[gateways.Late] = gateways.Counted(uint64(s.late))
			e.Errors[gateways.Duplicate] = gateways.Counted(uint64(s.duplicates))
			e.Errors[gateways.Integrity] = gateways.Counted(uint64(s.integrity))
		}
	case out:
		e.Out, e.VendorState = traffic, wordOut
	}
	if remote := s.pair().remote; !remote.IsUnspecified() {
		e.Peer.Address = remote
	}
	if s.keyed {
		e.NATT = gateways.AnswerOf(s.encap)
	}
	return e
}

// key is what the kernel distinguishes SAs by, and the source, because an SA that was only
// requested has no SPI yet.
func (s *state) key() string {
	b := make([]byte, 0, 64)
	b = strconv.AppendUint(b, uint64(s.proto), 10)
	b = s.dst.AppendTo(append(b, ' '))
	b = strconv.AppendUint(append(b, ' '), uint64(s.spi), 16)
	if s.spi == 0 {
		b = s.src.AppendTo(append(b, ' '))
	}
	return string(b)
}
