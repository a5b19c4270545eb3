//go:build linux

package xfrm

import (
	"context"
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink/nl"

	"ipsec_path_exporter/collectors/gateways"
)

// Discover implements gateways.Discoverer: the peers of policies, and peers with SAs.
func (s *Source) Discover(ctx context.Context) ([]gateways.Found, error) {
	local, err := s.addresses()
	if err != nil {
		return nil, err
	}
	peers := map[netip.Addr]gateways.Found{}
	err = s.dump(ctx, nl.XFRM_MSG_GETPOLICY, nl.XFRM_MSG_NEWPOLICY, func() { clear(peers) }, func(b []byte) bool {
		for _, a := range parsePolicy(b) {
			peers[a] = gateways.Found{Address: a}
		}
		return len(peers) < gateways.MaxSAs
	})
	if err != nil {
		return nil, fmt.Errorf("list policies: %w", err)
	}
	states, _, err := s.states(ctx)
	if err != nil {
		return nil, err
	}
	addStates(peers, states, local)
	found := make([]gateways.Found, 0, len(peers))
	for a, f := range peers {
		if !local[a] {
			found = append(found, f)
		}
	}
	return gateways.Merge(found), nil
}

// addStates adds the far ends of SAs that are in use. What is still being negotiated is not known
// to be with any host. Of several of our addresses the lowest counts, so that it is the same each
// time.
func addStates(peers map[netip.Addr]gateways.Found, states []state, local map[netip.Addr]bool) {
	for i := range states {
		st := &states[i]
		if st.dir == unknownWay {
			st.dir = st.way(local)
		}
		p := st.pair()
		if st.dir == unknownWay || !st.keyed || p.remote.IsUnspecified() {
			continue
		}
		f := gateways.Found{Address: p.remote, Local: p.local, Active: true}
		if before := peers[p.remote]; before.Active && before.Local.Compare(p.local) < 0 {
			f.Local = before.Local
		}
		peers[p.remote] = f
	}
}
