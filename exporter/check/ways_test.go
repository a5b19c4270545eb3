package check

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"ipsec_path_exporter/exporter/config"
)

// TestPolicyRoutingByPort: IKE leaves by the second uplink, of 1492 bytes, and echoes by the first,
// which drops them. The path MTU is that of IKE, and no diagnosis rests on the echoes.
func TestPolicyRoutingByPort(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.DropICMP(t)
	uplink := l.AddUplink(t)
	uplink.Hide(t)
	uplink.SetMTU(t, 1492)
	for _, v6 := range []bool{false, true} {
		for _, port := range []uint16{500, 4500} {
			uplink.Send(t, v6, func(r *netlink.Rule) {
				r.IPProto, r.Dport = unix.IPPROTO_UDP, netlink.NewRulePortRange(port, port)
			})
		}
	}
	out, _, err := l.check(t, "json", false, "four="+l.Address(false), "six="+l.Address(true))
	if err != nil {
		t.Errorf("error %v", err)
	}
	for _, p := range decode(t, out) {
		if len(p.Diagnoses) > 0 {
			t.Errorf("%s: %v", p.Peer, p.Diagnoses)
		}
		for _, m := range p.MTU {
			if m.Method != "icmp" && (m.State != "clean" || m.Bytes != 1492) {
				t.Errorf("%s: path MTU, %s: %s %d (%s)", p.Peer, m.Method, m.State, m.Bytes, m.Reason)
			}
		}
		for _, i := range p.IKE {
			if i.State != "responding" || i.Fragments != "pass" || i.FragmentsLong != "pass" {
				t.Errorf("%s: IKE, %s: %+v", p.Peer, i.Method, i)
			}
		}
		if p.Interface != uplink.Interface() || p.Tunnel == nil || p.Tunnel.MTUBytes >= 1492 {
			t.Errorf("%s: from %s by %s, tunnel %+v", p.Peer, p.Source, p.Interface, p.Tunnel)
		}
		apart := map[string]bool{}
		for _, w := range p.Ways {
			apart[w.Method] = w.Apart
		}
		if len(apart) != 3 || !apart["icmp"] || apart["ike"] || apart["natt"] {
			t.Errorf("%s: ways %+v", p.Peer, p.Ways)
		}
	}
	if t.Failed() {
		t.Log(out)
	}
}

// TestFirewallMark: with the mark of IKE, all probes take its way.
func TestFirewallMark(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	uplink := l.AddUplink(t)
	uplink.Hide(t)
	uplink.SetMTU(t, 1492)
	for _, v6 := range []bool{false, true} {
		uplink.Send(t, v6, func(r *netlink.Rule) { r.Mark = 0x10 })
	}
	cfg, err := config.Parse("config.yml", []byte("modules: {default: {fwmark: 0x10}}\npeers: [{name: four, address: "+
		l.Address(false)+"}, {name: six, address: '"+l.Address(true)+"'}]"))
	if err != nil {
		t.Fatal(err)
	}
	out, _, err := runReport(t, l.checker(t, cfg, false), cfg, "json")
	if err != nil {
		t.Errorf("error %v", err)
	}
	for _, p := range decode(t, out) {
		for _, m := range p.MTU {
			if m.State != "clean" || m.Bytes != 1492 {
				t.Errorf("%s: path MTU, %s: %s %d (%s)", p.Peer, m.Method, m.State, m.Bytes, m.Reason)
			}
		}
		if len(p.Ways) > 0 || p.Interface != uplink.Interface() {
			t.Errorf("%s: by %s, ways %+v", p.Peer, p.Interface, p.Ways)
		}
	}
	if t.Failed() {
		t.Log(out)
	}
}

// TestBadFirewallMark: the flag is checked before anything is sent.
func TestBadFirewallMark(t *testing.T) {
	t.Parallel()
	err := Run(t.Context(), Options{Targets: []string{"127.0.0.1"}, Output: "text", Timeout: minTimeout, Mark: "0xg"})
	if err == nil || !strings.Contains(err.Error(), `--fwmark: "0xg" is not a firewall mark`) {
		t.Errorf("error %v", err)
	}
}

// TestInside: an address behind the tunnel is measured as traffic of this host, beside the path. Here it
// needs no tunnel.
func TestInside(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.SetMTU(t, 1400)
	cfg, err := config.Parse("config.yml", []byte("peers: [{name: hq, address: "+l.Address(false)+"}]"))
	if err != nil {
		t.Fatal(err)
	}
	const closed = "9" // nothing listens there
	if err := (&Options{Inside: []string{l.Address(false) + ":" + closed}}).overrideInside(cfg.Peers); err != nil {
		t.Fatal(err)
	}
	out, _, err := runReport(t, l.checker(t, cfg, false), cfg, "json")
	if err != nil {
		t.Errorf("error %v", err)
	}
	var reports []struct {
		Inside []struct {
			Target, TCP string
			Received    int
			State       string `json:"mtu_state"`
			Bytes       int    `json:"mtu_bytes"`
		}
	}
	if err := json.Unmarshal([]byte(out), &reports); err != nil || len(reports) != 1 || len(reports[0].Inside) != 1 {
		t.Fatalf("%v\n%s", err, out)
	}
	if got := reports[0].Inside[0]; got.Target != l.Address(false) || got.TCP != "refused" || got.Received != 5 || got.State != "reduced" || got.Bytes != 1400 {
		t.Errorf("%+v", got)
	}
}

// TestBadInside: the flag is checked before anything is sent.
func TestBadInside(t *testing.T) {
	t.Parallel()
	for want, o := range map[string]Options{
		"--inside: needs one target, not 2": {Targets: []string{"127.0.0.1", "127.0.0.2"}, Inside: []string{"10.1.0.1"}},
		`"x" is not an IP address`:          {Targets: []string{"127.0.0.1"}, Inside: []string{"x"}},
	} {
		o.Output, o.Timeout = "text", minTimeout
		if err := Run(t.Context(), o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
}
