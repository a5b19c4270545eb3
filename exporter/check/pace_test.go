package check

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"ipsec_path_exporter/internal/netio"
	"ipsec_path_exporter/internal/netsim"
)

// TestPace: however many collectors send to a peer at the same time, no two packets are closer than those
// of one burst.
func TestPace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const collectors, each = 4, 20
		path := netsim.New(netsim.Config{}, 1)
		p := &paced{Network: path}
		var all sync.WaitGroup
		for range collectors {
			all.Go(func() {
				for range each {
					p.Send(t.Context(), &netio.Packet{Size: 84}, time.Second, func(netio.Answer) {})
				}
			})
		}
		all.Wait()
		sent := path.Sent()
		if len(sent) != collectors*each {
			t.Fatalf("%d packets", len(sent))
		}
		for i := range sent[1:] {
			if gap := sent[i+1].At - sent[i].At; gap != burstGap {
				t.Errorf("packet %d after %v", i+1, gap)
			}
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		began := time.Now()
		p.Send(ctx, &netio.Packet{Size: 84}, time.Second, func(netio.Answer) {})
		if waited := time.Since(began); waited > burstGap {
			t.Errorf("waited %v after the end", waited)
		}
	})
}
