package xfrm

import (
	"bytes"
	"errors"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"ipsec_path_exporter/collectors/gateways"
	"ipsec_path_exporter/internal/netio"
	"ipsec_path_exporter/internal/netlab"
)

func TestMain(m *testing.M) { netlab.Main(m) }

// inside is a source in a namespace with the address us, from where a link leads to them.
func inside(t *testing.T) (*netlab.NS, *Source) {
	t.Helper()
	here, there := netlab.New(t), netlab.New(t)
	netlab.Veth(t,
		netlab.End{NS: here, Name: "net1", Addrs: []netip.Prefix{netip.PrefixFrom(us, 8)}},
		netlab.End{NS: there, Name: "net1", Addrs: []netip.Prefix{netip.PrefixFrom(them, 8)}}, 1500)
	here.Route(t, netlab.Route{Dst: netip.PrefixFrom(them, 32), Via: netip.MustParseAddr("192.0.2.2"), MTU: 1380})
	var s *Source
	here.Do(t, func() {
		b, err := netio.NewKernelRoutes()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(b.Close)
		if s, err = New(Config{PathMTU: b.PathMTU}); err != nil {
			t.Fatal(err)
		}
	})
	t.Cleanup(func() { s.Close() })
	return here, s
}

func read(t *testing.T, s *Source) gateways.Table {
	t.Helper()
	table, err := s.Read(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return table
}

// addPolicy adds a policy that wants a tunnel to them for everything to 203.0.113.0/24.
func addPolicy(t *testing.T, n *netlab.NS) {
	t.Helper()
	n.Do(t, func() {
		err := netlink.XfrmPolicyAdd(&netlink.XfrmPolicy{
			Src: ipNet("0.0.0.0/0"), Dst: ipNet("203.0.113.0/24"), Dir: netlink.XFRM_DIR_OUT,
			Tmpls: []netlink.XfrmPolicyTmpl{{
				Src: us.AsSlice(), Dst: them.AsSlice(), Proto: netlink.XFRM_PROTO_ESP, Mode: netlink.XFRM_MODE_TUNNEL, Reqid: 7,
			}},
		})
		if err != nil {
			t.Fatal(err)
		}
	})
}

func ipNet(s string) *net.IPNet {
	_, n, err := net.ParseCIDR(s)
	if err != nil {
		panic(err)
	}
	return n
}

func TestKernelLarval(t *testing.T) {
	n, s := inside(t)
	if table := read(t, s); len(table.Children) != 0 || !table.NoIKE || table.Info.Type != Type || table.Info.Version == "" {
		t.Errorf("of an empty kernel: %+v", table)
	}
	n.Do(t, func() {
		_, err := netlink.XfrmStateAllocSpi(&netlink.XfrmState{
			Src: them.AsSlice(), Dst: us.AsSlice(), Proto: netlink.XFRM_PROTO_ESP, Mode: netlink.XFRM_MODE_TUNNEL, Reqid: 7,
		})
		if err != nil {
			t.Fatal(err)
		}
	})
	table := read(t, s)
	if len(table.Children) != 1 || table.Children[0].State != gateways.Installing || table.Children[0].Peer.Address != them || table.Unparsed != 0 {
		t.Errorf("%+v", table)
	}
}

// TestKernelPolicyWithoutSA: traffic that finds a policy and no SA is counted, asks for one, and
// shows whom with.
func TestKernelPolicyWithoutSA(t *testing.T) {
	n, s := inside(t)
	addPolicy(t, n)
	n.Route(t, netlab.Route{Dst: netip.MustParsePrefix("203.0.113.0/24"), Via: netip.MustParseAddr("192.0.2.2")})
	before := counter(read(t, s), "xfrm_out_no_states")
	n.Do(t, func() {
		c, err := net.Dial("udp", "203.0.113.1:9")
		if err == nil {
			c.Write([]byte("x"))
			c.Close()
		}
	})
	table := read(t, s)
	if after := counter(table, "xfrm_out_no_states"); after <= before {
		t.Errorf("xfrm_out_no_states is %d, was %d", after, before)
	}
	if len(table.Counters) < 28 {
		t.Errorf("only %d counters", len(table.Counters))
	}
	found, err := s.Discover(t.Context())
	if err != nil || !slices.Equal(found, []gateways.Found{{Address: them}}) {
		t.Errorf("found %+v, %v", found, err)
	}
}

func counter(table gateways.Table, kind string) uint64 {
	for _, c := range table.Counters {
		if c.Kind == kind {
			return c.Value
		}
	}
	return 0
}

// TestReadStaysInItsNamespace: readings are made by goroutines anywhere.
func TestReadStaysInItsNamespace(t *testing.T) {
	n, s := inside(t)
	addPolicy(t, n)
	done := make(chan []gateways.Found)
	go func() {
		found, err := s.Discover(t.Context())
		if err != nil {
			t.Error(err)
		}
		done <- found
	}()
	if found := <-done; len(found) != 1 {
		t.Errorf("found %+v", found)
	}
}

func TestKernelRoutes(t *testing.T) {
	n, _ := inside(t)
	n.Do(t, func() {
		b, err := netio.NewKernelRoutes()
		if err != nil {
			t.Fatal(err)
		}
		defer b.Close()
		for remote, want := range map[string]int{"198.51.100.7": 1380, "192.0.2.2": 1500, "203.0.113.1": 0, "2001:db8::7": 0} {
			if got := b.PathMTU(us, netip.MustParseAddr(remote)); got != want {
				t.Errorf("to %s: %d, want %d", remote, got, want)
			}
		}
		if got := b.PathMTU(netip.MustParseAddr("192.0.2.77"), them); got != 0 {
			t.Errorf("from an address that is not here: %d", got)
		}
	})
}

// TestReadWithoutRights runs a copy of this binary that has given up its capabilities.
func TestReadWithoutRights(t *testing.T) {
	netlab.Need(t)
	if os.Getenv("XFRM_TEST_POWERLESS") == "" {
		setpriv, err := exec.LookPath("setpriv")
		if err != nil {
			t.Skip("no setpriv")
		}
		cmd := exec.CommandContext(t.Context(), setpriv, "--bounding-set=-all", "--inh-caps=-all", os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v")
		cmd.Env = append(os.Environ(), "XFRM_TEST_POWERLESS=1")
		out, err := cmd.CombinedOutput()
		if err != nil || !bytes.Contains(out, []byte("--- PASS")) {
			t.Errorf("%v\n%s", err, out)
		}
		return
	}
	s, err := New(Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	_, err = s.Read(t.Context())
	if err == nil || !errors.Is(err, os.ErrPermission) || !strings.Contains(err.Error(), "CAP_NET_ADMIN") {
		t.Errorf("error %v", err)
	}
}

// TestManySAs measures what 20,000 SAs cost, without a kernel: parsing and counting.
func TestManySAs(t *testing.T) {
	const n = 20000
	message := make([][]byte, 2)
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	began := time.Now()
	var all []state
	for i := range uint32(n / 2) {
		remote := netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)})
		message[0] = saMessage(state{src: remote, dst: us, spi: 2*i + 1, proto: protoESP, reqid: i, keyed: true, added: when})
		message[1] = saMessage(state{src: us, dst: remote, spi: 2*i + 2, proto: protoESP, reqid: i, keyed: true, added: when})
		for _, m := range message {
			s, _ := parseState(m)
			all = append(all, s)
		}
	}
	entries, _ := children(all, ours, nil)
	runtime.ReadMemStats(&after)
	installed := 0
	for i := range entries {
		if entries[i].State == gateways.Installed {
			installed++
		}
	}
	t.Logf("%d SAs, %d pairs, %s, %d MB allocated", len(entries), installed, time.Since(began), (after.TotalAlloc-before.TotalAlloc)>>20)
	if installed != n/2 || len(entries) != n || after.TotalAlloc-before.TotalAlloc > 100<<20 {
		t.Errorf("%d entries, %d installed, %d bytes", len(entries), installed, after.TotalAlloc-before.TotalAlloc)
	}
}
