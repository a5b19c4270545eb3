package xfrm

import (
	"net/netip"
	"runtime"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"ipsec_path_exporter/collectors/gateways"
	"ipsec_path_exporter/internal/netlab"
)

// addPair adds an outbound and an inbound ESP SA with keys, as an IKE daemon does.
func addPair(t *testing.T, h *netlink.Handle, remote netip.Addr, spi int) {
	t.Helper()
	for i, way := range [][2]netip.Addr{{us, remote}, {remote, us}} {
		err := h.XfrmStateAdd(&netlink.XfrmState{
			Src: way[0].AsSlice(), Dst: way[1].AsSlice(), Proto: netlink.XFRM_PROTO_ESP, Mode: netlink.XFRM_MODE_TUNNEL,
			Spi: spi + i, Reqid: spi, ReplayWindow: 32,
			Aead: &netlink.XfrmStateAlgo{Name: "rfc4106(gcm(aes))", Key: []byte(plantedKey)[:20], ICVLen: 128},
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

// TestUMLManySAs: 20,000 SAs of a real kernel are listed and counted, in less than 100 MB. How long
// it takes is logged.
func TestUMLManySAs(t *testing.T) {
	if !netlab.UML(t, t.Name()) {
		return
	}
	n, s := inside(t)
	const pairs = 10000
	var h *netlink.Handle
	n.Do(t, func() {
		var err error
		if h, err = netlink.NewHandle(netlinkXFRM); err != nil {
			t.Fatal(err)
		}
	})
	defer h.Close()
	began := time.Now()
	for i := range pairs {
		addPair(t, h, netip.AddrFrom4([4]byte{198, 51, byte(i >> 8), byte(i)}), 0x10000+2*i)
	}
	t.Logf("%d SAs added in %s", 2*pairs, time.Since(began))
	for i := range 3 {
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		began = time.Now()
		table := read(t, s)
		took := time.Since(began)
		reading := gateways.NewReading(&table, gateways.NewAttribution(nil), false)
		counted := time.Since(began)
		runtime.ReadMemStats(&after)
		used := (after.Sys - after.HeapReleased) >> 20
		t.Logf("reading %d: %s, with counting %s, %d MB allocated, %d MB of memory in use", i, took, counted, (after.TotalAlloc-before.TotalAlloc)>>20, used)
		installed := 0
		for i := range reading.Peers {
			installed += reading.Peers[i].Children[gateways.Installed]
		}
		if installed != pairs || len(table.Children) != 2*pairs || table.Unparsed != 0 || used > 100 {
			t.Errorf("%d entries, %d installed, %d unknown, %d MB", len(table.Children), installed, table.Unparsed, used)
		}
	}
}
