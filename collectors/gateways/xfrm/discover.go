package xfrm

import (
	"context"
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink/nl"

	"ipsec_path_exporter/collectors/gateways"
)

// Discover implements gateways.Discoverer: who the policies name, and who SAs are made with.
func (s *Source) Discover(ctx context.Context) ([]gateways.Found, error) {
	local, err := s.addresses()
	if err != nil {
		return nil, err
	}
	peers := map[netip.Addr]bool{} // whether active
	err = s.dump(ctx, nl.XFRM_MSG_GETPOLICY, nl.XFRM_MSG_NEWPOLICY, func() { clear(peers) }, func(b []byte) {
		for _, a := range parsePolicy(b) {
			peers[a] = false
		}
	})
	if err != nil {
		return nil, fmt.Errorf("list policies: %w", err)
	}
	states, err := s.states(ctx)
	if err != nil {
		return nil, err
	}
	for i := range states {
		st := &states[i]
		if st.dir == unknownWay {
			st.dir = st.way(local)
		}
		if remote := st.pair().remote; st.dir != unknownWay && !remote.IsUnspecified() {
			peers[remote] = true
		}
	}
	found := make([]gateways.Found, 0, len(peers))
	for a, active := range peers {
		if !local[a] {
			found = append(found, gateways.Found{Address: a, Active: active})
		}
	}
	return gateways.Merge(found), nil
}
