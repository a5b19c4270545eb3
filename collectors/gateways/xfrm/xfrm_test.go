package xfrm

import (
	"encoding/binary"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"ipsec_path_exporter/collectors/gateways"
)

// plantedKey stands in messages and must stand nowhere else.
const plantedKey = "PLANTED-KEY-OF-AN-SA-32-BYTES-XX"

var order = binary.NativeEndian

// saMessage is the kernel's message about an SA, with keys unless it is larval.
func saMessage(s state, attrs ...[]byte) []byte {
	b := make([]byte, stateSize)
	family := uint16(familyIPv4)
	if s.dst.Is6() {
		family = familyIPv6
	}
	copy(b[stateDst:], s.dst.AsSlice())
	copy(b[stateSrc:], s.src.AsSlice())
	binary.BigEndian.PutUint32(b[stateSPI:], s.spi)
	b[stateProto] = s.proto
	order.PutUint64(b[stateBytes:], s.bytes)
	order.PutUint64(b[stateBytes+8:], s.packets)
	order.PutUint64(b[stateAdded:], uint64(s.added.Unix()))
	order.PutUint32(b[stateReqID:], s.reqid)
	order.PutUint16(b[stateFamily:], family)
	if s.keyed {
		b = append(b, attr(attrAEAD, []byte("rfc4106(gcm(aes))"+plantedKey))...)
	}
	return append(b, slices.Concat(attrs...)...)
}

func attr(kind uint16, value []byte) []byte {
	b := order.AppendUint16(order.AppendUint16(nil, uint16(4+len(value))), kind)
	b = append(b, value...)
	return append(b, make([]byte, (4-len(b)%4)%4)...)
}

func four(v uint32) []byte { return order.AppendUint32(nil, v) }

var (
	us, them   = netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("198.51.100.7")
	us6, them6 = netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("2001:db8::7")
	ours       = map[netip.Addr]bool{us: true, us6: true}
	when       = time.Unix(1_700_000_000, 0)
)

func TestParseState(t *testing.T) {
	for name, want := range map[string]state{
		"in, IPv4":  {src: them, dst: us, spi: 0xc1234567, proto: protoESP, reqid: 7, keyed: true, bytes: 1 << 40, packets: 9, added: when},
		"out, IPv6": {src: us6, dst: them6, spi: 1, proto: protoAH, reqid: 7, keyed: true, added: when},
		"larval":    {src: them, dst: us, spi: 5, proto: protoESP, added: when},
	} {
		got, ok := parseState(saMessage(want))
		if !ok || got != want {
			t.Errorf("%s: %+v, %v", name, got, ok)
		}
	}
	base := state{src: us, dst: them, proto: protoESP, keyed: true, added: when}
	got, _ := parseState(saMessage(base, attr(attrEncap, make([]byte, 24)), attr(attrInterfaceID, four(42)), attr(attrOutputMark, four(3)), attr(attrSADir, []byte{2})))
	base.encap, base.interfaceID, base.marked, base.dir = true, 42, true, out
	if got != base {
		t.Errorf("attributes: %+v, want %+v", got, base)
	}
	base.proto = 108 // IPComp
	if _, ok := parseState(saMessage(base)); ok {
		t.Error("IPComp is taken for ESP")
	}
	if _, ok := parseState(make([]byte, stateSize-1)); ok {
		t.Error("a short message is taken")
	}
}

func TestKeysAreNotKept(t *testing.T) {
	var all []state
	for _, s := range []state{{src: them, dst: us, proto: protoESP, keyed: true}, {src: us, dst: them, proto: protoESP, keyed: true}} {
		s, _ = parseState(saMessage(s))
		all = append(all, s)
	}
	entries, _ := children(all, ours, nil)
	numbers := strings.Trim(fmt.Sprintf("%d", []byte(plantedKey[:8])), "[]")
	if text := fmt.Sprintf("%+v %+v", all, entries); len(entries) != 2 || strings.Contains(text, "PLANTED") || strings.Contains(text, numbers) {
		t.Errorf("%d entries: %s", len(entries), text)
	}
}

// both are an inbound and an outbound SA.
func both(spi uint32, added time.Time) []state {
	return []state{
		{src: them, dst: us, spi: spi, proto: protoESP, reqid: 1, keyed: true, added: added, packets: 1, bytes: 100},
		{src: us, dst: them, spi: spi + 1, proto: protoESP, reqid: 1, keyed: true, added: added, packets: 2, bytes: 200},
	}
}

