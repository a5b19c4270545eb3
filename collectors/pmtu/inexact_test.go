package pmtu

import (
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"

	"ipsec_path_exporter/collectors"
	"ipsec_path_exporter/collectors/collectorstest"
	"ipsec_path_exporter/collectors/pmtu/search"
	"ipsec_path_exporter/internal/netlab"
	"ipsec_path_exporter/internal/netsim"
)

// TestInexactPTBs: PTBs that quote no probe exactly show where to look, and a path whose router
// answers each larger probe with one reports its limit. Forged floods cost packets only.
func TestInexactPTBs(t *testing.T) {
	tests := map[string]struct {
		path  netsim.Config
		state search.State
		note  bool
	}{
		"router quotes 8 bytes":     {netsim.Config{MTU: 1400, PTB: netsim.PTBs{Inexact: true}}, search.Reduced, true},
		"no size named":             {netsim.Config{MTU: 1400, PTB: netsim.PTBs{Inexact: true, Rewrite: func(int) int { return 0 }}}, search.Reduced, true},
		"wrong size named":          {netsim.Config{MTU: 1400, PTB: netsim.PTBs{Inexact: true, Rewrite: func(int) int { return 1450 }}}, search.BlackHole, true},
		"flood, clean":              {netsim.Config{PTB: netsim.PTBs{Forged: 1300}}, search.Clean, false},
		"flood, reduced":            {netsim.Config{MTU: 1400, PTB: netsim.PTBs{Forged: 1300}}, search.Reduced, false},
		"flood, black hole":         {netsim.Config{MTU: 1400, PTB: netsim.PTBs{Drop: true, Forged: 1300}}, search.BlackHole, true},
		"flood with the right size": {netsim.Config{MTU: 1400, PTB: netsim.PTBs{Drop: true, Forged: 1400}}, search.BlackHole, true},
		"flood, loss": {
			netsim.Config{Loss: 0.1, ReverseLoss: 0.1, PTB: netsim.PTBs{Forged: 1300}}, search.Clean, false,
		},
	}
	for name, tt := range tests {
		for _, m := range collectors.Methods() {
			for _, v6 := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s, %s, IPv6 %t", name, m, v6), func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) {
						tt.path.Delay = 20 * time.Millisecond
						path := netsim.New(tt.path, 1)
						c := collector(t, path, m)
						for range 3 {
							r := measure(t, c, collectorstest.Target(v6))
							if want := tt.path.MTU; r.State != tt.state || want > 0 && r.Bytes != want || (r.Note != "") != tt.note {
								t.Errorf("got %s %d (%s), note %q; want %s", r.State, r.Bytes, r.Reason, r.Note, tt.state)
							}
							if r.Packets > search.DefaultPackets {
								t.Errorf("%d packets", r.Packets)
							}
						}
					})
				})
			}
		}
	}
}

// TestInexactNote: the note says who named what.
func TestInexactNote(t *testing.T) {
	from := netsim.Router(false)
	for want, v := range map[string]search.Verdict{
		"2 PTBs of 198.51.100.254 naming 1400 quote no probe exactly":    {Inexact: 2, InexactPTB: search.PTB{From: from, MTU: 1400}},
		"1 PTB of 198.51.100.254 naming no size quotes no probe exactly": {Inexact: 1, InexactPTB: search.PTB{From: from}},
	} {
		if got := inexactNote(&v); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

// TestRouterThatQuotesEightBytes lets r1 answer as r2 would: with a PTB that quotes 8 bytes and an
// IP identification that a NAT has rewritten.
func TestRouterThatQuotesEightBytes(t *testing.T) {
	t.Parallel()
	b := newRig(t)
	b.SetMTU(t, pathMTU)
	b.DropPTB(t)
	b.quoteEightBytes(t)
	for _, r := range measureOnce(t, b.collector(), b.target(false)).Results {
		if r.State != search.Reduced || r.Bytes != pathMTU || r.Inexact == 0 || r.InexactFrom != b.HopAddr(2, false) {
			t.Errorf("%s: %s %d, %d inexact PTBs of %s (%s)", r.Method, r.State, r.Bytes, r.Inexact, r.InexactFrom, r.Reason)
		}
	}
}

func (b *rig) quoteEightBytes(t *testing.T) {
	t.Helper()
	const outgoing, header, quoted = 4, 20, 8 // PACKET_OUTGOING of packet(7)
	fd := -1
	b.R1.Do(t, func() {
		var err error
		all := uint16(unix.ETH_P_ALL<<8 | unix.ETH_P_ALL>>8)
		if fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, int(all)); err == nil {
			err = unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Usec: 50_000})
		}
		if err != nil {
			t.Fatal(err)
		}
	})
	var done atomic.Bool
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		buf := make([]byte, 2048)
		for !done.Load() {
			n, from, err := unix.Recvfrom(fd, buf, 0)
			ll, ok := from.(*unix.SockaddrLinklayer)
			if err != nil || !ok || ll.Pkttype != outgoing || n <= pathMTU || buf[0]>>4 != 4 {
				continue
			}
			quote := append([]byte(nil), buf[:header+quoted]...)
			quote[4], quote[5] = 0x12, 0x34
			b.ForgePTB(t, netlab.Forgery{From: b.R1, MTU: pathMTU, Quote: quote})
		}
	}()
	t.Cleanup(func() {
		done.Store(true)
		<-ended
		unix.Close(fd)
	})
}
