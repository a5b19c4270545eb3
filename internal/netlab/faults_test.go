package netlab_test

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/net/icmp"
	"golang.org/x/sys/unix"

	"ipsec_path_exporter/internal/netlab"
)

func TestSecondWayIsChosenBySourcePort(t *testing.T) {
	lab := netlab.NewProvider(t)
	serve(t, lab)
	lab.Apply(t, "S15")
	for _, v6 := range []bool{false, true} {
		for source, want := range map[int]string{40000: answered, 40001: "ptb 1400"} {
			p := probe{dst: lab.ServerAddr(v6), size: 1500, port: 500, source: source}
			if got := p.send(t, lab.Client, want); len(got) < len(want) || got[:len(want)] != want {
				t.Errorf("IPv6 %v, from port %d: %s, want %s", v6, source, got, want)
			}
		}
	}
}

func TestLoss(t *testing.T) {
	lab := netlab.NewProvider(t)
	const sent = 1000
	for _, tt := range []struct {
		scenario string
		min, max int
	}{
		// Round trips: (1-p)^2 of 1000, five standard deviations to either side.
		{"S0", sent, sent},
		{"S8-1", 958, 999},
		{"S8-5", 855, 950},
		{"S8-20", 564, 716},
		{"S8m-5", 855, 950},
		{"S8m-20", 564, 716},
	} {
		t.Run(tt.scenario, func(t *testing.T) {
			lab.Apply(t, tt.scenario)
			for _, v6 := range []bool{false, true} {
				if got := echoes(t, lab, v6, sent); got < tt.min || got > tt.max {
					t.Errorf("IPv6 %v: %d of %d answered, want %d to %d", v6, got, sent, tt.min, tt.max)
				}
			}
			if tt.scenario != "S0" && lab.Dropped(t, netlab.FaultLoss) == 0 {
				t.Error("nothing was dropped")
			}
		})
	}
}

func TestLossyBlackHole(t *testing.T) {
	lab := netlab.NewProvider(t)
	lab.Apply(t, "S8m-5")
	for _, v6 := range []bool{false, true} {
		if got := (probe{dst: lab.ServerAddr(v6), size: 1401}).send(t, lab.Client, silent); got != silent {
			t.Errorf("IPv6 %v: %s", v6, got)
		}
	}
}

func TestRateLimits(t *testing.T) {
	lab := netlab.NewProvider(t)
	for _, tt := range []struct {
		scenario string
		fault    netlab.Fault
		rate     float64
	}{
		{"S9", netlab.FaultICMPLimit, 1},
		{"S9r", netlab.FaultEchoLimit, 2},
	} {
		t.Run(tt.scenario, func(t *testing.T) {
			lab.Apply(t, tt.scenario)
			const sent, burst = 50, 5
			answered := 0
			for _, v6 := range []bool{false, true} {
				began := time.Now()
				got := echoes(t, lab, v6, sent)
				if most := burst + int(tt.rate*time.Since(began).Seconds()) + 1; got < burst || got > most {
					t.Errorf("IPv6 %v: %d of %d answered, want %d to %d", v6, got, sent, burst, most)
				}
				answered += got
			}
			if n := lab.Dropped(t, tt.fault); n != uint64(2*sent-answered) {
				t.Errorf("dropped %d, but %d were not answered", n, 2*sent-answered)
			}
		})
	}
}

func TestProtocols(t *testing.T) {
	lab := netlab.NewProvider(t)
	for _, tt := range []struct {
		scenario string
		want     bool
	}{{"S0", true}, {"S12", false}} {
		lab.Apply(t, tt.scenario)
		for _, v6 := range []bool{false, true} {
			for _, number := range []int{50, 51} {
				if got := passes(t, lab, v6, number, tt.want); got != tt.want {
					t.Errorf("%s, IPv6 %v: protocol %d arrives: %v, want %v", tt.scenario, v6, number, got, tt.want)
				}
			}
		}
	}
	for _, number := range []uint8{50, 51} {
		if n := lab.Dropped(t, netlab.FaultProtocol(number)); n != 2 {
			t.Errorf("dropped %d packets of protocol %d, want 2", n, number)
		}
	}
}

func TestCachedMTU(t *testing.T) {
	lab := netlab.NewProvider(t)
	for _, tt := range []struct {
		scenario string
		want     [2]int
	}{
		{"S0", [2]int{1500, 1500}},
		{"S7d", [2]int{552, 1300}},
		{"S0", [2]int{1500, 1500}},
		{"S10", [2]int{1400, 1400}},
		{"S0", [2]int{1500, 1500}},
	} {
		lab.Apply(t, tt.scenario)
		got := [2]int{lab.Client.CachedMTU(t, lab.ServerAddr(false)), lab.Client.CachedMTU(t, lab.ServerAddr(true))}
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.scenario, diff)
		}
	}
}