// always returns routes with one path MTU to them.
func always(t *testing.T, mtu int) *kernelRoutes {
	t.Helper()
	return &kernelRoutes{known: map[pair]knownMTU{}, ask: func(_, remote netip.Addr) int {
		if remote != them {
			t.Errorf("path MTU to %s", remote)
		}
		return mtu
	}}
}

// TestKernelRoutesTakeTurns: where the kernel is slow, each pair gets its turn, and old answers are
// dropped.
func TestKernelRoutesTakeTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &kernelRoutes{known: map[pair]knownMTU{{remote: us}: {mtu: 9}}, ask: func(netip.Addr, netip.Addr) int {
			time.Sleep(askingTime * 2 / 5)
			return 1400
		}}
		pairs := map[pair]bool{}
		for i := range byte(10) {
			pairs[pair{us, netip.AddrFrom4([4]byte{10, 0, 0, i})}] = true
		}
		known := func() (n int) {
			for p := range pairs {
				if b.of(p, time.Now()) == 1400 {
					n++
				}
			}
			return n
		}
		for _, want := range []int{3, 6, 9, 10} {
			b.refresh(pairs)
			if got := known(); got != want || b.of(pair{remote: us}, time.Now()) != 0 {
				t.Errorf("%d known, want %d", got, want)
			}
			time.Sleep(10 * time.Second)
		}
		time.Sleep(mtuAge)
		if got := known(); got != 0 {
			t.Errorf("%d old answers are used", got)
		}
	})
}

func TestChildren(t *testing.T) {
	later := when.Add(time.Hour)
	larval := state{src: them, dst: us, spi: 99, proto: protoESP, added: later}
	acquire := state{src: us, dst: them, proto: protoESP, reqid: 1, added: later}
	other := state{src: netip.MustParseAddr("203.0.113.1"), dst: netip.MustParseAddr("203.0.113.2"), proto: protoESP, keyed: true}
	for name, tt := range map[string]struct {
		states  []state
		want    string // "<word> <SPI> <state>" of each
		unknown int
	}{
		"a pair":               {both(1, when), "in 1 installed, out 2 unknown", 0},
		"rekeyed, old inbound": {slices.Concat(both(1, when)[:1], both(3, later)), "in 1 unknown, in 3 installed, out 4 unknown", 0},
		"two pairs":            {slices.Concat(both(1, when), both(3, later)), "in 1 installed, out 2 unknown, in 3 installed, out 4 unknown", 0},
		"inbound only":         {both(1, when)[:1], "in 1 unknown", 0},
		"outbound only":        {both(1, when)[1:], "out 2 unknown", 0},
		"larval":               {[]state{larval}, "larval 63 installing", 0},
		"acquire":              {[]state{acquire}, "acquire 0 installing", 0},
		"acquire and larval":   {[]state{acquire, larval}, "acquire 0 unknown, larval 63 installing", 0},
		"of somebody else":     {[]state{other}, "", 1},
	} {
		t.Run(name, func(t *testing.T) {
			entries, unknown := children(tt.states, ours, always(t, 1400))
			var got []string
			for i := range entries {
				e := &entries[i]
				got = append(got, e.VendorState+" "+strings.Fields(e.Key)[2]+" "+e.State.String())
				if e.Peer.Address != them {
					t.Errorf("peer %v", e.Peer)
				}
				if e.State == gateways.Installed && e.PathMTU != 1400 {
					t.Errorf("path MTU %d", e.PathMTU)
				}
			}
			if s := strings.Join(got, ", "); s != tt.want || unknown != tt.unknown {
				t.Errorf("%s; %d unknown, want %s; %d", s, unknown, tt.want, tt.unknown)
			}
		})
	}
}

func TestCountersOfChildren(t *testing.T) {
	entries, _ := children(both(1, when), ours, nil)
	in, out := gateways.Traffic{Packets: gateways.Counted(1), Bytes: gateways.Counted(100)}, gateways.Traffic{Packets: gateways.Counted(2), Bytes: gateways.Counted(200)}
	if e := entries[0]; e.In != in || e.Out != (gateways.Traffic{}) {
		t.Errorf("inbound: %+v", e)
	}
	if e := entries[1]; e.Out != out || e.In != (gateways.Traffic{}) || e.Key == entries[0].Key {
		t.Errorf("outbound: %+v", e)
	}
}

func TestMarkedRoutesAreNotGuessed(t *testing.T) {
	states := both(1, when)
	states[0].marked, states[1].marked = true, true
	entries, _ := children(states, ours, always(t, 1400))
	if entries[0].PathMTU != 0 {
		t.Errorf("path MTU %d", entries[0].PathMTU)
	}
}

