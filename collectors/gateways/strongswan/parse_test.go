package strongswan

import (
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"ipsec_path_exporter/collectors/gateways"
)

// Messages as charon 5.9 sends them, shortened.
const (
	established = `{site {uniqueid=1 version=2 state=ESTABLISHED local-host=192.0.2.2 local-port=4500 local-id=a.example.test
		remote-host=198.51.100.2 remote-port=4500 remote-id=b.example.test initiator=yes initiator-spi=1b7261481de90853 responder-spi=7ff6ac340cb562fe
		nat-remote=yes established=38 rekey-time=14158 child-sas {net-1 {name=net uniqueid=1 reqid=1 state=INSTALLED mode=TUNNEL protocol=ESP encap=yes
		spi-in=56beb380 spi-out=21872c7e bytes-in=252 packets-in=3 use-in=38 bytes-out=504 packets-out=6 install-time=38 local-ts=[10.1.0.0/24] remote-ts=[10.2.0.0/24]}}}}`
	rekeying = `{site {uniqueid=4 version=2 state=ESTABLISHED remote-host=198.51.100.2 initiator-spi=01 responder-spi=02 established=1 child-sas {
		net-2 {name=net uniqueid=2 state=DELETED spi-in=0a spi-out=0b bytes-in=10 packets-in=1} net-3 {name=net uniqueid=3 state=INSTALLED spi-in=0c spi-out=0d bytes-in=0 packets-in=0}
		trap {uniqueid=4 state=ROUTED}}}}`
	deleting = `{site {uniqueid=4 version=2 state=DELETING remote-host=198.51.100.2 initiator-spi=01 responder-spi=02 tasks-active=[IKE_DELETE] child-sas {
		net-3 {name=net uniqueid=3 state=INSTALLED spi-in=0c spi-out=0d}}}}`
	stuckServer = `{(unnamed) {uniqueid=3 version=2 state=CONNECTING local-host=198.51.100.2 local-port=500 local-id=%any remote-host=192.0.2.9 remote-port=500 remote-id=%any
		initiator-spi=7b responder-spi=19 tasks-passive=[IKE_INIT IKE_AUTH CHILD_CREATE] child-sas {}}}`
	xauthServer = `{ez {uniqueid=3 version=1 state=CONNECTING remote-host=192.0.2.2 remote-id=EZGROUP initiator-spi=01 responder-spi=02 tasks-active=[XAUTH] child-sas {}}}`
	xauthClient = `{ez {uniqueid=3 version=1 state=CONNECTING remote-host=198.51.100.2 remote-id=198.51.100.2 initiator=yes initiator-spi=01 responder-spi=02
		tasks-queued=[QUICK_MODE MODE_CONFIG] child-sas {}}}`
	modeCfgClient = `{ez {uniqueid=3 version=1 state=ESTABLISHED remote-host=198.51.100.2 initiator=yes initiator-spi=01 responder-spi=02 established=3
		tasks-queued=[QUICK_MODE] tasks-active=[MODE_CONFIG] child-sas {}}}`
	modeCfgServer = `{ez {uniqueid=3 version=1 state=ESTABLISHED remote-host=192.0.2.2 remote-id=EZGROUP remote-xauth-id=hwclient initiator-spi=01 responder-spi=02 established=3 child-sas {}}}`
	aggressive    = `{ez {uniqueid=3 version=1 state=CONNECTING remote-host=198.51.100.2 initiator=yes initiator-spi=01 responder-spi=00
		tasks-queued=[QUICK_MODE MODE_CONFIG] tasks-active=[AGGRESSIVE_MODE] child-sas {}}}`
)

var addresses = cmp.Comparer(func(a, b netip.Addr) bool { return a == b })

var now = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// parse reads list-sa messages, one a line.
func parse(raw ...string) *tableBuilder {
	t := &tableBuilder{now: now, pathMTU: func(netip.Addr, netip.Addr) int { return 1400 }}
	for _, m := range raw {
		t.add(parseRaw(m))
	}
	return t
}

func TestParseEstablished(t *testing.T) {
	got := parse(established)
	peer := gateways.Identity{Address: netip.MustParseAddr("198.51.100.2"), Name: "site", ID: "b.example.test", Group: "site"}
	wantIKE := []gateways.IKESA{{
		Key: "1b7261481de90853 7ff6ac340cb562fe", Peer: peer, Version: 2, State: gateways.Established, VendorState: "ESTABLISHED", Initiator: true,
		Established: now.Add(-38 * time.Second),
	}}
	wantChildren := []gateways.ChildSA{{
		Key: "1", Peer: peer, Name: "net", State: gateways.Installed, VendorState: "INSTALLED", CounterKey: "56beb380 21872c7e",
		In:      gateways.Traffic{Packets: gateways.Counted(3), Bytes: gateways.Counted(252)},
		Out:     gateways.Traffic{Packets: gateways.Counted(6), Bytes: gateways.Counted(504)},
		PathMTU: 1400, NATT: gateways.Yes,
	}}
	if diff := cmp.Diff(wantIKE, got.IKE, addresses); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(wantChildren, got.Children, addresses); diff != "" {
		t.Error(diff)
	}
}

