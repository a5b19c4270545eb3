package check

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"ipsec_path_exporter/exporter/exportertest"
	"ipsec_path_exporter/internal/netlab"
	"ipsec_path_exporter/internal/netlab/daemons"
)

// vpncConf is the configuration of vpnc, an EZVPN client: hub, group, secrets. Without NAT-T its
// first message is one UDP datagram of some 1200 bytes with DF, more than the provider's small link
// carries.
const vpncConf = `IPSec gateway %s
IPSec ID %s
IPSec secret %s
Xauth username %s
Xauth password %s
IKE Authmode psk
IKE DH Group dh2
NAT Traversal Mode none
`

// connects reports whether an EZVPN client behind the provider gets its tunnel. vpnc dies of a
// "packet too big" and its user starts it again: its kernel then knows the path MTU and sends
// fragments.
func (l *lab) connects(t *testing.T) bool {
	t.Helper()
	vpnc, err := exec.LookPath("/usr/sbin/vpnc")
	if err != nil {
		if os.Getenv("REQUIRE_DAEMONS") == "1" {
			t.Fatal(err)
		}
		t.Skip("no vpnc")
	}
	dir := t.TempDir()
	conf, script := filepath.Join(dir, "vpnc.conf"), filepath.Join(dir, "script")
	text := fmt.Sprintf(vpncConf, l.Address(false), daemons.Group, daemons.Secret, daemons.User, daemons.Password)
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(script, []byte("#!/bin/sh\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		ctx, cancel := context.WithTimeout(t.Context(), 8*time.Second)
		var out []byte
		l.Client.Do(t, func() {
			cmd := exec.CommandContext(ctx, vpnc, "--no-detach", "--script", script, "--pid-file", filepath.Join(dir, "pid"), "--local-port", "0", conf)
			cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) } // so that it informs the hub
			cmd.WaitDelay = 2 * time.Second
			out, _ = cmd.CombinedOutput()
		})
		cancel()
		t.Logf("vpnc: %s", out)
		if strings.Contains(string(out), "VPNC started") {
			return true
		}
		if !strings.Contains(string(out), "Message too long") {
			return false
		}
	}
	return false
}

// TestOriginStory: an EZVPN branch and its hub, with a provider between them that behaves in four
// ways. The client shows the same silence in three of them; the reports do not.
func TestOriginStory(t *testing.T) {
	t.Parallel()
	daemons.NeedStrongSwan(t)
	for name, tt := range map[string]struct {
		faults    func(t *testing.T, p *netlab.Provider)
		connects  bool
		diagnoses string
		words     []string
	}{
		"A: the small link says so, fragments pass": {
			faults: func(*testing.T, *netlab.Provider) {}, connects: true, diagnoses: "",
			words: []string{"1000 bytes, reduced; packet too big from", "fragments, 500   pass"},
		},
		"B: all ICMP is dropped": {
			faults:    func(t *testing.T, p *netlab.Provider) { t.Helper(); p.DropICMP(t) },
			diagnoses: "pmtu_black_hole, icmp_blocked",
			words:     []string{"1000 bytes, black hole", "fragments, 500   pass", "Permit ICMP type 3 code 4"},
		},
		"C: fragments are dropped": {
			faults:    func(t *testing.T, p *netlab.Provider) { t.Helper(); p.DropFragments(t) },
			diagnoses: "fragments_dropped",
			words:     []string{"1000 bytes, reduced; packet too big from", "Permit IP fragments of UDP 500/4500"},
		},
		"D: both": {
			faults: func(t *testing.T, p *netlab.Provider) {
				t.Helper()
				p.DropICMP(t)
				p.DropFragments(t)
			},
			diagnoses: "pmtu_black_hole, fragments_dropped, icmp_blocked",
			words:     []string{"1000 bytes, black hole", "Permit IP fragments of UDP 500/4500", "Permit ICMP type 3 code 4"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := &lab{&exportertest.Lab{Provider: netlab.NewProvider(t)}}
			daemons.AddProtected(t, l.Server, l.ServerAddr(false))
			charon := daemons.StartStrongSwan(t, l.Server, daemons.StrongSwan{
				Conn: daemons.EZVPNServer(l.ServerAddr(false)), Charon: daemons.AggressivePSK, Libipsec: true,
			})
			l.SetMTU(t, 1000)
			tt.faults(t, l.Provider)
			if got := l.connects(t); got != tt.connects {
				t.Errorf("the branch connects: %t, want %t", got, tt.connects)
			}
			text, _, _ := l.check(t, "text", false, "hub="+l.Address(false))
			want := "hub (10.77.4.2): no fault found\n"
			if tt.diagnoses != "" {
				want = "hub (10.77.4.2): FAULT " + tt.diagnoses + "\n"
			}
			if !strings.HasPrefix(text, want) {
				t.Errorf("want %s in:\n%s", want, text)
			}
			text = flat(text)
			for _, w := range tt.words {
				if !strings.Contains(text, flat(w)) {
					t.Errorf("the report lacks %q:\n%s", w, text)
				}
			}
			if n := charon.HalfOpen(t); n != 0 {
				t.Errorf("%d half-open SAs are left at the hub", n)
			}
		})
	}
}