// policyMessage is the kernel's message about a policy with one template.
func policyMessage(dir byte, src, dst netip.Addr, mode byte, selector netip.Addr) []byte {
	b := make([]byte, policySize)
	order.PutUint16(b[selectorFamily:], familyIPv4)
	copy(b[selectorDst:], selector.AsSlice())
	copy(b[selectorSrc:], selector.AsSlice())
	b[selectorDstLen], b[selectorSrcLen] = 32, 32
	b[policyDir] = dir
	tmpl := make([]byte, tmplSize)
	copy(tmpl[tmplDst:], dst.AsSlice())
	copy(tmpl[tmplSrc:], src.AsSlice())
	order.PutUint16(tmpl[tmplFamily:], familyIPv4)
	tmpl[tmplMode] = mode
	return append(b, attr(attrTmpl, tmpl)...)
}

func TestParsePolicy(t *testing.T) {
	const transport, tunnel = 0, 1
	none, host := netip.IPv4Unspecified(), netip.MustParseAddr("203.0.113.5")
	for name, tt := range map[string]struct {
		message []byte
		want    []netip.Addr
	}{
		"out":            {policyMessage(dirOut, us, them, tunnel, none), []netip.Addr{them}},
		"in":             {policyMessage(dirIn, them, us, tunnel, none), []netip.Addr{them}},
		"forward":        {policyMessage(2, them, us, tunnel, none), []netip.Addr{them}},
		"transport, out": {policyMessage(dirOut, none, none, transport, host), []netip.Addr{host}},
		"any peer":       {policyMessage(dirOut, us, none, tunnel, host), nil},
		"without":        {make([]byte, policySize), nil},
		"short":          {make([]byte, 7), nil},
	} {
		if got := parsePolicy(tt.message); !slices.Equal(got, tt.want) {
			t.Errorf("%s: %v, want %v", name, got, tt.want)
		}
	}
}

func TestParseStat(t *testing.T) {
	got := parseStat([]byte("XfrmInError             \t0\nXfrmInNoStates          \t12\nXfrmFutureSAThing \t18446744073709551615\n" +
		"nonsense\nXfrm-x 1\nXfrmBad -1\n"))
	want := []gateways.DeviceCounter{{Kind: "xfrm_in_error"}, {Kind: "xfrm_in_no_states", Value: 12}, {Kind: "xfrm_future_sa_thing", Value: 1<<64 - 1}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func FuzzParseState(f *testing.F) {
	for _, s := range both(1, when) {
		f.Add(saMessage(s, attr(attrEncap, make([]byte, 24))))
	}
	f.Add(saMessage(state{src: us6, dst: them6, proto: protoAH}, []byte{3, 0, 1, 0}))
	f.Fuzz(func(t *testing.T, b []byte) {
		s, ok := parseState(b)
		if !ok {
			return
		}
		if entries, unknown := children([]state{s}, ours, nil); len(entries)+unknown != 1 {
			t.Errorf("%d entries, %d unknown", len(entries), unknown)
		}
	})
}

func FuzzParsePolicy(f *testing.F) {
	f.Add(policyMessage(dirOut, us, them, 1, us))
	f.Add(policyMessage(dirIn, us, netip.IPv4Unspecified(), 0, us))
	f.Fuzz(func(_ *testing.T, b []byte) { parsePolicy(b) })
}

func FuzzParseStat(f *testing.F) {
	f.Add([]byte("XfrmInNoStates          \t12\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, c := range parseStat(b) {
			if len(c.Kind) == 0 || strings.Trim(c.Kind, "abcdefghijklmnopqrstuvwxyz0123456789_") != "" {
				t.Errorf("kind %q", c.Kind)
			}
		}
	})
}

// TestAddStates: peers are those of SAs in use, not those of negotiations.
func TestAddStates(t *testing.T) {
	us, us2, policy, up, trying := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2"), netip.MustParseAddr("203.0.113.1"),
		netip.MustParseAddr("203.0.113.2"), netip.MustParseAddr("203.0.113.3")
	peers := map[netip.Addr]gateways.Found{policy: {Address: policy}, up: {Address: up}}
	addStates(peers, []state{
		{src: up, dst: us2, keyed: true},
		{src: us, dst: up, keyed: true},
		{src: up, dst: us2, keyed: true},
		{src: trying, dst: us},
		{src: us, dst: trying},
		{src: trying, dst: policy, keyed: true}, // neither is this host
	}, map[netip.Addr]bool{us: true, us2: true})
	want := map[netip.Addr]gateways.Found{policy: {Address: policy}, up: {Address: up, Local: us, Active: true}}
	if !maps.Equal(peers, want) {
		t.Errorf("%+v, want %+v", peers, want)
	}
}