func TestForgePTB(t *testing.T) {
	lab := netlab.NewProvider(t)
	for _, v6 := range []bool{false, true} {
		src := netip.AddrPortFrom(lab.ClientAddr(v6), 500)
		dst := netip.AddrPortFrom(lab.ServerAddr(v6), 500)
		liar := netip.MustParseAddr("192.0.2.1")
		if v6 {
			liar = netip.MustParseAddr("2001:db8::1")
		}
		p := probe{dst: lab.ServerAddr(v6)}
		got := map[string]int{}
		lab.Client.Do(t, func() {
			fd := p.socket(t, unix.SOCK_RAW, p.icmp())
			defer unix.Close(fd)
			lab.ForgePTB(t, netlab.Forgery{
				From: lab.Server, Src: liar, Quote: netlab.UDPPacket(src, dst, 1500), MTU: 1300, Count: 20,
			})
			fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
			for range 20 {
				got[p.await(t, fds, time.Now().Add(5*time.Second))]++
			}
		})
		if diff := cmp.Diff(map[string]int{fmt.Sprintf("ptb 1300 from %s", liar): 20}, got); diff != "" {
			t.Errorf("IPv6 %v (-want +got):\n%s", v6, diff)
		}
	}
}

// Faults come and go while the path stands, and a fault that is set again counts from 0.
func TestHeal(t *testing.T) {
	lab := netlab.NewProvider(t)
	serve(t, lab)
	p := probe{dst: lab.ServerAddr(false), size: 100, port: 500, source: 500}
	fault := lab.DropUDPPort(t, 500)
	if got := p.send(t, lab.Client, silent); got != silent {
		t.Errorf("blocked: %s", got)
	}
	if n := lab.Dropped(t, fault); n != 1 {
		t.Errorf("dropped %d, want 1", n)
	}
	lab.DropUDPPort(t, 500)
	if n := lab.Dropped(t, fault); n != 0 {
		t.Errorf("dropped %d after it was set anew, want 0", n)
	}
	lab.Heal(t, fault)
	if got := p.send(t, lab.Client, answered); got != answered {
		t.Errorf("healed: %s", got)
	}
	lab.SetForwardMTU(t, 1400)
	p.size = 1500
	if got := p.send(t, lab.Client, ""); got != "ptb 1400 from 10.77.2.2" {
		t.Errorf("forward 1400: %s", got)
	}
	lab.SetForwardMTU(t, 0)
	if got := p.send(t, lab.Client, answered); got != answered {
		t.Errorf("forward clean again: %s", got)
	}
	// A link too small for IPv6 gets it back.
	lab.SetMTU(t, 576)
	lab.SetMTU(t, 1500)
	p.dst = lab.ServerAddr(true)
	if got := p.send(t, lab.Client, answered); got != answered {
		t.Errorf("IPv6 again: %s", got)
	}
}

func TestPingSockets(t *testing.T) {
	lab := netlab.NewProvider(t)
	for _, allow := range []bool{false, true} {
		if allow {
			lab.AllowPingSockets(t)
		}
		lab.Client.Do(t, func() {
			c, err := icmp.ListenPacket("udp4", "0.0.0.0")
			if (err == nil) != allow {
				t.Errorf("allowed %v: %v", allow, err)
			}
			if err == nil {
				c.Close()
			}
		})
	}
}

func TestAddServerAddr(t *testing.T) {
	lab := netlab.NewProvider(t)
	for _, v6 := range []bool{false, true} {
		a := lab.AddServerAddr(t, 77, v6)
		if got := (probe{dst: a, size: 100}).send(t, lab.Client, answered); got != answered {
			t.Errorf("%s: %s", a, got)
		}
	}
}

// echoes sends n echo requests and counts the replies.
func echoes(t *testing.T, lab *netlab.Provider, v6 bool, count int) int {
	t.Helper()
	p := probe{dst: lab.ServerAddr(v6), size: 100}
	got := 0
	lab.Client.Do(t, func() {
		fd := p.socket(t, unix.SOCK_RAW, p.icmp())
		defer unix.Close(fd)
		fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		for range count {
			if err := unix.Sendto(fd, p.payload(t), 0, p.sockaddr(p.dst, 0)); err != nil {
				t.Fatal(err)
			}
			// Reading as we go keeps the socket's buffer from overflowing.
			if p.await(t, fds, time.Now().Add(time.Millisecond)) == answered {
				got++
			}
		}
		for p.await(t, fds, time.Now().Add(100*time.Millisecond)) == answered {
			got++
		}
	})
	return got
}

// passes reports whether a packet of an IP protocol reaches the server. An expected
// drop has a shorter timeout.
func passes(t *testing.T, lab *netlab.Provider, v6 bool, number int, want bool) bool {
	t.Helper()
	wait := 100
	if want {
		wait = 5000
	}
	p := probe{dst: lab.ServerAddr(v6)}
	var server int
	lab.Server.Do(t, func() { server = p.socket(t, unix.SOCK_RAW, number) })
	defer unix.Close(server)
	lab.Client.Do(t, func() {
		fd := p.socket(t, unix.SOCK_RAW, number)
		defer unix.Close(fd)
		if err := unix.Sendto(fd, make([]byte, 64), 0, p.sockaddr(p.dst, 0)); err != nil {
			t.Fatal(err)
		}
	})
	for {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(server), Events: unix.POLLIN}}, wait)
		if err == unix.EINTR { // the Go runtime interrupts system calls now and then
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		return n == 1
	}
}
