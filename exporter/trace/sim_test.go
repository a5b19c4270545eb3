package trace

import (
	"context"
	"encoding/binary"
	"net/netip"
	"os"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"ipsec_path_exporter/collectors"
	"ipsec_path_exporter/internal/netio"
	"ipsec_path_exporter/internal/netsim"
)

const (
	// simulatedEnv is how long TestMemory simulates; bench/evidence.sh sets a day.
	simulatedEnv  = "EVIDENCE_SIMULATED"
	simulatedTime = 12 * time.Minute
	simulated     = 1000
	tick          = 5 * time.Second // the interval of echoes
)

// wired adds packets to the answers of a simulated path, which makes none.
type wired struct {
	collectors.Network
	reply, tooBig []byte
}

func (w wired) Send(ctx context.Context, p *netio.Packet, timeout time.Duration, answer func(netio.Answer)) {
	w.Network.Send(ctx, p, timeout, func(a netio.Answer) {
		switch a.Outcome {
		case netio.Delivered:
			a.Wire = w.reply[:min(p.WireSize(), len(w.reply))]
		case netio.TooBig:
			a.Wire = w.tooBig
		default:
		}
		answer(a)
	})
}

// load sends what the collectors send to one peer at the default intervals.
func load(ctx context.Context, network collectors.Network, dst netip.Addr, n int, hole bool) {
	heard := func(netio.Answer) {}
	path := netio.Path{Dst: dst}
	token := uint64(n) << 32
	udp := func(port uint16, size int, purpose string) {
		p := &netio.Packet{Path: path, Protocol: netio.UDP, Port: port, DontFragment: true, Purpose: purpose, Payload: make([]byte, size-28)}
		token++
		if port == 4500 {
			p.TokenOffset = 4
		}
		binary.BigEndian.PutUint64(p.Payload[p.TokenOffset:], token)
		p.Token = netio.Token(p.Payload[p.TokenOffset:])
		network.Send(ctx, p, 200*time.Millisecond, heard)
	}
	time.Sleep(time.Duration(n) * tick / simulated)
	for i := 0; ctx.Err() == nil; i++ {
		network.Send(ctx, &netio.Packet{Path: path, Size: 84, Purpose: "echo"}, time.Second, heard)
		if i%6 == 0 {
			udp(500, 200, "IKE")
			udp(4500, 204, "IKE by natt")
		}
		if i%12 == 0 {
			rounds, sizes := 1, []int{1500}
			if hole {
				rounds, sizes = 8, []int{1400, 1401}
			}
			for range rounds {
				for _, size := range sizes {
					network.Send(ctx, &netio.Packet{Path: path, Size: size, DontFragment: true, Purpose: "path MTU by icmp"}, 200*time.Millisecond, heard)
					udp(500, size, "path MTU by ike")
					udp(4500, size, "path MTU by natt")
				}
			}
		}
		time.Sleep(tick)
	}
}

// allocated returns the number of bytes that are allocated and in use.
func allocated() int {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int(m.HeapAlloc)
}

// TestMemory runs 1,000 peers at the default intervals, a tenth of them behind a black hole and a
// tenth silent, and measures the memory of their rings.
func TestMemory(t *testing.T) {
	length := simulatedTime
	if s := os.Getenv(simulatedEnv); s != "" {
		var err error
		if length, err = time.ParseDuration(s); err != nil {
			t.Fatal(err)
		}
	}
	synctest.Test(t, func(t *testing.T) {
		healthy := netsim.New(netsim.Config{Delay: 20 * time.Millisecond, Loss: 0.005, Duplicates: 0.001}, 1)
		hole := netsim.New(netsim.Config{Delay: 20 * time.Millisecond, MTU: 1400, PTB: netsim.PTBs{Drop: true}}, 2)
		dead := netsim.New(netsim.Config{Block: func(*netio.Packet) bool { return true }}, 3)
		before := allocated()
		r := NewRecorder(DefaultBytes)
		rings := make([]*Ring, simulated)
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		for i := range rings {
			rings[i] = r.Open()
			path := healthy
			switch i % 10 {
			case 4:
				path = hole
			case 7:
				path = dead
			}
			dst := netip.AddrFrom4([4]byte{203, 0, byte(i >> 8), byte(i)})
			network := rings[i].Watch(wired{path, packet4(1, 1500), packet4(1, 56)})
			wg.Go(func() { load(ctx, network, dst, i, path == hole) })
		}
		for began := time.Now(); time.Since(began) < length; {
			time.Sleep(time.Minute)
			for _, p := range []*netsim.Path{healthy, hole, dead} {
				p.Forget()
			}
		}
		cancel()
		wg.Wait()
		time.Sleep(time.Minute) // until the simulation has forgotten the probes under way
		measured, counted := allocated()-before, r.Bytes()
		t.Logf("after %s: %.1f MiB counted, %.1f MiB measured, budget %d MiB", length, mib(counted), mib(measured), DefaultBytes>>20)
		if counted > DefaultBytes {
			t.Errorf("%d bytes are more than the budget of %d", counted, DefaultBytes)
		}
		// The simulation itself leaves a few bytes for each peer, stacks not counted.
		if slack := 2 << 20; measured > counted+slack {
			t.Errorf("the heap has grown by %d bytes, of which only %d are counted", measured, counted)
		}
		checkMemory(t, rings)
	})
}

func mib(n int) float64 { return float64(n) / (1 << 20) }

// checkMemory checks that rings keep both faults and packets that passed.
func checkMemory(t *testing.T, rings []*Ring) {
	t.Helper()
	for _, i := range []int{0, 4, 7, 994} {
		all := rings[i].Exchanges()
		faults, passed := 0, 0
		for k := range all {
			if all[k].Fault() {
				faults++
			} else if all[k].Size == 1400 || all[k].Size == 1500 {
				passed++
			}
		}
		t.Logf("ring %d: %d exchanges from %s on, %d faults", i, len(all), all[0].Sent.Format(time.TimeOnly), faults)
		if want := i % 10; len(all) < 60 || (want == 4 || want == 7) && faults < 40 || want != 7 && passed == 0 {
			t.Errorf("ring %d keeps %d exchanges, %d faults, %d large packets that passed", i, len(all), faults, passed)
		}
	}
}
