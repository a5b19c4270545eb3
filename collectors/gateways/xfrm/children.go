package xfrm

import (
	"cmp"
	"net/netip"
	"slices"
	"strconv"

	"ipsec_path_exporter/collectors/gateways"
)

// The kernel has no states with names; these say what each of its entries is.
const (
	wordIn      = "in"
	wordOut     = "out"
	wordLarval  = "larval"  // an SPI that was chosen for an inbound SA while that is negotiated
	wordAcquire = "acquire" // traffic waits for an outbound SA, and the kernel has asked for one
)

// A group is what may belong together as pairs of SAs.
type group struct {
	local, remote      netip.Addr
	proto              uint8
	reqid, interfaceID uint32
}

// children makes one entry per SA, that is two per pair, each with the counters of its direction. A child of an IKE daemon is a
// pair, so of each group as many inbound entries are called installed as there are outbound ones; all others have no state. During
// a rekey, when the old inbound SA is kept for packets under way, that is the new pair, and the old SA has none.
// It returns the number of SAs whose direction nobody knows too.
func children(states []state, local map[netip.Addr]bool, pathMTU func(local, remote netip.Addr) int) ([]gateways.ChildSA, int) {
	entries := make([]gateways.ChildSA, 0, len(states))
	inbound := map[group][]int{} // indices of states; entries have the same
	outbound := map[group]int{}
	negotiated := map[group]bool{}
	var acquired []int
	unknown := 0
	beliefs := map[[2]netip.Addr]int{}
	for i := range states {
		s := &states[i]
		way := s.way(local)
		entries = append(entries, entry(s, way))
		e, g := &entries[i], s.group(way)
		switch {
		case way == unknownWay:
			unknown++
			continue
		case way == in && s.keyed:
			inbound[g] = append(inbound[g], i)
		case way == in:
			e.State, e.VendorState = gateways.Installing, wordLarval
			negotiated[g.any()] = true
		case s.keyed:
			outbound[g]++
		default:
			e.VendorState = wordAcquire
			acquired = append(acquired, i)
		}
		if pathMTU != nil && s.keyed && !s.marked {
			key := [2]netip.Addr{g.local, g.remote}
			mtu, known := beliefs[key]
			if !known {
				mtu = pathMTU(g.local, g.remote)
				beliefs[key] = mtu
			}
			e.PathMTU = mtu
		}
	}
	for g, of := range inbound {
		slices.SortFunc(of, func(a, b int) int { return cmp.Or(states[b].added.Compare(states[a].added), cmp.Compare(b, a)) })
		for _, i := range of[:min(len(of), outbound[g])] {
			entries[i].State = gateways.Installed
		}
	}
	for _, i := range acquired {
		if !negotiated[states[i].group(out).any()] { // else one negotiation has left both
			entries[i].State = gateways.Installing
		}
	}
	return slices.DeleteFunc(entries, func(e gateways.ChildSA) bool { return e.VendorState == "" }), unknown
}

// way is the direction of an SA: what the kernel says, else which of its ends is this host.
func (s *state) way(local map[netip.Addr]bool) direction {
	toUs, fromUs := local[s.dst], local[s.src]
	switch {
	case s.dir != unknownWay:
		return s.dir
	case toUs && !fromUs:
		return in
	case fromUs && !toUs:
		return out
	}
	return unknownWay
}

func (s *state) group(way direction) group {
	g := group{local: s.src, remote: s.dst, proto: s.proto, reqid: s.reqid, interfaceID: s.interfaceID}
	if way == in {
		g.local, g.remote = s.dst, s.src
	}
	return g
}

// any is the group without what is not known before an SA is negotiated.
func (g group) any() group { return group{local: g.local, remote: g.remote, proto: g.proto} }

// entry is what one SA says by itself. Without a direction it has no word.
func entry(s *state, way direction) gateways.ChildSA {
	e := gateways.ChildSA{Key: s.key()}
	traffic := gateways.Traffic{Packets: gateways.Counted(s.packets), Bytes: gateways.Counted(s.bytes)}
	remote := s.dst
	switch way {
	case unknownWay:
		return e
	case in:
		e.In, e.VendorState, remote = traffic, wordIn, s.src
	case out:
		e.Out, e.VendorState = traffic, wordOut
	}
	if !remote.IsUnspecified() {
		e.Peer.Address = remote
	}
	if s.keyed {
		e.NATT = gateways.AnswerOf(s.encap)
	}
	return e
}

// key is what the kernel tells SAs apart by, and the source, as an SA that was only asked for has no SPI yet.
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
