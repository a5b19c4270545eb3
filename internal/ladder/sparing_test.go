package ladder

import (
	"net/netip"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"ipsec_path_exporter/internal/netio"
	"ipsec_path_exporter/internal/netsim"
)

// TestSparing: few probes reach a peer that may be silent, and what routers show is found all the
// same.
func TestSparing(t *testing.T) {
	all := func(*netio.Packet) bool { return true }
	for name, tt := range map[string]struct {
		cfg     netsim.Config
		mute    bool
		want    map[string]view
		reached int // probes that may have reached the peer
	}{
		"only ESP is silent": {
			cfg:     netsim.Config{},
			want:    map[string]view{"icmp": {5, 5, false, netip.Addr{}}, "esp": {4, 0, false, netip.Addr{}}},
			reached: 3, // echoes with TTL 5 and 6, ESP with TTL 5
		},
		"ESP is known to be silent": {
			mute:    true,
			want:    map[string]view{"icmp": {5, 5, false, netip.Addr{}}, "esp": {4, 0, false, netip.Addr{}}},
			reached: 2, // echoes with TTL 5 and 6
		},
		"all is silent": {
			cfg:     netsim.Config{Block: all, BlockBehind: 4},
			want:    map[string]view{"icmp": {4, 0, false, netip.Addr{}}, "esp": {4, 0, false, netip.Addr{}}},
			reached: 3, // echoes with TTL 5 and 6, ESP with TTL 5
		},
		"ESP is filtered on the path": {
			cfg:     netsim.Config{Block: isESP, BlockBehind: 2},
			want:    map[string]view{"icmp": {5, 5, false, netip.Addr{}}, "esp": {2, 0, true, hops[2]}},
			reached: 3,
		},
		"ESP gets further than echo": {
			cfg:     netsim.Config{Block: func(p *netio.Packet) bool { return !isESP(p) }, BlockBehind: 2, RefuseIPsec: true},
			want:    map[string]view{"icmp": {2, 0, true, hops[2]}, "esp": {5, 5, false, netip.Addr{}}},
			reached: 4,
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				tt.cfg.Hops = hops
				path := netsim.New(tt.cfg, 1)
				esp := esps()
				esp.Mute = tt.mute
				r, err := Run(t.Context(), path, []Runner{echoes(64), esp}, Options{Sparing: true})
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(tt.want, views(r), cmpopts.EquateComparable(netip.Addr{})); diff != "" {
					t.Errorf("(-want +got):\n%s", diff)
				}
				reached := 0
				for _, p := range path.Sent() {
					if int(p.TTL) > len(hops) {
						reached++
					}
				}
				if reached > tt.reached {
					t.Errorf("%d probes may have reached the peer", reached)
				}
			})
		})
	}
}
