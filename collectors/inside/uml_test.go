package inside

import (
	"log/slog"
	"net"
	"net/netip"
	"testing"

	"github.com/vishvananda/netlink"

	"ipsec_path_exporter/collectors/pmtu/search"
	"ipsec_path_exporter/internal/netio"
	"ipsec_path_exporter/internal/netlab"
	"ipsec_path_exporter/internal/netlab/daemons"
	"ipsec_path_exporter/internal/wire/ipsec"
)

// An end is one end of a tunnel of real ESP: a gateway with an address inside.
type end struct {
	ns            *netlab.NS
	outer, inside netip.Addr
}

// protect adds the SAs and policies of a tunnel to one of its ends, as an IKE daemon does.
func (e *end) protect(t *testing.T, to *end) {
	t.Helper()
	e.ns.Do(t, func() {
		for _, way := range []struct {
			from, to *end
			dir      netlink.Dir
		}{{e, to, netlink.XFRM_DIR_OUT}, {to, e, netlink.XFRM_DIR_IN}} {
			err := netlink.XfrmStateAdd(&netlink.XfrmState{
				Src: way.from.outer.AsSlice(), Dst: way.to.outer.AsSlice(), Proto: netlink.XFRM_PROTO_ESP, Mode: netlink.XFRM_MODE_TUNNEL,
				Spi: 0x1000 + int(way.from.outer.As4()[2]), Reqid: 1, ReplayWindow: 32,
				Aead: &netlink.XfrmStateAlgo{Name: "rfc4106(gcm(aes))", Key: make([]byte, 20), ICVLen: 128},
			})
			if err != nil {
				t.Fatal(err)
			}
			err = netlink.XfrmPolicyAdd(&netlink.XfrmPolicy{
				Src: network(way.from.inside), Dst: network(way.to.inside), Dir: way.dir,
				Tmpls: []netlink.XfrmPolicyTmpl{{
					Src: way.from.outer.AsSlice(), Dst: way.to.outer.AsSlice(), Proto: netlink.XFRM_PROTO_ESP, Mode: netlink.XFRM_MODE_TUNNEL, Reqid: 1,
				}},
			})
			if err != nil {
				t.Fatal(err)
			}
		}
	})
}

func network(a netip.Addr) *net.IPNet {
	return &net.IPNet{IP: netip.PrefixFrom(a, 24).Masked().Addr().AsSlice(), Mask: net.CIDRMask(24, 32)}
}

// TestUMLOwnTunnel: where this host is the gateway, probes go into its tunnel of real ESP. The most that
// it sends is what fits into the path, to the byte, also after it has learned that the path has become
// smaller.
func TestUMLOwnTunnel(t *testing.T) {
	if !netlab.UML(t, t.Name()) {
		return
	}
	p := netlab.NewProvider(t)
	near := &end{ns: p.Client, outer: p.ClientAddr(false)}
	far := &end{ns: p.Server, outer: p.ServerAddr(false)}
	for _, e := range []*end{near, far} {
		e.inside = daemons.AddProtected(t, e.ns, e.outer)
	}
	p.Client.Route(t, netlab.Route{Dst: daemons.Protected(far.outer), Via: netip.MustParseAddr("10.77.1.2")})
	p.Server.Route(t, netlab.Route{Dst: daemons.Protected(near.outer), Via: netip.MustParseAddr("10.77.4.1")})
	near.protect(t, far)
	far.protect(t, near)
	var outer, own *netio.Stack
	p.Server.Do(t, func() {
		l, err := net.Listen("tcp4", netip.AddrPortFrom(far.inside, port).String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.Close() })
	})
	p.Client.Do(t, func() {
		var err error
		if outer, err = netio.Open(netio.Config{Limits: netio.DefaultLimits, Log: slog.New(slog.DiscardHandler)}); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { outer.Close() })
		if own, err = outer.OpenInside(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { own.Close() })
	})
	target := Target{Address: far.inside, Source: near.inside, Port: port}
	bypassing := New(Options{Open: func() (Network, error) { return outer, nil }, Targets: []Target{{Address: far.inside, Source: near.inside}}})
	if got := measureOnce(t, bypassing); !got.Silent() {
		t.Errorf("without the tunnel: %+v", got)
	}
	c := New(Options{Open: func() (Network, error) { return own, nil }, Targets: []Target{target}})
	cipher, _ := ipsec.CipherByName("aes-gcm-16")
	for _, mtu := range []int{1500, 1400} {
		p.SetMTU(t, mtu)
		got := measureOnce(t, c)
		if mtu < 1500 { // The first large packets tell the gateway.
			got = measureOnce(t, c)
		}
		if want := cipher.TunnelMTU(mtu, false, false); got.Size.State != search.Clean || got.Size.Bytes != want || got.TCP != TCPAnswered || got.MSS == 0 {
			t.Errorf("path MTU %d: %+v, want %d bytes", mtu, got, want)
		}
		t.Logf("path MTU %d: inside %d bytes, MSS %d, %d packets", mtu, got.Size.Bytes, got.MSS, got.Size.Packets)
	}
}
