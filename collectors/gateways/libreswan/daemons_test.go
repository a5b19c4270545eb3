package libreswan

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"ipsec_path_exporter/collectors/gateways"
	"ipsec_path_exporter/internal/netlab"
	"ipsec_path_exporter/internal/netlab/daemons"
)

func TestMain(m *testing.M) { netlab.Main(m) }

// live is a source that reads the daemon with the whack that came with it.
func live(p *daemons.Pluto) *Source {
	return New(Config{Socket: p.Socket(), Whack: filepath.Join(os.Getenv("LIBRESWAN_ROOT"), "/usr/libexec/ipsec/whack")})
}

func await(t *testing.T, s *Source, what string, ok func(gateways.Table) bool) gateways.Table {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for {
		table, err := s.Read(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if ok(table) {
			return table
		}
		if time.Now().After(deadline) {
			t.Fatalf("never %s: %+v", what, table)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// TestDaemon reads a pluto that charon connects with: nothing, half-open, established. The kernel
// here has no ESP, so no child ever comes up.
func TestDaemon(t *testing.T) {
	for _, version := range []int{1, 2} {
		t.Run(fmt.Sprintf("IKEv%d", version), func(t *testing.T) {
			daemons.NeedLibreswan(t)
			daemons.NeedStrongSwan(t)
			path := netlab.NewProvider(t)
			client, server := path.ClientAddr(false), path.ServerAddr(false)
			pluto := daemons.StartLibreswan(t, path.Server, daemons.Libreswan{Conn: daemons.LibreswanPeer(version, server, client)})
			charon := daemons.StartStrongSwan(t, path.Client, daemons.StrongSwan{Conn: daemons.StrongSwanPeer(version, client, server)})
			s := live(pluto)
			table := await(t, s, "read", func(gateways.Table) bool { return true })
			if len(table.IKE)+len(table.Children)+table.Unparsed != 0 || table.Info != (gateways.Info{Type: Type, Version: "4.10"}) || len(table.Counters) < 20 {
				t.Errorf("before: %+v", table)
			}
			found, err := s.Discover(t.Context())
			if err != nil || len(found) != 1 || found[0] != (gateways.Found{Address: client, Name: daemons.ConnName, Local: server}) {
				t.Errorf("found %+v, %v", found, err)
			}
			exchange := map[int]byte{1: 2, 2: 35}[version] // main mode, IKE_AUTH
			fault := path.DropIKEExchange(t, exchange, map[int]int{1: 2, 2: 0}[version], netlab.Forward)
			charon.InitiateChild(t, "net", 1)
			table = await(t, s, "half-open", func(t gateways.Table) bool { return len(t.IKE) == 1 && t.IKE[0].State == gateways.Connecting })
			if ike := table.IKE[0]; ike.Version != version || ike.Peer.Address != client || ike.Initiator {
				t.Errorf("half-open: %+v", ike)
			}
			path.Heal(t, fault)
			charon.Initiate(t)
			established := func(t gateways.Table) bool {
				for i := range t.IKE {
					if t.IKE[i].State == gateways.Established {
						return true
					}
				}
				return false
			}
			if table = await(t, s, "established", established); table.Unparsed != 0 {
				t.Errorf("%d lines not parsed: %+v", table.Unparsed, table)
			}
			if text := fmt.Sprintf("%+v", table); strings.Contains(text, daemons.Secret) {
				t.Errorf("the secret is in %s", text)
			}
			for i := range table.IKE {
				if table.IKE[i].State == gateways.IKEUnknown {
					t.Errorf("state of %+v", table.IKE[i])
				}
			}
		})
	}
}

func TestWithoutDaemon(t *testing.T) {
	daemons.NeedLibreswan(t)
	s := New(Config{Socket: filepath.Join(t.TempDir(), "pluto.ctl"), Whack: filepath.Join(os.Getenv("LIBRESWAN_ROOT"), "/usr/libexec/ipsec/whack")})
	if _, err := s.Read(t.Context()); err == nil || !strings.Contains(err.Error(), "whack --status") {
		t.Errorf("error %v", err)
	} else {
		t.Log(err)
	}
}