func TestParseStates(t *testing.T) {
	for name, tt := range map[string]struct {
		raw      string
		ike      gateways.IKEState
		children []gateways.ChildState
	}{
		"established":                     {established, gateways.Established, []gateways.ChildState{gateways.Installed}},
		"child rekeyed":                   {rekeying, gateways.Established, []gateways.ChildState{gateways.ChildClosing, gateways.Installed}},
		"deleting":                        {deleting, gateways.IKEClosing, []gateways.ChildState{gateways.ChildClosing}},
		"responder, half-open":            {stuckServer, gateways.Connecting, nil},
		"server in XAUTH":                 {xauthServer, gateways.XAuth, nil},
		"client in XAUTH":                 {xauthClient, gateways.XAuth, nil},
		"client in XAUTH, answered":       {strings.Replace(xauthClient, "tasks-queued", "tasks-passive=[XAUTH] tasks-queued", 1), gateways.XAuth, nil},
		"client in mode config":           {modeCfgClient, gateways.ModeCfg, nil},
		"server, address not asked for":   {modeCfgServer, gateways.Established, nil},
		"aggressive mode":                 {aggressive, gateways.Connecting, nil},
		"rekeying":                        {`{x {version=2 state=REKEYING}}`, gateways.IKERekeying, nil},
		"rekeyed":                         {`{x {version=2 state=REKEYED}}`, gateways.IKEClosing, nil},
		"of another node":                 {`{x {version=2 state=PASSIVE}}`, gateways.IKEUnknown, nil},
		"a new word":                      {`{x {version=2 state=PONDERING child-sas {n {state=DREAMING}}}}`, gateways.IKEUnknown, []gateways.ChildState{gateways.ChildUnknown}},
		"IKEv2 has no XAUTH":              {`{x {version=2 state=CONNECTING tasks-active=[XAUTH]}}`, gateways.Connecting, nil},
		"mode config again, with a child": {`{x {version=1 state=ESTABLISHED tasks-active=[MODE_CONFIG] child-sas {n {state=INSTALLED}}}}`, gateways.Established, []gateways.ChildState{gateways.Installed}},
	} {
		t.Run(name, func(t *testing.T) {
			got := parse(tt.raw)
			var children []gateways.ChildState
			for _, c := range got.Children {
				children = append(children, c.State)
				if c.PathMTU != 0 && !c.State.Up() {
					t.Errorf("path MTU of a child that is %s", c.State)
				}
			}
			if len(got.IKE) != 1 || got.IKE[0].State != tt.ike {
				t.Errorf("IKE SAs %+v, want %s", got.IKE, tt.ike)
			}
			if diff := cmp.Diff(tt.children, children); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestParseIdentities(t *testing.T) {
	got := parse(stuckServer, modeCfgServer, `{e {version=2 state=CONNECTING remote-host=%any remote-id=Site B remote-eap-id=joe}}`).IKE
	want := []gateways.Identity{
		{Address: netip.MustParseAddr("192.0.2.9")},
		{Address: netip.MustParseAddr("192.0.2.2"), Name: "ez", Group: "ez", ID: "EZGROUP", Username: "hwclient"},
		{Name: "e", Group: "e", ID: "Site B", Username: "joe"},
	}
	for i := range want {
		if diff := cmp.Diff(want[i], got[i].Peer, addresses); diff != "" {
			t.Error(diff)
		}
	}
	if want := "passive: IKE_INIT IKE_AUTH CHILD_CREATE"; got[0].Doing != want {
		t.Errorf("doing %q, want %q", got[0].Doing, want)
	}
}

// TestUserspaceESP: a daemon that does ESP itself does not go by the kernel's belief.
func TestUserspaceESP(t *testing.T) {
	b := parse()
	b.userspace = true
	b.add(parseRaw(established))
	if b.Children[0].PathMTU != 0 {
		t.Errorf("path MTU %d", b.Children[0].PathMTU)
	}
}

// TestCorpus reads what a real charon sent.
func TestCorpus(t *testing.T) {
	corpus := os.Getenv("IPSEC_CORPUS")
	if corpus == "" {
		t.Skip("IPSEC_CORPUS is not set")
	}
	files, err := filepath.Glob(filepath.Join(corpus, "strongswan-*", "*.list-sas.raw.txt"))
	if err != nil || len(files) < 5 {
		t.Fatalf("%d files: %v", len(files), err)
	}
	for _, file := range files {
		raw, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		b := parse()
		for line := range strings.Lines(string(raw)) {
			if m, ok := strings.CutPrefix(line, "list-sa event "); ok {
				b.add(parseRaw(m))
			}
		}
		name := filepath.Base(file)
		if len(b.IKE) != 1 || b.IKE[0].State == gateways.IKEUnknown || !b.IKE[0].Peer.Address.IsValid() || b.IKE[0].Version == 0 {
			t.Errorf("%s: %+v", name, b.IKE)
			continue
		}
		up := false
		for i := range b.Children {
			up = up || b.Children[i].State.Up()
			if b.Children[i].State == gateways.ChildUnknown || !b.Children[i].In.Bytes.Known {
				t.Errorf("%s: %+v", name, b.Children[i])
			}
		}
		switch s := b.IKE[0].State; {
		case strings.HasPrefix(name, "established"), strings.HasPrefix(name, "rekey-child"):
			if s != gateways.Established || !up {
				t.Errorf("%s: %s, child up: %v", name, s, up)
			}
		case strings.HasPrefix(name, "stuck-ezvpn-xauth") && s != gateways.XAuth,
			strings.HasPrefix(name, "stuck-fraglost") && s != gateways.Connecting,
			strings.HasPrefix(name, "deleting") && (s != gateways.IKEClosing || up):
			t.Errorf("%s: %s, child up: %v", name, s, up)
		}
	}
}

func FuzzMessages(f *testing.F) {
	for _, s := range []string{established, rekeying, deleting, stuckServer, xauthServer, xauthClient, modeCfgClient, "{counters {a {invalid=1}}}"} {
		f.Add(s)
	}
	f.Fuzz(func(_ *testing.T, raw string) {
		m := parseRaw(raw)
		b := parse()
		b.add(m)
		updown(m, now)
		rekeyed(m, now)
		found := finder{connections: map[string]*connection{}}
		found.connection(m)
		found.sa(m)
		gateways.Merge(found.found)
	})
}
