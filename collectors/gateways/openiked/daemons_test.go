package openiked

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"ipsec_path_exporter/collectors/gateways"
	"ipsec_path_exporter/internal/netlab"
	"ipsec_path_exporter/internal/netlab/daemons"
)

func TestMain(m *testing.M) { netlab.Main(m) }

// TestDaemon reads an iked that charon connects with. The kernel here has no PF_KEY, so no child
// ever comes up.
func TestDaemon(t *testing.T) {
	daemons.NeedOpenIKED(t)
	daemons.NeedStrongSwan(t)
	path := netlab.NewProvider(t)
	client, server := path.ClientAddr(false), path.ServerAddr(false)
	iked := daemons.StartOpenIKED(t, path.Server, daemons.OpenIKED{Conn: daemons.OpenIKEDPeer(server, client)})
	charon := daemons.StartStrongSwan(t, path.Client, daemons.StrongSwan{Conn: daemons.StrongSwanPeer(2, client, server)})
	s := New(Config{Socket: filepath.Join(iked.RunDir(), "iked.sock")})
	read := func(what string, state gateways.IKEState) gateways.IKESA {
		t.Helper()
		for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(50 * time.Millisecond) {
			table, err := s.Read(t.Context())
			if err != nil || table.Unparsed != 0 {
				t.Fatalf("%+v, %v", table, err)
			}
			for i := range table.IKE {
				if table.IKE[i].State == state {
					return table.IKE[i]
				}
			}
			if time.Now().After(deadline) {
				t.Fatalf("never %s: %+v", what, table)
			}
		}
	}
	table, err := s.Read(t.Context())
	if err != nil || len(table.IKE)+len(table.Children)+table.Unparsed != 0 || len(table.Counters) < 8 || table.Info.Type != Type {
		t.Errorf("before: %+v, %v", table, err)
	}
	fault := path.DropIKEExchange(t, 35, 0, netlab.Forward) // IKE_AUTH
	charon.InitiateChild(t, "net", 1)
	if ike := read("half-open", gateways.Connecting); ike.Peer.Address.IsValid() || ike.Initiator || ike.VendorState != "SA_INIT" {
		t.Errorf("half-open: %+v", ike)
	}
	path.Heal(t, fault)
	// On a busy machine one attempt may take too long for either end: iked gives up where its
	// kernel does not answer in time.
	established := func() bool {
		table, err := s.Read(t.Context())
		return err == nil && slices.ContainsFunc(table.IKE, func(sa gateways.IKESA) bool { return sa.State == gateways.Established })
	}
	for range 5 {
		if charon.Initiate(t) && established() {
			break
		}
		if _, err := charon.Swanctl("--terminate", "--ike", daemons.ConnName, "--force", "--timeout", "1"); err != nil {
			t.Logf("terminate: %v", err)
		}
	}
	if ike := read("established", gateways.Established); ike.Peer.Address != client || ike.Peer.ID != client.String() || ike.Version != 2 {
		t.Errorf("established: %+v", ike)
	}
}

func TestWithoutDaemon(t *testing.T) {
	daemons.NeedOpenIKED(t)
	if _, err := New(Config{Socket: filepath.Join(t.TempDir(), "iked.sock")}).Read(t.Context()); err == nil || !strings.Contains(err.Error(), "ikectl show sa") {
		t.Errorf("error %v", err)
	} else {
		t.Log(err)
	}
}
